import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// A clock that holds up who asks for the time, such as a walk at a message that it leaves out.
private final class HeldClock: StoreClock {
  private let looksLeft = Atomic<Int>(.max)
  private let timedOut = Atomic<Bool>(false)
  private let goes = ThreadSemaphore()

  var now: ContinuousClock.Instant { ContinuousClock.now }
  var wallMilliseconds: UInt64 {
    if looksLeft.subtract(1, ordering: .relaxed).newValue == 0,
      !goes.wait(milliseconds: 120_000)
    {
      timedOut.store(true, ordering: .relaxed)
    }
    return 1_700_000_000_000
  }
  var wasLeftAlone: Bool { timedOut.load(ordering: .relaxed) }

  func hold(atLook number: Int) { looksLeft.store(number, ordering: .relaxed) }
  func goOn() { goes.signal() }
  func sleep(until instant: ContinuousClock.Instant) async throws {
    try await Task.sleep(until: instant, clock: .continuous)
  }
}

@Suite("Enumerations")
struct EnumerationTests {
  private func fill(_ spool: RocksSpool, _ count: Int) async throws -> [SpoolID] {
    var ids: [SpoolID] = []
    for number in 0..<count {
      let id = spool.makeID()
      try await spool.put(id, [UInt8(truncatingIfNeeded: number)])
      ids.append(id)
    }
    return ids
  }

  @Test("A-E-1: messages made at or after the start are left out, the boundary too")
  func laterMessagesAreSkipped() async throws {
    try await withPlace { (place) async throws in
      place.wall.set(1)
      try await place.withSpool { (spool) async throws in
        let ids = (1...5).map { id(atMilliseconds: UInt64($0 * 1_000)) }
        for id in ids { try await spool.put(id, [1]) }
        // Of the same moment as the third, in the two other versions.
        let start = ids[2].created
        let (entries, outcome) = try await spool.all(before: start)
        #expect(outcome.count == 2)
        #expect(outcome.skipped == 3)
        #expect(entries == [.item(id: ids[0], data: [1]), .item(id: ids[1], data: [1])])
        // Within the millisecond, all that these ids tell, it is not known which was first.
        let last = SpoolInstant(ticks: start.ticks + 9_999)
        #expect(try await spool.all(before: last).outcome.count == 2)
        let next = SpoolInstant(ticks: start.ticks + 10_000)
        #expect(try await spool.all(before: next).outcome.count == 3)
        #expect(try await spool.all(before: SpoolInstant(ticks: 0)).outcome.count == 0)
      }
    }
  }

  @Test("A-E-2: a slow reader of a channel for one message gets them all, in order")
  func smallestChannelDeliversAll() async throws {
    try await withNewSpool { (spool) async throws in
      let ids = try await fill(spool, 200)
      let channel = SpoolEntryChannel(capacity: 0)
      #expect(channel.capacity == 1)
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      var seen: [SpoolID] = []
      for await entry in channel {
        for _ in 0..<20 { await Task.yield() }
        if case .item(let id, _) = entry { seen.append(id) }
      }
      #expect(seen == ids)
      #expect(await walk.finished().count == 200)
      #expect(await walk.finished().error == nil)
    }
  }

  /// The walk used to wait for ever for a reader that had left its loop, and with it the close of
  /// the store.
  @Test("A-E-3: a reader that leaves its loop ends the walk at once and frees what it held")
  func leavingTheLoopEndsTheWalk() async throws {
    try await withPlace { (place) async throws in
      let clock = ManualClock()
      let store = try await Store.small(at: place.path, clock: clock)
      let spool = try await RocksSpool(store: store, name: "main")
      _ = try await fill(spool, 300)
      try await spool.flush()
      let channel = SpoolEntryChannel(capacity: 2)
      let start = clock.now
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      var seen = 0
      for await _ in channel {
        seen += 1
        guard seen == 5 else { continue }
        // The iterator of the walk keeps the tables of before a flush alive.
        try await spool.put(spool.makeID(), [1])
        try await spool.flush()
        #expect(try spool.property("num-live-versions") == 2)
        break
      }
      let outcome = await walk.finished()
      #expect(outcome.error?.kind == .closed)
      #expect(outcome.error?.message.contains("its reader is gone") == true)
      #expect((5...8).contains(outcome.count))
      #expect(try spool.property("num-live-versions") == 1)
      // A second look at the channel gives nothing.
      for await _ in channel { Issue.record("an entry after the end") }
      try await store.close()
      // Nobody waited for a time to pass.
      #expect(clock.now == start)
    }
  }

