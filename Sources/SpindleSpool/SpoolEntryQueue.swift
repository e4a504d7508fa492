internal import SpindleIO
internal import Synchronization

/// What a ``SpoolEntryChannel`` shares with the walking thread.
final class SpoolEntryQueue: Sendable {
  /// A reader to resume, outside the lock.
  private struct Wake {
    let reader: CheckedContinuation<SpoolEntry?, Never>
    let entry: SpoolEntry
    func resume() { reader.resume(returning: entry) }
  }

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

    var count: Int { buffer.count - head }

    func hasRoom(for bytes: Int, capacity: Int, byteLimit: Int) -> Bool {
      count < capacity && (count == 0 || bytes <= byteLimit - self.bytes)
    }

    /// The reader that waits longest, and an entry for it.
    mutating func takeForReader() -> Wake? {
      guard !waiting.isEmpty, let entry = take() else { return nil }
      return Wake(reader: waiting.removeFirst(), entry: entry)
    }

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

  /// A reader that waits is woken for so many entries, or for so many bytes, and not for each
  /// single one: waking costs more than reading a small message. The end of the walk wakes it too.
  private static let wakeCount = 64
  private static let wakeBytes = 256 << 10

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
    enum Outcome { case sent, refused, full }
    let bytes = Self.bytes(of: entry)
    while true {
      let (outcome, wake) = state.withLock { state -> (Outcome, Wake?) in
        if state.isAbandoned || state.isFinished { return (.refused, nil) }
        if !state.hasRoom(for: bytes, capacity: capacity, byteLimit: byteLimit) {
          state.walkerWaits = state.waiting.isEmpty
          return (.full, state.takeForReader())
        }
        state.buffer.append(entry)
        state.bytes += bytes
        let isWorthWaking =
          state.count >= min(Self.wakeCount, capacity)
          || state.bytes >= min(Self.wakeBytes, byteLimit)
        return (.sent, isWorthWaking ? state.takeForReader() : nil)
      }
      wake?.resume()
      switch outcome {
      case .sent: return .sent
      case .refused: return .refused
      case .full:
        if wake != nil || room.wait(milliseconds: 100) { continue }
        if isStopped() { return .refused }
        if isStalled() { return .stalled }
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
    while let wake = state.withLock({ state in
      state.isFinished = true
      return state.takeForReader()
    }) {
      wake.resume()
    }
    let waiting = state.withLock { state in
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

  private enum Taken {
    case value(SpoolEntry?, wakes: Bool)
    case wait
  }

  /// Takes an entry, or leaves the reader's continuation where there is none.
  private func take(_ continuation: CheckedContinuation<SpoolEntry?, Never>?) -> Taken {
    state.withLock { state in
      if let entry = state.take() {
        // The walk goes on when half of the room is free, and not for each single place.
        let wakes =
          state.walkerWaits
          && (state.count == 0 || state.count <= capacity / 2 && state.bytes <= byteLimit / 2)
        if wakes { state.walkerWaits = false }
        return .value(entry, wakes: wakes)
      }
      if state.isFinished || state.isAbandoned { return .value(nil, wakes: false) }
      if let continuation { state.waiting.append(continuation) }
      return .wait
    }
  }

  func next() async -> SpoolEntry? {
    if Task.isCancelled {
      cancel()
      return nil
    }
    // Most entries are there already: no suspension for them.
    if case .value(let entry, let wakes) = take(nil) {
      if wakes { room.signal() }
      return entry
    }
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        if case .value(let entry, let wakes) = take(continuation) {
          if wakes { room.signal() }
          continuation.resume(returning: entry)
        }
      }
    } onCancel: {
      cancel()
    }
  }
}
