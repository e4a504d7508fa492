internal import SpindleCore
internal import SpindleIO

/// Opening a store whose write-ahead log is damaged, at an operator's word.
public enum StoreRecovery {
  /// What is kept of a damaged log.
  public enum Mode: String, Sendable, CaseIterable {
    /// Everything before the first damage, nothing behind it: no batch is half there.
    case prefix
    /// Every record that can be read. Records are missing in between, and a batch whose record is
    /// lost may be there in the families that had been flushed and not in the others.
    case skip
  }

  /// What became of one log.
  public struct LogReport: Sendable, Equatable {
    public enum Action: String, Sendable {
      case unchanged
      /// Shortened to ``keptByteCount``.
      case cut
      case removed
      /// Written anew with its readable records.
      case rewritten
    }

    /// Seen from the store's directory: `rocks/000004.log`.
    public var path: String
    public var byteCount: UInt64
    public var keptByteCount: UInt64
    public var action: Action
    public var keptRecordCount: Int
    /// Intact records that were given up. Damaged ones cannot be counted.
    public var droppedRecordCount: Int
  }

  /// Writes that are gone, by sequence number. A batch takes one number for each of its changes.
  public struct LostRange: Sendable, Equatable, CustomStringConvertible {
    /// The log they stood in, or the one whose beginning shows that they are missing.
    public var log: String
    public var firstSequence: UInt64
    /// Nil where nothing tells how many there were.
    public var lastSequence: UInt64?
    /// Column families whose tables hold their part of these writes.
    public var heldBy: [String]
    /// Column families whose part is lost.
    public var lostBy: [String]
    /// Whether batches may be there in part.
    public var isTorn: Bool { !heldBy.isEmpty && !lostBy.isEmpty }

    /// The loss as one sentence.
    public var description: String {
      let end = lastSequence.map { "to \($0)" } ?? "on, how many is unknown,"
      var text = "\(log): the writes from sequence \(firstSequence) \(end) are lost"
      if isTorn {
        text +=
          " in \(lostBy.joined(separator: ", ")), and kept in "
          + heldBy.joined(separator: ", ")
      }
      return text + "."
    }
  }

  /// What a recovery found and did.
  public struct Report: Sendable, Equatable {
    public var mode: Mode
    /// False when the store opens as it is; nothing was changed then.
    public var wasNeeded = false
    /// What was wrong, one sentence each, with file and offset.
    public var findings: [String] = []
    public var logs: [LogReport] = []
    /// The newest sequence number that the store holds now.
    public var lastKeptSequence: UInt64 = 0
    public var lost: [LostRange] = []
    /// Where the logs lie as they were before; nil when nothing was changed.
    public var quarantine: String?
    /// Further sentences, from those who know what the lost records meant.
    public var notes: [String] = []

    public var keptRecordCount: Int { logs.reduce(0) { $0 + $1.keptRecordCount } }
    public var droppedRecordCount: Int { logs.reduce(0) { $0 + $1.droppedRecordCount } }

    /// Mode, findings, losses and notes, one sentence a line.
    public var text: String {
      var lines = ["Recovery mode: \(mode.rawValue)."] + findings
      lines += lost.map(\.description)
      return (lines + notes).joined(separator: "\n") + "\n"
    }
  }
}

extension Store {
  /// Recovers a store that ``open(at:settings:access:clock:)`` refuses because its write-ahead log
  /// is damaged. The store must be shut.
  ///
  /// First every log is copied into `quarantine/`; nothing is deleted that is not there. A store
  /// that opens as it is stays as it is. A recovery that was interrupted, at whatever point, is
  /// repeated by calling this again.
  ///
  /// - Throws: ``SpindleError``: `unavailable` while another process owns the store; `corruption`
  ///   where the mode cannot help: for ``StoreRecovery/Mode/prefix`` when tables hold more than the
  ///   log before its damage (the message names the families, and only
  ///   ``StoreRecovery/Mode/skip`` remains), and for both when the manifest cannot be read; `io`
  ///   when the disk refuses, such as for want of room for the copies; `notFound` for no store.
  /// - Complexity: O(bytes of the logs); they are read up to four times and copied once.
  public static func recover(
    at path: String, mode: StoreRecovery.Mode, settings: StoreSettings = StoreSettings()
  ) async throws -> StoreRecovery.Report {
    try await recover(at: path, mode: mode, settings: settings, hooks: RecoveryHooks())
  }

  package static func recover(
    at path: String, mode: StoreRecovery.Mode, settings: StoreSettings = StoreSettings(),
    hooks: RecoveryHooks
  ) async throws -> StoreRecovery.Report {
    try settings.validate()
    return try await withCheckedThrowingContinuation { continuation in
      // One thread for one long call; it ends with it.
      do throws(IOFailure) {
        _ = try NamedThread(name: "spindle-recover") {
          continuation.resume(
            with: Result {
              try RecoveryRun(StoreDirectory(path), mode: mode, settings: settings, hooks: hooks)
                .run()
            })
        }
      } catch {
        continuation.resume(throwing: error.spindleError)
      }
    }
  }
}

/// What tests inject into a recovery.
package struct RecoveryHooks: Sendable {
  /// Called with the name of each step before it; throwing stops there, as a killed process does.
  package var beforeStep: @Sendable (String) throws -> Void = { _ in }
  package init() {}
}
