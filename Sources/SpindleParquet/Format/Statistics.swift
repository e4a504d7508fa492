/// What is known of the values of a page or column chunk, as the format keeps it: bounds in the
/// plain encoding of the physical type.
struct Statistics: ThriftStructure, Sendable, Hashable {
  /// No value is smaller; NaN counts as no value.
  var minimum: [UInt8]?
  /// No value is larger.
  var maximum: [UInt8]?
  /// Whether ``minimum`` is itself a value, and not cut short or rounded.
  var isMinimumExact: Bool?
  var isMaximumExact: Bool?
  var nullCount: Int64?
  var distinctCount: Int64?
  /// The bounds of the format's first years, in an order that was only right for signed numbers.
  var legacyMinimum: [UInt8]?
  var legacyMaximum: [UInt8]?

  init() {}

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    while let field = try reader.nextField() {
      switch field.id {
      case 1: legacyMaximum = try reader.binary(field)
      case 2: legacyMinimum = try reader.binary(field)
      case 3: nullCount = try reader.int64(field)
      case 4: distinctCount = try reader.int64(field)
      case 5: maximum = try reader.binary(field)
      case 6: minimum = try reader.binary(field)
      case 7: isMaximumExact = try reader.bool(field)
      case 8: isMinimumExact = try reader.bool(field)
      default: break
      }
    }
  }

  func write(to writer: inout ThriftWriter) {
    writer.binary(1, legacyMaximum)
    writer.binary(2, legacyMinimum)
    writer.int64(3, nullCount)
    writer.int64(4, distinctCount)
    writer.binary(5, maximum)
    writer.binary(6, minimum)
    writer.bool(7, isMaximumExact)
    writer.bool(8, isMinimumExact)
  }
}
