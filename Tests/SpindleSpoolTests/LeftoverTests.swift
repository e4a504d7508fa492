import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// What the last run left, whatever the clock says.
@Suite("Leftovers") struct LeftoverTests {
  private func leftovers(_ spool: RocksSpool) async throws -> (
    entries: [SpoolEntry], outcome: SpoolEnumeration.Outcome
  ) {
    let channel = SpoolEntryChannel(capacity: 4)
    let walk = try spool.enumerateLeftovers(into: channel)
    var entries: [SpoolEntry] = []
    for await entry in channel { entries.append(entry) }
    return (entries, await walk.finished())
  }

  @Test("A walk over the leftovers gives exactly what was there at the opening")
  func leftoversAreThoseOfTheOpening() async throws {
    try await withPlace { (place) async throws in
      let ids = try await place.withSpool { (spool) async throws in
        let ids = (0..<5).map { _ in spool.makeID() }
        for id in ids { try await spool.put(id, [1]) }
        return ids
      }
      try await place.withSpool { (spool) async throws in
        #expect(try spool.property("num-snapshots") == 1)
        try await spool.remove(ids[0])
        try await spool.put(ids[1], [2])
        try await spool.put(spool.makeID(), [3])
        // An id that is older than all, as of a message that came from elsewhere.
        try await spool.put(id(atMilliseconds: 1), [4])
        try await spool.compact()
        let (entries, outcome) = try await leftovers(spool)
        #expect(entries == ids.map { .item(id: $0, data: [1]) })
        #expect(outcome.error == nil)
        // The thread of the walk lets go of it last.
        try await eventually { try spool.property("num-snapshots") == 0 }
        let message = await expectError(.unavailable) {
          _ = try spool.enumerateLeftovers(into: SpoolEntryChannel())
        }
        #expect(message.contains("last run"))
        #expect(try await spool.allIDs().count == 6)
      }
    }
  }

