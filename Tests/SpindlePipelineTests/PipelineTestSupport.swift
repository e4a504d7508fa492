import SpindleCore
import SpindleFormats
import SpindleIO
import SpindleOpLog
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@testable import SpindlePipeline

/// The directory of one test's store, removed at the end.
struct TestPlace {
  let path: String

  /// Opens the store, runs the body, closes the store.
  func withStore<Result>(_ body: (Store) async throws -> Result) async throws -> Result {
    var settings = StoreSettings.quiet
    settings.capacityFloor = .none
    settings.ballastBytes = 0
    settings.healthInterval = .milliseconds(20)
    let store = try await Store.open(at: path, settings: settings)
    do {
      let result = try await body(store)
      try await store.close()
      return result
    } catch {
      try? await store.close()
      throw error
    }
  }

  /// Opens store and pipeline, runs the body, closes both.
  func withPipeline<Result>(
    seriesLimit: Int = LastValueReducer.defaultCacheLimit,
    _ body: (IngestPipeline) async throws -> Result
  ) async throws -> Result {
    try await withStore { store in
      let pipeline = try await IngestPipeline(
        store: store, spool: nil, seriesLimit: seriesLimit)
      do {
        let result = try await body(pipeline)
        await pipeline.close()
        return result
      } catch {
        await pipeline.close()
        throw error
      }
    }
  }

  /// Spools messages as an earlier run would have left them.
  func leave(_ payloads: [[UInt8]]) async throws {
    try await withStore { store in
      let spool = try await RocksSpool(store: store, name: IngestPipeline.name)
      for payload in payloads {
        try await spool.store(spool.makeID(), payload, forceSync: false, deadline: nil)
      }
    }
  }
}

func withPlace(_ body: (TestPlace) async throws -> Void) async throws {
  let directory = TemporaryDirectory.make(prefix: "spindle-pipeline")
  defer { TemporaryDirectory.remove(directory) }
  try await body(TestPlace(path: directory + "/store"))
}

/// Builds the messages of one producer, each of one batch.
struct MessageMaker {
  let producer: String
  private var position: ProducerPosition

  init(_ producer: String) {
    self.producer = producer
    position = ProducerPosition(producer: producer)
  }

  mutating func next(_ lines: String) -> [UInt8] {
    let bytes = Array(lines.utf8)
    let count = UInt64(lines.split(separator: "\n").count)
    let op = IngestOp(
      producer: producer,
      source: SourceSpan(
        byteOffset: position.byteCount, byteCount: UInt64(bytes.count),
        firstLine: position.lineCount + 1, lineCount: count),
      precision: .nanoseconds, defaultTimestamp: 0, pointCount: count, rejectedCount: 0,
      lines: bytes.span)
    let index = position.nextIndex
    position = position.advanced(by: op, at: index) ?? position
    return IngestMessage(peer: IngestPipeline.peer(of: producer), index: index, op: op).encoded()
  }
}

extension IngestPipeline {
  /// The ids in the pipeline's spool.
  func ids() async throws -> [SpoolID] { try await spool.ids(from: nil, limit: 100_000) }

  /// The ids in its quarantine.
  func quarantinedIDs() async throws -> [SpoolID] {
    try await spool.quarantined(after: nil, limit: 100_000).map(\.id)
  }

  func summary() async throws -> IngestState.Summary {
    try await #require(IngestState(store: store)).summary()
  }

  func nextIndex(_ producer: String) -> UInt64 {
    worker.position(of: Self.peer(of: producer))?.nextIndex ?? 0
  }

  /// Drains, giving the error that stopped it.
  func drainFailure() async -> SpindleError? {
    do {
      try await worker.drained()
      return nil
    } catch {
      return error as? SpindleError
    }
  }
}

func line(_ number: Int) -> String { "m,t=\(number % 5) v=\(number)i \(number + 1)\n" }

/// The greatest number of ops of a backlog in a test: several refills.
let longBacklog = 300
