import Foundation
import SpindleCore
import SpindleIO
import Testing

@testable import SpindleParquet

/// Bytes that nobody of good will wrote: an error or a decoded result, never a trap, a hang or more
/// memory than the limits allow.
@Suite struct HostileFileTests {
  /// Small, with every kind of structure: row groups, pages of both kinds, indexes, bloom filters.
  static func sample() throws -> [UInt8] {
    var settings = ParquetWriterSettings()
    settings.rowGroupRows = 30
    settings.pageRows = 15
    settings.compression = .snappy
    for name in ["unique", "n64"] {
      settings.columns[name] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())
    }
    let sample = try SampleColumns(rows: 50, .third)
      .keeping(["bool", "n64", "f64", "word", "unique", "five", "ts_us_utc"])
    return try written(sample, settings)
  }

  @Test func aFileCutAtAnyByteIsRefused() throws {
    let bytes = try Self.sample()
    for count in bytes.indices {
      #expect(throws: SpindleError.self, "\(count) of \(bytes.count) bytes") {
        _ = try WholeFile(MemorySource(Array(bytes.prefix(count))))
      }
    }
  }

  /// `SPINDLE_PARQUET_FLIPS` sets how many; `make parquet-flips` asks for 100,000.
  @Test func aFlippedByteIsAnErrorInAPageAndNeverATrap() throws {
    let environment = ProcessInfo.processInfo.environment
    let count = environment["SPINDLE_PARQUET_FLIPS"].flatMap { Int($0) } ?? 10_000
    let bytes = try Self.sample()
    let bodies = try pageBodies(bytes)
    var random = SeededGenerator(seed: 20_130_101)
    var refused = 0
    for _ in 0..<count {
      var damaged = bytes
      let place = Int.random(in: 0..<bytes.count, using: &random)
      damaged[place] ^= UInt8.random(in: 1...255, using: &random)
      let isBody = bodies.contains { $0.contains(place) }
      do {
        _ = try WholeFile(MemorySource(damaged), limits: Bomb.limits)
        #expect(!isBody, "byte \(place) of a page was \(bytes[place]), is \(damaged[place])")
      } catch {
        refused += 1
        #expect(Self.isRefusal(error), "\(error)")
      }
    }
    print("\(refused) of \(count) flips were refused, of \(bytes.count) bytes")
  }

  @Test func everyBombIsRefusedAtOnce() throws {
    for bomb in try Bomb.all() {
      let start = ContinuousClock.now
      do {
        _ = try WholeFile(MemorySource(bomb.bytes), limits: Bomb.limits)
        Issue.record("\(bomb.name) was read")
      } catch {
        #expect(Self.isRefusal(error), "\(bomb.name): \(error)")
      }
      // A debug build on a busy machine; what was believed would take minutes.
      #expect(ContinuousClock.now - start < .seconds(10), "\(bomb.name)")
    }
  }

  /// In a process of its own, which may not take memory that the limits do not allow.
  @Test func noBombTakesMemoryBeyondTheLimits() async {
    await #expect(processExitsWith: .success) {
      let bombs = try Bomb.all()
      let text = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
      let pages = try #require(UInt(text.prefix { $0 != " " }))
      // The largest limit, three times over: a page, its values, and the column.
      var limit = rlimit()
      limit.rlim_cur = pages * UInt(getpagesize()) + 192 << 20
      limit.rlim_max = limit.rlim_cur
      try #require(unsafe setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
      for bomb in bombs {
        _ = try? WholeFile(MemorySource(bomb.bytes), limits: Bomb.limits)
      }
    }
  }

  /// The kinds of error that a file may end in.
  static func isRefusal(_ error: SpindleError) -> Bool {
    [.corruption, .unsupportedFormat, .tooLarge].contains(error.kind)
  }

  /// Where the bytes of the pages lie, behind their headers.
  private func pageBodies(_ bytes: [UInt8]) throws -> [Range<Int>] {
    let length = bytes.suffix(8).prefix(4).enumerated()
      .reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
    let start = bytes.count - 8 - length
    var reader = ThriftReader(bytes.span.extracting(start..<bytes.count - 8))
    let footer = try FileMetaData(&reader, limits: .default)
    var bodies: [Range<Int>] = []
    for chunk in footer.rowGroups.flatMap(\.columns) {
      let metadata = try #require(chunk.metadata)
      var at = Int(metadata.dictionaryPageOffset ?? metadata.dataPageOffset)
      let end = at + Int(metadata.compressedBytes)
      while at < end {
        var reader = ThriftReader(bytes.span.extracting(at..<end))
        let header = try PageHeader(&reader)
        let body = at + reader.offset
        bodies.append(body..<body + header.compressedSize)
        at = body + header.compressedSize
      }
    }
    return bodies
  }
}

/// A file as our writer makes it.
func written(_ sample: SampleColumns, _ settings: ParquetWriterSettings) throws -> [UInt8] {
  let sink = MemorySink()
  let writer = try ParquetWriter(sink, schema: sample.schema, settings: settings)
  try writer.write(sample.batch)
  _ = try writer.finish()
  return sink.bytes
}
