/// A point that owns its bytes, for writing line protocol and for tests and tools.
///
/// Texts are UTF-8 without escapes. They are bytes because their order and equality are, which
/// those of `String` are not.
public struct LineProtocolPoint: Sendable, Equatable {
  /// A field's value with the text of a string in it.
  public enum Value: Sendable, Equatable {
    case float(Double)
    case integer(Int64)
    case unsigned(UInt64)
    case boolean(Bool)
    case string([UInt8])
  }

  /// One field.
  public struct Field: Sendable, Equatable {
    public var key: [UInt8]
    public var value: Value

    public init(key: [UInt8], value: Value) {
      self.key = key
      self.value = value
    }

    public init(_ key: String, _ value: Value) { self.init(key: Array(key.utf8), value: value) }
  }

  public var measurement: [UInt8]
  /// The tags in the order written.
  public var tags: [LineProtocolSeries.Tag]
  /// The fields in the order written.
  public var fields: [Field]
  /// Nanoseconds since 1970.
  public var timestamp: Int64?

  public init(
    measurement: [UInt8], tags: [LineProtocolSeries.Tag], fields: [Field], timestamp: Int64?
  ) {
    self.measurement = measurement
    self.tags = tags
    self.fields = fields
    self.timestamp = timestamp
  }

  public init(
    _ measurement: String, tags: [(key: String, value: String)] = [], fields: [Field],
    timestamp: Int64? = nil
  ) {
    let ownTags = tags.map {
      LineProtocolSeries.Tag(key: Array($0.key.utf8), value: Array($0.value.utf8))
    }
    self.init(
      measurement: Array(measurement.utf8), tags: ownTags, fields: fields, timestamp: timestamp)
  }

  /// Copies a decoded line.
  public init(_ line: borrowing LineProtocolLine) {
    func text(_ token: LineProtocolToken, _ kind: LineProtocolToken.Kind) -> [UInt8] {
      var bytes: [UInt8] = []
      line.append(token, as: kind, to: &bytes)
      return bytes
    }
    measurement = text(line.measurement, .measurement)
    let lineTags = line.tags
    tags = lineTags.indices.map {
      LineProtocolSeries.Tag(
        key: text(lineTags[$0].key, .name), value: text(lineTags[$0].value, .name))
    }
    let lineFields = line.fields
    fields = lineFields.indices.map { index in
      let value: Value =
        switch lineFields[index].value {
        case .float(let float): .float(float)
        case .integer(let integer): .integer(integer)
        case .unsigned(let unsigned): .unsigned(unsigned)
        case .boolean(let boolean): .boolean(boolean)
        case .string(let token): .string(text(token, .string))
        }
      return Field(key: text(lineFields[index].key, .name), value: value)
    }
    timestamp = line.timestamp
  }
}
