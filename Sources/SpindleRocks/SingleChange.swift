/// One put or removal of borrowed bytes, for a write that nothing else is part of.
@safe public struct SingleChange: ~Copyable, ~Escapable {
  /// Whether it removes its key.
  public let isRemoval: Bool
  let key: Span<UInt8>
  let header: Span<UInt8>
  let payload: Span<UInt8>

  /// Stores a value in two parts, so that a header needs no copy of the payload.
  @_lifetime(copy key, copy header, copy payload)
  public init(putting header: Span<UInt8>, _ payload: Span<UInt8>, under key: Span<UInt8>) {
    isRemoval = false
    self.key = key
    self.header = header
    self.payload = payload
  }

  /// Removes a key; an absent one is no error.
  @_lifetime(copy key)
  public init(removing key: Span<UInt8>) {
    isRemoval = true
    self.key = key
    header = Span()
    payload = Span()
  }

  /// Bytes of a record with this change alone, at most: beside key and value a header, a tag and
  /// three varints of 32 bits.
  public var byteCount: Int {
    WriteRecord.headerBytes + 1 + 3 * 5 + key.count + header.count + payload.count
  }
}
