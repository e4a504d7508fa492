/// A type whose values stand in a column as themselves: `Bool`, `Int32`, `Int64`, `Float` and
/// `Double`.
public protocol ColumnElement: Sendable, BitwiseCopyable {
  /// What the slot of a null row holds.
  static var zero: Self { get }
  /// An array as the slots of a column; nothing is copied.
  static func columnValues(_ slots: [Self]) -> ColumnArray.Values
  /// The slots, if they are of this type; nothing is copied.
  static func slots(of values: ColumnArray.Values) -> [Self]?
}

extension Bool: ColumnElement {
  public static var zero: Bool { false }
  public static func columnValues(_ slots: [Bool]) -> ColumnArray.Values { .boolean(slots) }
  public static func slots(of values: ColumnArray.Values) -> [Bool]? {
    if case .boolean(let slots) = values { slots } else { nil }
  }
}

extension Int32: ColumnElement {
  public static func columnValues(_ slots: [Int32]) -> ColumnArray.Values { .int32(slots) }
  public static func slots(of values: ColumnArray.Values) -> [Int32]? {
    if case .int32(let slots) = values { slots } else { nil }
  }
}

extension Int64: ColumnElement {
  public static func columnValues(_ slots: [Int64]) -> ColumnArray.Values { .int64(slots) }
  public static func slots(of values: ColumnArray.Values) -> [Int64]? {
    if case .int64(let slots) = values { slots } else { nil }
  }
}

extension Float: ColumnElement {
  public static func columnValues(_ slots: [Float]) -> ColumnArray.Values { .float(slots) }
  public static func slots(of values: ColumnArray.Values) -> [Float]? {
    if case .float(let slots) = values { slots } else { nil }
  }
}

extension Double: ColumnElement {
  public static func columnValues(_ slots: [Double]) -> ColumnArray.Values { .double(slots) }
  public static func slots(of values: ColumnArray.Values) -> [Double]? {
    if case .double(let slots) = values { slots } else { nil }
  }
}
