public import SpindleCore
internal import SpindleIO
public import SpindleStore

/// What a repair of a spool found, and did or would do.
public struct SpoolRepair: Sendable, Equatable {
  /// A table file that cannot be read as a whole.
  public struct Table: Sendable, Equatable {
    public var number: UInt64
    /// The column family it is part of: the spool's, or that of its quarantine.
    public var family: String
    /// Bytes it should have.
    public var bytes: UInt64
    /// Messages it held, removed ones among them; nil where the file does not say it.
    public var messages: UInt64?
    public var damage: String
    /// Whether the file is there at all.
    public var isMissing: Bool
  }

  /// Whether the store was changed: false for a dry run, and where nothing was damaged.
  public var isApplied = false
  public var tables: [Table] = []
  /// Stretches of keys that no read reaches because of ``tables``; at most 1,000 of each family.
  public var lostRanges: [SpoolLostRange] = []
  /// Messages of the damaged tables that could be read and are kept.
  public var rescued: UInt64 = 0
  /// The most messages that can be lost: what the damaged tables held and could not be read. nil
  /// where a table does not say any more how many it held.
  public var lost: UInt64? = 0
  /// Messages in ``lostRanges`` that intact tables hold, which are kept. What the lost blocks said
  /// of them is not known: one that was removed is back then, one that was replaced is its elder.
  public var uncertain: UInt64 = 0
  /// The ids of those, at most ``idLimit``.
  public var uncertainIDs: [SpoolID] = []
  /// Records that fail their own checks: they go to the spool's quarantine as they are.
  public var damaged: UInt64 = 0
  /// The ids of those, at most ``idLimit``.
  public var damagedIDs: [SpoolID] = []
  /// Messages that the spool holds afterwards, all of them whole.
  public var intact: UInt64 = 0
  /// Where the damaged tables lie as they were; nil where nothing was changed or none was there.
  public var quarantine: String?

  /// The most ids kept of one kind; more are only counted.
  public static let idLimit = 1_000

  /// Whether there is anything to repair.
  public var isNeeded: Bool { !tables.isEmpty || damaged > 0 }

  public init() {}

  /// What the quarantine's REPORT says: one sentence a line.
  var text: String {
    var lines = tables.map { table in
      "The table \(table.number) of \(table.family) is damaged: \(table.damage)"
    }
    lines += lostRanges.map { range in
      let end = range.to.map { hexString($0) } ?? "the end"
      let start = range.from.isEmpty ? "the beginning" : hexString(range.from)
      return "The keys from \(start) to \(end) could not be read."
    }
    lines.append(
      "Kept from damaged tables: \(rescued) messages. Lost: "
        + (lost.map { "at most \($0)" } ?? "an unknown number of") + " messages.")
    lines += uncertainIDs.map { "In a lost stretch, kept as intact tables have it: \($0)" }
    lines += damagedIDs.map { "Damaged, set aside in the spool's quarantine: \($0)" }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension RocksSpool {
  /// Heals a spool whose table files are damaged or missing, for good. The store must be shut.
  ///
  /// What can be read is kept, also from damaged tables; those are put into the store's
  /// `quarantine/` with a report; records that fail their own checks go to the spool's quarantine.
  /// Afterwards ``verify()`` finds nothing and the spool takes messages. Families of other parts
  /// stay as they are, and so does a damaged one of those.
  ///
  /// The work is done on a second database of hard links to the same files, which takes the place
  /// of the first in one step when it has been read through; so a dry run does the same but for
  /// that step, and its report is exact. A repair that was interrupted, at whatever point, is
  /// repeated by calling this again.
  ///
  /// - Parameters:
  ///   - path: The store's directory.
  ///   - name: Of the spool.
  ///   - applies: False: a dry run, which leaves the database as it is.
  /// - Throws: ``SpindleError``: `unavailable` while another process has the store; `notFound` for
  ///   no store or no such spool; `corruption` for damage that is in no table of the spool, such as
  ///   in the log (``Store/recover(at:mode:settings:)`` comes first then), in the manifest or in a
  ///   blob file; `io` when the disk refuses, or where the file system cannot exchange two
  ///   directories in one step. Nothing was changed then.
  /// - Complexity: reads the spool up to seven times, whatever the number of damaged tables, and
  ///   writes what those held. At each stretch that cannot be read, the store's log is read up to
  ///   four times more, and of each other table the index; there are at most 1,000 such stretches
  ///   of a family.
  public static func repair(
    storeAt path: String, name: String, applies: Bool,
    settings: StoreSettings = StoreSettings()
  ) async throws -> SpoolRepair {
    try await repair(
      storeAt: path, name: name, applies: applies, settings: settings, hooks: RecoveryHooks())
  }

  package static func repair(
    storeAt path: String, name: String, applies: Bool,
    settings: StoreSettings = StoreSettings(), hooks: RecoveryHooks
  ) async throws -> SpoolRepair {
    try checkName(name)
    return try await withCheckedThrowingContinuation { continuation in
      // One thread for one long call; it ends with it.
      do throws(IOFailure) {
        _ = try NamedThread(name: "spindle-repair") {
          continuation.resume(
            with: Result {
              var run = SpoolRepairRun(
                StoreDirectory(path), name: name, settings: settings, hooks: hooks)
              return try run.run(applies: applies)
            })
        }
      } catch {
        continuation.resume(throwing: error.spindleError)
      }
    }
  }
}
