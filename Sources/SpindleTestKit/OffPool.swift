internal import SpindleIO

/// The tests of a process that block at once at most.
private let pool = BlockingPool(name: "test-blocking", threads: 4)

/// Runs what keeps its thread for long, such as a wait for another program, beside the threads of
/// tasks: those are as few as processors, and all tests share them.
public func offPool<Value: Sendable>(
  _ body: @escaping @Sendable () throws -> Value
) async throws -> Value {
  try await pool.run(body)
}
