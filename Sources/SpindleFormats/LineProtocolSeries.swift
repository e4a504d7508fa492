/// A series: a measurement and its tags, in canonical form.
///
/// Its *key* is the form used for storage. Two lines belong to one series exactly when their keys
/// are equal. The key is a list of parts, the measurement first, then key and value of each tag in
/// the order of the tag keys' bytes; a part is its length as a varint (7 bits a byte, lowest first,
/// the top bit set on all but the last byte, no needless bytes), then its bytes without escapes.
public struct LineProtocolSeries: Sendable, Hashable {
  /// One tag, without escapes.
  public struct Tag: Sendable, Hashable {
    public let key: [UInt8]
    public let value: [UInt8]

    public init(key: [UInt8], value: [UInt8]) {
      self.key = key
      self.value = value
    }
  }

  /// Why bytes are not a series key. Offsets are those of the part at fault.
  public enum KeyError: Error, Sendable, Equatable {
    /// The key ends inside a part, or after a tag key.
    case truncated(offset: Int)
    /// A length has needless bytes or exceeds 63 bits.
    case invalidLength(offset: Int)
    /// The measurement, a tag key or a tag value is empty.
    case emptyPart(offset: Int)
    /// A tag key is not greater than the one before it.
    case unorderedTag(offset: Int)
  }

  public let measurement: [UInt8]
  /// The tags, in the order of their keys' bytes.
  public let tags: [Tag]

  /// Decodes a series key.
  ///
  /// - Throws: ``KeyError`` for bytes that no series has as its key.
  public init(key: Span<UInt8>) throws(KeyError) {
    var reader = PartReader()
    measurement = try reader.next(key)
    var tags: [Tag] = []
    while reader.offset < key.count {
      let start = reader.offset
      let tagKey = try reader.next(key)
      guard reader.offset < key.count else { throw .truncated(offset: reader.offset) }
      let value = try reader.next(key)
      if let last = tags.last, !last.key.lexicographicallyPrecedes(tagKey) {
        throw .unorderedTag(offset: start)
      }
      tags.append(Tag(key: tagKey, value: value))
    }
    self.tags = tags
  }

  /// Makes a series of parts without escapes.
  ///
  /// - Returns: `nil` when a part is empty or a tag key occurs twice.
  public init?(measurement: [UInt8], tags: [Tag]) {
    let sorted = tags.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    guard !measurement.isEmpty, sorted.allSatisfy({ !$0.key.isEmpty && !$0.value.isEmpty }),
      zip(sorted, sorted.dropFirst()).allSatisfy({ $0.key != $1.key })
    else { return nil }
    self.measurement = measurement
    self.tags = sorted
  }

  /// Appends the series key.
  public func appendKey(to key: inout [UInt8]) {
    func append(_ part: [UInt8]) {
      withVarint(of: part.count) { key.append($0) }
      key.append(contentsOf: part)
    }
    append(measurement)
    for tag in tags {
      append(tag.key)
      append(tag.value)
    }
  }

