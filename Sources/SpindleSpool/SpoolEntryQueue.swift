internal import SpindleIO
internal import Synchronization

/// What a ``SpoolEntryChannel`` shares with the walking thread.
///
/// Entries travel in batches in both directions, because a lock and a wake-up for each small
/// message would cost more than reading it. A batch is at most an eighth of the channel, so a
/// channel for a few messages still passes them one at a time.
final class SpoolEntryQueue: Sendable {
  typealias Batch = SpoolEntryBatch
  /// Gets whether readers were given everything.
  typealias Ended = @Sendable (Bool) -> Void

  /// A reader that waits; the ticket finds it again when it is cancelled.
  private struct Waiter {
    let ticket: UInt64
    let continuation: CheckedContinuation<Batch?, Never>
    func resume(returning entries: Batch?) { continuation.resume(returning: entries) }
  }

  /// A reader to resume, outside the lock.
  private struct Wake {
    let reader: Waiter
    let entries: Batch
    func resume() { reader.resume(returning: entries) }
  }

  private struct State {
    /// What was taken is nil until it is removed.
    var batches: [Batch?] = []
    var head = 0
    /// Entries in the batches, and bytes of their payloads.
    var count = 0
    var bytes = 0
    var waiting: [Waiter] = []
    var readers = 0
    var isFinished = false
    var isAbandoned = false
    /// Whether a reader has met the end behind the last entry.
    var hasMetEnd = false
    var walkerWaits = false
    /// Empty batches with room, for the walk to fill again.
    var spares: [Batch] = []
    /// See ``whenEnded(_:)``.
    var ended: Ended?

    /// Adds a batch; single entries, as a walk over files sends them, travel on together.
    mutating func add(_ batch: Batch, joiningUpTo countLimit: Int, _ byteLimit: Int) {
      if batch.isEmpty { return }
      count += batch.count
      bytes += batch.byteCount
      let last = batches.count - 1
      if batch.count == 1, head <= last, let other = batches[last], other.count < countLimit,
        other.byteCount + batch.byteCount <= byteLimit
      {
        batches[last]?.append(contentsOf: batch)
      } else {
        batches.append(batch)
      }
    }

    /// The reader that waits longest, and entries for it.
    mutating func takeForReader() -> Wake? {
      guard !waiting.isEmpty, let entries = take() else { return nil }
      return Wake(reader: waiting.removeFirst(), entries: entries)
    }

    /// Takes a batch; where several read a part of one, so that as few as possible have what
    /// another could work on: half of an even share of what is there, and at most
    /// ``sharedLimit`` entries.
    mutating func take() -> Batch? {
      guard head < batches.count, let size = batches[head]?.count else { return nil }
      let taken: Batch?
      let share =
        readers > 1 ? max(1, min(count / (2 * readers), SpoolEntryQueue.sharedLimit)) : size
      if share < size {
        taken = batches[head]?.split(share)
      } else {
        taken = batches[head].take()
        head += 1
      }
      count -= taken?.count ?? 0
      bytes -= taken?.byteCount ?? 0
      if head == batches.count {
        batches.removeAll(keepingCapacity: true)
        head = 0
      } else if head >= 256, head * 2 >= batches.count {
        batches.removeFirst(head)
        head = 0
      }
      return taken
    }
  }

  /// The most entries that one of several readers takes at once. A lock for each of them would cost
  /// more than reading a small message; what a slow reader keeps from the others stays little.
  private static let sharedLimit = 16
  /// Batches that are kept to be filled again, of some 128 KiB: what is sent between two wake-ups
  /// of a reader.
  private static let spareLimit = 8
  /// A reader that waits is woken for this many bytes.
  private static let wakeBytes = 1 << 20

  let capacity: Int
  let byteLimit: Int
  /// The most entries that travel at once, and the most bytes before a batch is sent.
  let batchCount: Int
  let batchBytes: Int
  /// A reader that waits is woken for this many entries. To wake a thread on an idle processor may
  /// take as long as reading a hundred small messages.
  private let wakeCount: Int
  private let state = Mutex(State())
  private let room = ThreadSemaphore()
  private let nextTicket = Atomic<UInt64>(0)

