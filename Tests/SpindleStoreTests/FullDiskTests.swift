import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// A real disk that is really full. Fails where it cannot mount one.
@Suite(.temporaryDirectory, .serialized) struct FullDiskTests {
  private static let settings: StoreSettings = {
    var settings = StoreSettings.small
    settings.database.writeBufferBytes = 1 << 20
    return settings
  }()

  private func withDisk(_ body: (SmallDisk) async throws -> Void) async throws {
    let disk = try await SmallDisk.mount(at: TestDirectory.path("disk"), bytes: 24 << 20)
    do {
      try await body(disk)
    } catch {
      try? await disk.unmount()
      throw error
    }
    try await disk.unmount()
  }

  /// Writes until the disk refuses; gives the numbers acknowledged.
  private func fill(
    _ store: Store, _ family: StoreFamily, from start: Int, _ durability: Durability
  ) async throws -> Int {
    for number in start..<(start + 1_000_000) {
      do {
        try await store.put(family, number, durability, bytes: 1000)
      } catch let error as SpindleError {
        #expect(error.kind == .unavailable)
        #expect(error.reason == "disk_full")
        #expect(error.message.contains("No space left on device"))
        return number
      }
    }
    throw TestKitError("the disk never filled")
  }

  @Test(arguments: Durability.allCases)
  func nothingAcknowledgedIsLostOnAFullDisk(durability: Durability) async throws {
    try await withDisk { disk in
      let path = disk.path + "/store"
      let store = try await Store.small(at: path, settings: Self.settings)
      let family = try await store.family("spool:a")
      for number in 0..<500 { try await store.put(family, number, .synced, bytes: 1000) }
      try disk.fill(leaving: 300_000)
      let end = try await fill(store, family, from: 500, durability)
      // The process lives and reads go on; healing cannot work yet and says so.
      #expect(try await store.get(family, key: numberedKey(3)) == numberedValue(3, bytes: 1000))
      #expect(try store.numbers(family).count >= end)
      #expect(await refusal { try await store.put(family, end, .synced) }?.reason == "disk_full")
      try disk.fill()
      _ = await refusal { try await store.heal() }
      #expect(await refusal { try await store.put(family, end) }?.kind == .unavailable)
      try disk.removeFiller()
      for _ in 0..<5 where store.health.unhealthyReason != nil { try? await store.heal() }
      #expect(store.health.unhealthyReason == nil, "\(store.health.causes)")
      for number in 1_000_000..<1_000_200 { try await store.put(family, number, durability) }
      let killed = try TestDirectory.path("killed")
      try await store.copyAsKilled(to: killed)
      try await store.close()
      for place in [path, killed] {
        for _ in 0..<2 {
          let again = try await Store.small(at: place, settings: Self.settings)
          let found = try await again.numbers(again.family("spool:a"))
          let before = found.filter { $0 < 1_000_000 }
          #expect(Array(before.prefix(end)) == Array(0..<end))
          // A synced batch may have been written and refused at its sync.
          #expect(before.count <= end + 1)
          #expect(found.filter { $0 >= 1_000_000 } == Array(1_000_000..<1_000_200))
          try await again.close()
        }
      }
    }
  }

  @Test func aFullDiskHealsWhileEveryMemtableIsEmpty() async throws {
    try await withDisk { disk in
      let path = disk.path + "/store"
      let store = try await Store.small(at: path, settings: Self.settings)
      let family = try await store.family("spool:a")
      for number in 0..<100 { try await store.put(family, number, bytes: 1000) }
      try await store.flush(family)
      try disk.fill()
      // RocksDB reserves room for its log in steps; the first writes may still fit.
      let end = try await fill(store, family, from: 100, .buffered)
      try disk.removeFiller()
      for _ in 0..<5 where store.health.unhealthyReason != nil { try? await store.heal() }
      try await store.put(family, 1_000_000, .synced)
      try await store.close()
      let again = try await Store.small(at: path, settings: Self.settings)
      #expect(try await again.numbers(again.family("spool:a")) == Array(0..<end) + [1_000_000])
      try await again.close()
    }
  }

