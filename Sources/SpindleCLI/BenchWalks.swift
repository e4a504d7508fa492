import SpindleCore
import SpindleSpool
import Synchronization

/// Enumerates a spool again and again while something else is measured.
final class BenchWalks: Sendable {
  private let isStopped = Atomic<Bool>(false)
  private let given = Atomic<Int>(0)

  /// Runs the body while one reader takes what the walks give, from the first message on.
  ///
  /// - Returns: What the body returns, and how many messages the reader took meanwhile.
  func run<Value: Sendable>(
    over spool: RocksSpool, _ body: () async throws -> Value
  ) async throws -> (value: Value, taken: Int) {
    let (starts, started) = AsyncStream.makeStream(of: Void.self)
    let reader = Task {
      defer { started.finish() }
      while !isStopped.load(ordering: .relaxed) { try await walk(spool) { started.finish() } }
    }
    for await _ in starts {}
    do {
      let before = given.load(ordering: .relaxed)
      let value = try await body()
      let taken = given.load(ordering: .relaxed) - before
      isStopped.store(true, ordering: .relaxed)
      try await reader.value
      return (value, taken)
    } catch {
      isStopped.store(true, ordering: .relaxed)
      try? await reader.value
      throw error
    }
  }

  private func walk(_ spool: RocksSpool, hasBegun: () -> Void) async throws {
    let channel = SpoolEntryChannel()
    let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
    for await _ in channel {
      if given.add(1, ordering: .relaxed).oldValue == 0 { hasBegun() }
      if isStopped.load(ordering: .relaxed) {
        channel.cancel()
        _ = await walk.finished()
        return
      }
    }
    if let error = await walk.finished().error { throw error }
  }
}
