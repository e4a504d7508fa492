import Foundation
import SpindleCore
import SpindleStore

/// Writes logs as RocksDB does, so that a test knows every byte of them.
struct LogBuilder {
  private(set) var bytes: [UInt8] = []
  /// Where each record starts, in order.
  private(set) var starts: [Int] = []
  /// The block offset and size of every unused end of a block.
  private(set) var trailers: [Range<Int>] = []
  private var sequence: UInt64

  init(startingAt sequence: UInt64 = 1) { self.sequence = sequence }

  /// Appends one batch of puts into family 0 or, with `family`, another.
  mutating func put(_ values: [[UInt8]], family: UInt8 = 0) {
    var batch = littleEndian(sequence, 8) + littleEndian(UInt64(values.count), 4)
    for value in values {
      batch += family == 0 ? [0x01] : [0x05, family]
      batch += [3] + Array("key".utf8) + varint(value.count) + value
    }
    append(batch)
    sequence += UInt64(values.count)
  }

  /// Leaves out sequence numbers.
  mutating func skip(_ count: UInt64) { sequence += count }

  mutating func append(_ record: [UInt8]) {
    var rest = record[...]
    var isFirst = true
    repeat {
      let room = 32_768 - bytes.count % 32_768
      if room < 7 {
        trailers.append(bytes.count..<(bytes.count + room))
        bytes += [UInt8](repeating: 0, count: room)
        continue
      }
      if isFirst { starts.append(bytes.count) }
      let piece = rest.prefix(room - 7)
      rest = rest.dropFirst(piece.count)
      let type: UInt8 =
        switch (isFirst, rest.isEmpty) {
        case (true, true): 1
        case (true, false): 2
        case (false, false): 3
        case (false, true): 4
        }
      isFirst = false
      appendFragment(type: type, payload: Array(piece))
    } while isFirst || !rest.isEmpty
  }

  mutating func appendFragment(type: UInt8, payload: [UInt8]) {
    let checksum = CRC32C.mask(CRC32C.checksum([type] + payload))
    bytes += littleEndian(UInt64(checksum), 4) + littleEndian(UInt64(payload.count), 2)
    bytes += [type] + payload
  }

  private func littleEndian(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
  }

  private func varint(_ value: Int) -> [UInt8] {
    var rest = value
    var bytes: [UInt8] = []
    while rest >= 0x80 {
      bytes.append(UInt8(rest & 0x7f) | 0x80)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }
}

/// A seeded generator: the same seed gives the same test.
struct SeededBytes: RandomNumberGenerator {
  private var state: UInt64
  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  mutating func bytes(_ count: Int) -> [UInt8] {
    (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
  }
}

/// A directory of logs that goes away with the test.
final class LogDirectory {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "spindle-wal-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ bytes: [UInt8], number: UInt64) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: path + "/" + WALFormat.fileName(number)))
  }

  func scan(
    _ scanner: WALScanner = WALScanner(),
    manifest: WALNumbersInManifest? = WALNumbersInManifest(oldestNeeded: 0, newestNamed: 0)
  ) throws -> WALDirectoryScan {
    try scanner.scanDirectory(at: path, manifest: manifest)
  }
}