  @Test func aStoreOnAFullDiskClosesAndOpens() async throws {
    try await withDisk { disk in
      let path = disk.path + "/store"
      let store = try await Store.small(at: path, settings: Self.settings)
      let family = try await store.family("spool:a")
      for number in 0..<100 { try await store.put(family, number, bytes: 1000) }
      try disk.fill()
      let end = try await fill(store, family, from: 100, .buffered)
      try await store.close()
      // Not even the mark of the owner may fit now; the error names the disk, and nothing is lost.
      do {
        let full = try await Store.small(at: path, settings: Self.settings)
        try await full.close()
      } catch let error as SpindleError {
        #expect(error.reason == "disk_full", "\(error)")
      }
      try disk.removeFiller()
      let again = try await Store.small(at: path, settings: Self.settings)
      #expect(try await again.numbers(again.family("spool:a")) == Array(0..<end))
      try await again.close()
    }
  }

  @Test func theBallastIsReservedAndGivenBack() async throws {
    try await withDisk { disk in
      var settings = Self.settings
      settings.ballastBytes = 200_000
      let store = try await Store.small(at: disk.path + "/store", settings: settings)
      let family = try await store.family("spool:a")
      let ballast = disk.path + "/store/BALLAST"
      #expect(try Files.size(ballast) == 200_000)
      try await store.put(family, 1)
      try disk.fill()
      _ = try await fill(store, family, from: 2, .buffered)
      _ = try? await store.heal()
      #expect(store.health.unhealthyReason == nil || !Files.exists(ballast))
      try disk.removeFiller()
      for _ in 0..<5 where store.health.unhealthyReason != nil { try? await store.heal() }
      #expect(store.health.unhealthyReason == nil)
      #expect(Files.exists(ballast))
      try await store.close()
    }
  }
}

@Suite(.temporaryDirectory) struct CapacityTests {
  private func space(free: UInt64, inodes: UInt64 = 50_000, of total: UInt64 = 100_000) -> DiskSpace
  {
    DiskSpace(
      freeBytes: free, totalBytes: 1_000_000_000, freeInodes: inodes, totalInodes: total)
  }

  private func open(
    _ space: Shared<DiskSpace?>, beforeSync: @escaping @Sendable () -> Void = {},
    beforeGroupWrite: @escaping @Sendable () -> Void = {}
  ) async throws -> (Store, StoreFamily) {
    var settings = StoreSettings.small
    settings.capacityFloor.bytes = 100_000_000
    settings.capacityFloor.percent = 5
    settings.capacityFloor.inodes = 1000
    var hooks = StoreHooks.manual
    hooks.diskSpace = { space.value }
    hooks.beforeSync = beforeSync
    hooks.beforeGroupWrite = beforeGroupWrite
    let store = try await Store.small(
      at: TestDirectory.path("store"), settings: settings, hooks: hooks)
    return (store, try await store.family("spool:a"))
  }

  @Test func tooLittleSpaceShutsTheGateAndOnePercentMoreOpensIt() async throws {
    let disk = Shared<DiskSpace?>(space(free: 500_000_000))
    let (store, family) = try await open(disk)
    try await store.put(family, 1)
    // The floor is the lesser of the two: 5 % are 50 MB.
    for (free, isOpen) in [
      (60_000_000, true), (49_999_999, false), (50_000_001, false), (59_999_999, false),
      (60_000_000, true), (50_000_001, true), (49_999_999, false),
    ] as [(UInt64, Bool)] {
      disk.value = space(free: free)
      try await store.checkHealth()
      #expect((store.health.unhealthyReason == nil) == isOpen, "\(free)")
    }
    let error = await refusal { try await store.put(family, 2) }
    #expect(error?.kind == .unavailable)
    #expect(error?.reason == "disk_full")
    #expect(try await store.get(family, key: numberedKey(1)) != nil)
    #expect(store.health.causes.map(\.cause) == [.capacity])
    // An unknown answer changes nothing; healing the log is no cure for a full disk.
    try await store.heal()
    #expect(store.health.unhealthyReason != nil)
    disk.value = space(free: 500_000_000)
    try await store.checkHealth()
    try await store.put(family, 3)
    try await store.close()
  }

