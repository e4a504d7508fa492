internal import Synchronization

/// A value that tests share with hooks.
public final class Shared<Value: Sendable>: Sendable {
  private let storage: Mutex<Value>
  public init(_ value: Value) { storage = Mutex(value) }
  public var value: Value {
    get { storage.withLock { $0 } }
    set { storage.withLock { $0 = newValue } }
  }
  public func update(_ body: (inout sending Value) -> Void) { storage.withLock { body(&$0) } }
}
