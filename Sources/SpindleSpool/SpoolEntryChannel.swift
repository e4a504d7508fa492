public import SpindleCore
internal import SpindleIO
internal import Synchronization

/// A bounded channel from one walking thread to one async reader.
///
/// The walker waits while the channel is full, so memory is bounded by `capacity` messages. The
/// sequence ends when the walk ends.
public final class SpoolEntryChannel: AsyncSequence, Sendable {
  public typealias Element = SpoolEntry

  private struct State {
    var buffer: [SpoolEntry] = []
    var head = 0
    var reader: CheckedContinuation<SpoolEntry?, Never>?
    var isFinished = false
    var isAbandoned = false
    var walkerWaits = false
  }

  /// The most messages held at once.
  public let capacity: Int
  private let state = Mutex(State())
  private let room = ThreadSemaphore()

  /// - Parameter capacity: 1 or more. The default is 1,024.
  public init(capacity: Int = 1_024) { self.capacity = Swift.max(capacity, 1) }

  /// Hands an entry over, waiting for room on the calling thread.
  ///
  /// - Returns: false when the reader is gone.
  func send(_ entry: SpoolEntry) -> Bool {
    while true {
      enum Outcome {
        case sent, abandoned, full
        case handed(CheckedContinuation<SpoolEntry?, Never>)
      }
      let outcome = state.withLock { state -> Outcome in
        if state.isAbandoned { return .abandoned }
        if let reader = state.reader {
          state.reader = nil
          return .handed(reader)
        }
        if state.buffer.count - state.head >= capacity {
          state.walkerWaits = true
          return .full
        }
        state.buffer.append(entry)
        return .sent
      }
      switch outcome {
      case .sent: return true
      case .abandoned: return false
      case .full: room.wait()
      case .handed(let reader):
        reader.resume(returning: entry)
        return true
      }
    }
  }

  /// Ends the sequence after what is buffered.
  func finish() {
    let reader = state.withLock { state in
      state.isFinished = true
      defer { state.reader = nil }
      return state.reader
    }
    reader?.resume(returning: nil)
  }

  /// Tells the walker that nobody reads any more; it stops at its next entry.
  public func cancel() {
    let (wakes, reader) = state.withLock { state in
      state.isAbandoned = true
      defer {
        state.walkerWaits = false
        state.reader = nil
      }
      return (state.walkerWaits, state.reader)
    }
    reader?.resume(returning: nil)
    if wakes { room.signal() }
  }

  private func next() async -> SpoolEntry? {
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
          state.reader = continuation
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

  public struct AsyncIterator: AsyncIteratorProtocol {
    let channel: SpoolEntryChannel
    public mutating func next() async -> SpoolEntry? { await channel.next() }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(channel: self) }
}

/// The handle of a running enumeration.
public final class SpoolEnumeration: Sendable {
  /// How an enumeration ended.
  public struct Outcome: Sendable {
    /// Messages sent.
    public var count = 0
    /// Messages made at or after the start time, and keys that are no spool id.
    public var skipped = 0
    /// Damaged records.
    public var corrupt = 0
    /// What stopped the walk before its end; nil when it reached the end.
    public var error: SpindleError?
  }

  private struct State {
    var outcome: Outcome?
    var waiters: [CheckedContinuation<Outcome, Never>] = []
  }
  private let state = Mutex(State())

  init() {}

  func finish(_ outcome: Outcome) {
    let waiters = state.withLock { state in
      state.outcome = outcome
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume(returning: outcome) }
  }

  /// Waits for the end of the walk.
  public func finished() async -> Outcome {
    await withCheckedContinuation { continuation in
      let outcome = state.withLock { state in
        if state.outcome == nil { state.waiters.append(continuation) }
        return state.outcome
      }
      if let outcome { continuation.resume(returning: outcome) }
    }
  }
}
