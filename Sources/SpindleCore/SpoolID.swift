/// Names one message of a spool: a time-based UUID.
///
/// New ids are version 7 (RFC 9562): their byte order is their time order, so stores are
/// sequential inserts. Versions 1 and 6 are accepted and have a time; any other version is not a
/// spool id.
public struct SpoolID: Hashable, Sendable, Comparable, CustomStringConvertible {
  public let uuid: UUIDValue

  /// Accepts a UUID of version 1, 6 or 7 with the standard variant; any other gives nil.
  public init?(_ uuid: UUIDValue) {
    guard uuid.hasStandardVariant else { return nil }
    // Walks come here with every key: no list that is searched.
    switch uuid.version {
    case 1, 6, 7: self.uuid = uuid
    default: return nil
    }
  }

  /// Reads exactly 16 bytes of such a UUID.
  public init?(bytes: Span<UInt8>) {
    guard let uuid = UUIDValue(bytes: bytes) else { return nil }
    self.init(uuid)
  }

  /// Reads any text form of ``UUIDValue/init(text:)``.
  public init?(text: some StringProtocol) {
    guard let uuid = UUIDValue(text: text) else { return nil }
    self.init(uuid)
  }

  /// 32 lower-case hexadecimal digits.
  public var description: String { uuid.description }

  /// The sixteen bytes of the key under which the message is stored.
  public var bytes: [UInt8] { uuid.bytes }

  /// When the id was made.
  public var created: SpoolInstant {
    switch uuid.version {
    case 7:
      return SpoolInstant(ticks: Int64(uuid.high >> 16) * 10_000)
    case 6:
      let high = (uuid.high >> 16) << 12
      return SpoolInstant(gregorianTicks: high | uuid.high & 0xFFF)
    default:
      let timeLow = uuid.high >> 32
      let timeMid = uuid.high >> 16 & 0xFFFF
      return SpoolInstant(gregorianTicks: (uuid.high & 0xFFF) << 48 | timeMid << 32 | timeLow)
    }
  }

  /// How long ago the id was made; negative when it comes from the future, as after a clock stepped
  /// back.
  public func age(at now: SpoolInstant) -> Duration { now.sinceEpoch - created.sinceEpoch }

  /// Order by time, then by bytes.
  public static func < (left: SpoolID, right: SpoolID) -> Bool {
    (left.created.ticks, left.uuid.high, left.uuid.low)
      < (right.created.ticks, right.uuid.high, right.uuid.low)
  }
}

/// A point in time with a resolution of 100 ns, as ids carry it.
public struct SpoolInstant: Hashable, Sendable, Comparable {
  /// Ticks of 100 ns since the Unix epoch.
  public let ticks: Int64

  public init(ticks: Int64) { self.ticks = ticks }

  /// From milliseconds since the Unix epoch; values beyond the range of ticks are clamped.
  public init(unixMilliseconds: UInt64) {
    let clamped = min(unixMilliseconds, UInt64(Int64.max / 10_000))
    ticks = Int64(clamped) * 10_000
  }

  /// From the 60-bit count of 100 ns since 1582-10-15 that versions 1 and 6 carry.
  init(gregorianTicks: UInt64) {
    ticks = Int64(gregorianTicks & 0x0FFF_FFFF_FFFF_FFFF) - 0x01B2_1DD2_1381_4000
  }

  /// The time since the Unix epoch; negative before it.
  var sinceEpoch: Duration {
    Duration(
      secondsComponent: ticks / 10_000_000,
      attosecondsComponent: ticks % 10_000_000 * 100_000_000_000)
  }

  public static func < (left: SpoolInstant, right: SpoolInstant) -> Bool {
    left.ticks < right.ticks
  }
}
