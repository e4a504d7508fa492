import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// What a channel and the walk behind it hold at most.
@Suite("Entry channels") struct EntryChannelTests {
  private func fill(_ spool: RocksSpool, _ sizes: [Int]) async throws -> [SpoolID] {
    var ids: [SpoolID] = []
    for (number, size) in sizes.enumerated() {
      let id = spool.makeID()
      try await spool.put(id, payload(number, bytes: size))
      ids.append(id)
    }
    return ids
  }

  /// Opens a spool in a store whose clock only the body moves.
  private func withHeldTime(_ body: (RocksSpool, ManualClock) async throws -> Void) async throws {
    try await withPlace { (place) async throws in
      let clock = ManualClock()
      let store = try await Store.small(at: place.path, clock: clock)
      try await body(try await RocksSpool(store: store, name: "main"), clock)
      try await store.close()
    }
  }

  /// A walk tells how far it came when it has waited for its reader for ten seconds.
  private func stall(_ walk: SpoolEnumeration, _ clock: ManualClock, at count: Int) async throws {
    try await eventually {
      clock.advance(by: .seconds(10))
      return walk.progress.count == count
    }
  }

  @Test(
    "A-E-2: the walk is never further ahead of its reader than the channel allows",
    arguments: [(capacity: 1, batch: 1), (3, 1), (100, 12)])
  func walkIsHeldByTheCapacity(capacity: Int, batch: Int) async throws {
    try await withHeldTime { (spool, clock) async throws in
      let ids = try await fill(spool, Array(repeating: 100, count: 1_000))
      let channel = SpoolEntryChannel(capacity: capacity)
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      // Whole batches, as many as the channel holds; the next one waits with the walk.
      try await stall(walk, clock, at: capacity - capacity % batch)
      var taken: [SpoolID] = []
      for await entry in channel {
        if case .item(let id, _) = entry { taken.append(id) }
        // What the channel holds, and the rest of what its reader took at once.
        #expect(walk.progress.count <= taken.count + capacity + batch - 1)
      }
      #expect(taken == ids)
      #expect(walk.progress.count == 1_000)
    }
  }

  @Test("R-ENUM-10: the walk is held by the bytes too, and a larger message passes alone")
  func walkIsHeldByTheBytes() async throws {
    try await withHeldTime { (spool, clock) async throws in
      let sizes = (0..<60).map { $0 % 10 == 9 ? 10_000 : 1_000 }
      _ = try await fill(spool, sizes)
      let channel = SpoolEntryChannel(capacity: 1_000, byteLimit: 3_500)
      #expect(channel.byteLimit == 3_500)
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      try await stall(walk, clock, at: 3)
      var taken = 0
      for await entry in channel {
        guard case .item(_, let data) = entry else { continue }
        #expect(data.count == sizes[taken])
        taken += 1
        let held = sizes[taken..<max(walk.progress.count, taken)]
        // The reader took at most what the channel held, and the channel is full again: twice three
        // small messages, or one large one in place of three.
        #expect(held.filter { $0 > 3_500 }.count <= 1, "held are \(held)")
        #expect(held.count <= 5, "held are \(held)")
      }
      #expect(taken == 60)
    }
  }

  @Test("SpoolEntryChannel() holds at most 64 MiB")
  func defaultsAreBounded() {
    #expect(SpoolEntryChannel().byteLimit == 64 << 20)
    #expect(SpoolEntryChannel(byteLimit: -1).byteLimit == 0)
  }

  @Test("R-ENUM-8: a walk whose reader stalls for ten seconds holds no tables")
  func stalledWalkPinsNothing() async throws {
    try await withPlace { (place) async throws in
      let clock = ManualClock()
      let store = try await Store.small(at: place.path, clock: clock)
      let spool = try await RocksSpool(store: store, name: "main")
      let ids = try await fill(spool, Array(repeating: 100, count: 20))
      try await spool.flush()
      let channel = SpoolEntryChannel(capacity: 1)
      let start = SpoolInstant(unixMilliseconds: clock.wallMilliseconds + 1_000)
      let walk = try spool.enumerate(into: channel, startTime: start)
      var iterator = channel.makeAsyncIterator()
      var taken: [SpoolID] = []
      // From here on the walk waits in front of a full channel.
      if case .item(let id, _) = await iterator.next() { taken.append(id) }
      clock.advance(by: .seconds(2))
      try await spool.put(spool.makeID(), [1])
      try await spool.flush()
      // The walk's iterator keeps the version before the flush alive.
      #expect(try spool.property("num-live-versions") == 2)
      try await eventually {
        clock.advance(by: .seconds(10))
        return try spool.property("num-live-versions") == 1
      }
      while let entry = await iterator.next() {
        if case .item(let id, _) = entry { taken.append(id) }
      }
      #expect(taken == ids)
      #expect(await walk.finished().error == nil)
      try await store.close()
    }
  }

