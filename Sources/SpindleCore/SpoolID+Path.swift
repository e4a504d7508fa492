/// Ids as paths of files: `d7/ef/13/2b/5d7711eea8c8000c29c33806`.
///
/// Four directories, one per byte from the first on, and a name of the other twelve bytes; all
/// digits are lower-case. The split is that of the bytes, whatever the version: in version 1 the
/// directories spread over time, in version 7 one innermost directory has the ids of 65 seconds.
extension SpoolID {
  /// The lengths of a path's last components.
  private static let componentLengths = [2, 2, 2, 2, 24]

  /// The path of this id below a root.
  public func path(under root: String) -> String {
    directory(under: root) + "/" + String(description.dropFirst(8))
  }

  /// The path of the innermost directory below a root.
  public func directory(under root: String) -> String {
    var path = root
    while path.hasSuffix("/") { path.removeLast() }
    for byte in bytes.prefix(4) { path += "/" + hexString([byte]) }
    return path
  }

  /// Reads the last five components of a path, of 2, 2, 2, 2 and 24 hexadecimal digits. Anything
  /// else gives nil.
  public init?(path: some StringProtocol) {
    let components = path.utf8.split(separator: UInt8(ascii: "/")).suffix(5)
    guard components.map(\.count) == Self.componentLengths else { return nil }
    self.init(text: String(decoding: components.joined(), as: UTF8.self))
  }

  /// The same for a path as the operating system gives it; bytes that are not UTF-8 give nil.
  public init?(path: [UInt8]) {
    guard let text = String(validating: path, as: UTF8.self) else { return nil }
    self.init(path: text)
  }
}
