/// How a prefix keeps its log.
public struct OpLogSettings: Sendable, Hashable {
  /// The indexes that queries need beyond the order of peer and index; see ``OpLogQuery``. What the
  /// prefix keeps already stays; what it lacks is built at the open, which reads the whole log
  /// once. The default is none: each costs a key in the batch of every entry.
  public var indexes: OpLogIndexes
  /// Whether indices and timestamps above 2^63 - 1 are refused, so that the log can be exported to
  /// databases whose integers are signed. The default is false.
  public var sqlCompatible: Bool

  public init(indexes: OpLogIndexes = [], sqlCompatible: Bool = false) {
    self.indexes = indexes
    self.sqlCompatible = sqlCompatible
  }
}

/// The optional indexes of a log.
public struct OpLogIndexes: OptionSet, Sendable, Hashable, CustomStringConvertible {
  public let rawValue: UInt8

  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Entries by their timestamps.
  public static let byTime = OpLogIndexes(rawValue: 1 << 0)
  /// Entries by the user whom a server vouched for, then by time. Entries without one are not in
  /// it.
  public static let byUser = OpLogIndexes(rawValue: 1 << 1)
  /// Entries by the identity half of their ops, then by time. Ops without one are not in it.
  public static let byKey = OpLogIndexes(rawValue: 1 << 2)

  // Part of the format; must not be changed.
  private static let names: [(index: OpLogIndexes, name: String)] = [
    (.byTime, "time"), (.byUser, "user"), (.byKey, "key"),
  ]

  /// The names, as the prefix's meta keys hold them: `time,user,key`.
  public var description: String {
    Self.names.filter { contains($0.index) }.map(\.name).joined(separator: ",")
  }

  /// Reads what ``description`` gives; nil for anything else.
  init?(name text: String) {
    self = []
    for (index, name) in Self.names where text.split(separator: ",").contains(name[...]) {
      insert(index)
    }
    guard description == text else { return nil }
  }
}
