internal import SpindleCore
internal import SpindleOpLog
internal import SpindleRocks
internal import SpindleStore

extension OpLogConformance {
  /// What a failure must leave as it is.
  struct Image: Equatable {
    var cursors: PeerCursors
    var stored: PeerCursors
    var clock: [UInt8]?
    var x: RegisterValue?

    init(_ log: Processor<ConformanceRegister, T>) async throws {
      cursors = log.cursors()
      stored = try await log.tracker.allCursors()
      let family = try await log.store.family("oplog:" + log.prefix)
      clock = try await log.store.get(family, key: OpLogKeys.clockKey)
      x = try await log.view.register("x")
    }
  }

  static func failuresBeforeTheCommit(_ place: Place) async throws {
    let events = EventCount()
    try await withRegisters(place, publisher: events) { log in
      try await log.exec(ConformanceOp("x", 1))
      let before = try await Image(log)
      // Ahead of the wall clock, so that only what was observed can tell.
      let ahead = Timestamp(packed: (log.store.clock.wallMilliseconds + 30_000) << 16)
      func fail(_ op: ConformanceOp, _ what: String, arming: () -> Void) async throws {
        let foreign = Entry.logEntry(LogEntry(serverUser: nil, timestamp: ahead, op: op))
        let calls: [() async throws -> Void] = [
          { _ = try await log.exec(op) },
          { _ = try await log.apply(peer: peer(1), index: 0, entry: foreign) },
        ]
        for call in calls {
          arming()
          var isTaken = true
          do { try await call() } catch { isTaken = false }
          try place.demand(!isTaken, "a failure in \(what) is not told")
          try await log.store.heal()
          try place.demand(
            try await Image(log) == before, "a failure in \(what) left something behind")
        }
      }
      try await fail(.failing(.prepare), "prepare") {}
      try await fail(.failing(.apply), "apply") {}
      if let guardian = log.store.guardian {
        try await fail(ConformanceOp("x", 9), "the commit") {
          guardian.inject(.logAppend, partialBytes: 20)
        }
      } else {
        place.note("a store whose commits can be made to fail")
      }
      try place.demand(events.value == 1, "a failed op had an event")
      let next = try await log.exec(ConformanceOp("x", 2))
      try place.demand(next.index == 1, "a failed op took an index")
      try place.demand(next.timestamp < ahead, "a failed entry moved the clock")
    }
    try place.demand(events.value == 2, "a failed op had an event")
    try await withRegisters(place) { log in
      try place.demand(
        log.cursors() == PeerCursors([peer(100): 2]), "a failed op shows after reopening")
      try place.demand(
        try await log.view.register("x") == .unsigned(2), "a failed op shows after reopening")
    }
  }

  static func failuresAfterTheCommit(_ place: Place) async throws {
    let events = EventCount()
    let cursors = PeerCursors([peer(100): 2, peer(1): 1])
    try await withRegisters(place, publisher: events) { log in
      let op = ConformanceOp.failing(.postApply)
      try place.demand(
        try await log.exec(op).index == 0, "a failure after the commit fails the op")
      try place.demand(
        try await log.apply(peer: peer(1), index: 0, entry: entry(op)).new,
        "a failure after the commit fails the entry")
      try place.demand(
        log.cursor(of: peer(100)) == 1 && log.cursor(of: peer(1)) == 1, "a cursor did not move")
      try await demand(place, log.tracker, peer(1), [(0, entry(op))], "a row was lost")
      try place.demand(
        try await log.exec(ConformanceOp("x", 2_000)).index == 1, "the next op is not the next")
      try place.demand(
        try await !log.apply(peer: peer(1), index: 0, entry: entry(op)).new,
        "a repeat is told as new")
      try place.demand(try await log.tracker.allCursors() == cursors, "a row was lost")
    }
    try place.demand(events.value == 1, "not only the failed events were lost")
    try await withRegisters(place) { log in
      try place.demand(log.cursors() == cursors, "a row was lost by reopening")
      try place.demand(
        try await log.view.register("x") == .unsigned(2_000), "the state was lost by reopening")
    }
  }
}
