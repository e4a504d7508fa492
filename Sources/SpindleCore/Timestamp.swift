/// A hybrid logical clock's timestamp: wall milliseconds since the Unix epoch in the top 48 bits,
/// a counter in the low 16. Plain unsigned comparison is causal order.
public struct Timestamp: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let packed: UInt64

  public init(packed: UInt64) { self.packed = packed }

  /// Fails when the milliseconds need more than 48 bits (about the year 10895).
  public init?(wallMilliseconds: UInt64, counter: UInt16) {
    guard wallMilliseconds < 1 << 48 else { return nil }
    packed = wallMilliseconds << 16 | UInt64(counter)
  }

  public static let zero = Timestamp(packed: 0)
  public var wallMilliseconds: UInt64 { packed >> 16 }
  public var counter: UInt16 { UInt16(truncatingIfNeeded: packed) }
  public var description: String { "\(wallMilliseconds).\(counter)" }

  public static func < (left: Timestamp, right: Timestamp) -> Bool { left.packed < right.packed }
}
