internal import SpindleCore
internal import SpindleIO

/// The threads of writes that take too long for a cooperative thread, and of syncs. They are apart
/// from those of reads: a slow disk that holds all readers must not hold what is stored.
///
/// There is a thread for every call with a permit, so whoever has one is served at once. The others
/// wait for theirs, with a deadline, and can leave: nothing of theirs has begun.
final class LargeWrites: Sendable {
  private let pool: BlockingPool
  private let permits: Permits
  private let clock: any StoreClock

  /// - Parameter count: How many write at once. RocksDB writes one record after the other; the
  ///   others are compressed, hashed and copied meanwhile.
  init(_ count: Int, clock: any StoreClock) {
    // One more, for syncs.
    pool = BlockingPool(name: "spindle-write", threads: count + 1)
    permits = Permits(count, clock: clock)
    self.clock = clock
  }

  /// Calls that wait for a thread.
  var waitingCount: Int { permits.waitingCount }

  /// What a call throws that found no thread in its time. It says nothing about RocksDB.
  struct NoThread: Error {
    let error: SpindleError
  }

  /// Runs a piece of work. Once it has begun its caller gets its outcome, cancelled or not.
  ///
  /// - Parameters:
  ///   - limit: Until when it may wait for a thread; asked where none is free.
  ///   - check: Called when there is one; what it throws ends the call.
  /// - Throws: what `check` and `body` throw; ``NoThread``; `CancellationError`.
  func run<Value: Sendable>(
    until limit: () -> WriteDeadline.Effective, check: () throws -> Void,
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    if !permits.takeFree() {
      let effective = limit()
      guard try await permits.acquire(until: effective.instant) else {
        throw NoThread(error: effective.error)
      }
    }
    defer { permits.release() }
    try check()
    return try await pool.run(body)
  }

  /// Runs a sync, which waits for no write. A cancelled caller gets its outcome.
  func sync<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await pool.run(body)
  }

  /// Ends the threads after the work that has begun. Call it from a thread that may block.
  func stop() { pool.stop() }
}
