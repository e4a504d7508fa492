import SpindleOpLog
import Synchronization

/// A line on a terminal that shows how far a run is; quiet in a pipe.
final class ProgressLine: Sendable {
  private let isShown: Bool
  private let start = ContinuousClock.now
  private let last = Mutex(ContinuousClock.now - .seconds(1))

  /// - Parameter isShown: Whether there is anything to show, besides that nothing is in a pipe.
  init(isShown: Bool = true) { self.isShown = isShown && Output.isTerminal }

  /// Shows what is done, at most ten times a second.
  ///
  /// - Parameters:
  ///   - verb: What is being done.
  ///   - count: How many things were done; nil for work without a rate.
  ///   - unit: What is counted.
  ///   - bytes: How many bytes of them.
  ///   - fraction: The part that is done, 0 to 1; nil where nobody knows.
  func show(
    _ verb: String, _ count: UInt64? = nil, _ unit: String = "", bytes: UInt64,
    fraction: Double? = nil
  ) {
    guard isShown, isDue() else { return }
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    var parts: [String] = []
    if let count { parts.append("\(Output.grouped(count)) \(unit)") }
    parts.append("\(Output.grouped(bytes >> 20)) MiB")
    if let count {
      let rate = seconds > 0 ? Double(count) / seconds : 0
      parts.append("\(Output.grouped(Int64(rate))) \(unit)/s")
    }
    parts += Self.left(after: seconds, fraction)
    Output.progress("\(verb): " + parts.joined(separator: ", "))
  }

  /// Shows work whose size is known and that is counted in bytes alone.
  func show(_ verb: String, bytes: UInt64, of total: UInt64) {
    guard isShown, isDue() else { return }
    let seconds = (ContinuousClock.now - start) / .seconds(1)
    let rate = seconds > 0 ? Double(bytes) / seconds : 0
    // The size is an estimate: work that goes on beyond it has a time left that nobody knows.
    let fraction = bytes < total ? Double(bytes) / Double(total) : nil
    let parts = [
      "\(Output.grouped(bytes >> 20)) of \(Output.grouped(total >> 20)) MiB",
      "\(Output.grouped(Int64(rate) >> 20)) MiB/s",
    ]
    Output.progress(
      "\(verb): " + (parts + Self.left(after: seconds, fraction)).joined(separator: ", "))
  }

  /// The time that is left, where anything tells of it.
  private static func left(after seconds: Double, _ fraction: Double?) -> [String] {
    // The first moments tell nothing of the rest.
    guard let fraction, fraction > 0.01, fraction <= 1 else { return [] }
    return ["\(Output.grouped(Int64(seconds * (1 - fraction) / fraction))) s left"]
  }

  func show(_ verb: String, _ progress: OpLogArchive.Progress) {
    show(verb, progress.count, "rows", bytes: progress.bytes, fraction: progress.fraction)
  }

  private func isDue() -> Bool {
    let now = ContinuousClock.now
    return last.withLock { last in
      guard now - last >= .milliseconds(100) else { return false }
      last = now
      return true
    }
  }

  func clear() { if isShown { Output.progress("") } }
}