  private func delete(
    _ store: Store, _ family: StoreFamily, _ number: Int, _ durability: Durability = .buffered
  ) async throws {
    var batch = Batch()
    batch.delete(family, key: numberedKey(number))
    try await store.commit(batch, durability: durability)
  }

  @Test("A-DF-5: below the floor what only deletes is written, down to a tenth of it")
  func removalsGoOnBelowTheFloor() async throws {
    let disk = Shared<DiskSpace?>(space(free: 500_000_000))
    let (store, family) = try await open(disk)
    for number in 0..<20 { try await store.put(family, number) }
    disk.value = space(free: 49_999_999)
    try await store.checkHealth()
    #expect(await refusal { try await store.put(family, 20) }?.reason == "disk_full")
    #expect(store.health.unhealthyReason != nil)
    try await delete(store, family, 0)
    try await delete(store, family, 1, .synced)
    var conditional = Batch()
    conditional.requireEqual(family, key: numberedKey(2), bytes: numberedValue(2))
    conditional.delete(family, key: numberedKey(2))
    try await store.commit(conditional, durability: .buffered)
    // A batch that also puts is refused as a whole.
    var mixed = Batch()
    mixed.delete(family, key: numberedKey(3))
    mixed.put(family, key: numberedKey(30), value: [1])
    for durability in Durability.allCases {
      let batch = mixed
      let error = await refusal { try await store.commit(batch, durability: durability) }
      #expect(error?.reason == "disk_full")
    }
    #expect(try store.numbers(family) == Array(3..<20))
    // The floor is 50 MB, a tenth of it 5.
    for (free, inodes, isTaken) in [
      (4_999_999, 50_000, false), (5_000_000, 50_000, true), (5_000_000, 99, false),
      (5_000_000, 100, true),
    ] as [(UInt64, UInt64, Bool)] {
      disk.value = space(free: free, inodes: inodes)
      try await store.checkHealth()
      if isTaken {
        try await delete(store, family, 3)
      } else {
        for durability in Durability.allCases {
          let error = await refusal { try await delete(store, family, 3, durability) }
          #expect(error?.reason == "disk_full", "\(free) \(inodes)")
        }
      }
    }
    // Any other cause stops everything.
    store.health.shutForOperator(note: "a test")
    #expect(await refusal { try await delete(store, family, 4) }?.kind == .unavailable)
    store.health.openForOperator()
    try await delete(store, family, 4)
    #expect(try store.numbers(family) == Array(5..<20))
    try await store.close()
  }

