internal import SpindleCore
internal import SpindleRocks

/// Keys of several damaged tables, of which the same tables cannot be read there.
///
/// The damage of one table may hide what is intact in another: where both hold the same stretch of
/// keys, and everywhere where one of level 0 does not open. So every such key is looked at once
/// more, in a view without exactly the tables that hide it. All others are in that view, or the
/// removal that stands in one of them would be missed, and what one table alone holds would be
/// taken for removed.
struct SpoolRepairPart {
  /// A damaged table that opens.
  struct Table {
    let file: Database.TableFile
    /// What cannot be read of its keys.
    let hidden: SpoolRanges
  }

  /// The tables to leave out.
  let hiding: Set<UInt64>
  /// The keys; no other part has them.
  let keys: SpoolRanges

  /// The parts in which a view with fewer tables shows more than one with all; at most two for each
  /// hidden stretch and table.
  ///
  /// - Parameter leavesOut: Whether there are damaged tables besides, which are in no view.
  static func parts(of tables: [Table], leavesOut: Bool) -> [SpoolRepairPart] {
    let stretches = tables.map { SpoolRanges(of: [$0.file]) }
    var edges: Set<[UInt8]> = []
    for range in (stretches + tables.map(\.hidden)).flatMap(\.ranges) {
      edges.insert(range.from)
      if let end = range.to { edges.insert(end) }
    }
    let places = edges.sorted { $0.lexicographicallyPrecedes($1) }
    var keys: [Set<UInt64>: [SpoolLostRange]] = [:]
    // Between two edges nothing changes.
    for (from, to) in zip(places, places.dropFirst()) {
      let held = tables.indices.filter { stretches[$0].contains(from.span) }
      let hiding = held.filter { tables[$0].hidden.contains(from.span) }
      guard hiding.count < held.count, leavesOut || !hiding.isEmpty else { continue }
      keys[Set(hiding.map { tables[$0].file.number }), default: []].append(
        SpoolLostRange(file: nil, from: from, to: to))
    }
    return keys.map { SpoolRepairPart(hiding: $0, keys: SpoolRanges(joining: $1)) }
  }
}