  @Test("R-ENUM-5: stray keys are told once a walk, cut and few of many")
  func strayKeysAreTold() async throws {
    try await withPlace { (place) async throws in
      try await place.withSpool { (spool) async throws in
        let events = spool.storage.events
        for number in 0..<30 { try await spool.putRaw([0xAB, UInt8(number)], [1]) }
        try await spool.putRaw([UInt8](repeating: 0x11, count: 40), [1])
        let outcome = try await spool.all().outcome
        #expect(outcome.stray == 31)
        #expect(outcome.skipped == 31)
        try await spool.storage.close()
        var told: [(count: Int, examples: [String])] = []
        for await event in events {
          if case .strayKeys("main", let count, let examples) = event {
            told.append((count, examples))
          }
        }
        #expect(told.count == 1)
        #expect(told.first?.count == 31)
        #expect(told.first?.examples.count == 10)
        #expect(told.first?.examples[0] == String(repeating: "11", count: 32) + "...")
        #expect(told.first?.examples[1] == "ab00")
      }
    }
  }

  @Test("R-ENUM-2: a cancelled reader ends alone; the others get everything, and its share too")
  func cancelledReaderLeavesTheOthersTheirEntries() async throws {
    try await withNewSpool { (spool) async throws in
      let ids = try await fill(spool, Array(repeating: 10, count: 400))
      let channel = SpoolEntryChannel(capacity: 16)
      let taken = Shared<[SpoolID]>([])
      let hasBegun = Shared(0)
      let hasOther = Shared(true)
      func reader(atMost limit: Int, leaving rest: Int = .max) -> Task<Void, Never> {
        Task {
          var count = 0
          var iterator = channel.makeAsyncIterator()
          hasBegun.update { $0 += 1 }
          while count < limit, case .item(let id, _)? = await iterator.next() {
            taken.update { $0.append(id) }
            count += 1
            // What another gives back finds somebody who still reads.
            while count == rest, hasOther.value { await Task.yield() }
          }
          // A reader with a limit waits here for its end, and reads on then.
          while limit != .max, !Task.isCancelled { await Task.yield() }
          if limit != .max { #expect(await iterator.next() == nil) }
        }
      }
      // One waits in `next` when it is cancelled, as nothing comes yet, one between two calls.
      let waiting = reader(atMost: .max)
      let between = reader(atMost: 5)
      let last = reader(atMost: .max, leaving: 60)
      try await eventually { hasBegun.value == 3 }
      waiting.cancel()
      await waiting.value
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      try await eventually { taken.value.count > 50 }
      between.cancel()
      await between.value
      hasOther.value = false
      await last.value
      #expect(taken.value.sorted() == ids)
      #expect(await walk.finished().error == nil)
    }
  }

  @Test func aSoleReaderThatIsCancelledEndsTheWalkAlthoughItsIteratorLives() async throws {
    try await withNewSpool { (spool) async throws in
      _ = try await fill(spool, Array(repeating: 10, count: 100))
      let channel = SpoolEntryChannel(capacity: 1)
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
      let task = Task {
        var iterator = channel.makeAsyncIterator()
        _ = await iterator.next()
        while !Task.isCancelled { await Task.yield() }
        #expect(await iterator.next() == nil)
        _ = await walk.finished()
        #expect(await iterator.next() == nil)
      }
      task.cancel()
      await task.value
      #expect(walk.progress.count < 100)
    }
  }

  @Test func walksAreBounded() async throws {
    try await withNewSpool { (spool) async throws in
      _ = try await fill(spool, [1, 1, 1])
      let start = SpoolInstant(ticks: .max)
      let channels = (0..<16).map { _ in SpoolEntryChannel(capacity: 1) }
      let walks = try channels.map { try spool.enumerate(into: $0, startTime: start) }
      await expectError(.overloaded) {
        _ = try spool.enumerate(into: SpoolEntryChannel(), startTime: start)
      }
      for channel in channels { channel.cancel() }
      for walk in walks { _ = await walk.finished() }
      try await eventually { (try? await spool.verify()) != nil }
    }
  }
}
