public import Logging
internal import SpindleCore
public import SpindleStore

/// How a spool on files stores, and when it refuses.
public struct LocalDiskSettings: Sendable {
  /// What metrics and log lines call the spool. nil, the default, is the name of its directory.
  public var name: String?
  /// Whether every store and remove is made durable before it returns, as with `forceSync`. The
  /// default is false.
  public var flush = false
  /// The largest payload in bytes. The default, also the greatest value, is
  /// ``LocalDiskSpool/payloadByteLimit``.
  public var payloadByteLimit = LocalDiskSpool.payloadByteLimit
  /// How payloads are compressed before they are written. The default is none: files that every
  /// tool can read.
  public var compression = PayloadCompression.none
  /// How much the spool may hold; files count with their bytes and 16 for the name, not with the
  /// blocks of the file system. The default is no limit.
  public var quota = SpoolQuota()
  /// How much the quarantine may hold; messages and reasons count with the bytes of their files and
  /// 16 for the name. A message that would exceed it is not moved and stays where it is:
  /// `quotaExceeded`, reason `quarantine_full`. The default is 100,000 messages and 1 GiB.
  public var quarantineQuota = SpoolQuota.quarantine
  /// What stays free of the file system: stores are refused below it. The default is that of a
  /// store.
  public var capacityFloor = StoreSettings.CapacityFloor()
  /// The most calls that wait for the disk at once, each on a thread; 1 to 64. Up to 4,096 more
  /// wait in line, the next is refused as overloaded. The default is 4.
  public var threads = 4
  /// After how many failures in a row the spool refuses stores: full disk, read-only file system
  /// or input/output error, with no success between. At least 1. The default is 3.
  public var failuresToShut = 3
  /// How often the spool looks at what is free, and tries to write where failures shut it, to
  /// accept stores again when it can. Its gauges are refreshed as often. The default is 5 s.
  public var probeInterval = Duration.seconds(5)
  /// Takes the spool's log lines. The default, nil, is a logger with the label `spindle.spool`.
  public var logger: Logger?

  public init(flush: Bool = false) { self.flush = flush }

  /// Checks the ranges, before anything is touched.
  func validate() throws {
    func refuse(_ what: String) -> SpindleError {
      SpindleError(.invalidArgument, "the setting " + what)
    }
    guard (0...LocalDiskSpool.payloadByteLimit).contains(payloadByteLimit) else {
      throw refuse(
        "payloadByteLimit is \(payloadByteLimit); expected 0 to "
          + "\(LocalDiskSpool.payloadByteLimit)")
    }
    guard (1...64).contains(threads) else {
      throw refuse("threads is \(threads); expected 1 to 64")
    }
    guard failuresToShut >= 1 else {
      throw refuse("failuresToShut is \(failuresToShut); expected 1 or more")
    }
    try capacityFloor.validate()
    guard probeInterval > .zero, probeInterval <= .seconds(3_600) else {
      throw refuse("probeInterval is \(probeInterval); expected more than 0 s, and 1 h at most")
    }
  }
}