  init(capacity: Int, byteLimit: Int) {
    self.capacity = max(capacity, 1)
    self.byteLimit = max(byteLimit, 0)
    batchCount = max(min(256, self.capacity / 8), 1)
    batchBytes = min(128 << 10, self.byteLimit / 8)
    wakeCount = self.capacity < 1_024 ? 1 : self.capacity / 2
  }

  // MARK: The walking thread

  /// What became of a batch.
  enum SendResult {
    case sent
    /// The reader is gone or the walk must stop.
    case refused
    /// There was no room for longer than the walk wants to wait as it is.
    case stalled
  }

  /// Hands a batch over, waiting for room on the calling thread.
  ///
  /// - Parameters:
  ///   - batch: At most ``batchCount`` entries. One that exceeds the limit of bytes passes alone.
  ///   - isLate: Whether a reader that waits is woken for it in any case, and not only when more
  ///     has come together.
  ///   - isStopped: Asked about every 100 ms while there is no room, so that a reader that takes
  ///     nothing cannot keep the store from closing.
  ///   - isStalled: Asked as often; true gives the wait up, and the batch may be sent again.
  func offer(
    _ batch: Batch, isLate: Bool = true, isStopped: () -> Bool, isStalled: () -> Bool
  ) -> SendResult {
    while true {
      let (result, hasWoken) = put(batch, isLate: isLate, thenWaits: true)
      if result != .stalled { return result }
      if hasWoken || room.wait(milliseconds: 100) { continue }
      if isStopped() { return .refused }
      if isStalled() { return .stalled }
    }
  }

  /// Hands a batch over if there is room now; an empty one asks whether anybody still reads.
  func offerAtOnce(_ batch: Batch, isLate: Bool) -> SendResult {
    put(batch, isLate: isLate, thenWaits: false).result
  }

  /// - Parameter thenWaits: Whether the walk waits for room when there is none, unless a reader was
  ///   woken.
  private func put(
    _ batch: Batch, isLate: Bool, thenWaits: Bool
  ) -> (result: SendResult, hasWoken: Bool) {
    let (result, wake) = state.withLock { state -> (SendResult, Wake?) in
      if state.isAbandoned || state.isFinished { return (.refused, nil) }
      let hasRoom =
        state.count == 0
        || state.count + batch.count <= capacity && batch.byteCount <= byteLimit - state.bytes
      guard hasRoom else {
        // A reader may wait beside entries that another gave back.
        let wake = state.takeForReader()
        state.walkerWaits = thenWaits && wake == nil
        return (.stalled, wake)
      }
      state.add(batch, joiningUpTo: batchCount, batchBytes)
      let wakes = isLate || state.count >= wakeCount || state.bytes >= Self.wakeBytes
      return (.sent, wakes ? state.takeForReader() : nil)
    }
    wake?.resume()
    return (result, wake != nil)
  }

  /// Gives readers that wait what is there, however little it is.
  func wakeReaders() {
    while let wake = state.withLock({ $0.takeForReader() }) { wake.resume() }
  }

  /// A batch to fill next. Memory that is new for each one would cost as much as filling it.
  func nextBatch(after last: Batch) -> Batch {
    if let spare = state.withLock({ $0.spares.popLast() }) { return spare }
    return SpoolEntryBatch(reservingLike: last)
  }

  /// Hands one entry over, waiting as long as it takes.
  ///
  /// - Returns: false when the reader is gone or the walk must stop.
  func send(_ entry: SpoolEntry, isStopped: () -> Bool) -> Bool {
    offer(SpoolEntryBatch(entry), isStopped: isStopped, isStalled: { false }) == .sent
  }

  /// Lets a body know, once, how reading ended, when the last reader is gone: true when every entry
  /// was given and a reader has met the end behind the last one. Call it before ``finish()``.
  func whenEnded(_ body: @escaping Ended) {
    let isAbandoned = state.withLock { state in
      if !state.isAbandoned { state.ended = body }
      return state.isAbandoned
    }
    if isAbandoned { body(false) }
  }

  /// Whether reading has ended before the walk.
  var hasNoReader: Bool { state.withLock { $0.isAbandoned } }

