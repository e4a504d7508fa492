import ArgumentParser
import SpindleCore
import SpindleFormats
import SpindlePipeline
import SpindleStore

struct SeriesCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "series",
    abstract: "Print the series with the most points, and their last points.",
    discussion: "Example:\n  spindle series --store data --limit 10")

  @OptionGroup var options: StoreOptions
  @Option(help: "The most series, 1 to 100000.") var limit = 10
  @Flag(help: "Print an array of {series, points, lastTimestamp, last}.") var json = false

  func validate() throws {
    guard (1...100_000).contains(limit) else {
      throw ValidationError("--limit must be 1 to 100000, not \(limit)")
    }
  }

  private struct Row: Encodable {
    var series: String
    var points: UInt64
    /// Nanoseconds since the Unix epoch.
    var lastTimestamp: Int64
    var last: [String: Value]
  }

  /// A field's value as JSON has it.
  private struct Value: Encodable {
    var value: SeriesState.Value
    func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch value {
      case .float(let number): try container.encode(number)
      case .integer(let number): try container.encode(number)
      case .unsigned(let number): try container.encode(number)
      case .boolean(let flag): try container.encode(flag)
      case .string(let bytes): try container.encode(String(decoding: bytes, as: UTF8.self))
      }
    }
  }

  func run() async throws {
    try await reportingErrors {
      try await withReader(options.store) { store in
        guard let state = IngestState(store: store) else {
          if json { try Output.json([Row]()) }
          return
        }
        let rows = try await state.largestSeries(limit: limit).map { series, state in
          var last: [String: Value] = [:]
          for field in try state.fields() {
            last[String(decoding: field.key, as: UTF8.self)] = Value(value: field.value)
          }
          return Row(
            series: series.text, points: state.pointCount, lastTimestamp: state.lastTimestamp,
            last: last)
        }
        if json {
          try Output.json(rows)
        } else {
          Output.table(
            ["points", "last timestamp (ns)", "series"],
            rows.map { [Output.grouped($0.points), String($0.lastTimestamp), $0.series] })
        }
      }
    }
  }
}
