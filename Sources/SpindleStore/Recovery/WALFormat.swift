/// The bytes of a RocksDB write-ahead log (`NNNNNN.log`).
///
/// A log is a run of blocks of 32 KiB; only the last may be shorter. A block holds fragments:
///
///     checksum u32   masked CRC-32C of type, log number and payload
///     length   u16   bytes of payload
///     type     u8
///     number   u32   types 5 to 8 only: low half of the log's number
///     payload
///
/// Integers are little-endian. A fragment never crosses a block, so a record that does not fit is
/// stored as first, middle..., last. Fewer than seven bytes left in a block are zeros and skipped.
package enum WALFormat {
  // Part of RocksDB's file format; must not change.
  static let blockByteCount = 32_768
  static let headerByteCount = 7
  static let recyclableHeaderByteCount = 11
  /// A record is one write batch: sequence u64, count u32, operations.
  static let batchHeaderByteCount = 12
  /// Sequence numbers have 56 bits.
  static let greatestSequence: UInt64 = (1 << 56) - 1

  /// The file name of a log: its number in six or more digits.
  package static func fileName(_ number: UInt64) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, 6 - digits.utf8.count)) + digits + ".log"
  }

  /// The number in a log's file name, or nil for any other name.
  package static func fileNumber(_ name: String) -> UInt64? {
    guard name.hasSuffix(".log") else { return nil }
    let digits = name.dropLast(4)
    guard !digits.isEmpty, digits.utf8.allSatisfy({ 0x30...0x39 ~= $0 }) else { return nil }
    return UInt64(digits)
  }
}

/// Where in its record a fragment stands.
enum WALFragmentRole {
  case full, first, middle, last
}

/// A fragment's header as it stands in the file, not yet believed.
struct WALFragmentHeader {
  let storedChecksum: UInt32
  let payloadByteCount: Int
  let type: UInt8

  /// Nil when fewer than seven bytes are left.
  init?(_ bytes: UnsafeRawBufferPointer, at position: Int) {
    guard position >= 0, bytes.count - position >= WALFormat.headerByteCount else {
      return nil
    }
    unsafe storedChecksum = UInt32(
      littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
    unsafe payloadByteCount = Int(
      UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: position + 4, as: UInt16.self)))
    unsafe type = bytes[position + 6]
  }

  var isRecyclable: Bool { 5...8 ~= type }

  var headerByteCount: Int {
    isRecyclable ? WALFormat.recyclableHeaderByteCount : WALFormat.headerByteCount
  }

  var byteCount: Int { headerByteCount + payloadByteCount }

  /// Nil for set-compression and for types this version does not know.
  var role: WALFragmentRole? {
    switch type {
    case 1, 5: .full
    case 2, 6: .first
    case 3, 7: .middle
    case 4, 8: .last
    default: nil
    }
  }

  /// What preallocated or never written space looks like.
  var isZero: Bool { storedChecksum == 0 && payloadByteCount == 0 && type == 0 }

  static let setCompressionType: UInt8 = 9
}
