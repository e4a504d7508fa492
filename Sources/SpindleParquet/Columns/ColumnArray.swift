public import SpindleCore

/// The values of one column over some rows, in contiguous memory.
///
/// Every row has a slot. The slot of a null row holds zero, no bytes, or index 0, and says
/// nothing.
public struct ColumnArray: Sendable {
  /// The slots, by the physical type of the column.
  public enum Values: Sendable {
    case boolean([Bool])
    case int32([Int32])
    case int64([Int64])
    case float([Float])
    case double([Double])
    case bytes(ByteStrings)
    case fixed(FixedBytes)
    /// Byte strings that are kept once each: row `r` is `values[indices[r]]`. Made by a reader
    /// that was asked for it; a writer takes it like ``bytes(_:)``.
    case dictionary(indices: [UInt32], values: ByteStrings)
  }

  public var values: Values
  /// Which rows hold a value; nil when all do.
  public var validity: Validity?

  /// - Parameter validity: Rows without a value. A validity without a null row is dropped.
  public init(_ values: Values, validity: Validity? = nil) {
    self.values = values
    self.validity = validity?.nullCount == 0 ? nil : validity
  }

  /// Rows.
  public var count: Int {
    switch values {
    case .boolean(let slots): slots.count
    case .int32(let slots): slots.count
    case .int64(let slots): slots.count
    case .float(let slots): slots.count
    case .double(let slots): slots.count
    case .bytes(let slots): slots.count
    case .fixed(let slots): slots.count
    case .dictionary(let indices, _): indices.count
    }
  }

  /// Rows without a value.
  public var nullCount: Int { validity?.nullCount ?? 0 }

  /// Whether a row has no value.
  public func isNull(_ row: Int) -> Bool {
    guard let validity else { return false }
    return !validity[row]
  }

  /// Checks that the parts agree, so that no index into the column can miss.
  ///
  /// - Throws: ``SpindleError`` with `invalidArgument`: the validity has another number of rows or
  ///   of nulls, offsets fall or leave the bytes, a width does not divide the bytes, or an index
  ///   is outside its dictionary.
  /// - Complexity: O(rows).
  public func validate() throws(SpindleError) {
    if let fault { throw SpindleError(.invalidArgument, fault) }
  }

  /// What is wrong; nil when nothing is.
  var fault: String? {
    if let validity {
      guard validity.count == count else {
        return "a column of \(count) rows has a validity of \(validity.count)"
      }
      guard Validity(words: validity.words, count: validity.count) == validity else {
        return "the null count of a validity is not that of its bits"
      }
    }
    switch values {
    case .boolean, .int32, .int64, .float, .double: return nil
    case .bytes(let strings): return strings.fault
    case .fixed(let values):
      return values.bytes.count % values.width == 0
        ? nil : "\(values.bytes.count) bytes are no values of \(values.width) bytes"
    case .dictionary(let indices, let strings):
      if let fault = strings.fault { return fault }
      for row in indices.indices where Int(indices[row]) >= strings.count {
        guard isNull(row), indices[row] == 0 else {
          return "a dictionary of \(strings.count) strings has no index \(indices[row])"
        }
      }
      return nil
    }
  }
}
