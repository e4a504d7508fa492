internal import SpindleCore

/// The keys of the reducer's state in `data:ingest` (`Documentation/Formats/ingest-state.md`).
enum IngestKeys {
  // Part of the format; must not be changed.
  static let format: [UInt8] = [0x00] + Array("format".utf8)
  static let formatValue: [UInt8] = [1]
  static let positionPrefix: UInt8 = 0x01
  static let seriesPrefix: UInt8 = 0x02

  static func position(of peer: PeerID) -> [UInt8] {
    var key = [positionPrefix]
    peer.uuid.append(to: &key)
    return key
  }
}
