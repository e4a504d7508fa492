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
  /// RocksDB reported an error of a flush or compaction.
  case backgroundError(String)
  /// A read of one part found damage.
  case damageFound(family: String, detail: String)
  /// A message could not be applied and was moved out of the way, unchanged.
  case quarantined(spool: String, id: String, reason: String)
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

  func subscribe() -> AsyncStream<StoreEvent> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: StoreEvent.self, bufferingPolicy: .bufferingNewest(Self.bufferLimit))
    let (id, backlog) = state.withLock { state -> (Int?, [StoreEvent]) in
      let backlog = state.backlog ?? []
      state.backlog = nil
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

  func send(_ event: StoreEvent) {
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
