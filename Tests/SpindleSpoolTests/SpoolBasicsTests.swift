import Metrics
import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// What every spool promises, whatever it is made of.
enum Backend: CaseIterable, Sendable {
  case rocks, localDisk

  /// Opens the spool of a folder for the body and closes it.
  func withSpool<Result>(
    at path: String, _ body: (any Spool) async throws -> Result
  ) async throws -> Result {
    switch self {
    case .rocks:
      return try await TestPlace(path: path).withSpool { try await body($0) }
    case .localDisk:
      let spool = try LocalDiskSpool(path: path, flush: false)
      do {
        let result = try await body(spool)
        try await spool.shutdown()
        return result
      } catch {
        try? await spool.shutdown()
        throw error
      }
    }
  }

  /// Opens a new spool for the body.
  func withNewSpool(_ body: (any Spool) async throws -> Void) async throws {
    try await withSpool(at: try TestDirectory.path("spool"), body)
  }
}

/// New ids, also for spools that make none themselves.
let newIDs = SpoolIDGenerator(clock: SystemClock(), seed: 77)

extension Spool {
  /// A message, or nil when there is none.
  func loadOrNil(_ id: SpoolID) async throws -> Bytes? {
    do {
      return try await load(id)
    } catch let error as SpindleError where error.kind == .notFound {
      return nil
    }
  }
}

@Suite("Spools of every kind", .temporaryDirectory)
struct SpoolBasicsTests {
  @Test(
    "A-B-1: an unknown id is not found, is named, and leaves the spool healthy",
    arguments: Backend.allCases)
  func unknownIDIsNotFound(backend: Backend) async throws {
    let factory = MemoryMetrics()
    try await withMetricsFactory(factory) {
      try await backend.withNewSpool { (spool) async throws in
        let id = newIDs.next()
        let message = await expectError(.notFound) { _ = try await spool.load(id) }
        #expect(message.contains(id.description))
        #expect(spool.unhealthyReason == nil)
        let status =
          (spool as? RocksSpool)?.gateStatus ?? (spool as? LocalDiskSpool)?.gateStatus
        #expect(status?.lastError == nil)
        #expect(status?.errors == [:])
        try await spool.put(id, [1])
      }
    }
    #expect(factory.counters(named: "spool_foreground_errors_total").isEmpty)
    // Not because nothing is counted at all.
    let loads = factory.counters(named: "spool_ops_total").filter { $0.labels["op"] == "load" }
    #expect(loads.flatMap(\.values).reduce(0, +) == 1)
  }

