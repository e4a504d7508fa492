import SpindleCore

/// Payloads made before the clock starts: windows into 16 MiB, which is more than a compressor's
/// window and a processor's inner caches, so that neither flatters a result.
struct BenchPayloads: Sendable {
  enum Kind: String, CaseIterable, Encodable {
    /// Bytes that nothing compresses.
    case random
    /// Words of a small vocabulary in random order.
    case words
  }

  private let windows: [Bytes]

  init(_ kind: Kind, bytes count: Int) {
    let slots = max(2, (16 << 20) / max(count, 1))
    var random = SeededGenerator(seed: 7)
    var pool: [UInt8] = []
    pool.reserveCapacity(slots * count + 16)
    switch kind {
    case .random: while pool.count < slots * count { pool.appendLittleEndian(random.next()) }
    case .words:
      let vocabulary = Self.vocabulary(&random)
      while pool.count < slots * count {
        pool += vocabulary[Int(random.next() % UInt64(vocabulary.count))]
        pool.append(UInt8(ascii: " "))
      }
    }
    windows = (0..<slots).map { Array(pool[($0 * count)..<(($0 + 1) * count)]) }
  }

  private static func vocabulary(_ random: inout SeededGenerator) -> [[UInt8]] {
    (0..<2_048).map { _ in
      let length = 3 + Int(random.next() % 8)
      return (0..<length).map { _ in UInt8(ascii: "a") + UInt8(random.next() % 26) }
    }
  }

  subscript(number: Int) -> Bytes { windows[number % windows.count] }
}
