import SpindleCore
import SpindleParquet

/// One value of a Parquet column as the commands show it.
enum ParquetCell: Encodable {
  case null
  case boolean(Bool)
  case integer(Int64)
  case unsigned(UInt64)
  case double(Double)
  case text(String)

  /// A value of a row.
  init(_ array: ColumnArray, _ row: Int, of column: ParquetColumn) {
    if array.isNull(row) {
      self = .null
      return
    }
    switch array.values {
    case .boolean(let slots): self = .boolean(slots[row])
    case .int32(let slots): self = Self.number(Int64(slots[row]), of: column)
    case .int64(let slots): self = Self.number(slots[row], of: column)
    // The shortest digits that mean this value and no other.
    case .float(let slots): self = .double(Double(String(slots[row])) ?? Double(slots[row]))
    case .double(let slots): self = .double(slots[row])
    case .bytes(let strings): self = Self.bytes(copyBytes(strings[row]), of: column)
    case .fixed(let values): self = Self.bytes(copyBytes(values[row]), of: column)
    case .dictionary(let indices, let strings):
      self = Self.bytes(copyBytes(strings[Int(indices[row])]), of: column)
    }
  }

  /// A bound of a column's statistics.
  init(_ value: ParquetValue?, of column: ParquetColumn) {
    switch value {
    case nil: self = .null
    case .boolean(let flag): self = .boolean(flag)
    case .integer(let number): self = Self.number(number, of: column)
    case .unsigned(let number): self = .unsigned(number)
    case .double(let number): self = .double(number)
    case .bytes(let bytes): self = Self.bytes(bytes, of: column)
    }
  }

  private static func number(_ number: Int64, of column: ParquetColumn) -> ParquetCell {
    switch column.logicalType {
    case .date: .text(CalendarText.date(day: number))
    case .timestamp(let unit, let isUTC): .text(CalendarText.time(number, unit, isUTC: isUTC))
    case .integer(let bits, isSigned: false):
      .unsigned(
        bits == 64 ? UInt64(bitPattern: number) : UInt64(UInt32(truncatingIfNeeded: number)))
    default: .integer(number)
    }
  }

  /// Text where the column says that it is text, otherwise hexadecimal digits.
  private static func bytes(_ bytes: [UInt8], of column: ParquetColumn) -> ParquetCell {
    switch column.logicalType {
    case .string, .json: return .text(String(decoding: bytes, as: UTF8.self))
    case .uuid where bytes.count == 16:
      let digits = Array(hexString(bytes))
      let groups = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32]
      return .text(groups.map { String(digits[$0]) }.joined(separator: "-"))
    default: return .text(hexString(bytes))
    }
  }

  func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    switch self {
    case .null: try container.encodeNil()
    case .boolean(let flag): try container.encode(flag)
    case .integer(let number): try container.encode(number)
    case .unsigned(let number): try container.encode(number)
    case .double(let number):
      // JSON has no word for the others.
      if number.isFinite {
        try container.encode(number)
      } else {
        try container.encode("\(number)")
      }
    case .text(let text): try container.encode(text)
    }
  }

  /// For a table on a terminal.
  var text: String {
    switch self {
    case .null: "-"
    case .boolean(let flag): "\(flag)"
    case .integer(let number): "\(number)"
    case .unsigned(let number): "\(number)"
    case .double(let number): "\(number)"
    case .text(let text): Output.plain(text)
    }
  }
}

/// Days and times as ISO 8601 has them, also those that no calendar of the system reaches.
enum CalendarText {
  /// - Parameter day: Days since 1970-01-01.
  static func date(day: Int64) -> String {
    // The Gregorian calendar in eras of 400 years that begin in March.
    let shifted = day + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let month = (5 * dayOfYear + 2) / 153
    let dayOfMonth = dayOfYear - (153 * month + 2) / 5 + 1
    let calendarMonth = month < 10 ? month + 3 : month - 9
    let year = yearOfEra + era * 400 + (calendarMonth <= 2 ? 1 : 0)
    return "\(digits(year, 4))-\(digits(calendarMonth, 2))-\(digits(dayOfMonth, 2))"
  }

  static func time(_ value: Int64, _ unit: ParquetTimeUnit, isUTC: Bool) -> String {
    let (perSecond, places): (Int64, Int) =
      switch unit {
      case .milliseconds: (1_000, 3)
      case .microseconds: (1_000_000, 6)
      case .nanoseconds: (1_000_000_000, 9)
      }
    let perDay = 86_400 * perSecond
    var (day, rest) = value.quotientAndRemainder(dividingBy: perDay)
    if rest < 0 {
      day -= 1
      rest += perDay
    }
    let (seconds, fraction) = rest.quotientAndRemainder(dividingBy: perSecond)
    let clock = [seconds / 3600, seconds / 60 % 60, seconds % 60].map { digits($0, 2) }
    return date(day: day) + "T" + clock.joined(separator: ":")
      + (fraction == 0 ? "" : "." + digits(fraction, places)) + (isUTC ? "Z" : "")
  }

  private static func digits(_ number: Int64, _ count: Int) -> String {
    let text = String(number.magnitude)
    return (number < 0 ? "-" : "") + String(repeating: "0", count: max(count - text.count, 0))
      + text
  }
}
