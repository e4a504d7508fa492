internal import SpindleCore
internal import SpindleStore

/// Keys of a spool that are no spool id: counted, and some kept for people to see.
struct StrayKeys {
  /// Keys kept of one walk, and bytes kept of each: enough to recognise where they came from.
  static let keptKeys = 10
  static let keptBytes = 32

  private(set) var count = 0
  /// Hexadecimal digits; three dots end a key that was cut.
  private(set) var examples: [String] = []

  /// The key of a gate's probe is the store's own: it may be left by a crash, and is none.
  mutating func note(_ key: Span<UInt8>) {
    guard !Self.isProbe(key) else { return }
    count += 1
    guard examples.count < Self.keptKeys else { return }
    let kept = key.extracting(0..<min(key.count, Self.keptBytes))
    examples.append(hexString(copyBytes(kept)) + (key.count > kept.count ? "..." : ""))
  }

  static func isProbe(_ key: Span<UInt8>) -> Bool {
    let probe = StoreFamily.probeKey
    return bytesEqual(key, probe.span)
  }
}
