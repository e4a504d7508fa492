import ArgumentParser
import Foundation
import SpindleCore
import SpindleParquet

/// Writing and reading Parquet files. The same jobs stand in `Benchmarks/parquet_pyarrow.py`.
struct BenchParquetCommand: AsyncParsableCommand {
  enum Job: String, CaseIterable { case write, read, columns, filter, all }
  enum Codec: String, CaseIterable { case none, snappy, lz4, zstd }

  static let configuration = CommandConfiguration(
    commandName: "parquet",
    abstract: "Measure writing and reading Parquet files on one thread.",
    discussion: """
      write    the rows of a file, as a new file
      read     all columns, row group by row group, into memory
      columns  some columns: --columns, by default the first and the last
      filter   the rows from --from to --to by the first column of times; by default 1 %
      all      every job, with the file that write made

      Without --input the rows are made: a time, 4 tags and 6 doubles.

      Example:
        spindle bench parquet --rows 1000000 --compression lz4 --dir /var/tmp
      """)

  @Option(help: "write, read, columns, filter or all.", transform: choice) var job = Job.all
  @Option(help: "A Parquet file to read, and to take the rows to be written from.")
  var input: String?
  @Option(help: "Rows to make, 1 to 100000000.") var rows = 1_000_000
  @Option(help: "none, snappy, lz4 or zstd.", transform: choice) var compression = Codec.zstd
  @Option(help: "Names of columns with commas between them.") var columns: String?
  @Option(help: "The least time, in the unit of the column.")
  var from: Int64?
  @Option(help: "The time that ends the range, itself excluded.") var to: Int64?
  @Option(help: "Runs of each job.") var `repeat` = 1
  @Option(help: "Where temporary files are made.") var dir = "."
  @Option(help: "Where write leaves its file.") var keep: String?
  @Flag(help: "Print one JSON object a run.") var json = false

  func validate() throws {
    guard (1...100_000_000).contains(rows), (1...1000).contains(`repeat`) else {
      throw ValidationError("an option is out of its range; see --help")
    }
    guard (from == nil) == (to == nil) else {
      throw ValidationError("--from and --to belong together")
    }
  }

  /// One measured run. The keys are those of the program beside it.
  struct Result: Encodable {
    var job: String
    var rows: Int
    var seconds: Double
    var fileBytes: UInt64
    /// Bytes that the values took in memory.
    var memoryBytes: Int
  }

  func run() async throws {
    try await reportingErrors {
      if !json { Output.line("job            rows       rows/s      MB/s         file bytes") }
      let scratch = dir + "/spindle-bench-\(ProcessInfo.processInfo.processIdentifier)"
      let made = scratch + "-made.parquet"
      let written = keep ?? scratch + ".parquet"
      defer {
        try? FileManager.default.removeItem(atPath: made)
        if keep == nil { try? FileManager.default.removeItem(atPath: written) }
      }
      let source = input ?? made
      if input == nil { try BenchParquet.make(rows: rows, at: made) }
      let bench = BenchParquet(compression: compression)
      for _ in 0..<`repeat` {
        for job in job == .all ? [.write, .read, .columns, .filter] : [job] {
          // What `all` reads is what it wrote, otherwise what it was given.
          let file = self.job == .all && job != .write ? written : source
          try? FileManager.default.removeItem(atPath: job == .write ? written : "")
          switch job {
          case .write: try show(bench.write(source, to: written))
          case .read, .all: try show(bench.read(file, columns: nil, job: .read))
          case .columns:
            try show(bench.read(file, columns: try names(of: file), job: .columns))
          case .filter: try show(try bench.filter(file, range: range))
          }
        }
      }
    }
  }

  private var range: Range<Int64>? {
    guard let from, let to else { return nil }
    return from..<max(from, to)
  }

  private func names(of file: String) throws -> [String] {
    if let columns { return columns.split(separator: ",").map(String.init) }
    let all = try ParquetReader(FileSource(file)).metadata.schema.columns.map(\.name)
    return [all.first, all.last].compactMap(\.self)
  }

  private func show(_ result: Result) throws {
    if json { return try Output.json(result) }
    func right(_ text: String, _ width: Int) -> String {
      String(repeating: " ", count: max(width - text.count, 0)) + text
    }
    Output.line(
      result.job.padding(toLength: 8, withPad: " ", startingAt: 0)
        + right(Output.grouped(result.rows), 11)
        + right(Output.grouped(Int(Double(result.rows) / result.seconds)), 13)
        + right(Output.grouped(Int(Double(result.memoryBytes) / result.seconds / 1e6)), 10)
        + right(Output.grouped(result.fileBytes), 19))
  }
}
