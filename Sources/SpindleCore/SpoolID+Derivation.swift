internal import Synchronization

/// What tells the ids that one process derives from those of others: the node and clock sequence
/// of versions 1 and 6, the random bits of version 7.
///
/// ``local`` serves the whole process. To derive ids under a node of your own, such as one that an
/// operator assigned, make an origin with it and pass that.
public final class SpoolIDOrigin: Sendable {
  /// The process's own origin, made at its first use.
  public static let local = SpoolIDOrigin()

  /// 48 bits. A random node has the multicast bit set, so that it never equals the address of a
  /// network card (RFC 9562, section 6.10).
  public let node: UInt64

  private struct State {
    var clockSequence: UInt16
    var random: SeededGenerator
  }
  private let state: Mutex<State>

  /// - Parameters:
  ///   - node: The low 48 bits are taken. The default is a random node.
  ///   - seed: Of the random bits and of the clock sequence's start; differs for every process.
  ///     The default comes from the operating system.
  public init(node: UInt64? = nil, seed: UInt64? = nil) {
    var random = SeededGenerator(seed: seed ?? SeededGenerator.systemSeed())
    let multicastBit: UInt64 = 1 << 40
    self.node = (node ?? (random.next() | multicastBit)) & (1 << 48 - 1)
    let start = UInt16(truncatingIfNeeded: random.next())
    state = Mutex(State(clockSequence: start, random: random))
  }

  /// The last 62 bits of an id of version 1 or 6, with a clock sequence of its own: 16,384 differ
  /// before one comes again.
  fileprivate func nodeBits() -> UInt64 {
    let sequence = state.withLock { state in
      state.clockSequence &+= 1
      return state.clockSequence & 0x3FFF
    }
    return UInt64(sequence) << 48 | node
  }

  /// The last 62 bits of an id of version 7.
  fileprivate func randomBits() -> UInt64 { state.withLock { $0.random.next() >> 2 } }
}

extension SpoolID {
  /// A new id with the time of this one, for a message that was taken over from another node.
  ///
  /// The time stays exactly as it is: all 60 bits of versions 1 and 6, milliseconds and counter of
  /// version 7. The rest is of `origin`: a fresh clock sequence and its node, or new random bits.
  /// The result differs from this id, also when this process made it.
  public func deriveNewWithClonedTimestamp(from origin: SpoolIDOrigin = .local) -> SpoolID {
    let variant: UInt64 = 0b10 << 62
    // The second turn ends it for a clock sequence, which has advanced; for random bits, chance.
    while true {
      let bits = uuid.version == 7 ? origin.randomBits() : origin.nodeBits()
      let derived = UUIDValue(high: uuid.high, low: variant | bits)
      if derived != uuid, let id = SpoolID(derived) { return id }
    }
  }
}
