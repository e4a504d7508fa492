/// Shared immutable bytes, as Spindle takes and returns them: a copy-on-write array.
public typealias Bytes = [UInt8]

/// How long an acknowledged write lives.
///
/// | | survives kill -9 of the process | survives power loss |
/// |---|---|---|
/// | ``buffered`` | yes | the newest writes may be lost, as a suffix of the commit order |
/// | ``synced`` | yes | yes |
public enum Durability: String, Sendable, CaseIterable {
  /// The operating system holds the bytes when the call returns.
  case buffered
  /// The disk holds the bytes when the call returns.
  case synced
}

/// Lower-case hexadecimal digits of bytes.
public func hexString(_ bytes: some Sequence<UInt8>) -> String {
  let digits: [UInt8] = Array("0123456789abcdef".utf8)
  var text: [UInt8] = []
  for byte in bytes {
    text.append(digits[Int(byte >> 4)])
    text.append(digits[Int(byte & 15)])
  }
  return String(decoding: text, as: UTF8.self)
}
