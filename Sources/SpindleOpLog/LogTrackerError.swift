public import SpindleCore
internal import SpindleStore

/// What goes wrong in the op-log itself. The public calls throw its ``spindleError``.
public enum LogTrackerError: Error, Sendable, Equatable {
  /// The op offered for this index cannot be written; nothing was added to the batch.
  case unwritableOp(peer: PeerID, index: UInt64, CodecError)
  /// The stored row is sound, but its op cannot be rebuilt.
  case unreadableOp(peer: PeerID, index: UInt64, CodecError)
  /// The stored bytes are no row.
  case corruptRow(peer: PeerID, index: UInt64, DecodingFailure)
  /// A key among the entries has the wrong form.
  case corruptKey(prefix: String, byteCount: Int)
  /// Index 2^64 - 1 has no next index, so a cursor could not be told.
  case indexOverflow(peer: PeerID)
  /// A reader asked for a prefix that nobody made.
  case missingPrefix(String)
  /// The prefix was written by a newer version.
  case formatTooNew(prefix: String, format: UInt64)
  /// The prefix's own keys are damaged.
  case damagedMeta(prefix: String, String)
  /// The prefix is half of an import that was interrupted.
  case unfinishedImport(String)
  /// The state is half of one that is being made anew.
  case unfinishedRebuild(String)
  /// The entries asked for were trimmed away; `oldest` is the first that is there.
  case compacted(peer: PeerID, oldest: UInt64)
  /// The index is below the peer's floor: it was taken, and its row was trimmed away.
  case takenBelowFloor(peer: PeerID, index: UInt64, floor: UInt64)
  /// An index or timestamp does not fit a signed integer, which the log was asked to refuse.
  case integerOutOfRange(peer: PeerID, value: UInt64)
  /// The query needs an index that the prefix does not keep.
  case missingIndex(prefix: String, OpLogIndexes)
  /// There is no entry at this index.
  case missingEntry(peer: PeerID, index: UInt64)
  /// The index was taken, and its row is gone without having been trimmed away.
  case lostEntry(peer: PeerID, index: UInt64)

  /// The error of the public API.
  public var spindleError: SpindleError {
    switch self {
    case .unwritableOp(let peer, let index, let failure):
      SpindleError(
        .invalidArgument,
        "the op for index \(index) of peer \(peer) cannot be recorded: \(failure)",
        reason: failure == .reservedTag ? "reserved_tag" : "codec")
    case .unreadableOp(let peer, let index, let failure):
      SpindleError(
        failure.isUnknownFormat ? .unsupportedFormat : .corruption,
        "the op at index \(index) of peer \(peer) cannot be rebuilt: \(failure)", reason: "codec")
    case .corruptRow(let peer, let index, let failure):
      SpindleError(
        .corruption, "the row at index \(index) of peer \(peer) is damaged: \(failure)",
        reason: "corrupt_row")
    case .corruptKey(let prefix, let count):
      SpindleError(
        .corruption,
        "the op-log \(printable(prefix)) has a key of \(count) bytes among its entries; expected "
          + "\(OpLogKeys.entryByteCount)", reason: "corrupt_key")
    case .indexOverflow(let peer):
      SpindleError(
        .invalidArgument,
        "index \(UInt64.max) of peer \(peer) cannot be used: no index follows it",
        reason: "index_overflow")
    case .missingPrefix(let prefix):
      SpindleError(.notFound, "the store has no op-log with the prefix \(printable(prefix))")
    case .formatTooNew(let prefix, let format):
      SpindleError(
        .unsupportedFormat,
        "the op-log \(printable(prefix)) was written in format \(format) by a newer version of "
          + "Spindle; this one reads up to format \(OpLogSpace.formatVersion)")
    case .damagedMeta(let prefix, let what):
      SpindleError(
        .corruption, "the op-log \(printable(prefix)) is damaged: \(what)", reason: "corrupt_meta")
    case .unfinishedImport(let prefix):
      SpindleError(
        .unavailable,
        "an import into the op-log \(printable(prefix)) was interrupted; import the same file "
          + "again",
        reason: "import_unfinished")
    case .unfinishedRebuild(let prefix):
      SpindleError(
        .unavailable,
        "the state of the op-log \(printable(prefix)) is being made anew and is not whole; opening "
          + "the log with the program that writes it completes that",
        reason: "rebuild_unfinished")
    case .compacted(let peer, let oldest):
      SpindleError(
        .notFound,
        "the entries of peer \(peer) below index \(oldest) were trimmed away", reason: "compacted")
    case .takenBelowFloor(let peer, let index, let floor):
      SpindleError(
        .uniqueViolation,
        "index \(index) of peer \(peer) is taken: the log was trimmed up to \(floor)",
        reason: "oplog")
    case .integerOutOfRange(let peer, let value):
      SpindleError(
        .invalidArgument,
        "\(value) for peer \(peer) is above \(Int64.max), the greatest integer of SQL databases",
        reason: "integer_out_of_range")
    case .missingIndex(let prefix, let indexes):
      SpindleError(
        .invalidArgument,
        "the op-log \(printable(prefix)) keeps no index by \(indexes); open it with that index",
        reason: "missing_index")
    case .missingEntry(let peer, let index):
      SpindleError(.notFound, "the log of peer \(peer) has no entry at index \(index)")
    case .lostEntry(let peer, let index):
      SpindleError(
        .corruption,
        "the log of peer \(peer) has lost the entry at index \(index) and cannot take it again; "
          + "restore it from a backup or an export", reason: "lost_entry")
    }
  }
}

/// Runs a step of the op-log and turns its failure into an error of the public API.
func withSpindleErrors<Result>(
  _ body: () throws(LogTrackerError) -> Result
) throws(SpindleError) -> Result {
  do throws(LogTrackerError) { return try body() } catch { throw error.spindleError }
}