  @Test("A walk over the leftovers that was broken off may be made again")
  func brokenOffWalkKeepsTheView() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        for _ in 0..<50 { try await spool.put(spool.makeID(), [1]) }
      }
      try await place.withSpool { (spool) async throws in
        let channel = SpoolEntryChannel(capacity: 1)
        let walk = try spool.enumerateLeftovers(into: channel)
        for await _ in channel { break }
        #expect(await walk.finished().error?.kind == .closed)
        #expect(try await leftovers(spool).entries.count == 50)
      }
    }
  }

  @Test("A walk over the leftovers that is made again leaves out what was removed since")
  func repeatGivesNothingThatIsDone() async throws {
    try await withPlace { (place) async throws in
      let ids = try await place.withSpool { (spool) async throws in
        let ids = (0..<20).map { _ in spool.makeID() }
        for id in ids { try await spool.put(id, [1]) }
        return ids
      }
      try await place.withSpool { (spool) async throws in
        let channel = SpoolEntryChannel(capacity: 1)
        let walk = try spool.enumerateLeftovers(into: channel)
        var done = 0
        for await entry in channel {
          guard case .item(let id, _) = entry else { continue }
          try await spool.remove(id)
          done += 1
          if done == 7 { break }
        }
        #expect(await walk.finished().error?.kind == .closed)
        let (entries, outcome) = try await leftovers(spool)
        #expect(entries == ids.dropFirst(7).map { .item(id: $0, data: [1]) })
        #expect(outcome.skipped == 7)
      }
    }
  }

  @Test("What a reader did not take is not lost with it: the leftovers may be listed again")
  func untakenLeftoversAreKept() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        for _ in 0..<100 { try await spool.put(spool.makeID(), [1]) }
      }
      try await place.withSpool { (spool) async throws in
        // All of it is in the channel when the reader goes.
        for taken in [0, 40] {
          let channel = SpoolEntryChannel(capacity: 1_024)
          let walk = try spool.enumerateLeftovers(into: channel)
          #expect(await walk.finished().count == 100)
          var iterator = channel.makeAsyncIterator()
          for _ in 0..<taken { #expect(await iterator.next() != nil) }
          channel.cancel()
        }
        let dropped = try spool.enumerateLeftovers(into: SpoolEntryChannel())
        _ = await dropped.finished()
        try await eventually { try spool.property("num-snapshots") == 1 }
        let channel = SpoolEntryChannel()
        let walk = try spool.enumerateLeftovers(into: channel)
        var taken = 0
        for await _ in channel { taken += 1 }
        #expect(taken == 100)
        // Whoever met the end of the channel knows how the walk ended.
        #expect(walk.progress.count == 100)
        await expectError(.unavailable) {
          _ = try spool.enumerateLeftovers(into: SpoolEntryChannel())
        }
      }
    }
  }

  @Test("What one of several readers keeps to itself is not lost where another met the end")
  func entriesOfAReaderThatLeavesAreKept() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        for _ in 0..<100 { try await spool.put(spool.makeID(), [1]) }
      }
      try await place.withSpool { (spool) async throws in
        let channel = SpoolEntryChannel(capacity: 1_024)
        let walk = try spool.enumerateLeftovers(into: channel)
        #expect(await walk.finished().count == 100)
        var other: SpoolEntryChannel.AsyncIterator? = channel.makeAsyncIterator()
        var taken = 0
        do {
          var iterator = channel.makeAsyncIterator()
          // Takes several at once and gives one of them.
          #expect(await other?.next() != nil)
          while await iterator.next() != nil { taken += 1 }
        }
        #expect((50..<99).contains(taken))
        await expectError(.conflict) {
          _ = try spool.enumerateLeftovers(into: SpoolEntryChannel())
        }
        other = nil
        #expect(try await leftovers(spool).entries.count == 100)
      }
    }
  }

  @Test("What a walk gave before it met damage is listed by one reader at a time, too")
  func damagedLeftoversAreListedOnce() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        for _ in 0..<2 {
          for _ in 0..<50 { try await spool.put(spool.makeID(), [1]) }
          try await spool.flush()
        }
      }
      try await place.withSpool { (spool) async throws in
        let damage = try TableDamage(
          truncating: try spool.storage.tablePaths(of: spool.family)[1])
        let channel = SpoolEntryChannel(capacity: 1_024)
        let outcome = await (try spool.enumerateLeftovers(into: channel)).finished()
        #expect(outcome.count == 50 && outcome.error != nil)
        await expectError(.conflict) {
          _ = try spool.enumerateLeftovers(into: SpoolEntryChannel())
        }
        var taken = 0
        for await _ in channel { taken += 1 }
        #expect(taken == 50)
        try damage.mend()
        #expect(try await leftovers(spool).entries.count == 100)
      }
    }
  }

  @Test("Leftovers are listed by one walk at a time")
  func leftoversAreListedOnce() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        for _ in 0..<20 { try await spool.put(spool.makeID(), [1]) }
      }
      try await place.withSpool { (spool) async throws in
        let channel = SpoolEntryChannel(capacity: 1)
        let pair = try PairedSpool(
          meta: spool, data: try await RocksSpool(store: spool.storage, name: "data"))
        _ = try pair.enumerateLeftovers(into: channel)
        do {
          _ = try spool.enumerateLeftovers(into: SpoolEntryChannel())
          Issue.record("a second walk began")
        } catch let error as SpindleError {
          #expect(error.kind == .conflict)
          #expect(error.reason == "in_use")
        }
        var taken = 0
        for await _ in channel { taken += 1 }
        #expect(taken == 20)
        await expectError(.unavailable) {
          _ = try pair.enumerateLeftovers(into: SpoolEntryChannel())
        }
      }
    }
  }

  @Test("The view of the opening is given back after its time, and at the shutdown")
  func viewIsGivenBack() async throws {
    try await withPlace { (place) async throws in
      let clock = ManualClock()
      let store = try await Store.small(at: place.path, clock: clock)
      var settings = SpoolSettings()
      settings.leftoversDuration = .seconds(600)
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      clock.advance(by: .seconds(599))
      try await spool.cleanup()
      #expect(try spool.property("num-snapshots") == 1)
      clock.advance(by: .seconds(1))
      try await spool.cleanup()
      #expect(try spool.property("num-snapshots") == 0)
      await expectError(.unavailable) {
        _ = try spool.enumerateLeftovers(into: SpoolEntryChannel())
      }
      let other = try await RocksSpool(store: store, name: "other")
      #expect(try other.property("num-snapshots") == 1)
      try await other.shutdown()
      #expect(try other.property("num-snapshots") == 0)
      try await store.close()
    }
  }

  @Test func viewIsGivenBackWithoutACall() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      var settings = SpoolSettings()
      settings.leftoversDuration = .milliseconds(1)
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      try await eventually { try spool.property("num-snapshots") == 0 }
      try await store.close()
    }
  }

  @Test func aReaderOfTheStoreHasNoLeftovers() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        try await spool.put(spool.makeID(), [1])
      }
      try await place.withSpool("main", .reader) { (spool) async throws in
        #expect(spool.storage.view == .shut)
        await expectError(.unavailable) {
          _ = try spool.enumerateLeftovers(into: SpoolEntryChannel())
        }
      }
    }
  }

  @Test("A-E-9: after the clock went back an hour, messages from its future are found at the start")
  func clockThatWentBackHidesNothing() async throws {
    try await withPlace { (place) async throws in
      let start: UInt64 = 1_700_000_000_000
      place.wall.set(start + 3_600_000)
      let ids = try await place.withSpool { (spool) async throws in
        let ids = (0..<3).map { _ in spool.makeID() }
        for id in ids { try await spool.put(id, [1]) }
        return ids
      }
      place.wall.set(start)
      try await place.withSpool { (spool) async throws in
        let new = spool.makeID()
        try await spool.put(new, [2])
        // A message of this very start that was there, and one of it that is new.
        let startTime = SpoolInstant(unixMilliseconds: start)
        let (entries, outcome) = try await spool.all(before: startTime)
        #expect(entries == ids.map { .item(id: $0, data: [1]) })
        #expect(outcome.skipped == 1)
        #expect(outcome.ahead == 1)
        // Without the view of the opening the time alone decides.
        _ = try await leftovers(spool)
        let (late, lateOutcome) = try await spool.all(before: startTime)
        #expect(late.isEmpty)
        #expect(lateOutcome.skipped == 4)
        #expect(lateOutcome.ahead == 4)
      }
    }
  }
}
