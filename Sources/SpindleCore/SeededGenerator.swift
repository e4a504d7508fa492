internal import Glibc

/// A small, fast, repeatable random number generator (SplitMix64), for tests, ids and backoff.
/// Not for secrets.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64
  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

extension SeededGenerator {
  /// A seed that no other process and no other call has: entropy of the operating system. Where
  /// that gives none, process and time have to do.
  package static func systemSeed() -> UInt64 {
    var seed: UInt64 = 0
    let failed = unsafe withUnsafeMutableBytes(of: &seed) { bytes in
      unsafe bytes.baseAddress.map { unsafe getentropy($0, bytes.count) } != 0
    }
    if !failed { return seed }
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(bitPattern: Int64(time.tv_sec)) &* 1_000_000_000
      ^ UInt64(bitPattern: Int64(time.tv_nsec)) ^ UInt64(bitPattern: Int64(getpid())) << 32
  }
}
