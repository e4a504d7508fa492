public import SpindleCore

/// The columns of a file.
public struct ParquetSchema: Sendable, Hashable {
  /// The flat columns, in the file's order.
  public var columns: [ParquetColumn]
  /// The columns that are lists, maps or structs, in the file's order. Only files from elsewhere
  /// have them; they cannot be read.
  public var nestedNames: [String]

  /// A schema for a file to be written.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`: there is no column, a name is empty or
  ///   there twice, or a logical type does not fit its physical type or is only read.
  public init(_ columns: [ParquetColumn]) throws(SpindleError) {
    self.init(columns: columns, nestedNames: [])
    if let fault { throw SpindleError(.invalidArgument, fault) }
  }

  /// A schema as some file has it.
  init(columns: [ParquetColumn], nestedNames: [String]) {
    self.columns = columns
    self.nestedNames = nestedNames
  }

  /// The position of a column among ``columns``; nil if there is none of that name. Files from
  /// elsewhere may have a name twice: the first counts.
  public func index(of name: String) -> Int? { columns.firstIndex { $0.name == name } }

  /// What forbids this schema in a file that is to be written; nil when nothing does.
  var fault: String? {
    if columns.isEmpty { return "a schema without columns" }
    if let nested = nestedNames.first { return "column \(nested) is nested, which is not written" }
    var names: Set<String> = []
    for column in columns {
      if let fault = column.fault { return fault }
      guard names.insert(column.name).inserted else {
        return "column \(column.name) is there twice"
      }
    }
    return nil
  }
}
