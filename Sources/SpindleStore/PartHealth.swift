internal import SpindleCore
internal import Synchronization

/// When errors of one part stop its writes, and when they are taken again.
public struct GateSettings: Sendable, Equatable {
  /// How long errors that may pass must persist before they shut the gate. The default is 15 s.
  public var errorLatchDuration = Duration.seconds(15)
  /// How long no error may occur before a shut gate is tried again. The default is 5 min.
  public var errorUnlatchDuration = Duration.seconds(300)
  /// How long after a backpressure timeout writes must succeed before its gate opens again. The
  /// default is 30 s.
  public var backpressureUnlatchDuration = Duration.seconds(30)
  /// Whether a shut gate opens by itself. The default is true.
  public var allowsErrorUnlatch = true
  /// Whether a gate that damage shut opens by itself once the damaged range reads again. The
  /// default is false.
  public var unlatchesOnCorruption = false

  public init() {}

  package func validate() throws {
    for (name, value) in [
      ("errorLatchDuration", errorLatchDuration), ("errorUnlatchDuration", errorUnlatchDuration),
      ("backpressureUnlatchDuration", backpressureUnlatchDuration),
    ] where value < .zero {
      throw SpindleError(
        .invalidArgument, "the setting \(name) is \(value); expected 0 s or more")
    }
  }
}

/// The gate that stops the writes of one part, a column family, when its data cannot be trusted.
/// Reads go on.
public final class PartHealth: Sendable {
  /// Set when a read of this family failed for damage; stops this family alone.
  private let damage = Mutex<String?>(nil)
  private let shut = Atomic<Bool>(false)

  private let backpressureTimeouts = Atomic<Int>(0)

  init() {}

  /// Whether writes are refused. One atomic load.
  public var isShut: Bool { shut.load(ordering: .acquiring) }

  /// The first damage found by a read of the part, if any.
  public var damageFound: String? { isShut ? damage.withLock { $0 } : nil }

  /// Notes that a write ran out of its time because RocksDB was stalled.
  package func recordBackpressureTimeout(at now: ContinuousClock.Instant) {
    backpressureTimeouts.add(1, ordering: .relaxed)
  }

  /// Notes a write that succeeded. Called on every write: costs one relaxed load while no error
  /// stands.
  package func recordSuccess() {}

  /// Notes damage that a read met; shuts the gate at once.
  func recordDamage(_ message: String) {
    damage.withLock { if $0 == nil { $0 = message } }
    shut.store(true, ordering: .releasing)
  }
}
