internal import SpindleCore
internal import SpindleStore

/// Durations as people write them: `30s`, `5m`, `24 hours`, `1h 30m`, `500ms`.
enum DurationText {
  static let limit = GateSettings.durationLimit

  private static let units: [(names: [String], nanoseconds: Int64)] = [
    (["ns", "nsec"], 1), (["us", "usec"], 1_000), (["ms", "msec"], 1_000_000),
    (["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (["m", "min", "mins", "minute", "minutes"], 60_000_000_000),
    (["h", "hr", "hrs", "hour", "hours"], 3_600_000_000_000),
    (["d", "day", "days"], 86_400_000_000_000),
    (["w", "week", "weeks"], 604_800_000_000_000),
    (["M", "month", "months"], 2_630_016_000_000_000),
    (["y", "yr", "year", "years"], 31_557_600_000_000_000),
  ]

  /// What is wrong with a text or number; a sentence's end, such as "expected a unit".
  struct Failure: Error, Equatable {
    let expected: String
    init(_ expected: String) { self.expected = expected }
  }

  private static let form = "a duration such as \"30s\", \"5m\", \"1h 30m\" or \"500ms\""
  private static let range = "0 to 100 years"

  /// Reads whole numbers with units, largest or smallest first, with or without spaces.
  static func parse(_ text: String) throws(Failure) -> Duration {
    var rest = text.utf8[...]
    func skipSpaces() { rest = rest.drop { $0 == UInt8(ascii: " ") } }
    var total = Duration.zero
    var isEmpty = true
    skipSpaces()
    if text == "0" { return .zero }
    while !rest.isEmpty {
      let digits = rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      guard !digits.isEmpty else { throw Failure("\(form)") }
      rest = rest[digits.endIndex...]
      skipSpaces()
      let unit = rest.prefix { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) }
      rest = rest[unit.endIndex...]
      guard !unit.isEmpty else { throw Failure("\(form), each number with a unit") }
      let name = String(decoding: unit, as: UTF8.self)
      guard let size = units.first(where: { $0.names.contains(name) })?.nanoseconds else {
        throw Failure("\(form); the units are ns, us, ms, s, m, h, d, w, M and y")
      }
      guard let count = Int64(String(decoding: digits, as: UTF8.self)),
        case let (nanoseconds, overflow) = count.multipliedReportingOverflow(by: size), !overflow
      else { throw Failure(range) }
      total += .nanoseconds(nanoseconds)
      guard total <= limit else { throw Failure(range) }
      isEmpty = false
      skipSpaces()
    }
    if isEmpty { throw Failure(form) }
    return total
  }

  static func duration(seconds: Int64) throws(Failure) -> Duration {
    guard seconds >= 0, .seconds(seconds) <= limit else { throw Failure(range) }
    return .seconds(seconds)
  }

  static func duration(seconds: Double) throws(Failure) -> Duration {
    guard seconds.isFinite, seconds >= 0, seconds <= 3_155_760_000 else { throw Failure(range) }
    return .nanoseconds(Int64((seconds * 1e9).rounded()))
  }

  /// The text of a duration, to the nanosecond; ``parse(_:)`` reads it back.
  static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    var words: [String] = []
    func add(_ count: Int64, _ unit: String) { if count != 0 { words.append("\(count)\(unit)") } }
    add(seconds / 86_400, "d")
    add(seconds / 3600 % 24, "h")
    add(seconds / 60 % 60, "m")
    add(seconds % 60, "s")
    let nanoseconds = attoseconds / 1_000_000_000
    add(nanoseconds / 1_000_000, "ms")
    add(nanoseconds / 1000 % 1000, "us")
    add(nanoseconds % 1000, "ns")
    return words.isEmpty ? "0s" : words.joined(separator: " ")
  }
}

/// Sizes as people write them: `64 MiB`, `1500kB`, `4096`.
enum SizeText {
  private static let units: [(name: String, bytes: Int)] = [
    ("", 1), ("b", 1), ("kb", 1_000), ("mb", 1_000_000), ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000), ("kib", 1 << 10), ("mib", 1 << 20), ("gib", 1 << 30),
    ("tib", 1 << 40),
  ]

  /// Reads a whole number and a unit; nil for anything else.
  static func parse(_ text: String) -> Int? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let unit = text[digits.endIndex...].drop { $0 == " " }.lowercased()
    guard let count = Int(digits), let size = units.first(where: { $0.name == unit })?.bytes
    else { return nil }
    let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
    return overflow ? nil : bytes
  }
}
