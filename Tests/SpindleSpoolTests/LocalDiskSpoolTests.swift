import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleTestKit
import Synchronization
import Testing

/// What a spool's threads passed, in order.
final class StepLog: Sendable {
  private let steps = Mutex<[LocalDiskHooks.Step]>([])
  var all: [LocalDiskHooks.Step] { steps.withLock { $0 } }
  func add(_ step: LocalDiskHooks.Step) { steps.withLock { $0.append(step) } }
  func clear() { steps.withLock { $0 = [] } }
}

/// Opens a spool on files in the case's folder for the body and closes it.
func withDiskSpool(
  _ settings: LocalDiskSettings = LocalDiskSettings(), clock: any StoreClock = SystemClock(),
  at path: String? = nil, _ atStep: @escaping @Sendable (LocalDiskHooks.Step) -> Void = { _ in },
  _ body: (LocalDiskSpool) async throws -> Void
) async throws {
  var hooks = LocalDiskHooks()
  hooks.atStep = atStep
  let spool = try LocalDiskSpool(
    path: path ?? TestDirectory.path("spool"), settings: settings, clock: clock, hooks: hooks)
  do {
    try await body(spool)
    try await spool.shutdown()
  } catch {
    try? await spool.shutdown()
    throw error
  }
}

extension LocalDiskSpool {
  func file(_ id: SpoolID) -> String { id.path(under: path + "/data") }
  func namesInNew() throws -> [String] { try Files.names(in: path + "/new") }
}

@Suite("LocalDiskSpool", .temporaryDirectory)
struct LocalDiskSpoolTests {
  @Test func aMessageIsAFileUnderItsID() async throws {
    try await withDiskSpool { (spool) async throws in
      let id = try #require(SpoolID(text: "d7ef132b5d7711eea8c8000c29c33806"))
      try await spool.put(id, Array("hello".utf8))
      let path = spool.path + "/data/d7/ef/13/2b/5d7711eea8c8000c29c33806"
      let bytes = try Files.read(path)
      #expect(bytes.suffix(5) == Array("hello".utf8)[...])
      #expect(try Files.names(in: spool.path) == ["data", "lock", "new", "quarantine"])
      #expect(try spool.namesInNew() == [])
      #expect(spool.warnings == [])
    }
  }

  @Test func aDefinitionOpensIt() async throws {
    var definition = SpoolDefinition(name: "main", kind: .localDisk)
    await expectError(.invalidArgument) { _ = try LocalDiskSpool(definition: definition) }
    definition.path = try TestDirectory.path("spool")
    definition.flush = true
    var settings = LocalDiskSettings()
    settings.threads = 2
    let spool = try LocalDiskSpool(definition: definition, settings: settings)
    #expect(spool.path == definition.path)
    #expect(spool.settings.flush && spool.settings.threads == 2)
    try await spool.shutdown()
    let other = SpoolDefinition(name: "main", kind: .rocksDB)
    let message = await expectError(.invalidArgument) {
      _ = try LocalDiskSpool(definition: other)
    }
    #expect(message.contains("rocks_db"))
  }

  @Test("A-B-4: a message over the limit is refused before anything is written")
  func oversizePayloadIsRefused() async throws {
    var settings = LocalDiskSettings()
    settings.payloadByteLimit = 10
    let log = StepLog()
    try await withDiskSpool(settings, log.add) { (spool) async throws in
      let id = newIDs.next()
      let message = await expectError(.tooLarge) {
        try await spool.put(id, [UInt8](repeating: 1, count: 11))
      }
      #expect(message.contains("11 bytes"))
      #expect(log.all.isEmpty)
      #expect(try await spool.loadOrNil(id) == nil)
      try await spool.put(id, [UInt8](repeating: 1, count: 10))
    }
    // The greatest limit: the memory is asked for and never touched.
    try await withDiskSpool(LocalDiskSettings(), at: try TestDirectory.path("other"), log.add) {
      (spool) async throws in
      log.clear()
      let count = LocalDiskSpool.payloadByteLimit + 1
      let payload = unsafe [UInt8](unsafeUninitializedCapacity: count) { $1 = count }
      await expectError(.tooLarge) { try await spool.put(newIDs.next(), payload) }
      #expect(log.all.isEmpty)
    }
  }

  @Test("A-B-6: removing twice is an error the second time, on files")
  func removeTwice() async throws {
    try await withDiskSpool { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      try await spool.remove(id)
      let message = await expectError(.notFound) { try await spool.remove(id) }
      #expect(message.contains("cannot remove the message \(id)"))
      #expect(message.contains(spool.file(id)))
    }
  }

