internal import SpindleCore

/// What the cure of a failed log leaves in `default`: a write that no log carries.
///
/// It takes one sequence number, so the logs have a gap of one there. The marker names that
/// number, and so tells its own gap from a lost write. It also names the log that was the newest,
/// so that a repeated cure need not leave a second gap.
struct LogMarker: Equatable {
  /// The marker's own sequence number.
  var sequence: UInt64
  /// The log that the marker forces RocksDB to leave.
  var logNumber: UInt64

  /// Both numbers, 8 bytes big-endian each, and the masked CRC32C of those.
  func encoded() -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(sequence)
    bytes.appendBigEndian(logNumber)
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  /// Nil for anything that ``encoded()`` does not give.
  static func decode(_ bytes: [UInt8]) -> LogMarker? {
    var reader = ByteReader(bytes.span)
    guard bytes.count == 20, let sequence = try? reader.readBigEndian(UInt64.self),
      let logNumber = try? reader.readBigEndian(UInt64.self),
      let stored = try? reader.readBigEndian(UInt32.self),
      CRC32C.mask(CRC32C.checksum(Array(bytes.prefix(16)))) == stored
    else { return nil }
    return LogMarker(sequence: sequence, logNumber: logNumber)
  }
}
