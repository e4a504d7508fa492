internal import SpindleCore
internal import SpindleOpLog
internal import SpindleStore

extension OpLogConformance {
  static func empty(_ place: Place) async throws {
    try await place.withTracker { tracker, _ in
      try await demandEmpty(place, tracker, "a new log is not empty")
    }
  }

  static func openingRepeats(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0])
      let again = try await T(store: store, prefix: "app")
      try place.demand(try await again.allCursors()[peer(1)] == 1, "a second tracker lost the row")
      try await demand(place, again, peer(1), [(0, entry(1))], "a second tracker lost the row")
    }
    try await place.withTracker { tracker, _ in
      try place.demand(try await tracker.allCursors()[peer(1)] == 1, "a row was lost by reopening")
      try await demand(place, tracker, peer(1), [(0, entry(1))], "a row changed by reopening")
    }
  }

  static func oneRow(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0])
      try place.demand(
        try await tracker.allCursors() == PeerCursors([peer(1): 1]), "the cursor is not 1")
    }
  }

  static func cursors(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let ends = [peer(1): 10, peer(2): 3] as [PeerID: UInt64]
      for (peer, next) in ends { try await add(tracker, store, peer, Array(0..<next)) }
      try place.demand(try await tracker.allCursors() == PeerCursors(ends), "a cursor is wrong")
    }
  }

  static func nothingWithoutCommit(_ place: Place) async throws {
    try await place.withTracker { tracker, _ in
      var batch = Batch()
      try tracker.trackOne(
        peer: peer(1), index: 0, timestamp: .zero, serverUser: nil, op: ConformanceOp("x", 1),
        into: &batch)
      try await demandEmpty(place, tracker, "an entry shows before its commit")
    }
    try await place.withTracker { tracker, _ in
      try await demandEmpty(place, tracker, "a dropped batch was stored")
    }
  }

  static func batchesAreWhole(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0, 1])
      try place.demand(
        try await tracker.allCursors()[peer(1)] == 2, "a batch of two was not stored whole")
      guard place.refusesRepeats() else { return }
      try await place.demandViolation("a batch with a taken index was stored") {
        try await add(tracker, store, peer(1), [2, 1], value: 9)
      }
      try await demand(
        place, tracker, peer(1), [(0, entry(1)), (1, entry(1))], "a batch was stored in part")
      try place.demand(
        try await tracker.allCursors()[peer(1)] == 2, "a refused batch was stored in part")
    }
  }

  static func takenIndices(_ place: Place) async throws {
    try await refusal(place, of: entry(9), over: entry(1))
  }

  static func entryOverMarker(_ place: Place) async throws {
    try await refusal(place, of: entry(9), over: .expunged(someHash))
  }

  static func markerOverEntry(_ place: Place) async throws {
    try await refusal(place, of: .expunged(someHash), over: entry(1))
  }

  static func refusal(_ place: Place, of second: Entry, over first: Entry) async throws {
    guard place.refusesRepeats() else { return }
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, [(peer(1), 0, first)])
      try await place.demandViolation("a taken index was taken again") {
        try await commit(tracker, store, [(peer(1), 0, second)])
      }
      try await demand(place, tracker, peer(1), [(0, first)], "the first entry was replaced")
      try place.demand(try await tracker.allCursors()[peer(1)] == 1, "the cursor moved")
    }
  }

  static func oneBatchTwice(_ place: Place) async throws {
    guard place.refusesRepeats() else { return }
    try await place.withTracker { tracker, store in
      try await place.demandViolation("one batch took an index twice") {
        try await add(tracker, store, peer(1), [0, 0])
      }
      try await demandEmpty(place, tracker, "a refused batch was stored in part")
      try await add(tracker, store, peer(1), [0])
    }
  }

  static func peersShareIndices(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      for number in [1, 2] as [UInt64] {
        try await add(tracker, store, peer(number), [0], value: number)
      }
      for number in [1, 2] as [UInt64] {
        try await demand(
          place, tracker, peer(number), [(0, entry(number))], "an entry of another peer is there")
      }
      try place.demand(try await tracker.allCursors().count == 2, "a peer is missing")
    }
  }

  static func markers(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      try await add(tracker, store, peer(1), [0, 1])
      try await commit(tracker, store, [(peer(1), 2, .expunged(someHash))])
      try place.demand(try await tracker.allCursors()[peer(1)] == 3, "a marker takes no index")
      try await demand(
        place, tracker, peer(1), from: 2, [(2, .expunged(someHash))], "a marker changed")
    }
  }

  /// Stores entries and demands them back, before and after reopening.
  static func roundTrip(_ place: Place, _ entries: [Entry]) async throws {
    let numbered = entries.enumerated().map { (UInt64($0), $1) }
    try await place.withTracker { tracker, store in
      try await commit(tracker, store, numbered.map { (peer(1), $0, $1) })
      try await demand(place, tracker, peer(1), numbered, "an entry reads back otherwise")
    }
    try await place.withTracker { tracker, _ in
      try await demand(place, tracker, peer(1), numbered, "an entry changed by reopening")
    }
  }

  static func users(_ place: Place) async throws {
    let users = [nil, 0, .max, 7].map { (user: UInt64?) in
      user.map { UserID(UUIDValue(high: $0, low: $0)) }
    }
    try await roundTrip(
      place,
      users.map {
        .logEntry(
          LogEntry(serverUser: $0, timestamp: Timestamp(packed: 5), op: ConformanceOp("x", 1)))
      })
  }

  static func emptyParts(_ place: Place) async throws {
    try await roundTrip(
      place,
      [
        entry(.register(MaxRegisterOp(name: [], value: .bytes([])))),
        entry(.register(MaxRegisterOp(name: [0], value: .bytes([0])))),
      ])
  }

  static func largeValues(_ place: Place) async throws {
    let bytes = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try await roundTrip(place, [entry(.register(MaxRegisterOp(name: [1], value: .bytes(bytes))))])
  }

  static func highIndices(_ place: Place) async throws {
    try await place.withTracker { tracker, store in
      let high: [UInt64] = [1 << 63 - 1, 1 << 63, .max - 1]
      for index in high.reversed() { try await add(tracker, store, peer(1), [index]) }
      try place.demand(
        try await tracker.allCursors()[peer(1)] == .max, "indices beyond 2^63 are misordered")
      try await demand(
        place, tracker, peer(1), high.map { ($0, entry(1)) }, "indices beyond 2^63 are misordered")
      try await demand(
        place, tracker, peer(1), from: 1 << 63, limit: 1, [(1 << 63, entry(1))],
        "a page beyond 2^63 does not begin where it is asked to")
    }
  }

  static func lastIndex(_ place: Place) async throws {
    try await place.withTracker { tracker, _ in
      var batch = Batch()
      let error: (any Error)?
      do {
        try tracker.trackOne(
          peer: peer(1), index: .max, timestamp: .zero, serverUser: nil,
          op: ConformanceOp("x", 1), into: &batch)
        error = nil
      } catch let thrown { error = thrown }
      try place.demand(error != nil && batch.isEmpty, "index 2^64 - 1 was taken")
    }
  }

  static func highTimes(_ place: Place) async throws {
    try await roundTrip(
      place,
      [0, 1 << 63 - 1, 1 << 63 + 5, .max].map {
        .logEntry(
          LogEntry(
            serverUser: nil, timestamp: Timestamp(packed: $0), op: ConformanceOp("x", 1)))
      })
  }

  static func signedIntegers(_ place: Place) async throws {
    guard place.environment.isSQLCompatible else {
      return place.note("OpLogSettings.sqlCompatible")
    }
    try await place.withStore { store in
      let tracker = try await T(
        store: store, prefix: "app", settings: OpLogSettings(sqlCompatible: true))
      let most = UInt64(Int64.max)
      for (index, time) in [(most + 1, 5), (.max - 1, 5), (0, most + 1), (0, .max)] {
        var batch = Batch()
        try await place.demandError(
          .invalidArgument, reason: "integer_out_of_range",
          "index \(index) at time \(time) was taken"
        ) {
          try tracker.trackOne(
            peer: peer(1), index: index, timestamp: Timestamp(packed: time), serverUser: nil,
            op: ConformanceOp("x", 1), into: &batch)
        }
        try place.demand(batch.isEmpty, "a refused entry is in the batch")
      }
      var batch = Batch()
      try await place.demandError(
        .invalidArgument, reason: "integer_out_of_range", "a marker beyond 2^63 was taken"
      ) {
        try tracker.trackExpunged(peer: peer(1), index: most + 1, hash: someHash, into: &batch)
      }
      try place.demand(batch.isEmpty, "a refused marker is in the batch")
      try await demandEmpty(place, tracker, "a refused entry was stored")
      let last = Entry.logEntry(
        LogEntry(
          serverUser: nil, timestamp: Timestamp(packed: most), op: ConformanceOp("x", 1)))
      try await commit(tracker, store, [(peer(1), most, last)])
      try await demand(place, tracker, peer(1), [(most, last)], "2^63 - 1 was not taken")
    }
  }

  static func reservedTags(_ place: Place) async throws {
    try await refusal(place, of: .reservedTag, reason: "reserved_tag")
  }

  static func unwritableOps(_ place: Place) async throws {
    try await refusal(place, of: .unwritable, reason: "codec")
  }

  private static func refusal(
    _ place: Place, of op: ConformanceOp, reason: String
  ) async throws {
    try await place.withTracker { tracker, _ in
      var batch = Batch()
      func track(_ index: UInt64, _ op: ConformanceOp) throws {
        try tracker.trackOne(
          peer: peer(1), index: index, timestamp: .zero, serverUser: nil, op: op, into: &batch)
      }
      try track(0, ConformanceOp("x", 1))
      let count = batch.count
      try await place.demandError(
        .invalidArgument, reason: reason, "an op that no row can hold was taken"
      ) { try track(1, op) }
      try place.demand(batch.count == count, "an op that no row can hold is in the batch")
      try await demandEmpty(place, tracker, "a dropped batch was stored")
    }
  }
}
