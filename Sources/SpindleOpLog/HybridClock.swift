public import SpindleCore

/// Why a hybrid clock refuses. Its state is as before.
public enum HybridClockError: Error, Sendable, Equatable {
  /// A timestamp lies further ahead of this machine's clock than ``HybridClock`` accepts. It can be
  /// accepted later, when the wall clock has moved or was set right.
  case skew(received: Timestamp, wallMilliseconds: UInt64)
  /// The next timestamp would need more than 48 bits of milliseconds (about the year 10895).
  case exhausted

  /// The error of the public API.
  public var spindleError: SpindleError {
    switch self {
    case .skew(let received, let wall):
      SpindleError(
        .unavailable,
        "the timestamp \(received) is more than \(HybridClock.skewLimitMilliseconds) ms ahead of "
          + "this machine's clock, which reads \(wall) ms; set the clock that is wrong",
        reason: "clock_skew")
    case .exhausted:
      SpindleError(
        .unavailable, "the clock has no timestamp left: 48 bits of milliseconds are used up",
        reason: "clock_exhausted")
    }
  }
}

/// A hybrid logical clock: timestamps that rise although the wall clock stalls or goes back, and
/// that are above everything seen from others. Pure: the wall reading is a parameter.
public struct HybridClock: Sendable, Equatable {
  /// How far a timestamp from elsewhere may be ahead of this machine's clock. The bound itself is
  /// accepted.
  public static let skewLimitMilliseconds: UInt64 = 60_000

  /// The greatest timestamp ever issued or absorbed.
  public private(set) var latest: Timestamp

  public init(latest: Timestamp = .zero) { self.latest = latest }

  /// Issues a timestamp above every one issued or absorbed, with a wall part of at least `wall`.
  ///
  /// When the wall stands still the counter rises; beyond 65,535 the clock borrows one millisecond.
  ///
  /// - Parameter wall: Milliseconds since the Unix epoch.
  public mutating func tick(wall: UInt64) throws(HybridClockError) -> Timestamp {
    let next =
      if wall > latest.wallMilliseconds {
        Timestamp(wallMilliseconds: wall, counter: 0)
      } else if latest.counter < .max {
        Timestamp(wallMilliseconds: latest.wallMilliseconds, counter: latest.counter + 1)
      } else {
        Timestamp(wallMilliseconds: latest.wallMilliseconds + 1, counter: 0)
      }
    guard let next else { throw .exhausted }
    latest = next
    return next
  }

  /// Absorbs a timestamp from elsewhere; any past one is accepted. Issues none.
  ///
  /// - Parameter wall: Milliseconds since the Unix epoch. Read it once for entries that came
  ///   together.
  public mutating func observe(_ received: Timestamp, wall: UInt64) throws(HybridClockError) {
    let (sum, overflow) = wall.addingReportingOverflow(Self.skewLimitMilliseconds)
    guard overflow || received.wallMilliseconds <= sum else {
      throw .skew(received: received, wallMilliseconds: wall)
    }
    latest = max(latest, received)
  }
}
