internal import SpindleCore
internal import Synchronization

/// Carries a value out of work that runs elsewhere.
final class ResultBox<Value: Sendable>: Sendable {
  private let value = Mutex<Value?>(nil)

  func set(_ new: Value) { value.withLock { $0 = new } }

  func get() throws -> Value {
    guard let value = value.withLock({ $0 }) else {
      throw SpindleError(.unavailable, "the work was not done")
    }
    return value
  }
}
