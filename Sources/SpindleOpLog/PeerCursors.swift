public import SpindleCore

/// Per peer, the next index wanted: a version vector.
///
/// A peer that is not named is at 0. Zero is never stored, so two equal states compare equal.
public struct PeerCursors: Sendable, Hashable {
  private var positions: [PeerID: UInt64]

  public init() { positions = [:] }

  /// Positions of 0 are left out.
  public init(_ positions: [PeerID: UInt64]) {
    self.positions = positions.filter { $0.value > 0 }
  }

  /// A peer's next index; 0 for a peer never seen.
  public subscript(peer: PeerID) -> UInt64 { positions[peer] ?? 0 }

  /// How many peers have a position above 0.
  public var count: Int { positions.count }
  public var isEmpty: Bool { positions.isEmpty }

  /// Peers and positions in the order of the peers' bytes.
  public var sorted: [(peer: PeerID, next: UInt64)] {
    positions.map { (peer: $0.key, next: $0.value) }
      .sorted { left, right in
        (left.peer.uuid.high, left.peer.uuid.low) < (right.peer.uuid.high, right.peer.uuid.low)
      }
  }

  /// Moves a peer forward; a position below the present one changes nothing.
  public mutating func advance(_ peer: PeerID, to next: UInt64) {
    _ = raise(peer, to: next)
  }

  /// The same, telling whether the peer was moved.
  mutating func raise(_ peer: PeerID, to next: UInt64) -> Bool {
    if next == 0 { return false }
    guard let before = positions.updateValue(next, forKey: peer), before >= next else {
      return true
    }
    positions[peer] = before
    return false
  }

  /// Takes the greater position of each peer.
  public mutating func merge(_ other: PeerCursors) {
    positions.merge(other.positions) { max($0, $1) }
  }

  /// The same without some peers.
  func leavingOut(_ peers: Set<PeerID>) -> PeerCursors {
    if peers.isEmpty { return self }
    return PeerCursors(positions.filter { !peers.contains($0.key) })
  }

  /// What these cursors lack of another replica's: per peer, the indices to ask for, in the order
  /// of the peers' bytes.
  public func gaps(to other: PeerCursors) -> [(peer: PeerID, indices: Range<UInt64>)] {
    other.sorted.compactMap { peer, next in
      self[peer] < next ? (peer: peer, indices: self[peer]..<next) : nil
    }
  }
}

extension PeerCursors: CustomStringConvertible {
  public var description: String {
    "[" + sorted.map { "\($0.peer): \($0.next)" }.joined(separator: ", ") + "]"
  }
}
