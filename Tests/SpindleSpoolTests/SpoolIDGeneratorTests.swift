import SpindleCore
import SpindleSpool
import SpindleStore
import Testing

@Suite("New spool ids")
struct SpoolIDGeneratorTests {
  @Test func idsRiseWhateverTheClockDoes() {
    let wall = ManualWall(1_000_000)
    let generator = SpoolIDGenerator(clock: wall, seed: 1)
    var last = generator.next()
    for step: UInt64 in [1_000_000, 1_000_001, 999_000, 0, 5, 1_000_002, 1_000_002, 2_000_000, 1] {
      wall.set(step)
      for _ in 0..<10 {
        let next = generator.next()
        #expect(last < next)
        #expect(last.bytes.lexicographicallyPrecedes(next.bytes))
        #expect(next.uuid.version == 7)
        #expect(next.uuid.hasStandardVariant)
        last = next
      }
    }
    #expect(last.created.ticks == 2_000_000 * 10_000)
  }

  @Test func theCounterCarriesIntoTheMilliseconds() {
    let generator = SpoolIDGenerator(clock: ManualWall(50), seed: 1)
    var last = generator.next()
    for _ in 0..<10_000 {
      let next = generator.next()
      #expect(last < next)
      last = next
    }
    // 10,001 ids of 4,096 a millisecond.
    #expect(last.created.ticks == 52 * 10_000)
  }

  @Test("A-ID-5: a new id was made now")
  func newIDsHaveTheTimeOfTheClock() {
    let generator = SpoolIDGenerator(clock: ManualWall(1_700_000_000_123), seed: 1)
    #expect(generator.next().created.ticks == 1_700_000_000_123 * 10_000)
    let system = SystemClock()
    let before = system.wallMilliseconds
    let made = SpoolIDGenerator(clock: system, seed: 1).next().created
    #expect(made >= SpoolInstant(unixMilliseconds: before))
    #expect(made <= SpoolInstant(unixMilliseconds: system.wallMilliseconds))
  }

  @Test func idsStartAboveTheFloor() throws {
    let floor = id(atMilliseconds: 2_000)
    let generator = SpoolIDGenerator(clock: ManualWall(1_000), floor: floor, seed: 1)
    #expect(floor < generator.next())
    // Ids of other versions are not in this order and set no floor.
    let six = try #require(SpoolID(text: "1EC9414C-232A-6B00-B3C8-9F6BDECED846"))
    let other = SpoolIDGenerator(clock: ManualWall(1_000), floor: six, seed: 1)
    #expect(other.next().created.ticks == 1_000 * 10_000)
  }

  @Test("At the end of time ids stay there and stay different", arguments: [true, false])
  func theLastMillisecondDoesNotWrap(byFloor: Bool) throws {
    let last = try #require(
      SpoolID(UUIDValue(high: (1 << 48 - 1) << 16 | 0x7FFF, low: 1 << 63)))
    let generator =
      byFloor
      ? SpoolIDGenerator(clock: ManualWall(1_000), floor: last, seed: 1)
      : SpoolIDGenerator(clock: ManualWall(.max), seed: 1)
    let ids = (0..<10_000).map { _ in generator.next() }
    #expect(Set(ids).count == ids.count)
    #expect(ids.allSatisfy { $0.created == last.created })
  }

  @Test func equalSeedsGiveEqualIDs() {
    let make = { (seed: UInt64) in
      SpoolIDGenerator(clock: ManualWall(7), seed: seed).next()
    }
    #expect(make(1) == make(1))
    #expect(make(1) != make(2))
    #expect(make(1).created == make(2).created)
  }

  @Test("A-ID-8: a million ids from 16 tasks are unique, and rise within each task")
  func idsOfManyTasksAreUnique() async {
    let generator = SpoolIDGenerator(clock: SystemClock(), seed: 3)
    let ids = await withTaskGroup(of: [SpoolID].self) { group in
      for _ in 0..<16 {
        group.addTask { (0..<62_500).map { _ in generator.next() } }
      }
      return await group.reduce(into: [[SpoolID]]()) { $0.append($1) }
    }
    for list in ids {
      let rises = zip(list, list.dropFirst()).allSatisfy { $0.uuid.high < $1.uuid.high }
      #expect(rises)
    }
    #expect(Set(ids.joined().map(\.uuid)).count == 1_000_000)
  }

  @Test func aSpoolGoesOnAboveItsGreatestKeyAfterAClockStepBack() async throws {
    try await withPlace { (place) async throws in
      let stored = try await place.withSpool { (spool) async throws in
        let id = spool.makeID()
        try await spool.put(id, [1])
        return id
      }
      place.wall.set(1_700_000_000_000 - 23 * 3_600_000)
      try await place.withSpool { (spool) async throws in
        let next = spool.makeID()
        #expect(stored < next)
        #expect(stored.bytes.lexicographicallyPrecedes(next.bytes))
      }
    }
  }

  /// A spool whose last key by bytes was of version 1, or no id at all, started new ids at the
  /// clock: after a step back they sorted before stored ones.
  @Test func keysThatSortLastDoNotHideTheGreatestID() async throws {
    try await withPlace { (place) async throws in
      let stored = try await place.withSpool { (spool) async throws in
        let id = spool.makeID()
        try await spool.put(id, [1])
        try await spool.put(try #require(SpoolID(text: "d7ef132b5d7711eea8c8000c29c33806")), [2])
        try await spool.putRaw(Array(repeating: 0xFF, count: 17), [3])
        return id
      }
      place.wall.set(1_700_000_000_000 - 23 * 3_600_000)
      let next = try await place.withSpool { $0.makeID() }
      #expect(stored < next)
    }
  }

  /// Two spools opened in one millisecond by one process drew the same random bits.
  @Test func spoolsOpenedAtOnceMakeDifferentIDs() async throws {
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let first = try await RocksSpool(store: store, name: "a")
      let second = try await RocksSpool(store: store, name: "b")
      #expect(first.makeID() != second.makeID())
      try await store.close()
    }
  }

  @Test("An id from far ahead moves no new ids; one up to a day ahead does")
  func foreignIDsFromTheFuture() async throws {
    try await withPlace { (place) async throws in
      let now = place.wall.wallMilliseconds
      let day: UInt64 = 24 * 3_600_000
      let past = SpoolID(UUIDValue(high: 0xC232_AB00_9414_11EC, low: 0xB3C8_9F6B_DECE_D846))!
      try await place.withSpool { (spool) async throws in
        for id in [past, id(atMilliseconds: now + day + 1), id(atMilliseconds: 1 << 48 - 1)] {
          try await spool.put(id, [1])
        }
      }
      try await place.withSpool { (spool) async throws in
        #expect(spool.makeID().created == SpoolInstant(unixMilliseconds: now))
        try await spool.put(id(atMilliseconds: now + day), [1])
      }
      try await place.withSpool { (spool) async throws in
        #expect(spool.makeID() > id(atMilliseconds: now + day))
      }
    }
  }
}
