public import SpindleCore
internal import Synchronization

/// Makes spool ids of version 7 that rise within a process, whatever the clock does.
///
/// The first 60 bits besides the version are milliseconds and a 12-bit counter (RFC 9562, method
/// 1); the counter carries into the milliseconds when it overflows. The generator starts above the
/// greatest id found in the spool, so that a clock that stepped back cannot reorder ids. Ids end
/// with 62 random bits.
///
/// At the last millisecond that 48 bits can say, in the year 10889, ids rise no more and differ by
/// their random bits alone.
public final class SpoolIDGenerator: Sendable {
  private struct State {
    /// Milliseconds shifted by 12, plus the counter, of the last id.
    var last: UInt64
    var random: SeededGenerator
  }

  /// The greatest milliseconds and counter that an id has room for.
  private static let lastStamp: UInt64 = 1 << 60 - 1

  private let state: Mutex<State>
  private let clock: any StoreClock

  /// - Parameters:
  ///   - floor: New ids are greater than this one.
  ///   - seed: Of the random bits; differs per process.
  public init(clock: any StoreClock, floor: SpoolID? = nil, seed: UInt64) {
    self.clock = clock
    var last: UInt64 = 0
    if let floor, floor.uuid.version == 7 {
      last = (floor.uuid.high >> 16) << 12 | floor.uuid.high & 0xFFF
    }
    state = Mutex(State(last: last, random: SeededGenerator(seed: seed)))
  }

  /// The next id.
  public func next() -> SpoolID {
    let now = min(clock.wallMilliseconds, Self.lastStamp >> 12) << 12
    let (stamp, random) = state.withLock { state in
      state.last = min(max(now, state.last + 1), Self.lastStamp)
      return (state.last, state.random.next())
    }
    let high = (stamp >> 12) << 16 | 0x7000 | stamp & 0xFFF
    let low = 0b10 << 62 | random >> 2
    // Version and variant are set above, so the id is valid.
    guard let id = SpoolID(UUIDValue(high: high, low: low)) else {
      preconditionFailure("version 7")
    }
    return id
  }
}
