import SpindleCore
import SpindleOpLog
import SpindleStore

/// The reducers that the command line can run over a log.
enum OpLogReducer: String, CaseIterable {
  case maxRegister = "max-register"
  case lastWriterWinsTable = "last-writer-wins-table"

  static let list = allCases.map(\.rawValue).joined(separator: " or ")

  /// The reducer of a log.
  ///
  /// - Parameter told: What the caller says, for a log that does not say it.
  /// - Throws: ``SpindleError`` with `invalidArgument` where nobody says it, or where it is another
  ///   program's.
  static func of(
    _ prefix: String, in store: Store, unlessTold told: OpLogReducer?
  ) async throws -> OpLogReducer {
    guard let name = try await StateRecord.name(of: prefix, in: store) else {
      if let told { return told }
      throw SpindleError(
        .invalidArgument,
        "the op-log \(prefix) does not say which reducer makes its state; name it with --reducer "
          + "(\(list)), or add the file with the program that writes the log")
    }
    guard let reducer = OpLogReducer(rawValue: name) else {
      throw SpindleError(
        .invalidArgument,
        "the state of the op-log \(prefix) is made by the reducer \(Output.plain(name)), which "
          + "this program does not have; add the file with the program that writes the log")
    }
    guard told == nil || told == reducer else {
      throw SpindleError(
        .invalidArgument, "the state of the op-log \(prefix) is made by the reducer \(name)")
    }
    return reducer
  }

  /// Adds the rows of an archive.
  ///
  /// - Returns: How many were new.
  func add(
    _ archive: OpLogArchive, to prefix: String, in store: Store,
    progress: @escaping @Sendable (OpLogArchive.Progress) -> Void
  ) async throws -> UInt64 {
    switch self {
    case .maxRegister: try await add(archive, MaxRegister(), prefix, store, progress)
    case .lastWriterWinsTable:
      try await add(archive, LastWriterWinsTable(), prefix, store, progress)
    }
  }

  private func add<R: IdempotentReducer>(
    _ archive: OpLogArchive, _ reducer: R, _ prefix: String, _ store: Store,
    _ progress: @escaping @Sendable (OpLogArchive.Progress) -> Void
  ) async throws -> UInt64 where R.Op: IndexableOp {
    // Before the log learns which reducer it has: ops that it cannot read are of another one.
    let tracker = try await LogIndexTracker<R.Op>(store: store, prefix: prefix)
    for (peer, _) in try await tracker.allCursors().sorted {
      let floor = try await tracker.floor(of: peer)
      _ = try await tracker.readEntries(peer: peer, from: floor, limit: LogPage.entryLimit)
    }
    try await archive.rehearse(on: tracker)
    // It writes no log of its own.
    let nobody = PeerID(UUIDValue(high: 0, low: 0))
    let log = try await Processor<R, LogIndexTracker<R.Op>>(
      reducer: reducer, store: store, prefix: prefix, selfID: nobody)
    do {
      let count = try await archive.apply(to: log, progress: progress)
      await log.close()
      return count
    } catch {
      await log.close()
      throw error
    }
  }
}
