internal import SpindleCore

/// How the values of a column are ordered, in statistics and in predicates.
enum ValueOrder: Sendable, Hashable {
  case boolean
  case integer(bits: Int, isSigned: Bool)
  case float
  case double
  /// Byte by byte, unsigned; a beginning of another comes before it.
  case bytes
  /// No order that this reader knows: bounds are not used, and values not compared.
  case unknown

  init(_ column: ParquetColumn) {
    switch (column.physicalType, column.logicalType) {
    case (.boolean, nil): self = .boolean
    case (.int32, .integer(_, let isSigned)): self = .integer(bits: 32, isSigned: isSigned)
    case (.int64, .integer(_, let isSigned)): self = .integer(bits: 64, isSigned: isSigned)
    case (.int32, nil), (.int32, .date): self = .integer(bits: 32, isSigned: true)
    case (.int64, nil), (.int64, .timestamp): self = .integer(bits: 64, isSigned: true)
    case (.int32, .other(let name)) where Self.isSigned(name):
      self = .integer(bits: 32, isSigned: true)
    case (.int64, .other(let name)) where Self.isSigned(name):
      self = .integer(bits: 64, isSigned: true)
    case (.float, nil): self = .float
    case (.double, nil): self = .double
    case (.byteArray, nil), (.byteArray, .string), (.byteArray, .json),
      (.byteArray, .other("ENUM")), (.byteArray, .other("BSON")), (.fixedLengthByteArray, nil),
      (.fixedLengthByteArray, .uuid):
      self = .bytes
    default: self = .unknown
    }
  }

  private static func isSigned(_ name: String) -> Bool {
    name.hasPrefix("DECIMAL") || name.hasPrefix("TIME(")
  }

  /// Whether the bounds of the format's first years, which were compared as signed numbers, are in
  /// this order.
  var isThatOfLegacyBounds: Bool {
    switch self {
    case .boolean, .integer(_, isSigned: true), .float, .double: true
    case .integer, .bytes, .unknown: false
    }
  }

  /// A value from its plain encoding.
  ///
  /// - Returns: nil for NaN, which bounds nothing, and where there is no order.
  /// - Throws: For bytes that are no value of the type.
  func value(_ bytes: Span<UInt8>) throws(ParquetFailure) -> ParquetValue? {
    switch self {
    case .boolean:
      guard bytes.count == 1, bytes[0] <= 1 else { throw wrong(bytes.count) }
      return .boolean(bytes[0] == 1)
    case .integer(bits: 32, let isSigned):
      let word = UInt32(truncatingIfNeeded: try word(bytes, width: 4))
      return isSigned ? .integer(Int64(Int32(bitPattern: word))) : .unsigned(UInt64(word))
    case .integer(_, let isSigned):
      let word = try word(bytes, width: 8)
      return isSigned ? .integer(Int64(bitPattern: word)) : .unsigned(word)
    case .float:
      let number = Float(bitPattern: UInt32(truncatingIfNeeded: try word(bytes, width: 4)))
      return number.isNaN ? nil : .double(Double(number))
    case .double:
      let number = Double(bitPattern: try word(bytes, width: 8))
      return number.isNaN ? nil : .double(number)
    case .bytes:
      var copy: [UInt8] = []
      copy.append(borrowing: bytes)
      return .bytes(copy)
    case .unknown: return nil
    }
  }

  private func word(_ bytes: Span<UInt8>, width: Int) throws(ParquetFailure) -> UInt64 {
    guard bytes.count == width else { throw wrong(bytes.count) }
    var word: UInt64 = 0
    for index in bytes.indices { word |= UInt64(bytes[index]) << UInt64(8 * index) }
    return word
  }

  private func wrong(_ count: Int) -> ParquetFailure {
    .damaged("a bound of \(count) bytes, which is no value of the column's type")
  }
}

extension ParquetStatistics {
  /// The statistics of a file, as far as they are to be trusted.
  ///
  /// - Parameters:
  ///   - hasColumnOrder: Whether the file says that its bounds are in the order of the type.
  ///     Without it they are of the format's first years, or mean nothing.
  /// - Throws: For bounds that are no values of the type.
  init(
    _ statistics: Statistics, order: ValueOrder, hasColumnOrder: Bool
  ) throws(ParquetFailure) {
    var minimum: [UInt8]?
    var maximum: [UInt8]?
    if hasColumnOrder, statistics.minimum != nil || statistics.maximum != nil {
      minimum = statistics.minimum
      maximum = statistics.maximum
      isMinimumExact = minimum == nil ? nil : statistics.isMinimumExact
      isMaximumExact = maximum == nil ? nil : statistics.isMaximumExact
    } else if order.isThatOfLegacyBounds {
      minimum = statistics.legacyMinimum
      maximum = statistics.legacyMaximum
    }
    if let minimum { self.minimum = try order.value(minimum.span) }
    if let maximum { self.maximum = try order.value(maximum.span) }
    nullCount = try statistics.nullCount.map { (count) throws(ParquetFailure) in
      try natural(count, "a null count")
    }
    distinctCount = statistics.distinctCount.flatMap { $0 < 0 ? nil : Int($0) }
  }
}