  @Test(
    "A-DF-5: below the floor removals pass those that they meet in one write",
    arguments: [true, false])
  func removalsPassOthers(meetsInARound: Bool) async throws {
    let disk = Shared<DiskSpace?>(space(free: 500_000_000))
    let (store, family) = try await open(disk)
    for number in 0..<20 { try await store.put(family, number) }
    let combiner = try #require(store.combiner)
    // The first half meets in rounds of the combiner, the other in groups.
    if meetsInARound { #expect(combiner.begin()) }
    disk.value = space(free: 10_000_000)
    if !meetsInARound { try await store.checkHealth() }
    let durability = meetsInARound ? Durability.buffered : .synced
    let puts = (20..<40).map { number in
      Task { await refusal { try await store.put(family, number, durability) } }
    }
    let deletes = (0..<20).map { number in
      Task { try await self.delete(store, family, number, durability) }
    }
    if meetsInARound {
      try await eventually { combiner.waitingCount == 40 }
      try await store.checkHealth()
      combiner.end()
    }
    for put in puts { #expect(await put.value?.reason == "disk_full") }
    for delete in deletes { try await delete.value }
    #expect(try store.numbers(family) == [])
    try await store.close()
  }

  @Test("A-DF-5: removals pass where the floor is crossed between their judgement and the write")
  func removalsPassACrossing() async throws {
    let disk = Shared<DiskSpace?>(space(free: 500_000_000))
    let gate = SyncGate()
    let (judged, go) = (SyncGate(), SyncGate())
    // One that opens where a group was judged, and one that it waits at.
    let (store, family) = try await open(disk) {
      gate.wait()
    } beforeGroupWrite: {
      judged.open()
      go.wait()
    }
    for number in 0..<2 { try await store.put(family, number) }
    // Holds the writer, so that the next three are one group.
    gate.shut()
    let blocker = Task { try await store.put(family, 2, .synced) }
    try await eventually { try await store.get(family, key: numberedKey(2)) != nil }
    let removal = Task { try await self.delete(store, family, 0, .synced) }
    try await eventually { store.waitingCommits == 1 }
    let put = Task { await refusal { try await store.put(family, 3, .synced) } }
    try await eventually { store.waitingCommits == 2 }
    let last = Task { try await self.delete(store, family, 1, .synced) }
    try await eventually { store.waitingCommits == 3 }
    judged.shut()
    go.shut()
    gate.open()
    try await eventually { judged.isOpen }
    disk.value = space(free: 10_000_000)
    try await store.checkHealth()
    go.open()
    try await blocker.value
    #expect(await put.value?.reason == "disk_full")
    try await removal.value
    try await last.value
    #expect(try store.numbers(family) == [2])
    try await store.close()
  }

  @Test func tooFewInodesShutTheGate() async throws {
    let disk = Shared<DiskSpace?>(space(free: 500_000_000))
    let (store, family) = try await open(disk)
    disk.value = space(free: 500_000_000, inodes: 999)
    try await store.checkHealth()
    #expect(await refusal { try await store.put(family, 1) }?.reason == "disk_full")
    disk.value = space(free: 500_000_000, inodes: 1999)
    try await store.checkHealth()
    #expect(store.health.unhealthyReason != nil)
    disk.value = space(free: 500_000_000, inodes: 2000)
    try await store.checkHealth()
    #expect(store.health.unhealthyReason == nil)
    try await store.close()
  }

  /// One beyond was a store that is full for ever, and a large one ended the process.
  @Test(arguments: [101, 200, UInt64.max])
  func sharesOfMoreThanTheWholeAreRefused(percent: UInt64) async throws {
    for place in [\StoreSettings.CapacityFloor.percent, \.inodePercent] {
      var settings = StoreSettings.small
      settings.capacityFloor[keyPath: place] = percent
      let path = try TestDirectory.path("store")
      let error = await refusal { _ = try await Store.small(at: path, settings: settings) }
      #expect(error?.kind == .invalidArgument)
      #expect(error?.message.contains("ercent is \(percent); expected 0 to 100") == true)
      #expect(!Files.exists(path))
    }
  }

  @Test func aFileSystemWithoutInodesIsNeverFullOfThem() async throws {
    let disk = Shared<DiskSpace?>(space(free: 500_000_000, inodes: 0, of: 0))
    let (store, family) = try await open(disk)
    try await store.checkHealth()
    try await store.put(family, 1)
    try await store.close()
  }

  @Test func theOperatorsGateStaysUntilTheOperatorOpensIt() async throws {
    let disk = Shared<DiskSpace?>(space(free: 500_000_000))
    let (store, family) = try await open(disk)
    store.health.shutForOperator(note: "moving house")
    try await store.checkHealth()
    try await store.heal()
    let error = await refusal { try await store.put(family, 1) }
    #expect(error?.kind == .unavailable)
    #expect(error?.reason == "operator")
    #expect(error?.message.contains("moving house") == true)
    store.health.openForOperator()
    try await store.put(family, 1)
    try await store.close()
  }
}
