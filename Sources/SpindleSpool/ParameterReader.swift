internal import SpindleCore
internal import SpindleStore

/// Reads named parameters, and refuses what it does not know: a misspelt name would otherwise be a
/// default that nobody asked for.
struct ParameterReader<Key: CodingKey & CaseIterable & RawRepresentable>
where Key.RawValue == String {
  private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
  }

  private let values: KeyedDecodingContainer<Name>
  /// Where the parameters stand, for errors.
  let place: String

  /// - Parameter place: What the parameters are called where the path to them is empty.
  init(_ decoder: any Decoder, place: String) throws {
    let path = decoder.codingPath.map { key in
      key.intValue.map { "[\($0)]" } ?? ".\(printable(key.stringValue))"
    }.joined()
    self.place = path.isEmpty ? place : String(path.drop { $0 == "." })
    do {
      values = try decoder.container(keyedBy: Name.self)
    } catch is DecodingError {
      throw SpindleError(
        .invalidArgument, "\(self.place) is no object; expected one with parameters")
    }
    let known = Key.allCases.map(\.rawValue)
    let unknown = values.allKeys.map(\.stringValue).filter { !known.contains($0) }.min()
    if let unknown {
      throw SpindleError(
        .invalidArgument,
        "the parameter \"\(printable(unknown))\" in \(self.place) is unknown; known are "
          + known.sorted().joined(separator: ", "))
    }
  }

  func refusal(_ key: Key, _ expected: String) -> SpindleError {
    SpindleError(
      .invalidArgument,
      "the parameter \"\(key.rawValue)\" in \(place) is not valid; expected \(expected)")
  }

  /// Whether a value is there that is not null.
  private func name(of key: Key) throws -> Name? {
    let name = Name(stringValue: key.rawValue)
    return values.contains(name) ? try values.decodeNil(forKey: name) ? nil : name : nil
  }

  /// A value, or nil for one of another type. Decoders have errors of their own for numbers that
  /// do not fit, so any error means that.
  private func value<Value: Decodable>(_ name: Name, _ type: Value.Type) -> Value? {
    try? values.decode(type, forKey: name)
  }

  func integer(_ key: Key) throws -> Int? {
    guard let name = try name(of: key) else { return nil }
    guard let value = value(name, Int.self) else { throw refusal(key, "a whole number") }
    return value
  }

  /// A number of bytes, or text such as "64 MiB".
  func size(_ key: Key) throws -> Int? {
    guard let name = try name(of: key) else { return nil }
    if let value = value(name, Int.self) { return value }
    guard let text = value(name, String.self), let size = SizeText.parse(text) else {
      throw refusal(key, "a number of bytes, or text such as \"64 MiB\"")
    }
    return size
  }

  func boolean(_ key: Key) throws -> Bool? {
    guard let name = try name(of: key) else { return nil }
    guard let value = value(name, Bool.self) else { throw refusal(key, "true or false") }
    return value
  }

  func text(_ key: Key) throws -> String? {
    guard let name = try name(of: key) else { return nil }
    guard let value = value(name, String.self) else { throw refusal(key, "text") }
    return value
  }

  /// Text such as "1h 30m", or seconds.
  func duration(_ key: Key) throws -> Duration? {
    guard let name = try name(of: key) else { return nil }
    do throws(DurationText.Failure) {
      if let text = value(name, String.self) { return try DurationText.parse(text) }
      if let seconds = value(name, Int64.self) {
        return try DurationText.duration(seconds: seconds)
      }
      if let seconds = value(name, Double.self) {
        return try DurationText.duration(seconds: seconds)
      }
    } catch {
      throw refusal(key, error.expected)
    }
    throw refusal(key, "text such as \"30s\", or a number of seconds")
  }

  /// One of some names, whatever their case.
  func choice<Value>(_ key: Key, of choices: [(name: String, value: Value)]) throws -> Value? {
    guard let text = try text(key) else { return nil }
    guard let choice = choices.first(where: { $0.name.lowercased() == text.lowercased() }) else {
      throw refusal(key, "one of " + choices.map(\.name).joined(separator: ", "))
    }
    return choice.value
  }

  /// Text such as "10%", or a whole number.
  func minimum(_ key: Key) throws -> FreeMinimum? {
    guard let name = try name(of: key) else { return nil }
    let text = value(name, String.self) ?? value(name, Int.self).map { "\($0)" }
    guard let minimum = FreeMinimum(text: text ?? "") else {
      throw refusal(key, "text such as \"10%\", 0 to 100, or a whole number from 0 on")
    }
    return minimum
  }

  /// Parameters within parameters.
  func nested<Value: Decodable>(_ key: Key, _ type: Value.Type) throws -> Value? {
    guard let name = try name(of: key) else { return nil }
    return try values.decode(type, forKey: name)
  }
}