  @Test(
    "A-B-2: the second value wins, and a removed message is gone", arguments: Backend.allCases,
    [true, false])
  func storeOverwriteRemove(backend: Backend, forceSync: Bool) async throws {
    try await backend.withNewSpool { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1], forceSync: forceSync)
      #expect(try await spool.load(id) == [1])
      try await spool.put(id, [2, 2], forceSync: forceSync)
      #expect(try await spool.load(id) == [2, 2])
      try await spool.remove(id)
      await expectError(.notFound) { _ = try await spool.load(id) }
    }
  }

  @Test("A-B-3: an empty message is a message", arguments: Backend.allCases)
  func emptyPayloadDiffersFromAbsence(backend: Backend) async throws {
    let path = try TestDirectory.path("spool")
    let id = newIDs.next()
    try await backend.withSpool(at: path) { (spool) async throws in
      try await spool.put(id, [])
      #expect(try await spool.load(id) == [])
    }
    try await backend.withSpool(at: path) { (spool) async throws in
      #expect(try await spool.loadOrNil(id) == [])
      #expect(try await spool.loadOrNil(newIDs.next()) == nil)
    }
  }

  @Test("A-B-4: 200 MiB come back as they were", arguments: Backend.allCases)
  func largePayloadRoundTrips(backend: Backend) async throws {
    try await backend.withNewSpool { (spool) async throws in
      var payload = [UInt8](repeating: 0x5A, count: 200 << 20)
      for index in stride(from: 0, to: payload.count, by: 4_093) {
        payload[index] = UInt8(truncatingIfNeeded: index)
      }
      let id = newIDs.next()
      try await spool.put(id, payload)
      #expect(try await spool.load(id) == payload)
    }
  }

  @Test("A-B-5: all byte values come back", arguments: Backend.allCases, [256, 100_000])
  func everyByteValueRoundTrips(backend: Backend, count: Int) async throws {
    try await backend.withNewSpool { (spool) async throws in
      let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
      let id = newIDs.next()
      try await spool.put(id, payload)
      #expect(try await spool.load(id) == payload)
    }
  }

  /// One store of the race: when it began and when it was acknowledged, on one counter.
  private struct RacingStore {
    let id: SpoolID
    let payload: Bytes
    let began: Int
    let acknowledged: Int
  }

  private final class Turns: Sendable {
    private let count = Atomic<Int>(0)
    func next() -> Int { count.add(1, ordering: .sequentiallyConsistent).newValue }
  }

  @Test(
    "A-B-7: of 10,000 stores by 64 tasks on shared ids none is lost, and the last one wins",
    arguments: Backend.allCases)
  func concurrentStoresLoseNothing(backend: Backend) async throws {
    try await backend.withNewSpool { (spool) async throws in
      // Few enough that tasks meet, enough that they are not all behind each other.
      let ids = (0..<100).map { _ in newIDs.next() }
      let time = Turns()
      let stores = try await withThrowingTaskGroup(of: [RacingStore].self) { group in
        for task in 0..<64 {
          group.addTask {
            var random = SeededGenerator(seed: UInt64(task) + 1)
            var own: [RacingStore] = []
            for number in 0..<157 {
              let id = ids[Int(random.next() % 100)]
              let payload: Bytes = [UInt8(task), UInt8(number)]
              let began = time.next()
              try await spool.put(id, payload, forceSync: number == 156)
              let acknowledged = time.next()
              own.append(
                RacingStore(id: id, payload: payload, began: began, acknowledged: acknowledged))
            }
            return own
          }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      #expect(stores.count == 64 * 157)
      #expect(Set(try await spool.allIDs()) == Set(ids))
      for (id, rivals) in Dictionary(grouping: stores, by: \.id) {
        let payload = try await spool.load(id)
        let winner = try #require(rivals.first { $0.payload == payload }, "nobody stored it")
        // Whoever began after the winner was acknowledged would have been the later one.
        let lost = rivals.filter { $0.began > winner.acknowledged }
        #expect(lost.isEmpty, "\(lost.count) acknowledged stores of \(id) are lost")
      }
    }
  }

  @Test(
    "A-B-8: a store and a remove of one id end as one of the two orders",
    arguments: Backend.allCases)
  func racingStoreAndRemoveEndInOneOrder(backend: Backend) async throws {
    try await backend.withNewSpool { (spool) async throws in
      for round in 0..<300 {
        let id = newIDs.next()
        // In half of the rounds there is a message to remove.
        if round % 2 == 0 { try await spool.put(id, [1]) }
        async let stored: Void = spool.put(id, [2], forceSync: round % 50 == 0)
        do {
          try await spool.remove(id)
        } catch let error as SpindleError {
          #expect(error.kind == .notFound)
          #expect(backend == .localDisk)
        }
        try await stored
        let found = try await spool.loadOrNil(id)
        #expect(found == nil || found == [2])
      }
    }
  }

  @Test(
    "A-B-9: an enumeration gives exactly what is stored, and nothing once it is removed",
    arguments: Backend.allCases)
  func enumerationIsExact(backend: Backend) async throws {
    try await backend.withNewSpool { (spool) async throws in
      var stored: Set<SpoolID> = []
      for number in 0..<100 {
        let id = newIDs.next()
        try await spool.put(id, [UInt8(number)])
        stored.insert(id)
      }
      let (entries, outcome) = try await spool.all()
      #expect(outcome.count == 100)
      #expect(outcome.error == nil)
      #expect(entries.count == 100)
      #expect(Set(try await spool.allIDs()) == stored)
      for id in stored { try await spool.remove(id) }
      for _ in 0..<2 {
        let (entries, outcome) = try await spool.all()
        #expect(entries.isEmpty)
        #expect(outcome.count == 0)
        #expect(outcome.error == nil)
      }
    }
  }

  @Test(
    "A-B-10, A-C-5: after the shutdown every call is refused, and another shutdown is fine",
    arguments: Backend.allCases)
  func shutdownRefusesCalls(backend: Backend) async throws {
    try await backend.withNewSpool { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      try await spool.shutdown()
      try await spool.shutdown()
      await expectError(.closed) { _ = try await spool.load(id) }
      await expectError(.closed) { try await spool.put(id, [2]) }
      await expectError(.closed) { try await spool.remove(id) }
      await expectError(.closed) { try await spool.compact() }
      await expectError(.closed) { _ = try await spool.adviseLowMemory() }
      await expectError(.closed) {
        _ = try spool.enumerate(into: SpoolEntryChannel(), startTime: SpoolInstant(ticks: .max))
      }
    }
  }

  @Test(
    "A-B-11: after close and reopen everything is there, from tables, from the log, from files",
    arguments: Backend.allCases)
  func everythingSurvivesReopening(backend: Backend) async throws {
    let path = try TestDirectory.path("spool")
    var stored: [SpoolID: Bytes] = [:]
    for round in 0..<3 {
      for (id, payload) in stored {
        let found = try await backend.withSpool(at: path) { try await $0.load(id) }
        #expect(found == payload)
      }
      let new = try await backend.withSpool(at: path) { (spool) async throws in
        var new: [SpoolID: Bytes] = [:]
        for number in 0..<2 {
          let id = newIDs.next()
          try await spool.put(id, [UInt8(round), UInt8(number)])
          new[id] = [UInt8(round), UInt8(number)]
          // The first is written to a table, the second stays in the log.
          if number == 0 { try await spool.compact() }
        }
        return new
      }
      stored.merge(new) { $1 }
    }
    try await backend.withSpool(at: path) { (spool) async throws in
      #expect(Set(try await spool.allIDs()) == Set(stored.keys))
    }
  }
}
