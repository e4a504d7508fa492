internal import SpindleIO
internal import Synchronization

/// What a ``SpoolEntryChannel`` shares with the walking thread.
final class SpoolEntryQueue: Sendable {
  private struct State {
    /// What was taken is nil until it is removed, so that no payload outlives its taking.
    var buffer: [SpoolEntry?] = []
    var head = 0
    /// Bytes of the payloads in the buffer.
    var bytes = 0
    var waiting: [CheckedContinuation<SpoolEntry?, Never>] = []
    var readers = 0
    var isFinished = false
    var isAbandoned = false
    var walkerWaits = false

    mutating func take() -> SpoolEntry? {
      guard head < buffer.count, let entry = buffer[head] else { return nil }
      buffer[head] = nil
      head += 1
      bytes -= SpoolEntryQueue.bytes(of: entry)
      if head == buffer.count {
        buffer.removeAll(keepingCapacity: true)
        head = 0
      } else if head >= 256, head * 2 >= buffer.count {
        buffer.removeFirst(head)
        head = 0
      }
      return entry
    }
  }

  let capacity: Int
  let byteLimit: Int
  private let state = Mutex(State())
  private let room = ThreadSemaphore()

  init(capacity: Int, byteLimit: Int) {
    self.capacity = max(capacity, 1)
    self.byteLimit = max(byteLimit, 0)
  }

  // MARK: The walking thread

  /// What became of an entry.
  enum SendResult {
    case sent
    /// The reader is gone or the walk must stop.
    case refused
    /// There was no room for longer than the walk wants to wait as it is.
    case stalled
  }

  /// Hands an entry over, waiting for room on the calling thread.
  ///
  /// - Parameters:
  ///   - isStopped: Asked about every 100 ms while there is no room, so that a reader that takes
  ///     nothing cannot keep the store from closing.
  ///   - isStalled: Asked as often; true gives the wait up, and the entry may be sent again.
  func offer(
    _ entry: SpoolEntry, isStopped: () -> Bool, isStalled: () -> Bool
  ) -> SendResult {
    enum Outcome {
      case sent, refused, full
      case handed(CheckedContinuation<SpoolEntry?, Never>)
    }
    let bytes = Self.bytes(of: entry)
    while true {
      let outcome = state.withLock { state -> Outcome in
        if state.isAbandoned || state.isFinished { return .refused }
        if !state.waiting.isEmpty { return .handed(state.waiting.removeFirst()) }
        let count = state.buffer.count - state.head
        if count >= capacity || count > 0 && bytes > byteLimit - state.bytes {
          state.walkerWaits = true
          return .full
        }
        state.buffer.append(entry)
        state.bytes += bytes
        return .sent
      }
      switch outcome {
      case .sent: return .sent
      case .refused: return .refused
      case .full:
        if room.wait(milliseconds: 100) { continue }
        if isStopped() { return .refused }
        if isStalled() { return .stalled }
      case .handed(let reader):
        reader.resume(returning: entry)
        return .sent
      }
    }
  }

  /// The same, waiting as long as it takes.
  ///
  /// - Returns: false when the reader is gone or the walk must stop.
  func send(_ entry: SpoolEntry, isStopped: () -> Bool) -> Bool {
    offer(entry, isStopped: isStopped, isStalled: { false }) == .sent
  }

  private static func bytes(of entry: SpoolEntry) -> Int {
    switch entry {
    case .item(_, let data): data.count
    case .corrupt(_, let error): error.utf8.count
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
      state.bytes = 0
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
          if let entry = state.take() {
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
