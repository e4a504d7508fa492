/// Writes points as line protocol that ``LineProtocolDecoder`` reads back as equal points.
///
/// Tags are written in the order given; sorted by key they decode fastest.
public struct LineProtocolEncoder: Sendable {
  /// Why a point cannot be written.
  public enum Failure: Error, Sendable, Equatable {
    case emptyMeasurement
    case emptyTagKey
    case emptyTagValue
    case noFields
    case emptyFieldKey
    case duplicateTagKey
    case duplicateFieldKey
    /// A float is infinite or NaN.
    case notFinite
    /// A measurement, tag key or field key starts with an underscore, or a tag or field key is
    /// `time`.
    case reservedName
    /// Line protocol has no way to write it: a name that ends with a backslash or holds a newline
    /// or NUL byte, a measurement that starts with `#` or a tab, a first field whose key starts
    /// with a tab, or a string with a NUL byte.
    case notRepresentable
    /// A name or string is not UTF-8.
    case invalidUTF8
    /// The timestamp is not a whole number of the precision's units.
    case inexactTimestamp
  }

  /// The unit of the timestamps written.
  public var precision: TimestampPrecision
  /// Whether measurements, tag keys and field keys may start with an underscore.
  public var acceptsUnderscoreNames: Bool

  public init(
    precision: TimestampPrecision = .nanoseconds, acceptsUnderscoreNames: Bool = false
  ) {
    self.precision = precision
    self.acceptsUnderscoreNames = acceptsUnderscoreNames
  }

  /// Appends a point as one line with its newline.
  ///
  /// - Throws: ``Failure``; `output` is then unchanged.
  /// - Complexity: O(bytes + tags^2 + fields^2).
  public func append(
    _ point: LineProtocolPoint, to output: inout [UInt8]
  ) throws(Failure) {
    let start = output.count
    do throws(Failure) {
      try write(point, to: &output)
    } catch {
      output.removeLast(output.count - start)
      throw error
    }
  }

  private func write(_ point: LineProtocolPoint, to output: inout [UInt8]) throws(Failure) {
    guard let first = point.measurement.first else { throw .emptyMeasurement }
    if first == Ascii.hash || first == Ascii.tab { throw .notRepresentable }
    try checkName(point.measurement, isKey: false)
    appendEscaped(point.measurement, as: .measurement, to: &output)
    for (index, tag) in point.tags.enumerated() {
      if tag.key.isEmpty { throw .emptyTagKey }
      if tag.value.isEmpty { throw .emptyTagValue }
      if point.tags[..<index].contains(where: { $0.key == tag.key }) { throw .duplicateTagKey }
      try checkName(tag.key, isKey: true)
      try checkText(tag.value)
      output.append(Ascii.comma)
      appendEscaped(tag.key, as: .name, to: &output)
      output.append(Ascii.equals)
      appendEscaped(tag.value, as: .name, to: &output)
    }
    if point.fields.isEmpty { throw .noFields }
    for (index, field) in point.fields.enumerated() {
      if field.key.isEmpty { throw .emptyFieldKey }
      if point.fields[..<index].contains(where: { $0.key == field.key }) {
        throw .duplicateFieldKey
      }
      if index == 0, field.key.first == Ascii.tab { throw .notRepresentable }
      try checkName(field.key, isKey: true)
      output.append(index == 0 ? Ascii.space : Ascii.comma)
      appendEscaped(field.key, as: .name, to: &output)
      output.append(Ascii.equals)
      try write(field.value, to: &output)
    }
    if let timestamp = point.timestamp {
      let (units, rest) = timestamp.quotientAndRemainder(dividingBy: precision.nanosecondsPerUnit)
      if rest != 0 { throw .inexactTimestamp }
      output.append(Ascii.space)
      output.append(contentsOf: String(units).utf8)
    }
    output.append(Ascii.newline)
  }

  private func write(
    _ value: LineProtocolPoint.Value, to output: inout [UInt8]
  ) throws(Failure) {
    switch value {
    case .float(let float):
      if !float.isFinite { throw .notFinite }
      // The shortest text that reads back as the same double.
      output.append(contentsOf: float.description.utf8)
    case .integer(let integer):
      output.append(contentsOf: String(integer).utf8)
      output.append(Ascii.lowerI)
    case .unsigned(let unsigned):
      output.append(contentsOf: String(unsigned).utf8)
      output.append(Ascii.lowerU)
    case .boolean(let boolean):
      output.append(contentsOf: (boolean ? "true" : "false").utf8)
    case .string(let text):
      if text.contains(0) { throw .notRepresentable }
      if firstInvalidUTF8(in: text.span, range: 0..<text.count) != nil { throw .invalidUTF8 }
      output.append(Ascii.quote)
      appendEscaped(text, as: .string, to: &output)
      output.append(Ascii.quote)
    }
  }

  private func checkName(_ name: [UInt8], isKey: Bool) throws(Failure) {
    try checkText(name)
    if name.first == Ascii.underscore, !acceptsUnderscoreNames { throw .reservedName }
    if isKey, name.elementsEqual("time".utf8) { throw .reservedName }
  }

  private func checkText(_ name: [UInt8]) throws(Failure) {
    if name.last == Ascii.backslash || name.contains(Ascii.newline) || name.contains(0) {
      throw .notRepresentable
    }
    if firstInvalidUTF8(in: name.span, range: 0..<name.count) != nil { throw .invalidUTF8 }
  }
}