  /// The series as line protocol writes it, such as `cpu,host=a\ b,region=eu`.
  ///
  /// For people: names that line protocol cannot express, which no decoded line has, are written as
  /// if it could.
  public var text: String {
    var bytes: [UInt8] = []
    appendEscaped(measurement, as: .measurement, to: &bytes)
    for tag in tags {
      bytes.append(Ascii.comma)
      appendEscaped(tag.key, as: .name, to: &bytes)
      bytes.append(Ascii.equals)
      appendEscaped(tag.value, as: .name, to: &bytes)
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension LineProtocolSeries: CustomStringConvertible {
  public var description: String { text }
}

extension LineProtocolSeries.KeyError: CustomStringConvertible {
  /// One sentence: where, what was found, what was expected.
  public var description: String {
    switch self {
    case .truncated(let offset):
      "series key, offset \(offset): the key ends too early; expected another part"
    case .invalidLength(let offset):
      "series key, offset \(offset): the length is not a shortest varint; expected one"
    case .emptyPart(let offset):
      "series key, offset \(offset): the part is empty; expected at least one byte"
    case .unorderedTag(let offset):
      "series key, offset \(offset): the tag is out of order; expected rising tag keys"
    }
  }
}

/// Reads length-prefixed parts.
private struct PartReader {
  var offset = 0

  mutating func next(_ key: Span<UInt8>) throws(LineProtocolSeries.KeyError) -> [UInt8] {
    let start = offset
    var length: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      guard offset < key.count else { throw .truncated(offset: start) }
      let byte = key[offset]
      offset += 1
      // Nine bytes hold 63 bits, so every accepted length fits Int.
      guard shift < 63, byte != 0 || shift == 0 else { throw .invalidLength(offset: start) }
      length |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { break }
      shift += 7
    }
    guard length > 0 else { throw .emptyPart(offset: start) }
    guard length <= UInt64(key.count - offset) else { throw .truncated(offset: start) }
    let end = offset + Int(length)
    defer { offset = end }
    return unsafe key.extracting(offset..<end).withUnsafeBufferPointer { unsafe Array($0) }
  }
}

@inline(__always)
private func withVarint(of count: Int, _ write: (UInt8) -> Void) {
  var rest = UInt64(count)
  while rest >= 0x80 {
    write(UInt8(truncatingIfNeeded: rest) | 0x80)
    rest &>>= 7
  }
  write(UInt8(truncatingIfNeeded: rest))
}

/// Appends a text with the escapes its kind needs.
func appendEscaped(
  _ text: [UInt8], as kind: LineProtocolToken.Kind, to output: inout [UInt8]
) {
  for byte in text {
    if kind.escapes(byte) { output.append(Ascii.backslash) }
    output.append(byte)
  }
}

extension LineProtocolLine {
  /// Appends the canonical key of the line's series; see ``LineProtocolSeries``.
  ///
  /// - Complexity: O(bytes), one copy of each part. Tags out of order are sorted, unless the line
  ///   has the same tag keys as the one before it of its measurement: then the order is remembered.
  public func appendSeriesKey(to key: inout [UInt8]) {
    // Escapes only shrink, and a token's length takes at most 5 bytes as a varint.
    var bound = measurement.byteCount + 5
    let tags = self.tags
    for index in tags.indices {
      bound += tags[index].key.byteCount + tags[index].value.byteCount + 10
    }
    let start = key.count
    key.append(contentsOf: repeatElement(0, count: bound))
    let written = unsafe key.withUnsafeMutableBufferPointer { output in
      var writer = unsafe PartWriter(output: output, offset: start)
      writer.append(measurement, as: .measurement, of: self)
      let order: UnsafePointer<UInt16>
      if let known = unsafe knownOrder {
        unsafe order = known
      } else {
        unsafe sortTags(into: orderScratch)
        unsafe order = UnsafePointer(orderScratch)
      }
      for place in 0..<tags.count {
        let tag = unsafe tags[Int(order[place])]
        writer.append(tag.key, as: .name, of: self)
        writer.append(tag.value, as: .name, of: self)
      }
      return writer.offset
    }
    key.removeLast(key.count - written)
  }
}

/// Writes parts into space that is known to be enough.
@safe private struct PartWriter {
  let output: UnsafeMutableBufferPointer<UInt8>
  var offset: Int

  @inline(__always)
  mutating func append(
    _ token: LineProtocolToken, as kind: LineProtocolToken.Kind, of line: borrowing LineProtocolLine
  ) {
    if token.hasEscapes {
      var text: [UInt8] = []
      line.append(token, as: kind, to: &text)
      writeLength(text.count)
      for byte in text { write(byte) }
      return
    }
    writeLength(token.byteCount)
    let bytes = line.rawBytes(of: token)
    guard let base = unsafe output.baseAddress, unsafe bytes.count <= output.count - offset else {
      return
    }
    // In bounds by the check above; the output is an array of our own, so they do not overlap.
    unsafe bytes.withUnsafeBufferPointer { source in
      guard let start = source.baseAddress else { return }
      unsafe (base + offset).update(from: start, count: source.count)
    }
    offset += bytes.count
  }

  @inline(__always)
  private mutating func writeLength(_ count: Int) {
    var rest = UInt64(truncatingIfNeeded: count)
    while rest >= 0x80 {
      write(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest &>>= 7
    }
    write(UInt8(truncatingIfNeeded: rest))
  }

  @inline(__always)
  private mutating func write(_ byte: UInt8) {
    precondition(unsafe offset < output.count)
    unsafe output[offset] = byte
    offset += 1
  }
}
