internal import SpindleCore

/// Byte strings of one length, such as UUIDs, one behind the other in one piece of memory.
public struct FixedBytes: Sendable, Hashable {
  /// Bytes of each.
  public let width: Int
  /// `count * width` bytes.
  public var bytes: [UInt8]

  /// - Parameter width: Bytes of each value, 1 or more.
  public init(width: Int, bytes: [UInt8] = []) {
    precondition(width > 0, "a fixed width of \(width) bytes")
    self.width = width
    self.bytes = bytes
  }

  /// How many values there are.
  public var count: Int { bytes.count / width }
  public var isEmpty: Bool { bytes.isEmpty }

  /// One value, borrowed.
  public subscript(index: Int) -> Span<UInt8> {
    @_lifetime(borrow self) get { bytes.span.extracting(index * width..<(index + 1) * width) }
  }

  /// Adds one value of `width` bytes; another number of them is a mistake of the caller.
  public mutating func append(_ value: Span<UInt8>) {
    precondition(value.count == width, "\(value.count) bytes where a value has \(width)")
    bytes.append(borrowing: value)
  }

  /// Adds one value of `width` bytes; another number of them is a mistake of the caller.
  public mutating func append(_ value: [UInt8]) { append(value.span) }

  /// Adds values of zeros, such as stand in the slots of null rows.
  public mutating func appendZeros(count: Int = 1) {
    let added = count * width
    // Many at once come from an array, which is copied as a block also where nothing is optimized.
    if added > 4_096 {
      bytes.append(contentsOf: [UInt8](repeating: 0, count: added))
    } else {
      bytes.append(contentsOf: repeatElement(0, count: added))
    }
  }

  /// Adds some of another's values, which must be of the same width.
  public mutating func append(_ other: FixedBytes, _ indices: Range<Int>) {
    precondition(other.width == width, "values of \(other.width) bytes among those of \(width)")
    bytes.append(contentsOf: other.bytes[indices.lowerBound * width..<indices.upperBound * width])
  }
}
