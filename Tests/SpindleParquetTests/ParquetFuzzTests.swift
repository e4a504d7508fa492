import Foundation
import SpindleCore
import Testing

@testable import SpindleParquet

/// What the environment says of a test with random damage: `SPINDLE_FUZZ_SECONDS` sets how long it
/// goes on, and `make fuzz-parquet` gives it a minute; `SPINDLE_FUZZ_SEED` repeats a run.
struct FuzzRun {
  /// Nil when it is a test among others.
  var seconds: Int?
  var seed: UInt64

  init(_ name: String) {
    let environment = ProcessInfo.processInfo.environment
    seconds = environment["SPINDLE_FUZZ_SECONDS"].flatMap { Int($0) }
    let wanted = environment["SPINDLE_FUZZ_SEED"].flatMap { UInt64($0) }
    seed = wanted ?? (seconds == nil ? 1 : SeededGenerator.systemSeed())
    print("\(name) from seed \(seed)")
    // Now: a trap would take it along.
    _ = fflush(nil)
  }
}

/// Files that were mangled in several places at once.
@Suite struct ParquetFuzzTests {
  @Test func mangledFilesNeverTrap() throws {
    let fuzz = FuzzRun("mangled Parquet files")
    var random = SeededGenerator(seed: fuzz.seed)
    // Small ones, and those of other writers, whose decoders no checksum hides.
    let bombs = try Bomb.all().map(\.bytes).filter { $0.count < 64 << 10 }
    var whole = try Fixture.names.map { try Fixture.bytes($0) }
    for version in [ParquetWriterSettings.DataPageVersion.v1, .v2] {
      var settings = ParquetWriterSettings()
      settings.dataPageVersion = version
      settings.pageRows = 40
      settings.writesChecksums = false
      whole.append(try written(SampleColumns(rows: 150, .random), settings))
    }
    let end = ContinuousClock.now + .seconds(fuzz.seconds ?? 2)
    var count = 0
    var read = 0
    while ContinuousClock.now < end {
      let bases = UInt8.random(in: 0..<4, using: &random) == 0 ? bombs : whole
      var bytes = bases[Int.random(in: 0..<bases.count, using: &random)]
      let donor = whole[Int.random(in: 0..<whole.count, using: &random)]
      mangle(&bytes, donor, &random)
      do {
        let column = count % 32
        try HostileUse.all(bytes, columns: column..<column + 1)
        read += 1
      } catch {
        #expect(HostileFileTests.isRefusal(error), "\(error)")
      }
      count += 1
    }
    print("\(count) mangled Parquet files, of which \(read) could be read")
    #expect(count > 0)
  }

  private func mangle(_ bytes: inout [UInt8], _ donor: [UInt8], _ random: inout SeededGenerator) {
    for _ in 0..<Int.random(in: 1..<3, using: &random) {
      guard !bytes.isEmpty else { return }
      let place = Int.random(in: 0..<bytes.count, using: &random)
      switch UInt8.random(in: 0..<5, using: &random) {
      case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 1: bytes[place] = UInt8(truncatingIfNeeded: random.next())
      case 2:
        // The same length, so that the offsets stay.
        for index in place..<min(place + 5, bytes.count) { bytes[index] = 0xFF }
      case 3:
        guard !donor.isEmpty else { continue }
        let from = Int.random(in: 0..<donor.count, using: &random)
        let count = min(64, donor.count - from, bytes.count - place)
        bytes.replaceSubrange(place..<place + count, with: donor[from..<from + count])
      default:
        let other = Int.random(in: 0..<bytes.count, using: &random)
        let count = min(16, bytes.count - max(place, other))
        bytes.replaceSubrange(place..<place + count, with: bytes[other..<other + count])
      }
    }
  }
}