  @Test("A-C-5, A-M-1: compacting and saving memory have nothing to do")
  func maintenanceDoesNothing() async throws {
    try await withDiskSpool { (spool) async throws in
      let id = newIDs.next()
      try await spool.put(id, [1])
      let before = try FolderState(of: spool.path)
      try await spool.compact()
      #expect(try await spool.adviseLowMemory() == 0)
      #expect(try FolderState(of: spool.path) == before)
    }
  }

  @Test(
    "Settings are checked before anything is made",
    arguments: [
      { $0.payloadByteLimit = -1 }, { $0.payloadByteLimit = 1 << 30 + 1 }, { $0.threads = 0 },
      { $0.threads = 65 }, { $0.failuresToShut = 0 }, { $0.probeInterval = .zero },
    ] as [@Sendable (inout LocalDiskSettings) -> Void])
  func settingsAreChecked(change: @Sendable (inout LocalDiskSettings) -> Void) async throws {
    var settings = LocalDiskSettings()
    change(&settings)
    let path = try TestDirectory.path("spool")
    await expectError(.invalidArgument) { _ = try LocalDiskSpool(path: path, settings: settings) }
    #expect(!Files.exists(path))
  }

  // MARK: What is durable when

  /// A store that was to be synced could vanish in a power loss: only the file was synced, not the
  /// directories that lead to it.
  @Test("A synced store syncs the contents, then every name down to the file's")
  func syncedStoresSyncTheNames() async throws {
    let log = StepLog()
    try await withDiskSpool(LocalDiskSettings(), log.add) { (spool) async throws in
      let (first, second) = (id(atMilliseconds: 1_000, 1), id(atMilliseconds: 1_000, 2))
      try await spool.put(first, [1])
      #expect(log.all == [.written(synced: false), .placing(attempt: 1)])
      log.clear()
      // The directories are there, made by a store that was not synced.
      try await spool.put(second, [2], forceSync: true)
      let data = spool.path + "/data"
      let names: [LocalDiskHooks.Step] = ["", "/00", "/00/00", "/00/00/00", "/00/00/00/00"]
        .map { .synchronized(data + $0) }
      #expect(log.all == [.written(synced: true), .placing(attempt: 1)] + names)
      log.clear()
      // Known to be durable down to the last.
      try await spool.put(second, [3], forceSync: true)
      #expect(log.all == [.written(synced: true), .placing(attempt: 1)] + names.suffix(1))
      // Once a directory was removed, nothing is known.
      try await spool.remove(first)
      try await spool.remove(second)
      try await spool.cleanup()
      log.clear()
      try await spool.put(second, [4], forceSync: true)
      #expect(log.all == [.written(synced: true), .placing(attempt: 1)] + names)
    }
  }

  @Test("With the setting, every store and remove is synced", arguments: [true, false])
  func flushSyncsEverything(flush: Bool) async throws {
    let log = StepLog()
    try await withDiskSpool(LocalDiskSettings(flush: flush), log.add) { (spool) async throws in
      let id = id(atMilliseconds: 1_000)
      let leaf = LocalDiskHooks.Step.synchronized(spool.path + "/data/00/00/00/00")
      try await spool.put(id, [1])
      #expect(log.all.contains(.written(synced: flush)))
      #expect(log.all.contains(leaf) == flush)
      log.clear()
      try await spool.remove(id)
      #expect(log.all == (flush ? [leaf] : []))
    }
  }

  // MARK: Cleanup

  @Test func aCleanupRemovesEmptyDirectoriesAndNeverTheRoot() async throws {
    try await withDiskSpool { (spool) async throws in
      let (kept, removed) = (id(atMilliseconds: 1_000), id(atMilliseconds: 1 << 40))
      try await spool.put(kept, [1])
      try await spool.put(removed, [1])
      try await spool.remove(removed)
      let data = spool.path + "/data"
      try Files.createDirectory(data + "/not an id")
      try writeFile([1], to: data + "/README")
      #expect(Files.exists(Files.directory(of: spool.file(removed))))
      try await spool.cleanup()
      #expect(try Files.names(in: data) == ["00", "README", "not an id"])
      #expect(try await spool.load(kept) == [1])
      try await spool.remove(kept)
      try Files.remove(data + "/README")
      #expect(Files.removeEmptyDirectory(data + "/not an id"))
      try await spool.cleanup()
      try await spool.cleanup()
      #expect(try Files.names(in: data) == [])
      #expect(Files.isDirectory(data))
      try await spool.put(kept, [2])
      #expect(try await spool.load(kept) == [2])
    }
  }

