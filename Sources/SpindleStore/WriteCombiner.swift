internal import SpindleCore
internal import SpindleRocks
internal import Synchronization

/// Writes buffered batches of callers that meet each other as one record.
///
/// A caller that finds no write under way writes on its own thread. Another one adds its changes to
/// a round and suspends. A task of the combiner then writes round after round, each as ONE record,
/// and resumes its callers, until nobody waits. Between rounds that are not full it goes to the end
/// of the executor's queue, so that the callers that were just resumed come with their next change:
/// a write for several costs little more than a write for one.
///
/// A round that RocksDB does not accept at once, that a caller left by being cancelled, or that
/// touches a part whose gate was shut meanwhile, is not tried again as a whole: each caller is told
/// to go on by itself, with its own deadline, permits and gates. So each has its own outcome.
///
/// Bounds: ``roundLimit`` rounds wait, of ``countLimit`` batches and ``byteLimit`` bytes each; who
/// comes when all are full writes on its own thread and waits in RocksDB's queue of writers.
///
/// Crash windows. Until the round's write has returned nobody of it was told anything, and the
/// record is one: after a crash it is there as a whole or not at all. From then on it survives a
/// killed process, as everything buffered, and the callers are told.
package final class WriteCombiner: Sendable {
  /// The most batches of one round. Several small rounds in turn are faster than one large one:
  /// while a thread writes a round, the callers of the one before prepare their next change on
  /// another (measured with 64 callers: 16 were faster than 8 and than 32).
  package static let countLimit = 16
  /// The most bytes of one round: what is written on a cooperative thread must not be felt by other
  /// tasks.
  package static let byteLimit = 64 << 10
  /// The largest batch that joins a round. Larger ones gain nothing from company: copying them is
  /// what costs.
  package static let batchLimit = 16 << 10
  /// The most rounds that wait; with the two limits, 1,024 callers and 4 MiB.
  package static let roundLimit = 64

  /// What became of a caller's batch.
  enum Outcome {
    case written
    /// RocksDB would have slowed the write down; nothing was written.
    case stalled
    case failed(any Error)
    /// Nothing was tried: the caller writes it by itself.
    case alone
  }

  /// A suspended caller, resumed exactly once.
  @safe private struct Waiter: Sendable {
    let id: UInt64
    private let continuation: UnsafeContinuation<Outcome, Never>

    init(_ id: UInt64, _ continuation: UnsafeContinuation<Outcome, Never>) {
      self.id = id
      unsafe self.continuation = unsafe continuation
    }

    func resume(_ outcome: Outcome) { unsafe continuation.resume(returning: outcome) }
  }

  /// Batches that are written together.
  private struct Round {
    var record = WriteRecord()
    var waiters: [Waiter] = []
    /// Every family written, each once; few.
    var families: [StoreFamily] = []
    /// Whether a caller was cancelled: its changes are in the record, which is of no use then.
    var isBroken = false

    func hasRoom(for bytes: Int) -> Bool {
      waiters.count < countLimit && (record.isEmpty || record.byteCount + bytes <= byteLimit)
    }

    mutating func removeAll() {
      record.removeAll()
      waiters.removeAll(keepingCapacity: true)
      families.removeAll(keepingCapacity: true)
      isBroken = false
    }
  }

  private struct State {
    var rounds: [Round] = []
    /// An empty round that was written before, for its memory.
    var spare: Round?
  }

  private enum Turn {
    static let free = 0
    /// A caller writes, and nobody waits.
    static let taken = 1
    /// Callers wait, or the task writes. Only the task ends this, under the lock.
    static let crowded = 2
  }

  private let turn = Atomic<Int>(Turn.free)
  private let nextID = Atomic<UInt64>(0)
  private let state = Mutex(State())
  private let engine: CommitEngine

  init(engine: CommitEngine) { self.engine = engine }

  /// Callers that wait for their round.
  package var waitingCount: Int { state.withLock { $0.rounds.reduce(0) { $0 + $1.waiters.count } } }

  // MARK: Callers

  /// Takes the turn if nobody has it. Each success must be matched by ``end()``.
  package func begin() -> Bool {
    turn.compareExchange(expected: Turn.free, desired: Turn.taken, ordering: .acquiring).exchanged
  }

  /// Gives the turn back, to those who came meanwhile if there are any.
  package func end() {
    let wasTaken = turn.compareExchange(
      expected: Turn.taken, desired: Turn.free, ordering: .releasing
    ).exchanged
    // It ends when nobody waits for it any more. Its priority is not that of a caller by chance.
    if !wasTaken { Task(priority: .medium) { await self.writeRounds() } }
  }

  /// Adds a batch to a round and waits for the outcome.
  ///
  /// - Returns: `alone` too where the batch has no place in a round.
  /// - Throws: `CancellationError` when the task was cancelled while it waited; nothing was written
  ///   then.
  func join(_ batch: borrowing Batch) async -> Outcome {
    let id = nextID.add(1, ordering: .relaxed).oldValue
    return await withTaskCancellationHandler {
      await unsafe withUnsafeContinuation { continuation in
        let waiter = unsafe Waiter(id, continuation)
        if !add(batch, waiter) { waiter.resume(.alone) }
      }
    } onCancel: {
      cancel(id)
    }
  }

  private func add(_ batch: borrowing Batch, _ waiter: Waiter) -> Bool {
    state.withLock { state in
      // A task is marked cancelled before its handler runs. So either the mark is seen here, and
      // the batch gets its first attempt as if nobody else wrote, or the handler finds it later.
      guard !Task.isCancelled else { return false }
      let isCrowded = turn.compareExchange(
        expected: Turn.taken, desired: Turn.crowded, ordering: .acquiringAndReleasing)
      // The turn became free meanwhile.
      guard isCrowded.exchanged || isCrowded.original == Turn.crowded else { return false }
      if state.rounds.last?.hasRoom(for: batch.byteCount) != true {
        guard state.rounds.count < Self.roundLimit else { return false }
        state.rounds.append(state.spare.take() ?? Round())
      }
      let last = state.rounds.count - 1
      state.rounds[last].record.append(batch.record)
      state.rounds[last].waiters.append(waiter)
      batch.forEachFamily { family in
        if !state.rounds[last].families.contains(where: { $0 === family }) {
          state.rounds[last].families.append(family)
        }
      }
      return true
    }
  }

  private func cancel(_ id: UInt64) {
    let waiter = state.withLock { state -> Waiter? in
      for round in state.rounds.indices {
        guard let index = state.rounds[round].waiters.firstIndex(where: { $0.id == id }) else {
          continue
        }
        state.rounds[round].isBroken = true
        return state.rounds[round].waiters.remove(at: index)
      }
      // It is being written, or done, or was not added yet; see `add`.
      return nil
    }
    waiter?.resume(.failed(CancellationError()))
  }

  // MARK: Rounds

  private func writeRounds() async {
    var round = Round()
    while takeRound(&round) {
      let outcome = write(&round)
      for waiter in round.waiters { waiter.resume(outcome) }
      if !isRoundFull { await Task.yield() }
    }
  }

  private var isRoundFull: Bool {
    state.withLock { state in
      state.rounds.count > 1 || state.rounds.first?.waiters.count == Self.countLimit
    }
  }

  /// Takes the next round and leaves the last one for its memory. False gives the turn back because
  /// nobody waits.
  private func takeRound(_ round: inout Round) -> Bool {
    round.removeAll()
    return state.withLock { state in
      if state.rounds.isEmpty {
        turn.store(Turn.free, ordering: .releasing)
        return false
      }
      swap(&round, &state.rounds[0])
      state.spare = state.rounds.removeFirst()
      return true
    }
  }

  private func write(_ round: inout Round) -> Outcome {
    let isShut = round.families.contains { $0.gateRefusal != nil }
    if round.isBroken || isShut { return .alone }
    do {
      return try engine.writeInline(&round.record) ? .written : .stalled
    } catch let error as SpindleError where error.isGateRefusal {
      // Who only removes may be let through where others are not.
      return .alone
    } catch {
      return .failed(error)
    }
  }
}
