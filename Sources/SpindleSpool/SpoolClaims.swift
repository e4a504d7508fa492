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
  /// The ids of stores and removes under way, each as often as there are of it: so many as
  /// are looked through faster than they are hashed.
  private var few = InlineArray<64, UUIDValue>(repeating: UUIDValue(high: 0, low: 0))
  private var fewCount = 0
  /// How many more are under way of each id. While RocksDB is stalled every waiting caller is in
  /// it, tens of thousands.
  private var many: [SpoolID: Int] = [:]

  func isChanging(_ id: SpoolID) -> Bool { place(of: id) != nil || many[id] != nil }

  private func place(of id: SpoolID) -> Int? {
    var index = 0
    while index < fewCount {
      if few[index] == id.uuid { return index }
      index += 1
    }
    return nil
  }

  mutating func beginChange(_ id: SpoolID) {
    if fewCount < few.count {
      few[fewCount] = id.uuid
      fewCount += 1
    } else {
      many[id, default: 0] += 1
    }
  }

  mutating func endChange(_ id: SpoolID) {
    if let place = place(of: id) {
      fewCount -= 1
      few[place] = few[fewCount]
    } else if let count = many[id] {
      many[id] = count > 1 ? count - 1 : nil
    }
  }
}
