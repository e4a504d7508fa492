import ArgumentParser
import SpindleCore
import SpindleParquet

struct ParquetMetaCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "meta",
    abstract: "Print what a file says of itself: row groups, codecs, encodings, bounds.",
    discussion: """
      No page is read. Bounds that end in "..." may be cut short.

      Example:
        spindle parquet meta flights.parquet
      """)

  @OptionGroup var target: ParquetCommand.Target

  private struct Report: Encodable {
    struct Chunk: Encodable {
      var column: String
      var codec: String
      var encodings: [String]
      var values: Int
      var nulls: Int?
      var minimum: ParquetCell
      var maximum: ParquetCell
      var isMinimumExact: Bool?
      var isMaximumExact: Bool?
      var offset: UInt64
      var bytes: Int
      var uncompressedBytes: Int
      var hasDictionary: Bool
      var hasColumnIndex: Bool
      var hasOffsetIndex: Bool
      var bloomFilterBytes: Int?
      /// Why it cannot be read.
      var unreadable: String?

      init(_ chunk: ParquetColumnChunk, of column: ParquetColumn) {
        self.column = column.name
        codec = "\(chunk.codec)"
        encodings = chunk.encodings.map { "\($0)" }
        values = chunk.valueCount
        nulls = chunk.statistics?.nullCount
        minimum = ParquetCell(chunk.statistics?.minimum, of: column)
        maximum = ParquetCell(chunk.statistics?.maximum, of: column)
        isMinimumExact = chunk.statistics?.isMinimumExact
        isMaximumExact = chunk.statistics?.isMaximumExact
        offset = chunk.byteRange.lowerBound
        bytes = chunk.compressedBytes
        uncompressedBytes = chunk.uncompressedBytes
        hasDictionary = chunk.hasDictionary
        hasColumnIndex = chunk.columnIndexRange != nil
        hasOffsetIndex = chunk.offsetIndexRange != nil
        bloomFilterBytes = chunk.bloomFilterOffset.map { _ in chunk.bloomFilterBytes ?? 0 }
        unreadable = chunk.unreadable
      }
    }

    struct Sorting: Encodable {
      var column: String
      var descending: Bool
      var nullsFirst: Bool
    }

    struct Group: Encodable {
      var rows: Int
      var bytes: Int
      var uncompressedBytes: Int
      var sorting: [Sorting]
      var columns: [Chunk]
    }

    struct Pair: Encodable {
      var key: String
      var value: String?
    }

    var rows: Int
    var bytes: UInt64
    var footerBytes: Int
    var version: Int
    var createdBy: String?
    var keyValues: [Pair]
    var nested: [String]
    var rowGroups: [Group]

    init(_ metadata: ParquetMetadata) {
      rows = metadata.rowCount
      bytes = metadata.fileBytes
      footerBytes = metadata.footerBytes
      version = metadata.version
      createdBy = metadata.createdBy
      keyValues = metadata.keyValues.map { Pair(key: $0.key, value: $0.value) }
      nested = metadata.schema.nestedNames
      rowGroups = metadata.rowGroups.map { group in
        Group(
          rows: group.rowCount, bytes: group.compressedBytes,
          uncompressedBytes: group.uncompressedBytes,
          sorting: group.sortingColumns.map {
            Sorting(column: $0.name, descending: $0.isDescending, nullsFirst: $0.nullsFirst)
          },
          columns: zip(metadata.schema.columns, group.columns).map { Chunk($1, of: $0) })
      }
    }
  }

  func run() async throws {
    try await reportingErrors {
      let report = Report(try target.reader().metadata)
      if target.json { return try Output.json(report) }
      print(report)
    }
  }

  private func print(_ report: Report) {
    let groups = Output.grouped(report.rowGroups.count)
    Output.line(
      "\(Output.grouped(report.rows)) rows in \(groups) row groups, "
        + "\(Output.grouped(report.bytes)) bytes, of which "
        + "\(Output.grouped(report.footerBytes)) are the footer")
    Output.line("written by \(Output.plain(report.createdBy ?? "an unnamed writer"))")
    for pair in report.keyValues {
      let value = pair.value ?? ""
      // Such as a schema of another tool, in thousands of digits.
      let shown = value.count > 60 ? "\(value.prefix(60))... (\(value.utf8.count) bytes)" : value
      Output.line("\(Output.plain(pair.key)) = \(Output.plain(shown))")
    }
    for name in report.nested { Output.line("nested, not read: \(Output.plain(name))") }
    for (index, group) in report.rowGroups.enumerated() {
      Output.line("")
      let sorting = group.sorting.map {
        Output.plain($0.column) + ($0.descending ? " descending" : "")
      }
      Output.line(
        "row group \(index): \(Output.grouped(group.rows)) rows, "
          + "\(Output.grouped(group.bytes)) bytes, "
          + "\(Output.grouped(group.uncompressedBytes)) before compression"
          + (sorting.isEmpty ? "" : ", sorted by " + sorting.joined(separator: ", ")))
      Output.table(
        [
          "column", "bytes", "plain bytes", "nulls", "codec", "encodings", "index", "least",
          "greatest",
        ],
        group.columns.map { chunk in
          [
            Output.plain(chunk.column), Output.grouped(chunk.bytes),
            Output.grouped(chunk.uncompressedBytes), chunk.nulls.map { "\($0)" } ?? "?",
            chunk.codec, chunk.encodings.joined(separator: ","), Self.indexes(chunk),
            Self.bound(chunk.minimum, isExact: chunk.isMinimumExact),
            chunk.unreadable ?? Self.bound(chunk.maximum, isExact: chunk.isMaximumExact),
          ]
        })
    }
  }

  /// `page`, `bloom`, both or neither.
  private static func indexes(_ chunk: Report.Chunk) -> String {
    let names =
      (chunk.hasOffsetIndex || chunk.hasColumnIndex ? ["page"] : [])
      + (chunk.bloomFilterBytes == nil ? [] : ["bloom"])
    return names.isEmpty ? "-" : names.joined(separator: ",")
  }

  private static func bound(_ cell: ParquetCell, isExact: Bool?) -> String {
    let text = cell.text
    let isShort = text.count <= 30
    return (isShort ? text : String(text.prefix(30))) + (isShort && isExact != false ? "" : "...")
  }
}
