internal import SpindleCore
internal import SpindleOpLog
internal import SpindleStore

extension OpLogConformance {
  static func extremePeers(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let peers = [peer(0), peer(.max)]
      for peer in peers { try await add(tracker, store, peer, [0, 1]) }
      try place.demand(
        try await tracker.allCursors() == PeerCursors([peers[0]: 2, peers[1]: 2]),
        "a cursor is wrong")
      for peer in peers {
        try await demand(
          place, tracker, peer, [(0, entry(1)), (1, entry(1))], "the entries of a peer are wrong")
      }
    }
  }

  static func neighbouringPeers(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      for number in [6, 7, 8] as [UInt64] {
        try await add(tracker, store, peer(number), [0, 1], value: number)
      }
      for number in [6, 7, 8] as [UInt64] {
        try await demand(
          place, tracker, peer(number), [(0, entry(number)), (1, entry(number))],
          "entries of one peer show among another's")
        try await demand(
          place, tracker, peer(number), from: 2, [], "a read beyond a peer's end gives another's")
      }
    }
  }

  static func prefixes(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let other = try await T(store: store, prefix: "app2")
      try await add(tracker, store, peer(1), [0, 1])
      try await add(other, store, peer(1), [0], value: 2)
      let cursors = [try await tracker.allCursors(), try await other.allCursors()]
      try place.demand(cursors.map { $0[peer(1)] } == [2, 1], "one prefix shows in another")
      try await demand(place, other, peer(1), [(0, entry(2))], "one prefix shows in another")
    }
  }

  static func pages(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, (0..<6).map { (peer(1), $0, entry($0)) })
      let asked: [(from: UInt64, limit: Int, Range<UInt64>)] = [
        (3, 2, 3..<5), (0, 1, 0..<1), (0, 6, 0..<6), (5, 9, 5..<6), (2, 0, 2..<2), (6, 2, 6..<6),
        (.max, 2, 6..<6),
      ]
      for (index, limit, indices) in asked {
        try await demand(
          place, tracker, peer(1), from: index, limit: limit, indices.map { ($0, entry($0)) },
          "a page of \(limit) from \(index) on is wrong")
      }
      try await demand(place, tracker, peer(2), limit: 2, [], "an unknown peer has entries")
    }
  }

  static func longLogs(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, (0..<257).map { (peer(1), $0, entry($0)) })
      for indices in [0..<256, 256..<257, 257..<257] as [Range<UInt64>] {
        try await demand(
          place, tracker, peer(1), from: indices.lowerBound, limit: 256,
          indices.map { ($0, entry($0)) }, "the page from \(indices.lowerBound) on is wrong")
      }
    }
  }

  static func droppedPrefixes(_ place: Place) async throws {
    let rows = [(0, entry(1)), (1, entry(1))] as [(UInt64, Entry)]
    try await place.withStore { store in
      for prefix in ["app", "app2"] {
        try await add(try await T(store: store, prefix: prefix), store, peer(1), [0, 1])
      }
    }
    // Looked at once the store was opened again: handles of what was dropped are of no more use.
    let isDropped = try await place.withStore { store in
      try await place.environment.drop(prefix: "app", in: store)
    }
    guard isDropped else { return place.note("dropping a prefix") }
    try await place.withStore { store in
      let kept = try await T(store: store, prefix: "app2")
      try place.demand(
        try await kept.allCursors() == PeerCursors([peer(1): 2]),
        "dropping one prefix changed another")
      try await demand(place, kept, peer(1), rows, "dropping one prefix changed another")
      let dropped = try await T(store: store, prefix: "app")
      try await demandEmpty(place, dropped, "a dropped prefix holds something")
      try await add(dropped, store, peer(1), [0], value: 9)
      try await demand(place, dropped, peer(1), [(0, entry(9))], "a dropped prefix is not new")
    }
  }

  static func damagedRows(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      guard let history = tracker as? any HistoryTracker<ConformanceOp> else {
        return place.note("reading entries back")
      }
      // Numbers that stand in no peer's name.
      for number in [1, 2] as [UInt64] {
        try await add(tracker, store, peer(number), [40, 41, 42])
      }
      guard try await place.environment.damage(peer(1), 41, prefix: "app", in: store) else {
        return place.note("stored bytes that can be damaged")
      }
      let error = try await place.demandError(.corruption, "a damaged row was read") {
        _ = try await history.readEntries(peer: peer(1), from: 0, limit: .max)
      }
      try place.demand(
        error.message.contains("41") && error.message.contains("\(peer(1))"),
        "the error names neither peer nor index: \(error)")
      try await demand(
        place, tracker, peer(1), limit: 1, [(40, entry(1))], "the row before cannot be read")
      try await demand(
        place, tracker, peer(2), [40, 41, 42].map { ($0, entry(1)) },
        "another peer cannot be read")
    }
  }
}
