internal import SpindleIO
internal import Synchronization

/// What a ``SpoolEntryChannel`` shares with the walking thread.
final class SpoolEntryQueue: Sendable {
  private struct State {
    var buffer: [SpoolEntry] = []
    var head = 0
    var waiting: [CheckedContinuation<SpoolEntry?, Never>] = []
    var readers = 0
    var isFinished = false
    var isAbandoned = false
    var walkerWaits = false
  }

  let capacity: Int
  private let state = Mutex(State())
  private let room = ThreadSemaphore()

  init(capacity: Int) { self.capacity = max(capacity, 1) }

  // MARK: The walking thread

  /// Hands an entry over, waiting for room on the calling thread.
  ///
  /// - Parameter isStopped: Asked about every 100 ms while there is no room, so that a reader that
  ///   takes nothing cannot keep the store from closing.
  /// - Returns: false when the reader is gone or the walk must stop.
  func send(_ entry: SpoolEntry, isStopped: () -> Bool) -> Bool {
    enum Outcome {
      case sent, refused, full
      case handed(CheckedContinuation<SpoolEntry?, Never>)
    }
    while true {
      let outcome = state.withLock { state -> Outcome in
        if state.isAbandoned || state.isFinished { return .refused }
        if !state.waiting.isEmpty { return .handed(state.waiting.removeFirst()) }
        if state.buffer.count - state.head >= capacity {
          state.walkerWaits = true
          return .full
        }
        state.buffer.append(entry)
        return .sent
      }
      switch outcome {
      case .sent: return true
      case .refused: return false
      case .full: if !room.wait(milliseconds: 100), isStopped() { return false }
      case .handed(let reader):
        reader.resume(returning: entry)
        return true
      }
    }
  }

  /// Ends the sequence after what is buffered.
  func finish() {
    let waiting = state.withLock { state in
      state.isFinished = true
      defer { state.waiting = [] }
      return state.waiting
    }
    for reader in waiting { reader.resume(returning: nil) }
  }

  // MARK: Readers

  func readerCame() { state.withLock { $0.readers += 1 } }

  /// The last reader's end is the end of reading.
  func readerLeft() {
    let isLast = state.withLock { state in
      state.readers -= 1
      return state.readers == 0
    }
    if isLast { cancel() }
  }

  /// Nobody can begin to read any more.
  func channelIsGone() {
    if state.withLock({ $0.readers == 0 }) { cancel() }
  }

  func cancel() {
    let (wakes, waiting) = state.withLock { state in
      state.isAbandoned = true
      state.buffer = []
      state.head = 0
      defer {
        state.walkerWaits = false
        state.waiting = []
      }
      return (state.walkerWaits, state.waiting)
    }
    for reader in waiting { reader.resume(returning: nil) }
    if wakes { room.signal() }
  }

  func next() async -> SpoolEntry? {
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        enum Outcome {
          case value(SpoolEntry?, wakes: Bool)
          case wait
        }
        let outcome = state.withLock { state -> Outcome in
          if state.head < state.buffer.count {
            let entry = state.buffer[state.head]
            state.head += 1
            if state.head == state.buffer.count {
              state.buffer.removeAll(keepingCapacity: true)
              state.head = 0
            }
            defer { state.walkerWaits = false }
            return .value(entry, wakes: state.walkerWaits)
          }
          if state.isFinished || state.isAbandoned { return .value(nil, wakes: false) }
          state.waiting.append(continuation)
          return .wait
        }
        if case .value(let entry, let wakes) = outcome {
          if wakes { room.signal() }
          continuation.resume(returning: entry)
        }
      }
    } onCancel: {
      cancel()
    }
  }
}
