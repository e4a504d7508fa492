internal import SpindleCore

/// Who works on which id.
///
/// A drain worker's batch removes a message on the condition that it is still the one that was
/// read. An inline store could slip between that check and the removal and be lost. So a store
/// of a claimed id goes through the group lane, where the condition sees it, and an id with a
/// store or remove under way cannot be claimed.
struct SpoolClaims {
  /// The claimed ids, with the bytes of the record that the claimer read or stored last: what its
  /// batch removes if its condition holds.
  var held: [SpoolID: Int] = [:]
  /// How many stores and removes are under way of each id. While RocksDB is stalled every waiting
  /// caller is in it, tens of thousands.
  private var changing: [SpoolID: Int] = [:]

  func isChanging(_ id: SpoolID) -> Bool { changing[id] != nil }

  mutating func beginChange(_ id: SpoolID) { changing[id, default: 0] += 1 }

  mutating func endChange(_ id: SpoolID) {
    guard let count = changing[id] else { return }
    changing[id] = count > 1 ? count - 1 : nil
  }
}
