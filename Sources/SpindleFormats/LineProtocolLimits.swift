/// Bounds on one line, so that a hostile or broken sender cannot make the decoder hold much memory.
///
/// A line beyond a bound is rejected with an error that names the bound; the lines around it are
/// not affected. Values outside a documented range are moved to its nearest end.
public struct LineProtocolLimits: Sendable, Equatable {
  /// Most bytes of one line without its line ending; 1 to 2^30. The default is 1 MiB: seven of the
  /// longest strings (128 KiB each, escapes included), and 128 KiB for all the rest.
  public var lineByteLimit: Int { didSet { lineByteLimit = clamp(lineByteLimit, 1 << 30) } }

  /// Most tags of one line; 1 to 65,535. The default is 256.
  public var tagLimit: Int { didSet { tagLimit = clamp(tagLimit, 65_535) } }

  /// Most fields of one line, repeated keys included; 1 to 65,535. The default is 1,024.
  public var fieldLimit: Int { didSet { fieldLimit = clamp(fieldLimit, 65_535) } }

  /// Most bytes of a measurement, tag key, tag value or field key as written, escapes included; 1
  /// to 2^30. The default is 65,535, the longest key InfluxDB stores.
  public var nameByteLimit: Int { didSet { nameByteLimit = clamp(nameByteLimit, 1 << 30) } }

  /// Most bytes of a string field as written between its quotes, escapes included; 1 to 2^30. The
  /// default is 131,072: InfluxDB's 64 KiB with every byte escaped.
  public var stringByteLimit: Int { didSet { stringByteLimit = clamp(stringByteLimit, 1 << 30) } }

  public init(
    lineByteLimit: Int = 1 << 20, tagLimit: Int = 256, fieldLimit: Int = 1_024,
    nameByteLimit: Int = 65_535, stringByteLimit: Int = 131_072
  ) {
    self.lineByteLimit = clamp(lineByteLimit, 1 << 30)
    self.tagLimit = clamp(tagLimit, 65_535)
    self.fieldLimit = clamp(fieldLimit, 65_535)
    self.nameByteLimit = clamp(nameByteLimit, 1 << 30)
    self.stringByteLimit = clamp(stringByteLimit, 1 << 30)
  }
}

private func clamp(_ value: Int, _ greatest: Int) -> Int { min(max(value, 1), greatest) }
