internal import SpindleCore
internal import SpindleOpLog
internal import SpindleStore
internal import Testing

extension OpLogConformance {
  static func withRegisters(
    _ place: Place, publisher: EventCount? = nil,
    _ body: (Processor<ConformanceRegister, T>) async throws -> Void
  ) async throws {
    try await place.withStore { store in
      let log = try await Processor<ConformanceRegister, T>(
        reducer: ConformanceRegister(), store: store, prefix: "app", selfID: peer(100),
        publisher: publisher)
      do {
        try await body(log)
      } catch {
        await log.close()
        throw error
      }
      await log.close()
    }
  }

  static func registers(_ place: Place) async throws {
    try await withRegisters(place) { log in
      for (value, kept) in [(5, 5), (3, 5), (9, 9)] as [(UInt64, UInt64)] {
        try await log.exec(ConformanceOp("x", value))
        try place.demand(
          try await log.view.register("x") == .unsigned(kept), "x is not \(kept) after \(value)")
      }
    }
    try await withRegisters(place) { log in
      try place.demand(log.cursor(of: peer(100)) == 3, "the own log does not go on")
      try place.demand(
        try await log.view.register("x") == .unsigned(9), "the state was lost by reopening")
    }
  }

  static func otherRegisters(_ place: Place) async throws {
    try await withRegisters(place) { log in
      try await log.exec(ConformanceOp("x", 9))
      try await log.exec(ConformanceOp("y", 7))
      try place.demand(
        try await log.view.register("x") == .unsigned(9), "writing y changed x")
      try place.demand(try await log.view.register("y") == .unsigned(7), "y was not written")
    }
  }

  static func entriesInOrder(_ place: Place) async throws {
    try await withRegisters(place) { log in
      for index in UInt64(0)..<3 {
        let applied = try await log.apply(peer: peer(1), index: index, entry: entry(index))
        try place.demand(applied.new, "a new entry is told as a repeat")
      }
      let again = try await log.apply(peer: peer(1), index: 1, entry: entry(1))
      try place.demand(!again.new, "a repeat is told as new")
      do {
        _ = try await log.apply(peer: peer(1), index: 5, entry: entry(5))
        throw Failure(scenario: place.name, what: "an entry was taken over a gap")
      } catch SyncError.cursorMismatch {}
      try place.demand(log.cursor(of: peer(1)) == 3, "a refused entry moved the cursor")
    }
  }

  static func rawRepeats(_ place: Place) async throws {
    guard place.refusesRepeats() else { return }
    try await withRegisters(place) { log in
      try await log.processOne(peer: peer(1), index: 0, entry: entry(5))
      let before = try await Image(log)
      try await place.demandViolation("a raw repeat was taken") {
        try await log.processOne(peer: peer(1), index: 0, entry: entry(9))
      }
      try place.demand(
        try await log.view.register("x") == .unsigned(5), "a refused entry changed the state")
      try place.demand(
        try await Image(log) == before, "a refused entry changed the clock or the cursors")
      try await demand(
        place, log.tracker, peer(1), [(0, entry(5))], "a refused entry changed the log")
    }
  }

  static func clockAfterRefusal(_ place: Place) async throws {
    guard place.refusesRepeats() else { return }
    var stored = Timestamp.zero
    try await withRegisters(place) { log in
      // Ahead of the wall clock, so that only what is stored can tell.
      let wall = log.store.clock.wallMilliseconds
      func entry(_ milliseconds: UInt64) -> Entry {
        .logEntry(
          LogEntry(
            serverUser: nil, timestamp: Timestamp(packed: (wall + milliseconds) << 16),
            op: ConformanceOp("x", milliseconds)))
      }
      try await log.processOne(peer: peer(1), index: 0, entry: entry(1))
      try await place.demandViolation("a raw repeat was taken") {
        try await log.processOne(peer: peer(1), index: 0, entry: entry(50_000))
      }
      try await log.processOne(peer: peer(1), index: 1, entry: entry(40_000))
      stored = Timestamp(packed: (wall + 40_000) << 16)
    }
    try await withRegisters(place) { log in
      let next = try await log.exec(ConformanceOp("x", 1)).timestamp
      try place.demand(next > stored, "a reopened clock is behind a stored time")
    }
  }

  static func cancelledCalls(_ place: Place) async throws {
    try await withRegisters(place) { log in
      for index in UInt64(0)..<20 {
        let before = log.cursor(of: peer(1))
        let call = Task {
          try await log.apply(peer: peer(1), index: before, entry: entry(index + 1))
        }
        call.cancel()
        let isTaken = (try? await call.value) != nil
        try place.demand(
          log.cursor(of: peer(1)) == before + (isTaken ? 1 : 0), "cursor and outcome differ")
        try place.demand(
          try await log.tracker.allCursors()[peer(1)] == log.cursor(of: peer(1)),
          "cursor and rows differ")
      }
    }
    try await place.withStore { store in
      let hold = PrepareHold()
      let log = try await Processor<HeldRegister, T>(
        reducer: HeldRegister(hold: hold), store: store, prefix: "queue", selfID: peer(100))
      do {
        try await cancelWaitingCalls(place, log, hold)
      } catch {
        await log.close()
        throw error
      }
      await log.close()
    }
  }

  /// Cancels calls that wait behind one that is held in the middle of its turn, among others that
  /// share their commit.
  private static func cancelWaitingCalls(
    _ place: Place, _ log: Processor<HeldRegister, T>, _ hold: PrepareHold
  ) async throws {
    let cancelled: Set = [2, 5, 8]
    var calls: [Task<Executed, any Error>] = []
    hold.shut()
    do {
      calls.append(Task { try await log.exec(ConformanceOp("y", 0)) })
      try await eventually { hold.heldCount == 1 }
      for number in 1..<9 {
        let durability: Durability = number.isMultiple(of: 2) ? .synced : .buffered
        calls.append(
          Task {
            try await log.exec(ConformanceOp("y", UInt64(number)), durability: durability)
          })
        try await eventually { log.callCount == number + 1 }
      }
      for number in cancelled { calls[number].cancel() }
      try await eventually { log.callCount == 6 }
    } catch {
      // Or closing the log would wait for them for ever.
      hold.open()
      throw error
    }
    hold.open()
    var indices: [UInt64] = []
    for (number, call) in calls.enumerated() {
      do {
        indices.append(try await call.value.index)
        try place.demand(!cancelled.contains(number), "a call was served that had given up")
      } catch is CancellationError {
        try place.demand(cancelled.contains(number), "a call failed that was not cancelled")
      }
    }
    try place.demand(indices == Array(0..<6), "a cancelled call took an index")
    try place.demand(log.cursor(of: peer(100)) == 6, "cursor and outcomes differ")
    try place.demand(
      try await log.tracker.allCursors()[peer(100)] == 6, "cursor and rows differ")
    try place.demand(
      try await log.view.register("y") == .unsigned(7), "the state is not that of the log")
  }
}
