package import SpindleCore

/// Computes one peer's chain anew, row by row.
package struct ChainAudit {
  package enum Judgement: Equatable {
    case right
    /// A row without a chain, before one starts.
    case unchained
    /// What is wrong with the row.
    case wrong(String)
  }

  /// Heads of which one must be the one before the next row. Two after a row that did not fit: the
  /// stored head if the content changed, the computed one if the head did. Empty when unknown.
  package private(set) var heads: [ChainHead]
  /// Whether a row with a chain came by.
  private var isChained: Bool
  private var isLost = false

  package init(floor: LogPosition) {
    heads = floor.head.map { [$0] } ?? []
    isChained = floor.head != nil
  }

  /// Goes on after a row that cannot be read: the next one's head is taken as it is.
  mutating func lose() { isLost = true }

  /// - Parameter follows: Whether the row is the one after the row before; behind a hole its head
  ///   is taken as it is.
  package mutating func judge(
    _ row: OpLogRow, peer: PeerID, index: UInt64, follows: Bool
  ) -> Judgement {
    guard let stored = row.chain else {
      if !isChained { return .unchained }
      isLost = true
      return .wrong("is in no chain, and the rows before it are")
    }
    defer {
      isChained = true
      isLost = false
    }
    if isLost || !follows {
      heads = [stored]
      return .unchained
    }
    let hash = row.hash(peer: peer, index: index)
    let computed = (heads.isEmpty ? [.seed(of: peer)] : heads).map { $0.appending(hash) }
    if computed.contains(stored) {
      heads = [stored]
      return .right
    }
    // Of several computed ones that from the stored head: a damaged log must not cost more with
    // each row.
    heads = [stored, computed[0]]
    return .wrong("is not the one that its chain was made with: it or its head was changed")
  }
}
