internal import Synchronization

/// Something that happened to the store, for logs, metrics and tests alike.
public enum StoreEvent: Sendable, Equatable {
  /// The store is open. `droppedTailBytes` counts the bytes of a torn last record, which was never
  /// acknowledged as synced.
  case opened(path: String, wasClean: Bool, droppedTailBytes: UInt64)
  /// The store's directory can be used, and something about it should be known.
  case directoryWarning(path: String, warning: String)
  /// Writes are refused from now on.
  case gateShut(reason: String, detail: String)
  /// Writes are accepted again.
  case gateOpened(reason: String)
  /// A failed write-ahead log was replaced by a new one.
  case logRotated(from: UInt64, to: UInt64)
  /// An attempt to replace the failed log did not succeed; it is tried again.
  case cureFailed(step: String, detail: String)
  /// RocksDB reported an error of a flush or compaction. One that comes again and again is told
  /// once a minute.
  case backgroundError(String)
  /// One part refuses writes from now on, for a cause that is new; its reads go on.
  case partShut(family: String, reason: String, detail: String)
  /// One cause is gone for which a part refused writes; others may stand.
  case partOpened(family: String, reason: String)
  /// A message could not be applied and was moved out of the way, unchanged.
  case quarantined(spool: String, id: String, reason: String)
  /// The quarantine of a spool has no room for a message, which stays in the spool. Told once until
  /// something is taken out.
  case quarantineFull(spool: String, detail: String)
  /// Damage hides a part of a spool's quarantine, which is missing in its count.
  case quarantineCountPartial(spool: String, detail: String)
  /// A message could not be set aside for another reason than a full quarantine, such as damage in
  /// there, and stays in the spool.
  case notQuarantined(spool: String, id: String, detail: String)
  /// A walk over a spool ended. `skipped` counts messages left out for their time and stray keys;
  /// of those, `ahead` were made more than a minute after the wall clock's time.
  case enumerated(
    spool: String, count: Int, skipped: Int, ahead: Int, corrupt: Int, lostRanges: Int,
    error: String?)
  /// A walk met keys that are no spool id. Some are told, as hexadecimal digits.
  case strayKeys(spool: String, count: Int, examples: [String])
  /// A spool was compacted. Bytes are those of its tables.
  case compacted(spool: String, bytesBefore: UInt64, bytesAfter: UInt64)
  case closed(clean: Bool)
}

/// Hands events to any number of listeners. Each has a bounded buffer that drops its oldest.
final class EventBroadcaster: Sendable {
  /// Events that a slow listener may fall behind; chosen to cover a burst of state changes.
  static let bufferLimit = 256

  private struct State {
    var listeners: [Int: AsyncStream<StoreEvent>.Continuation] = [:]
    var nextID = 0
    /// What happened before anybody could listen, such as the opening itself; nil once told.
    var backlog: [StoreEvent]? = []
    var isFinished = false
  }

  private let state = Mutex(State())
  private let log: StoreLog

  init(log: StoreLog) { self.log = log }

  /// - Parameter takesBacklog: Whether what happened before the first listener is told to this one.
  func subscribe(takesBacklog: Bool = true) -> AsyncStream<StoreEvent> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: StoreEvent.self, bufferingPolicy: .bufferingNewest(Self.bufferLimit))
    let (id, backlog) = state.withLock { state -> (Int?, [StoreEvent]) in
      let backlog = takesBacklog ? state.backlog ?? [] : []
      if takesBacklog { state.backlog = nil }
      if state.isFinished { return (nil, backlog) }
      state.nextID += 1
      state.listeners[state.nextID] = continuation
      // Told under the lock, so that no later event overtakes them.
      for event in backlog { continuation.yield(event) }
      return (state.nextID, [])
    }
    guard let id else {
      for event in backlog { continuation.yield(event) }
      continuation.finish()
      return stream
    }
    continuation.onTermination = { [self] _ in
      _ = state.withLock { $0.listeners.removeValue(forKey: id) }
    }
    return stream
  }

  /// Tells everyone, the log included. Call it without a lock held: what logs is the user's code.
  func send(_ event: StoreEvent) {
    log.write(event)
    let current = state.withLock { state in
      if state.backlog != nil {
        if state.backlog?.count == Self.bufferLimit { state.backlog?.removeFirst() }
        state.backlog?.append(event)
      }
      return Array(state.listeners.values)
    }
    for continuation in current { continuation.yield(event) }
  }

  func finish() {
    let current = state.withLock { state in
      state.isFinished = true
      return Array(state.listeners.values)
    }
    for continuation in current { continuation.finish() }
  }
}
