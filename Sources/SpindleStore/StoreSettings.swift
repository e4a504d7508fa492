public import Logging
internal import SpindleCore
public import SpindleRocks

/// How a store is opened. Plain values; clocks and test hooks are injected apart.
public struct StoreSettings: Sendable {
  /// The part of a file system that stays free. Below it a store still takes batches that only
  /// delete, as they free space, until a tenth of the floor is left.
  public struct CapacityFloor: Sendable, Equatable {
    /// Writes stop when fewer bytes are free than this, or than ``percent`` of the whole,
    /// whichever is less. The default leaves it to ``percent``.
    public var bytes: UInt64 = .max
    /// 0 to 100. The default is 10 %: what is deleted by compactions alone must have room to be
    /// rewritten.
    public var percent: UInt64 = 10
    /// Writes stop when fewer inodes are free than this, or than ``inodePercent`` of the whole,
    /// whichever is less. The default leaves it to ``inodePercent``. Not applied where inodes have
    /// no fixed number.
    public var inodes: UInt64 = .max
    /// 0 to 100. The default is 10 %.
    public var inodePercent: UInt64 = 10
    public init() {}
    /// No floor: writes go on until the disk itself refuses.
    public static var none: CapacityFloor {
      var floor = CapacityFloor()
      floor.bytes = 0
      floor.percent = 0
      floor.inodes = 0
      return floor
    }
  }

  /// Whether a missing store is created. The default is true.
  public var createsIfMissing = true
  /// RocksDB's options. `paranoidChecks` must stay false: with Debian's build a failed log append
  /// would otherwise end the process.
  public var database = DatabaseOptions()
  /// The most spools, op-log prefixes and data families together; the quarantine that a spool may
  /// have besides is not counted. The default is 128: creating a family costs 19 ms at 100
  /// families and 153 ms at 1,000.
  public var familyLimit = 128
  /// The longest wait for RocksDB to accept a write. The default is 30 s.
  public var writeDeadline = Duration.seconds(30)
  /// The most batches that wait in the group lane, for their write or their sync. The default is
  /// 8,192.
  public var groupQueueLimit = 8_192
  /// The most bytes that wait in the group lane. The default is 64 MiB.
  public var groupQueueByteLimit = 64 << 20
  /// The most bytes that one group writes at once; one batch alone may exceed it. The default is
  /// 4 MiB: larger groups add latency and no speed.
  public var groupByteLimit = 4 << 20
  /// Batches up to this size are written on the caller's thread, and conditional ones up to twice
  /// the size. The default is 64 KiB: a larger copy into the log takes long enough to be felt by
  /// other tasks.
  public var inlineByteLimit = 64 << 10
  /// The largest value in bytes. The default is 1 GiB; the engine's own limit is 4 GiB, and a
  /// batch is held in memory several times over.
  public var valueByteLimit = 1 << 30
  /// Threads for reads that need the disk, and flushes; as many again make and write large records,
  /// and one syncs. All start as they are needed. The default is 4.
  public var blockingThreads = 4
  /// What stays free on the disk.
  public var capacityFloor = CapacityFloor()
  /// Bytes of the ballast file, deleted when the disk is full so that flushes can finish. The
  /// default is 64 MiB, but never more than 1 % of the file system; 0 makes none.
  public var ballastBytes: UInt64 = 64 << 20
  /// How often the log is synced while something was written that is not, on a thread of its own:
  /// power loss then costs what was committed ``Durability/buffered`` within that time alone, and
  /// the time of a sync. nil, the default, leaves it to the callers that ask for
  /// ``Durability/synced`` and to the system; 1 ms to 60 s.
  public var walSyncInterval: Duration?
  /// How often the store looks at free space, background errors and a failed log. The default is
  /// 1 s.
  public var healthInterval = Duration.seconds(1)
  /// Options of one column family by its name (`spool:main`), or of all of one kind (`spool`,
  /// `oplog`, `data`, ...) that have none by name.
  public var familyOptions: [String: ColumnFamilyOptions] = [:]
  /// Takes one line for each ``StoreEvent``. The default, nil, is a logger with the label
  /// `spindle.store`.
  public var logger: Logger?

  public init() {}

  /// The options for a family, by its name or else by its kind.
  package func options(forFamily name: String) -> ColumnFamilyOptions {
    let kind = String(name.prefix { $0 != ":" })
    if let chosen = familyOptions[name] ?? familyOptions[kind] { return chosen }
    var options = ColumnFamilyOptions()
    // As large as it may be, or values that would have died in the memtable are written out; but
    // the memtables of a busy family, one written to while the other is flushed, must not take
    // more than the shared write buffer.
    options.writeBufferBytes = database.writeBufferBytes / Int(options.maxWriteBuffers)
    // As much as level 0 holds when it is compacted; with less, every byte is written once more.
    options.level1Bytes = UInt64(options.level0CompactionTrigger) * UInt64(options.writeBufferBytes)
    // Spool payloads and op rows arrive compressed.
    if kind == "spool" || kind == "oplog" { options.compression = .none }
    return options
  }

  func validate() throws {
    guard !database.paranoidChecks else {
      throw SpindleError(
        .invalidArgument,
        "the setting paranoidChecks must be false: with it a failed log append ends the process")
    }
    guard familyLimit > 0, groupQueueLimit > 0, groupQueueByteLimit > 0, blockingThreads > 0 else {
      throw SpindleError(
        .invalidArgument,
        "the settings familyLimit, groupQueueLimit, groupQueueByteLimit and blockingThreads must "
          + "be at least 1")
    }
    try capacityFloor.validate()
    guard Self.healthIntervals.contains(healthInterval) else {
      throw SpindleError(
        .invalidArgument, "the setting healthInterval is \(healthInterval); expected 1 ms to 1 h")
    }
    if let walSyncInterval, !Self.walSyncIntervals.contains(walSyncInterval) {
      throw SpindleError(
        .invalidArgument,
        "the setting walSyncInterval is \(walSyncInterval); expected 1 ms to 60 s, or none")
    }
  }

  /// With longer ones a full disk would not be seen before it fails a write.
  static let healthIntervals: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3_600)

  /// Shorter ones would keep the disk busy with syncs, longer ones bound nothing: the system writes
  /// out what is 30 s old by itself.
  package static let walSyncIntervals: ClosedRange<Duration> =
    Duration.milliseconds(1)...Duration.seconds(60)
}
