import Foundation
import Synchronization

/// One operation after the other, by several tasks at once, each timed.
struct BenchRun: Sendable {
  var tasks = 1
  /// How many operations one call does.
  var perCall = 1
  /// The operations of a run.
  var limit: Int
  /// The run ends here though operations are left.
  var seconds: Double

  struct Measured: Sendable {
    var ops: Int
    var seconds: Double
    /// Nanoseconds of each call, in rising order.
    var latencies: [Int64]

    var opsPerSecond: Double { Double(ops) / seconds }

    /// The microseconds that this share of the calls took at most.
    func percentile(_ share: Double) -> Double {
      if latencies.isEmpty { return 0 }
      let rank = min(Int(Double(latencies.count) * share), latencies.count - 1)
      return Double(latencies[rank]) / 1000
    }
  }

  /// Calls `operation` with the number of its first operation until the count or the time is
  /// reached.
  func measure(_ operation: @escaping @Sendable (Int) async throws -> Void) async throws -> Measured
  {
    let next = Counter()
    let start = ContinuousClock.now
    let end = DispatchTime.now().uptimeNanoseconds + UInt64(seconds * 1e9)
    let latencies = try await withThrowingTaskGroup(of: [Int64].self) { group in
      for _ in 0..<tasks {
        group.addTask {
          var own: [Int64] = []
          own.reserveCapacity(limit / tasks / perCall + 16)
          // Plain nanoseconds: the arithmetic of durations would be felt beside short operations.
          var before = DispatchTime.now().uptimeNanoseconds
          while before < end {
            let number = next.take(perCall)
            guard number + perCall <= limit else { break }
            try await operation(number)
            let after = DispatchTime.now().uptimeNanoseconds
            own.append(Int64(after - before))
            before = after
          }
          return own
        }
      }
      return try await group.reduce(into: [Int64]()) { $0 += $1 }
    }
    let elapsed = (ContinuousClock.now - start) / .seconds(1)
    return Measured(
      ops: latencies.count * perCall, seconds: elapsed, latencies: latencies.sorted())
  }
}

/// Hands out numbers.
private final class Counter: Sendable {
  private let value = Atomic<Int>(0)
  func take(_ count: Int) -> Int { value.add(count, ordering: .relaxed).oldValue }
}
