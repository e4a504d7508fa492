/// The table files that errors named: what must read again before damage is believed to be gone.
package struct GateSuspects: Sendable, Equatable {
  /// The most files kept; beyond it the whole family is read again, which costs as much.
  static let fileLimit = 16

  /// Numbers of table files.
  package private(set) var files: Set<UInt64> = []
  /// Whether an error named no table file, or there were too many.
  package private(set) var includesWholeFamily = false

  package init() {}

  package var isEmpty: Bool { files.isEmpty && !includesWholeFamily }

  /// Adds what an error of the engine names. It writes `/path/000012.sst`, and `.ldb` for the same
  /// file where that does not open.
  package mutating func add(_ message: String) {
    let numbers = Self.tableNumbers(in: message)
    if numbers.isEmpty || files.count + numbers.count > Self.fileLimit {
      includesWholeFamily = true
    } else {
      files.formUnion(numbers)
    }
  }

  private static func tableNumbers(in message: String) -> [UInt64] {
    var found: [UInt64] = []
    for suffix in [".sst", ".ldb"] {
      for range in message.ranges(of: suffix) {
        let digits = message[..<range.lowerBound].reversed().prefix { $0.isASCII && $0.isNumber }
        if let number = UInt64(String(digits.reversed())) { found.append(number) }
      }
    }
    return found
  }
}
