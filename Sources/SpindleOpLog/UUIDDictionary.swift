internal import SpindleCore

/// The uuids that a segment has named so far, numbered from 1 in the order of their first use.
struct UUIDDictionary: Sendable, Equatable {
  private(set) var uuids: [UUIDValue] = []
  private var numbers: [UUIDValue: UInt64] = [:]

  var count: Int { uuids.count }

  /// A uuid's number; nil for one not named yet.
  func number(of uuid: UUIDValue) -> UInt64? { numbers[uuid] }

  /// The uuid of a number; nil for 0 and for numbers not given yet.
  subscript(number: UInt64) -> UUIDValue? {
    guard number >= 1, number <= UInt64(uuids.count) else { return nil }
    return uuids[Int(number - 1)]
  }

  mutating func define(_ uuid: UUIDValue) {
    uuids.append(uuid)
    numbers[uuid] = UInt64(uuids.count)
  }

  /// Forgets what was defined last.
  mutating func truncate(to count: Int) {
    while uuids.count > count { numbers[uuids.removeLast()] = nil }
  }
}
