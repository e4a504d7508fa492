internal import SpindleCore
internal import SpindleIO

/// The threads of writes that take too long for a cooperative thread. They are apart from those of
/// reads: a slow disk that holds all readers must not hold what is stored.
///
/// As many calls have a permit as there are threads, so whoever has one is served at once. The
/// others wait for theirs, with a deadline, and can leave: nothing of theirs has begun.
final class LargeWrites: Sendable {
  /// RocksDB writes one record after the other; the second thread copies the next meanwhile.
  static let threadCount = 2

  private let pool: BlockingPool
  private let permits: Permits
  private let clock: any StoreClock

  init(clock: any StoreClock) {
    pool = BlockingPool(name: "spindle-write", threads: Self.threadCount)
    permits = Permits(Self.threadCount, clock: clock)
    self.clock = clock
  }

  /// Calls that wait for a thread.
  var waitingCount: Int { permits.waitingCount }

  /// Runs a piece of work. Once it has begun its caller gets its outcome, cancelled or not.
  ///
  /// - Parameters:
  ///   - limit: Until when it may wait for a thread.
  ///   - check: Called when there is one; what it throws ends the call.
  func run<Value: Sendable>(
    until limit: WriteDeadline, check: () throws -> Void = {},
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    if !permits.takeFree() {
      let effective = limit.effective(from: clock.now)
      guard try await permits.acquire(until: effective.instant) else { throw effective.error }
    }
    defer { permits.release() }
    try check()
    return try await pool.run(body)
  }

  /// Ends the threads after the work that has begun. Call it from a thread that may block.
  func stop() { pool.stop() }
}
