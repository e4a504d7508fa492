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
  /// Few at a time: as many as there are concurrent callers, so a list beats a set.
  var changing: [SpoolID] = []
}
