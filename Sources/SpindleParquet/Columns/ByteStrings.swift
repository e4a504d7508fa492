internal import SpindleCore

/// Byte strings one behind the other in one piece of memory.
///
/// String `i` is `bytes[offsets[i]..<offsets[i + 1]]`. The offsets begin with 0, never fall, and
/// end with the number of bytes.
public struct ByteStrings: Sendable, Hashable {
  /// One more than there are strings.
  public var offsets: [Int]
  public var bytes: [UInt8]

  /// No strings.
  public init() {
    offsets = [0]
    bytes = []
  }

  /// Strings as they lie in memory; ``ColumnArray/validate()`` checks the offsets.
  public init(offsets: [Int], bytes: [UInt8]) {
    self.offsets = offsets
    self.bytes = bytes
  }

  /// The UTF-8 bytes of texts.
  public init(_ texts: [String]) {
    self.init()
    offsets.reserveCapacity(texts.count + 1)
    for text in texts { append(text) }
  }

  /// How many strings there are.
  public var count: Int { max(offsets.count - 1, 0) }
  /// Bytes of memory in use.
  var byteCount: Int { bytes.count + offsets.count * MemoryLayout<Int>.size }
  public var isEmpty: Bool { count == 0 }

  /// The bytes of one string, borrowed.
  public subscript(index: Int) -> Span<UInt8> {
    @_lifetime(borrow self) get { bytes.span.extracting(offsets[index]..<offsets[index + 1]) }
  }

  /// One string as a text; bytes that are no UTF-8 become replacement characters.
  ///
  /// - Complexity: O(bytes of the string), with a copy.
  public func text(_ index: Int) -> String {
    String(decoding: bytes[offsets[index]..<offsets[index + 1]], as: UTF8.self)
  }

  public mutating func append(_ string: Span<UInt8>) {
    bytes.append(borrowing: string)
    offsets.append(bytes.count)
  }

  public mutating func append(_ string: [UInt8]) {
    bytes.append(contentsOf: string)
    offsets.append(bytes.count)
  }

  public mutating func append(_ text: String) {
    bytes.append(contentsOf: text.utf8)
    offsets.append(bytes.count)
  }

  /// Adds strings of no bytes, such as stand in the slots of null rows.
  public mutating func appendEmpty(count: Int = 1) {
    offsets.append(contentsOf: repeatElement(bytes.count, count: count))
  }

  /// Adds some of another's strings.
  ///
  /// - Complexity: O(their bytes).
  public mutating func append(_ other: ByteStrings, _ indices: Range<Int>) {
    guard !indices.isEmpty else { return }
    let from = other.offsets[indices.lowerBound]
    let shift = bytes.count - from
    bytes.append(contentsOf: other.bytes[from..<other.offsets[indices.upperBound]])
    offsets.makeRoom(indices.count)
    for index in indices { offsets.append(other.offsets[index + 1] + shift) }
  }

  /// What is wrong with the offsets; nil when nothing is.
  var fault: String? {
    guard offsets.first == 0 else { return "the offsets of byte strings do not begin with 0" }
    var last = 0
    for offset in offsets {
      guard offset >= last else { return "the offsets of byte strings fall" }
      last = offset
    }
    guard last == bytes.count else {
      return "the offsets of byte strings end at \(last), their bytes at \(bytes.count)"
    }
    return nil
  }
}
