import ArgumentParser
import SpindleCore
import SpindleParquet

struct ParquetCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "parquet",
    abstract: "Look into Parquet files.",
    discussion: "Example:\n  spindle parquet head --columns time,origin flights.parquet",
    subcommands: [
      ParquetSchemaCommand.self, ParquetHeadCommand.self, ParquetMetaCommand.self,
      ParquetVerifyCommand.self,
    ])

  /// The file that every command looks into.
  struct Target: ParsableArguments {
    @Argument(help: "A Parquet file.") var file: String
    @Flag(help: "Print JSON.") var json = false

    func reader() throws(SpindleError) -> ParquetReader {
      try ParquetReader(try FileSource(file))
    }
  }
}

struct ParquetSchemaCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "schema",
    abstract: "Print the columns of a file.",
    discussion: "Example:\n  spindle parquet schema flights.parquet")

  @OptionGroup var target: ParquetCommand.Target

  private struct Report: Encodable {
    struct Column: Encodable {
      var name: String
      var physicalType: String
      var logicalType: String?
      var optional: Bool
    }
    var columns: [Column]
    /// Columns that are lists, maps or structs, which cannot be read.
    var nested: [String]
  }

  func run() async throws {
    try await reportingErrors {
      let schema = try target.reader().metadata.schema
      if target.json {
        let columns = schema.columns.map {
          Report.Column(
            name: $0.name, physicalType: "\($0.physicalType)",
            logicalType: $0.logicalType.map { "\($0)" }, optional: $0.isOptional)
        }
        return try Output.json(Report(columns: columns, nested: schema.nestedNames))
      }
      for column in schema.columns { Output.line(Output.plain("\(column)")) }
      for name in schema.nestedNames { Output.line("nested, not read: \(Output.plain(name))") }
    }
  }
}

struct ParquetHeadCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "head",
    abstract: "Print the first rows of a file.",
    discussion: """
      Times are ISO 8601; bytes that are no text are hexadecimal digits; a row without a value has
      "-", in JSON null. The second column of a name has "_2" behind it in JSON.

      Example:
        spindle parquet head --limit 3 --columns time,origin flights.parquet
      """)

  @OptionGroup var target: ParquetCommand.Target
  @Option(help: "The most rows, 1 to 100000.") var limit = 10
  @Option(help: "Names of columns with commas between them. The default is all.")
  var columns: String?

  func validate() throws {
    guard (1...100_000).contains(limit) else {
      throw ValidationError("--limit must be 1 to 100000, not \(limit)")
    }
  }

  func run() async throws {
    try await reportingErrors {
      let reader = try target.reader()
      let metadata = reader.metadata
      // By name only where names are given: a file of others may have one twice.
      let names = columns.map { $0.split(separator: ",").map(String.init) }
      // A name that is not there is told by the reader, also for a file without rows.
      if metadata.rowGroups.isEmpty { _ = try reader.scan(columns: names).next() }
      let chosen =
        names?.compactMap { name in
          metadata.schema.index(of: name).map { metadata.schema.columns[$0] }
        } ?? metadata.schema.columns
      let keys = target.json ? Self.distinct(chosen.map(\.name)) : []
      var array = JSONArrayOutput()
      var rows: [[String]] = []
      var left = limit
      for group in metadata.rowGroups.indices where left > 0 {
        let count = min(left, metadata.rowGroups[group].rowCount)
        let batch = try reader.read(rowGroup: group, columns: names, rows: 0..<count)
        for row in 0..<batch.rowCount {
          let cells = chosen.indices.map { ParquetCell(batch.columns[$0], row, of: chosen[$0]) }
          if target.json {
            try array.add(Dictionary(uniqueKeysWithValues: zip(keys, cells)))
          } else {
            rows.append(cells.map(\.text))
          }
        }
        left -= count
      }
      if target.json {
        array.finish()
      } else {
        Output.table(chosen.map { Output.plain($0.name) }, rows)
      }
    }
  }

  /// The names, with a number behind one that was there before: `a`, `a_2`, `a_3`.
  private static func distinct(_ names: [String]) -> [String] {
    var taken = Set(names)
    var counts: [String: Int] = [:]
    return names.map { name in
      guard var count = counts[name] else {
        counts[name] = 1
        return name
      }
      var other = name
      repeat {
        count += 1
        other = "\(name)_\(count)"
      } while !taken.insert(other).inserted
      counts[name] = count
      return other
    }
  }
}
