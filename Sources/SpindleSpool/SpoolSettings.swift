internal import SpindleCore
public import SpindleStore

/// How a spool waits, refuses and stores.
public struct SpoolSettings: Sendable, Equatable {
  /// Whether every store is made durable before it returns, as with `forceSync`. The default is
  /// false.
  public var flush = false
  /// With ``flush``: whether every remove is made durable too. False saves a sync a message, and a
  /// removed message may come back after power loss. The default is true.
  public var syncsRemoves = true
  /// The longest wait of a store or remove for RocksDB to accept it, beginning with the first
  /// refusal. The default is 30 s.
  public var storeDeadline = Duration.seconds(30)
  /// The most stores that wait for a stalled RocksDB by trying again; the others wait for them in
  /// order of arrival. nil, the default, is no limit; at least 1.
  public var concurrentStores: Int?
  /// The same for removes.
  public var concurrentRemoves: Int?
  /// The most loads at once. nil, the default, is no limit; at least 1.
  public var concurrentLoads: Int?
  /// The largest payload in bytes, before compression. The default, also the greatest value, is
  /// ``RocksSpool/payloadByteLimit``.
  public var payloadByteLimit = RocksSpool.payloadByteLimit
  /// How payloads are compressed before they are written. The default is none.
  public var compression = PayloadCompression.none
  /// How much the spool may hold. The default is no limit. An owner's opening records it in the
  /// store, for tools.
  public var quota = SpoolQuota()
  /// Whether the quota that the last owner recorded holds where ``quota`` has no limit. For tools
  /// that open the spool of an application; the record stays as it is then. The default is false.
  public var usesRecordedQuota = false
  /// How much the spool's quarantine may hold. A message that would exceed it is not moved and
  /// stays where it is: `quotaExceeded`, reason `quarantine_full`. The default is 100,000 messages
  /// and 1 GiB.
  public var quarantineQuota = SpoolQuota.quarantine
  /// How long after the opening the view of what the last run left is kept when nobody lists it to
  /// its end. While it is kept, nothing of that leaves the disk, removed or not. The default is
  /// 10 min; a start that takes longer needs more.
  public var leftoversDuration = Duration.seconds(600)
  /// When errors stop the spool's writes, and when they are taken again.
  public var gate = GateSettings()

  public init() {}

  /// Checks the ranges, before anything is touched.
  package func validate() throws {
    func refuse(_ what: String) -> SpindleError { SpindleError(.invalidArgument, what) }
    for (name, limit) in [
      ("concurrentStores", concurrentStores), ("concurrentRemoves", concurrentRemoves),
      ("concurrentLoads", concurrentLoads),
    ] {
      if let limit, limit < 1 {
        throw refuse("the setting \(name) is \(limit); expected 1 or more, or none")
      }
    }
    guard (0...RocksSpool.payloadByteLimit).contains(payloadByteLimit) else {
      throw refuse(
        "the setting payloadByteLimit is \(payloadByteLimit); expected 0 to "
          + "\(RocksSpool.payloadByteLimit)")
    }
    for (name, value) in [
      ("storeDeadline", storeDeadline), ("leftoversDuration", leftoversDuration),
    ] where value < .zero || value > DurationText.limit {
      throw refuse("the setting \(name) is \(value); expected 0 s to 100 years")
    }
    try gate.validate()
  }
}

/// How a payload is compressed before it is written. What does not become smaller is stored as it
/// is.
public enum PayloadCompression: String, Sendable, CaseIterable {
  case none
  case lz4
  case zstd
}

/// How much a spool may hold. A store that would exceed it is refused with `quotaExceeded`, and
/// nothing is stored; a replacement counts with the difference.
public struct SpoolQuota: Sendable, Equatable {
  /// The most bytes of stored records, as compressed, their headers and keys included. nil is no
  /// limit.
  public var bytes: UInt64?
  /// The most messages. nil is no limit.
  public var entries: UInt64?

  var isUnlimited: Bool { bytes == nil && entries == nil }

  /// The default of quarantines: more than a person looks through, and little beside a disk. A
  /// producer of garbage must not fill the disk.
  public static let quarantine = SpoolQuota(bytes: 1 << 30, entries: 100_000)

  public init(bytes: UInt64? = nil, entries: UInt64? = nil) {
    self.bytes = bytes
    self.entries = entries
  }
}
