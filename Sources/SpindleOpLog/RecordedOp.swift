/// An op as a row holds it, for tools that copy or show logs without knowing what their ops say.
public struct RecordedOp: IndexableOp, Hashable {
  /// Which kind of op; 0 to 254.
  public let tag: UInt8
  /// The op's identity; nil and empty are different.
  public let key: [UInt8]?
  /// The op's payload; nil and empty are different.
  public let value: [UInt8]?

  public init(tag: UInt8, key: [UInt8]?, value: [UInt8]?) {
    self.tag = tag
    self.key = key
    self.value = value
  }

  public func toIndexEntry() throws(CodecError) -> IndexEntry {
    IndexEntry(tag: tag, key: key, value: value)
  }

  public static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> RecordedOp {
    RecordedOp(tag: tag, key: key, value: value)
  }
}