  /// Ends the sequence after what is buffered.
  func finish() {
    while let wake = state.withLock({ state in
      state.isFinished = true
      state.spares = []
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

  /// Takes back a batch whose entries were all given.
  func recycle(_ spent: consuming Batch) {
    var batch = spent
    guard batch.empties() else { return }
    state.withLock { state in
      if state.spares.count < Self.spareLimit, !state.isFinished { state.spares.append(batch) }
    }
  }

  func readerCame() { state.withLock { $0.readers += 1 } }

  /// The last reader's end is the end of reading; what an earlier one had taken and not used goes
  /// back for the others.
  ///
  /// - Parameter atEnd: Whether it leaves because it found nothing more.
  func readerLeft(unused: Batch, atEnd: Bool) {
    let (isLast, wake) = state.withLock { state -> (Bool, Wake?) in
      state.readers -= 1
      if atEnd, state.isFinished, !state.isAbandoned { state.hasMetEnd = true }
      if state.readers == 0 {
        if !unused.isEmpty { state.hasMetEnd = false }
        return (true, nil)
      }
      if unused.isEmpty || state.isAbandoned { return (false, nil) }
      state.batches.replaceSubrange(..<state.head, with: [unused])
      state.head = 0
      state.count += unused.count
      state.bytes += unused.byteCount
      return (false, state.takeForReader())
    }
    wake?.resume()
    if isLast { cancel() }
  }

  /// Nobody can begin to read any more.
  func channelIsGone() {
    if state.withLock({ $0.readers == 0 }) { cancel() }
  }

  func cancel() {
    let (wakes, waiting, ended, wasGiven) = state.withLock { state in
      let wasGiven = state.hasMetEnd && state.count == 0 && state.readers == 0
      state.isAbandoned = true
      state.batches = []
      state.head = 0
      state.count = 0
      state.bytes = 0
      defer {
        state.walkerWaits = false
        state.waiting = []
      }
      return (state.walkerWaits, state.waiting, state.ended.take(), wasGiven)
    }
    ended?(wasGiven)
    for reader in waiting { reader.resume(returning: nil) }
    if wakes { room.signal() }
  }

  private enum Taken {
    case batch(Batch, wakes: Bool)
    case end
    case wait
  }

  /// Takes entries, or leaves the reader's continuation where there are none.
  private func take(_ waiter: Waiter?) -> Taken {
    state.withLock { state in
      if let batch = state.take() {
        // The walk goes on when half of the room is free, and not for each single place.
        let wakes =
          state.walkerWaits
          && (state.count == 0 || state.count <= capacity / 2 && state.bytes <= byteLimit / 2)
        if wakes { state.walkerWaits = false }
        return .batch(batch, wakes: wakes)
      }
      if state.isFinished || state.isAbandoned { return .end }
      if let waiter {
        // A task is marked cancelled before its handler runs. So either the mark is seen here, or
        // the handler takes the lock later and finds the waiter.
        if Task.isCancelled { return .end }
        state.waiting.append(waiter)
      }
      return .wait
    }
  }

  /// Ends the waiting of one reader; the others read on.
  private func endWaiting(_ ticket: UInt64) {
    let waiter = state.withLock { state -> Waiter? in
      guard let index = state.waiting.firstIndex(where: { $0.ticket == ticket }) else { return nil }
      return state.waiting.remove(at: index)
    }
    waiter?.resume(returning: nil)
  }

  /// The next entries, at least one; nil at the end, and for a reader whose task is cancelled.
  func next() async -> Batch? {
    // Most entries are there already: no suspension for them.
    switch take(nil) {
    case .batch(let batch, let wakes):
      if wakes { room.signal() }
      return batch
    case .end: return nil
    case .wait: break
    }
    let ticket = nextTicket.add(1, ordering: .relaxed).oldValue
    return await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        switch take(Waiter(ticket: ticket, continuation: continuation)) {
        case .batch(let batch, let wakes):
          if wakes { room.signal() }
          continuation.resume(returning: batch)
        case .end: continuation.resume(returning: nil)
        case .wait: break
        }
      }
    } onCancel: {
      endWaiting(ticket)
    }
  }
}
