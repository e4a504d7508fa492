import Glibc
import SpindleCore
import SpindleOpLog
import Testing

/// Bytes that nobody wrote: no trap, no hang, and no more memory than the bytes themselves deserve.
///
/// `SPINDLE_FUZZ_SECONDS` sets how long it goes on; `make fuzz-oplog` gives it a minute.
/// `SPINDLE_FUZZ_SEED` repeats a run.
@Suite struct SegmentFuzzTests {
  private func setting(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }

  @Test func mutatedSegmentsNeverTrap() throws {
    let seconds = setting("SPINDLE_FUZZ_SECONDS").flatMap { Int($0) }
    let seed =
      setting("SPINDLE_FUZZ_SEED").flatMap { UInt64($0) }
      ?? (seconds == nil ? 1 : SeededGenerator(seed: UInt64(time(nil))).first)
    if seconds != nil {
      // Before the first segment, and not in a buffer: a trap ends the process.
      print("fuzzing from seed \(seed)")
      _ = fflush(nil)
    }
    let end = ContinuousClock.now + .seconds(seconds ?? 1)
    var random = SeededGenerator(seed: seed)
    let bases = try [
      segment(richEntries(40, seed: 1), header()),
      segment(richEntries(40, seed: 2, mode: .server), header(.server, start: 99)),
      segment((0..<9).map { note("note \($0)", at: UInt64($0)) }),
    ]
    var count = 0
    while ContinuousClock.now < end {
      var bytes = bases[Int.random(in: 0..<bases.count, using: &random)]
      mutate(&bytes, &random)
      check(bytes, as: Rich.self)
      check(bytes, as: Note.self)
      count += 1
    }
    print("\(count) mutated segments from seed \(seed)")
    #expect(count > 0)
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
    for _ in 0..<Int.random(in: 1..<6, using: &random) {
      guard !bytes.isEmpty else { return }
      let place = Int.random(in: 0..<bytes.count, using: &random)
      switch UInt64.random(in: 0..<6, using: &random) {
      case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 1: bytes[place] = UInt8(truncatingIfNeeded: random.next())
      case 2: bytes.removeSubrange(place...)
      case 3: bytes.insert(contentsOf: [0xFF, 0xFF, 0xFF, 0xFF, 0x7F], at: place)
      case 4: bytes.remove(at: place)
      default:
        let other = Int.random(in: 0..<bytes.count, using: &random)
        bytes.insert(contentsOf: bytes[min(place, other)..<max(place, other)].prefix(64), at: place)
      }
    }
  }

  /// What is read must be what would be written, as far as it goes.
  private func check<Op: IndexableOp & Equatable>(_ bytes: [UInt8], as: Op.Type) {
    guard let decoded = try? decode(bytes, as: Op.self) else { return }
    #expect(decoded.state.byteCount <= bytes.count)
    #expect((decoded.failure == nil) == (decoded.state.byteCount == bytes.count))
    let again = try? segment(decoded.entries, decoded.state.header)
    #expect(again == Array(bytes.prefix(decoded.state.byteCount)))
  }
}

extension SeededGenerator {
  fileprivate var first: UInt64 {
    var copy = self
    return copy.next()
  }
}
