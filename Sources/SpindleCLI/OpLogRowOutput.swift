import SpindleCore
import SpindleOpLog
import SpindlePipeline

/// A row of a log as the commands print it: an object of `--json` or a line.
struct OpLogRowOutput: Encodable {
  var peer: String
  var index: UInt64
  /// Milliseconds since the Unix epoch and the counter of the hybrid clock.
  var timestamp: UInt64
  var counter: UInt16
  var tag: UInt8
  var keyBytes: Int?
  var valueBytes: Int?
  var expunged: String?
  var user: String?
  // Of ops of the ingest log:
  var producer: String?
  var byteOffset: UInt64?
  var firstLine: UInt64?
  var lines: UInt64?
  var points: UInt64?
  var rejected: UInt64?

  init(_ stored: OpLogRow, _ peer: PeerID, _ index: UInt64, prefix: String) {
    self.peer = peer.description
    self.index = index
    timestamp = stored.timestamp.wallMilliseconds
    counter = stored.timestamp.counter
    tag = stored.tag
    keyBytes = stored.key?.count
    valueBytes = stored.isExpunged ? nil : stored.value?.count
    expunged = stored.expungedHash?.description
    user = stored.serverUser?.description
    if prefix == IngestPipeline.name,
      let op = try? IngestOp.fromIndexParts(tag: stored.tag, key: stored.key, value: stored.value)
    {
      producer = op.producer
      byteOffset = op.source.byteOffset
      firstLine = op.source.firstLine
      lines = op.source.lineCount
      points = op.pointCount
      rejected = op.rejectedCount
    }
  }

  var text: String {
    var text = "\(peer) \(index)  \(timestamp).\(counter)  tag \(tag)"
    if let expunged { text += "  expunged \(expunged)" }
    if let valueBytes { text += "  \(valueBytes) bytes" }
    if let points, let firstLine, let lines {
      text += "  \(points) points, lines \(firstLine) to \(firstLine + lines - min(lines, 1))"
    }
    return text
  }
}
