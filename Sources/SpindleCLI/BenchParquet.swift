import Foundation
import SpindleCore
import SpindleParquet

/// The jobs of `spindle bench parquet`.
struct BenchParquet {
  private let compression: ParquetCompression

  init(compression: BenchParquetCommand.Codec) {
    self.compression =
      switch compression {
      case .none: .none
      case .snappy: .snappy
      case .lz4: .lz4Raw
      case .zstd: .zstd(level: 1)
      }
  }

  /// Writes the rows of a file; reading them is not measured.
  func write(_ source: String, to target: String) throws -> BenchParquetCommand.Result {
    let reader = try ParquetReader(FileSource(source))
    var settings = ParquetWriterSettings()
    settings.compression = compression
    let clock = ContinuousClock()
    var time = Duration.zero
    var memory = 0
    let schema = try ParquetSchema(reader.metadata.schema.columns)
    let writer = try ParquetWriter(try FileSink(target), schema: schema, settings: settings)
    for group in reader.metadata.rowGroups.indices {
      let batch = try reader.read(rowGroup: group)
      memory += batch.byteCount
      time += try clock.measure { try writer.write(batch) }
    }
    var written = reader.metadata
    time += try clock.measure { written = try writer.finish() }
    return BenchParquetCommand.Result(
      job: BenchParquetCommand.Job.write.rawValue, rows: written.rowCount,
      seconds: time / .seconds(1), fileBytes: written.fileBytes, memoryBytes: memory)
  }

  /// Reads columns of all row groups; the memory of each is given back before the next.
  func read(
    _ file: String, columns: [String]?, job: BenchParquetCommand.Job
  ) throws -> BenchParquetCommand.Result {
    let start = ContinuousClock.now
    let reader = try ParquetReader(FileSource(file))
    var rows = 0
    var memory = 0
    for group in reader.metadata.rowGroups.indices {
      let batch = try reader.read(rowGroup: group, columns: columns)
      rows += batch.rowCount
      memory += batch.byteCount
    }
    return BenchParquetCommand.Result(
      job: job.rawValue, rows: rows, seconds: (ContinuousClock.now - start) / .seconds(1),
      fileBytes: reader.metadata.fileBytes, memoryBytes: memory)
  }

  /// Reads all columns of the rows in a range of times.
  func filter(_ file: String, range: Range<Int64>?) throws -> BenchParquetCommand.Result {
    let range = try range ?? middle(of: file)
    let start = ContinuousClock.now
    let reader = try ParquetReader(FileSource(file))
    let name = try timeColumn(reader)
    let scan = try reader.scan(
      where: .all([
        .greaterOrEqual(name, .integer(range.lowerBound)), .less(name, .integer(range.upperBound)),
      ]))
    var rows = 0
    var memory = 0
    while let batch = try scan.next() {
      rows += batch.rowCount
      memory += batch.byteCount
    }
    return BenchParquetCommand.Result(
      job: BenchParquetCommand.Job.filter.rawValue, rows: rows,
      seconds: (ContinuousClock.now - start) / .seconds(1),
      fileBytes: reader.metadata.fileBytes, memoryBytes: memory)
  }

  /// The first column of times, by which rows are looked for.
  private func timeColumn(_ reader: ParquetReader) throws -> String {
    let column = reader.metadata.schema.columns.first {
      if case .timestamp = $0.logicalType { true } else { false }
    }
    guard let column else { throw SpindleError(.invalidArgument, "there is no column of times") }
    return column.name
  }

  /// The values that one row in a hundred has, from the middle of the sorted ones.
  private func middle(of file: String) throws -> Range<Int64> {
    let reader = try ParquetReader(FileSource(file))
    let name = try timeColumn(reader)
    var times: [Int64] = []
    for group in reader.metadata.rowGroups.indices {
      let batch = try reader.read(rowGroup: group, columns: [name])
      if case .int64(let values)? = batch.columns.first?.values { times += values }
    }
    guard !times.isEmpty else { return 0..<0 }
    times.sort()
    let last = times.count - 1
    return times[times.count / 2]..<times[min(last, times.count / 2 + times.count / 100 + 1)]
  }

  // MARK: Made rows

  /// Writes rows like those that the program beside it makes: rising times with jitter, four tags
  /// of 10 to 10,000 values, six doubles that walk, are noise, have few values or are mostly
  /// missing.
  static func make(rows: Int, at path: String) throws {
    func column(
      _ name: String, _ type: ParquetPhysicalType, _ meaning: ParquetLogicalType? = nil,
      isOptional: Bool = false
    ) -> ParquetColumn {
      ParquetColumn(name: name, physicalType: type, logicalType: meaning, isOptional: isOptional)
    }
    let tags = [("region", 10), ("rack", 100), ("host", 1000), ("sensor", 10_000)]
    let schema = try ParquetSchema(
      [column("time", .int64, .timestamp(.microseconds, isAdjustedToUTC: true))]
        + tags.map { column($0.0, .byteArray, .string) }
        + ["temperature", "humidity", "pressure", "noise", "level"].map { column($0, .double) }
        + [column("gust", .double, isOptional: true)])
    let words = tags.map { tag in
      ByteStrings((0..<tag.1).map { "\(tag.0)-\($0)" })
    }
    var random = SeededGenerator(seed: 42)
    var time: Int64 = 1_357_035_300_000_000
    let writer = try ParquetWriter(try FileSink(path), schema: schema)
    for first in stride(from: 0, to: rows, by: 1 << 20) {
      let count = min(1 << 20, rows - first)
      func numbers(_ value: () -> Double) -> ColumnArray {
        ColumnArray(.double((0..<count).map { _ in value() }))
      }
      func walk() -> ColumnArray {
        var cents: Int64 = 2000
        return numbers {
          cents += Int64.random(in: -100...100, using: &random)
          return Double(cents) / 100
        }
      }
      var arrays = [
        ColumnArray(
          .int64(
            (0..<count).map { _ in
              time += Int64.random(in: 9000..<11_000, using: &random)
              return time
            }))
      ]
      for strings in words {
        let indices = (0..<count).map { _ in
          UInt32.random(in: 0..<UInt32(strings.count), using: &random)
        }
        arrays.append(ColumnArray(.dictionary(indices: indices, values: strings)))
      }
      arrays += [
        walk(), walk(), numbers { Double.random(in: 980..<1030, using: &random) },
        numbers { Double.random(in: 0..<1, using: &random) },
        numbers { Double(Int.random(in: 0..<8, using: &random)) },
      ]
      var gusts = ColumnBuilder<Double>(capacity: count)
      for _ in 0..<count {
        let value = Double.random(in: 0..<10, using: &random)
        gusts.append(value < 1 ? value : nil)
      }
      arrays.append(gusts.finish())
      try writer.write(ColumnBatch(arrays))
    }
    _ = try writer.finish()
  }
}

extension ColumnBatch {
  /// Bytes that the values take in memory.
  fileprivate var byteCount: Int {
    columns.reduce(0) { sum, column in
      let bytes =
        switch column.values {
        case .boolean(let slots): slots.count
        case .int32(let slots): slots.count * 4
        case .int64(let slots): slots.count * 8
        case .float(let slots): slots.count * 4
        case .double(let slots): slots.count * 8
        case .bytes(let strings): strings.offsets.count * 8 + strings.bytes.count
        case .fixed(let values): values.bytes.count
        case .dictionary(let indices, let values): indices.count * 4 + values.bytes.count
        }
      return sum + bytes + (column.validity?.words.count ?? 0) * 8
    }
  }
}