  /// A cleanup that removed a directory between its making and the file's arrival made the store
  /// fail.
  @Test("A store whose directory is taken away makes it again, up to three times")
  func storesSurviveACleanup() async throws {
    let taken = Atomic<Int>(0)
    let leaf = try TestDirectory.path("spool") + "/data/00/00/00/00"
    try await withDiskSpool(
      LocalDiskSettings(),
      { step in
        guard case .placing = step, taken.load(ordering: .relaxed) > 0 else { return }
        taken.subtract(1, ordering: .relaxed)
        #expect(Files.removeEmptyDirectory(leaf))
      },
      { (spool) async throws in
        let id = id(atMilliseconds: 1_000)
        taken.store(2, ordering: .relaxed)
        try await spool.put(id, [1], forceSync: true)
        #expect(try await spool.load(id) == [1])
        #expect(taken.load(ordering: .relaxed) == 0)
        try await spool.remove(id)
        taken.store(3, ordering: .relaxed)
        let message = await expectError(.io) { try await spool.put(id, [2]) }
        #expect(message.contains("cannot store the message \(id)"))
        #expect(try spool.namesInNew() == [])
        // Not a failure of the disk.
        #expect(spool.unhealthyReason == nil)
        try await spool.put(id, [3])
      })
  }

  @Test("No store fails beside cleanups without end") func storesAndCleanupsRace() async throws {
    try await withDiskSpool { (spool) async throws in
      let isDone = Atomic<Bool>(false)
      async let cleanups: Void = {
        while !isDone.load(ordering: .relaxed) { try await spool.cleanup() }
      }()
      do {
        defer { isDone.store(true, ordering: .relaxed) }
        try await withThrowingTaskGroup(of: Void.self) { group in
          for task in 0..<4 {
            group.addTask {
              for round in 0..<50 {
                let id = id(atMilliseconds: UInt64(task) << 20, UInt64(round))
                try await spool.put(id, [1], forceSync: round % 20 == 0)
                #expect(try await spool.load(id) == [1])
                try await spool.remove(id)
              }
            }
          }
          try await group.waitForAll()
        }
      }
      try await cleanups
    }
  }

  // MARK: Deadlines

  @Test("A deadline that has passed refuses the store before anything is written")
  func pastDeadlineRefuses() async throws {
    let (clock, log) = (ManualClock(), StepLog())
    try await withDiskSpool(LocalDiskSettings(), clock: clock, log.add) {
      (spool) async throws in
      let id = newIDs.next()
      for late in [Duration.zero, .seconds(1)] {
        await expectError(.deadlineExceeded) {
          try await spool.store(id, [1], forceSync: true, deadline: clock.now - late)
        }
      }
      #expect(log.all.isEmpty)
      #expect(try await spool.loadOrNil(id) == nil)
      try await spool.store(
        id, [1], forceSync: false, deadline: clock.now + .milliseconds(1))
      #expect(try await spool.load(id) == [1])
    }
  }

  @Test("A deadline that passes while the file is written leaves nothing, and the older message")
  func deadlineWhileWriting() async throws {
    let clock = ManualClock()
    let isSlow = Atomic<Bool>(false)
    try await withDiskSpool(
      LocalDiskSettings(), clock: clock,
      { step in
        if case .written = step, isSlow.load(ordering: .relaxed) {
          clock.advance(by: .seconds(1))
        }
      },
      { (spool) async throws in
        let id = newIDs.next()
        try await spool.put(id, [1])
        isSlow.store(true, ordering: .relaxed)
        await expectError(.deadlineExceeded) {
          try await spool.store(
            id, [2], forceSync: false, deadline: clock.now + .milliseconds(999))
        }
        #expect(try spool.namesInNew() == [])
        #expect(try await spool.load(id) == [1])
        #expect(spool.unhealthyReason == nil)
      })
  }

  // MARK: Shutdown

  @Test func aShutdownWaitsForAStoreThatIsUnderWay() async throws {
    let (reached, go) = (ThreadSemaphore(), ThreadSemaphore())
    let spool: LocalDiskSpool
    var hooks = LocalDiskHooks()
    hooks.atStep = { step in
      if case .placing = step {
        reached.signal()
        go.wait()
      }
    }
    let path = try TestDirectory.path("spool")
    spool = try LocalDiskSpool(
      path: path, settings: LocalDiskSettings(), clock: SystemClock(), hooks: hooks)
    let id = newIDs.next()
    async let stored: Void = spool.put(id, [1])
    while !reached.wait(milliseconds: 0) { await Task.yield() }
    async let closed: Void = spool.shutdown()
    // Closed for others, and still held.
    while (try? await spool.compact()) != nil { await Task.yield() }
    await expectError(.closed) { _ = try await spool.load(id) }
    await expectError(.unavailable) { _ = try LocalDiskSpool(path: path, flush: false) }
    go.signal()
    try await stored
    try await closed
    try await withDiskSpool { (spool) async throws in
      #expect(try await spool.load(id) == [1])
    }
  }
}