  @Test("A-E-3: a channel dropped unread, cancelled, or of a cancelled task ends the walk")
  func lostReadersEndTheWalk() async throws {
    try await withNewSpool { (spool) async throws in
      _ = try await fill(spool, 50)
      let start = SpoolInstant(ticks: .max)
      let dropped = try spool.enumerate(into: SpoolEntryChannel(capacity: 3), startTime: start)
      #expect(await dropped.finished().error?.kind == .closed)

      let channel = SpoolEntryChannel(capacity: 3)
      let cancelled = try spool.enumerate(into: channel, startTime: start)
      channel.cancel()
      channel.cancel()
      #expect(await cancelled.finished().error?.kind == .closed)

      let read = SpoolEntryChannel(capacity: 3)
      let walk = try spool.enumerate(into: read, startTime: start)
      let task = Task {
        var count = 0
        for await _ in read {
          count += 1
          // Only the cancellation ends this.
          while !Task.isCancelled { await Task.yield() }
        }
        return count
      }
      task.cancel()
      #expect(await walk.finished().error?.kind == .closed)
      #expect(await task.value <= 1)
    }
  }

  @Test("A reader that holds its channel and takes nothing does not keep the store open")
  func anIdleReaderDoesNotStopTheClose() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let spool = try await RocksSpool(store: store, name: "main")
      _ = try await fill(spool, 50)
      let channel = SpoolEntryChannel(capacity: 3)
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      var iterator = channel.makeAsyncIterator()
      #expect(await iterator.next() != nil)
      try await store.close()
      let outcome = await walk.finished()
      #expect(outcome.error?.kind == .closed)
      #expect((1...4).contains(outcome.count))
      // What was taken before the end is still given.
      var count = 1
      while await iterator.next() != nil { count += 1 }
      #expect(count == outcome.count)
    }
  }

  @Test func aShutDownSpoolEndsAnEnumerationThatNobodyReads() async throws {
    try await withNewSpool { (spool) async throws in
      _ = try await fill(spool, 50)
      let channel = SpoolEntryChannel(capacity: 3)
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      try await spool.shutdown()
      let outcome = await walk.finished()
      #expect(outcome.error?.message.contains("the spool was closed") == true)
      withExtendedLifetime(channel) {}
    }
  }

  @Test("A-E-4: keys that are no spool id are passed over and counted")
  func strayKeysHideNothing() async throws {
    try await withNewSpool { (spool) async throws in
      let ids = try await fill(spool, 3)
      let version4 = UUIDValue(high: 0x4000, low: 1 << 63).bytes
      let stray: [[UInt8]] = [
        [], [UInt8](repeating: 0, count: 15), [UInt8](repeating: 0xFF, count: 17), version4,
        [UInt8](repeating: 0, count: 16), [UInt8](repeating: 0xFF, count: 16),
      ]
      for key in stray { try await spool.putRaw(key, [1, 2, 3]) }
      let (entries, outcome) = try await spool.all()
      #expect(entries.count == 3)
      #expect(outcome.count == 3)
      #expect(outcome.skipped == stray.count)
      #expect(outcome.error == nil)
      #expect(try await spool.ids(from: nil, limit: 10) == ids)
    }
  }

  @Test(
    "Every version of id is given, in its own time",
    arguments: [
      "C232AB00-9414-11EC-B3C8-9F6BDECED846", "1EC9414C-232A-6B00-B3C8-9F6BDECED846",
      "017F22E2-79B0-7CC3-98C4-DC0C0C07398F",
    ])
  func foreignVersionsAreGiven(text: String) async throws {
    let id = try #require(SpoolID(text: text))
    try await withNewSpool { (spool) async throws in
      try await spool.put(id, [1])
      #expect(try await spool.load(id) == [1])
      #expect(try await spool.allIDs() == [id])
      #expect(try await spool.all(before: id.created).outcome.skipped == 1)
    }
  }

  @Test("A-E-7: stores during an enumeration do not fail, and new ones are not given")
  func storesGoOnDuringAnEnumeration() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        let ids = try await fill(spool, 100)
        let now = place.wall.wallMilliseconds
        place.wall.set(now + 2_000)
        let channel = SpoolEntryChannel(capacity: 1)
        let start = SpoolInstant(unixMilliseconds: now + 1_000)
        let walk = try spool.enumerate(into: channel, startTime: start)
        var seen: [SpoolID] = []
        for await entry in channel {
          if case .item(let id, _) = entry { seen.append(id) }
          try await spool.put(spool.makeID(), [9])
        }
        #expect(await walk.finished().error == nil)
        #expect(seen == ids)
        #expect(try await spool.allIDs().count == 200)
      }
    }
  }

  @Test("R-ENUM-3, A-E-7: what is stored after the start under an older id is not given")
  func derivedMessagesAreNotGivenTwice() async throws {
    try await withPlace { (place) async throws in
      let now = place.wall.wallMilliseconds
      let (before, derived) = (id(atMilliseconds: now - 9_000), id(atMilliseconds: now - 8_000))
      try await place.withSpool { (spool) async throws in
        try await spool.put(before, [1])
        let start = SpoolInstant(unixMilliseconds: now + 1)
        place.wall.set(now + 1)
        try await spool.put(derived, [2])
        let (entries, outcome) = try await spool.all(before: start)
        #expect(entries == [.item(id: before, data: [1])])
        #expect(outcome.skipped == 1)
        // A walk that begins later gives both.
        place.wall.set(now + 2)
        let later = SpoolInstant(unixMilliseconds: now + 2)
        #expect(try await spool.all(before: later).outcome.count == 2)
      }
      // A later opening did not store them, so nobody has them in memory.
      try await place.withSpool { (spool) async throws in
        let start = SpoolInstant(unixMilliseconds: now)
        #expect(try await spool.all(before: start).outcome.count == 2)
      }
    }
  }

  @Test("R-ENUM-3: an old id is noticed however long nothing was stored before it")
  func derivedMessagesAreNoticedAfterARest() async throws {
    try await withPlace { (place) async throws in
      let opened = place.wall.wallMilliseconds
      try await place.withSpool { (spool) async throws in
        place.wall.set(opened + 60_000)
        let start = SpoolInstant(unixMilliseconds: opened + 60_000)
        try await spool.put(id(atMilliseconds: opened + 30_000), [1])
        // A second old to the tick, and one just younger, which is made now as far as is known.
        try await spool.put(id(atMilliseconds: opened + 59_000), [2])
        try await spool.put(id(atMilliseconds: opened + 59_900), [3])
        let (entries, outcome) = try await spool.all(before: start)
        #expect(entries == [.item(id: id(atMilliseconds: opened + 59_900), data: [3])])
        #expect(outcome.skipped == 2)
      }
    }
  }

  @Test("R-ENUM-3: a message under an old id is left out from its write on, before its sync")
  func messagesBeingStoredAreNotGiven() async throws {
    try await withPlace { (place) async throws in
      let (reached, go) = (ThreadSemaphore(), ThreadSemaphore())
      var hooks = StoreHooks.manual
      hooks.beforeSync = {
        reached.signal()
        _ = go.wait(milliseconds: 120_000)
      }
      let wall = ManualWall()
      let store = try await Store.open(
        at: place.path, settings: .small, access: .owner, clock: wall, hooks: hooks)
      let spool = try await RocksSpool(store: store, name: "main")
      let now = wall.wallMilliseconds
      let old = id(atMilliseconds: now - 5_000)
      async let stored: Void = spool.put(old, [1], forceSync: true)
      while !reached.wait(milliseconds: 0) { await Task.yield() }
      // Written, as a look finds, and not acknowledged.
      #expect(try await spool.load(old) == [1])
      let start = SpoolInstant(unixMilliseconds: now)
      let channel = SpoolEntryChannel(capacity: 8)
      let walk = try spool.enumerate(into: channel, startTime: start)
      // It is put off, and the walk waits for its store.
      try await eventually { walk.progress.skipped == 1 }
      go.signal()
      try await stored
      let outcome = await walk.finished()
      #expect(outcome.count == 0 && outcome.skipped == 1 && outcome.error == nil)
      #expect(try await spool.all(before: start).outcome.skipped == 1)
      for _ in 0..<10 { go.signal() }
      try await store.close()
    }
  }

  @Test(
    "R-ENUM-3: a message that was being stored again is given where that fails",
    .temporaryDirectory, arguments: [true, false])
  func failedStoresHideNothing(isStored: Bool) async throws {
    let fixture = try await StalledSpool()
    let (spool, clock) = (fixture.spool, fixture.clock)
    let old = id(atMilliseconds: clock.wallMilliseconds - 60_000)
    try await spool.put(old, [1])
    clock.advance(by: .seconds(5))
    try await fixture.setStopped(true)
    let call = fixture.store(old, deadline: .seconds(1))
    try await eventually { clock.sleeperCount >= 1 }
    let channel = SpoolEntryChannel(capacity: 8)
    let start = SpoolInstant(unixMilliseconds: clock.wallMilliseconds)
    let walk = try spool.enumerate(into: channel, startTime: start)
    try await eventually { walk.progress.skipped == 1 }
    if isStored { try await fixture.setStopped(false) }
    try await fixture.wait(for: call)
    #expect(await call.kind == (isStored ? nil : .deadlineExceeded))
    var entries: [SpoolEntry] = []
    for await entry in channel { entries.append(entry) }
    let outcome = await walk.finished()
    #expect(outcome.error == nil)
    #expect(entries == (isStored ? [] : [.item(id: old, data: [1])]))
    #expect(outcome.count == (isStored ? 0 : 1) && outcome.skipped == (isStored ? 1 : 0))
    if !isStored { try await fixture.setStopped(false) }
    try await fixture.store.close()
  }

  @Test(
    "R-ENUM-3: a message put off that cannot be read any more keeps no other back",
    .temporaryDirectory)
  func unreadableMessagesKeepNoneBack() async throws {
    let fixture = try await StalledSpool()
    let (spool, clock) = (fixture.spool, fixture.clock)
    let now = clock.wallMilliseconds
    let old = [id(atMilliseconds: now - 60_000), id(atMilliseconds: now - 59_000)]
    let tables = try fixture.store.tablePaths(of: spool.family).count
    for id in old {
      try await spool.put(id, [1])
      try await spool.flush()
    }
    clock.advance(by: .seconds(5))
    try await fixture.setStopped(true)
    let calls = old.map { fixture.store($0, deadline: .seconds(1)) }
    try await eventually { clock.sleeperCount >= 2 }
    let channel = SpoolEntryChannel(capacity: 8)
    let start = SpoolInstant(unixMilliseconds: clock.wallMilliseconds)
    let walk = try spool.enumerate(into: channel, startTime: start)
    try await eventually { walk.progress.skipped == 2 }
    let damage = try TableDamage(
      truncating: try fixture.store.tablePaths(of: spool.family)[tables])
    for call in calls {
      try await fixture.wait(for: call)
      #expect(await call.kind == .deadlineExceeded)
    }
    var entries: [SpoolEntry] = []
    for await entry in channel { entries.append(entry) }
    let outcome = await walk.finished()
    #expect(entries == [.item(id: old[1], data: [1])])
    #expect(outcome.count == 1 && outcome.error?.kind == .corruption)
    try damage.mend()
    try await fixture.setStopped(false)
    try await fixture.store.close()
  }

  @Test("R-ENUM-3: a start within the millisecond of a store under an old id leaves it out")
  func startsAreFinerThanStores() async throws {
    try await withPlace { (place) async throws in
      let now = place.wall.wallMilliseconds
      try await place.withSpool { (spool) async throws in
        try await spool.put(id(atMilliseconds: now - 8_000), [1])
        let start = SpoolInstant(ticks: SpoolInstant(unixMilliseconds: now).ticks + 5_000)
        #expect(try await spool.all(before: start).outcome.skipped == 1)
        let next = SpoolInstant(unixMilliseconds: now + 1)
        #expect(try await spool.all(before: next).outcome.count == 1)
      }
    }
  }

  @Test("R-ENUM-3: a message whose replacement under its old id is refused is given")
  func refusedStoresHideNothing() async throws {
    try await withPlace { (place) async throws in
      let now = place.wall.wallMilliseconds
      let old = id(atMilliseconds: now - 5_000)
      try await place.withSpool { try await $0.put(old, [1]) }
      try await place.withSpool { (spool) async throws in
        spool.storage.health.shutForOperator(note: "a test")
        await expectError(.unavailable) { try await spool.put(old, [2]) }
        await expectError(.unavailable) { try await spool.put(old, [2], forceSync: true) }
        spool.storage.health.openForOperator()
        let (entries, _) = try await spool.all(before: SpoolInstant(unixMilliseconds: now))
        #expect(entries == [.item(id: old, data: [1])])
      }
    }
  }

  @Test("R-ENUM-3: a message made after the start in the same millisecond is left out")
  func messagesOfTheStartsMillisecondAreSkipped() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        let now = SpoolInstant(unixMilliseconds: place.wall.wallMilliseconds)
        try await spool.put(spool.makeID(), [1])
        let start = SpoolInstant(ticks: now.ticks + 5_000)
        #expect(try await spool.all(before: start).outcome.skipped == 1)
      }
    }
  }

  @Test("A reader gets what is there while the walk passes over what it leaves out")
  func sparseWalkHandsOver() async throws {
    try await withPlace { (place) async throws in
      let clock = HeldClock()
      let store = try await Store.small(at: place.path, clock: clock)
      let spool = try await RocksSpool(store: store, name: "main")
      for number in 0..<1_000 {
        try await spool.put(id(atMilliseconds: 1_700_000_000_000 + UInt64(number)), [1])
      }
      clock.hold(atLook: 600)
      let channel = SpoolEntryChannel()
      let walk = try spool.enumerate(
        into: channel, startTime: SpoolInstant(unixMilliseconds: 1_700_000_000_010))
      var taken = 0
      for await _ in channel {
        taken += 1
        if taken == 10 { clock.goOn() }
      }
      #expect(taken == 10)
      #expect(walk.progress.skipped == 990)
      #expect(!clock.wasLeftAlone, "the reader got nothing until the walk was at its end")
      try await store.close()
    }
  }

  @Test func severalReadersShareTheEntries() async throws {
    try await withNewSpool { (spool) async throws in
      let ids = try await fill(spool, 500)
      let channel = SpoolEntryChannel(capacity: 4)
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      let seen = await withTaskGroup(of: [SpoolID].self) { group in
        for _ in 0..<4 {
          group.addTask {
            var own: [SpoolID] = []
            for await entry in channel {
              if case .item(let id, _) = entry { own.append(id) }
            }
            return own
          }
        }
        return await group.reduce(into: []) { $0 += $1 }
      }
      #expect(Set(seen) == Set(ids))
      #expect(seen.count == ids.count)
      #expect(await walk.finished().count == 500)
    }
  }

  @Test func idsAreGivenFromALowerBoundUpToALimit() async throws {
    try await withNewSpool { (spool) async throws in
      let ids = try await fill(spool, 10)
      #expect(try await spool.ids(from: nil, limit: 4) == Array(ids.prefix(4)))
      #expect(try await spool.ids(from: ids[3], limit: 3) == Array(ids[3..<6]))
      #expect(try await spool.ids(from: ids[9], limit: 3) == [ids[9]])
    }
  }
}
