import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// Buffered stores and removes of many callers at once, which are written together.
@Suite("Spool, combined stores", .temporaryDirectory) struct SpoolCombinedStoreTests {
  @Test("A quota holds for each of the stores that are written together")
  func quota() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    var settings = SpoolSettings()
    settings.quota = SpoolQuota(bytes: nil, entries: 10)
    let spool = try await RocksSpool(store: store, name: "main", settings: settings)
    let combiner = try #require(store.combiner)
    #expect(combiner.begin())
    let tasks = (0..<25).map { number in
      Task { try await spool.put(numberedID(number), numberedValue(number)) }
    }
    // Those within the quota wait for their turn; the others are refused before they come there.
    var refused = 0
    try await eventually { combiner.waitingCount == 10 }
    combiner.end()
    for task in tasks {
      do {
        try await task.value
      } catch let error as SpindleError {
        #expect(error.kind == .quotaExceeded)
        refused += 1
      }
    }
    #expect(refused == 15)
    #expect(spool.usage?.entries == 10)
    #expect(try await spool.allIDs().count == 10)
    // What is refused while it waits gives its place back.
    let held = try await spool.allIDs()[0]
    try await spool.remove(held)
    #expect(combiner.begin())
    let task = Task { try await spool.put(numberedID(100), numberedValue(100)) }
    try await eventually { combiner.waitingCount == 1 }
    #expect(spool.usage?.entries == 10)
    store.health.shutForOperator(note: "maintenance")
    combiner.end()
    let error = await #expect(throws: SpindleError.self) { try await task.value }
    #expect(error?.kind == .unavailable)
    store.health.openForOperator()
    #expect(spool.usage?.entries == 9)
    #expect(try await spool.loadIfPresent(numberedID(100)) == nil)
    try await store.close()
  }

  @Test("A shutdown waits for the stores that wait for each other")
  func shutdown() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(store: store, name: "main")
    let combiner = try #require(store.combiner)
    #expect(combiner.begin())
    let tasks = (0..<20).map { number in
      Task { try await spool.put(numberedID(number), numberedValue(number)) }
    }
    try await eventually { combiner.waitingCount == 20 }
    let shutdown = Task { try await spool.shutdown() }
    combiner.end()
    for task in tasks { try await task.value }
    try await shutdown.value
    let again = try await RocksSpool(store: store, name: "main")
    #expect(try await again.allIDs().count == 20)
    try await store.close()
  }

  @Test("A message whose store waits cannot be claimed")
  func claim() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(store: store, name: "main")
    let combiner = try #require(store.combiner)
    #expect(combiner.begin())
    let task = Task { try await spool.put(numberedID(1), numberedValue(1)) }
    try await eventually { combiner.waitingCount == 1 }
    #expect(!spool.claim(numberedID(1)))
    combiner.end()
    try await task.value
    #expect(spool.claim(numberedID(1)))
    spool.release(numberedID(1))
    try await store.close()
  }

  @Test("Each of 64 callers finds what it stored and not what it removed")
  func ownOrder() async throws {
    let store = try await Store.small(at: TestDirectory.path("store"))
    let spool = try await RocksSpool(store: store, name: "main")
    try await withThrowingTaskGroup(of: Void.self) { group in
      for caller in 0..<64 {
        group.addTask {
          for round in 0..<50 {
            let id = numberedID(caller)
            try await spool.put(id, numberedValue(round))
            try await spool.put(id, numberedValue(round + 1))
            #expect(try await spool.load(id) == numberedValue(round + 1))
            try await spool.remove(id)
            #expect(try await spool.loadIfPresent(id) == nil)
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await spool.allIDs().isEmpty)
    try await store.close()
  }
}
