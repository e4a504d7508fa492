internal import SpindleCore
internal import SpindleIO

/// What is wrong with the files of one peer, as its own writer sees it. Indices that nobody
/// published yet are not looked for.
struct FileLogExamination: Sendable {
  /// A place where the files are not as they were written.
  struct Fault: Sendable {
    /// The indices that no file holds and one did; empty where a segment only has something behind
    /// its last entry.
    var missing: Range<UInt64>
    /// Where the segment starts that is damaged there; nil where one is gone.
    var damaged: UInt64?
    /// The chain's head before the missing entries, as the files tell.
    var head: ChainHead?
    /// The head behind them; nil at the end of the files.
    var nextHead: ChainHead?
    /// Whether no segment follows.
    var isLast: Bool
  }

  var faults: [Fault] = []
  /// Files of which no entry is used: their header cannot be read, or they start within the segment
  /// before them.
  var useless: [String] = []
  /// Segments that cannot be judged: an I/O error, a newer version wrote them, or one with a higher
  /// limit of their size.
  var unreadable: [SpindleError] = []
  /// The lowest start of a file; nil for no file.
  var first: UInt64?
  /// The end of what the files have acknowledged, and of what can be read.
  var end: UInt64 = 0
  var isMarkDamaged = false
}

extension SegmentFiles {
  /// Reads all segments of a peer from the disk, and compares each with the one before.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, reason `corrupt_segment`, where a segment is in
  ///   another chain than the one before it: no damage makes that.
  func examine(_ peer: PeerID) throws -> FileLogExamination {
    forget()
    var examination = FileLogExamination()
    var acknowledged: UInt64 = 0
    do throws(SpindleError) {
      acknowledged = try AcknowledgedMark.read(folder.mark(of: peer))?.next ?? 0
    } catch {
      guard error.reason == "corrupt_mark" else { throw error }
      examination.isMarkDamaged = true
    }
    let starts: [UInt64]
    do throws(IOFailure) { starts = try folder.starts(of: peer) } catch { throw error.spindleError }
    examination.first = starts.first
    var walk = SegmentWalk(head: .seed(of: peer))
    for start in starts {
      let isLast = start == starts.last
      let path = folder.segment(of: peer, start: start)
      let segment: LoadedSegment<Op>?
      do throws(SpindleError) { segment = try load(peer, start: start) } catch {
        if error.kind == .corruption, try !isAboveLimit(peer, start: start) {
          examination.useless.append(path)
        } else {
          examination.unreadable.append(error)
          walk.isBroken = true
        }
        continue
      }
      guard let segment else {
        // The next sink sets aside one that it was making.
        if !isLast || acknowledged > start { examination.useless.append(path) }
        continue
      }
      let state = segment.content.state
      guard state.header.start >= walk.end || walk.isBroken else {
        examination.useless.append(path)
        continue
      }
      if let fault = walk.meet(state.header) { examination.faults.append(fault) }
      if walk.isLinked { try checkLink(segment, after: walk.last, of: peer) }
      if segment.content.failure?.isUnknownFormat == true {
        examination.unreadable.append(segment.damage(segment.content.failure ?? .unexpectedEnd))
        walk.isBroken = true
      } else {
        let mayEnd = isLast && segment.isTorn && state.next >= acknowledged
        walk.pass(state, isDamaged: segment.content.failure != nil && !mayEnd)
      }
    }
    if let fault = walk.finish(acknowledged) { examination.faults.append(fault) }
    examination.end = max(walk.end, acknowledged)
    return examination
  }
}

/// Goes over the segments of a peer in the order of their starts, and finds what lies between.
private struct SegmentWalk {
  /// Where the segments so far end, and the chain's head there.
  private(set) var end: UInt64 = 0
  private var head: ChainHead?
  /// The start of the last segment.
  private(set) var last: UInt64 = 0
  /// Whether the segment that was met last goes on where the one before ends.
  private(set) var isLinked = false
  /// Whether it is unknown where the last segment ends.
  var isBroken = false
  private var damaged: UInt64?
  private var isAtStart = true

  init(head: ChainHead) { self.head = head }

  mutating func meet(_ header: SegmentHeader) -> FileLogExamination.Fault? {
    defer {
      isBroken = false
      damaged = nil
      isAtStart = false
    }
    isLinked = !isBroken && !isAtStart && damaged == nil && header.start == end
    if isBroken || damaged == nil && header.start == end { return nil }
    return FileLogExamination.Fault(
      missing: end..<header.start, damaged: damaged, head: head, nextHead: header.head,
      isLast: false)
  }

  mutating func pass(_ state: SegmentState, isDamaged: Bool) {
    (end, head, last) = (state.next, state.head, state.header.start)
    damaged = isDamaged ? last : nil
  }

  func finish(_ acknowledged: UInt64) -> FileLogExamination.Fault? {
    if isBroken || damaged == nil && acknowledged <= end { return nil }
    return FileLogExamination.Fault(
      missing: end..<max(end, acknowledged), damaged: damaged, head: head, nextHead: nil,
      isLast: true)
  }
}
