import Foundation
import SpindleCore
import SpindleDiagnostics
import SpindleIO
import SpindlePipeline
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// Stores written by each version so far; `make-fixture.sh` made them. This version must open them.
@Suite struct FixtureTests {
  /// A copy of a fixture, since opening changes a store.
  private func withCopy(_ name: String, _ body: (String) async throws -> Void) async throws {
    let source = Files.directory(of: #filePath) + "/Fixtures/" + name
    let directory = TemporaryDirectory.make(prefix: "spindle-fixture")
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let copy = directory + "/store"
    try FileManager.default.copyItem(atPath: source, toPath: copy)
    try await body(copy)
  }

  private func judge(_ store: Store) async throws {
    let report = try await StoreCheck(store).run()
    #expect(report.findings == [])
    #expect(report.logEntries == 3 && report.seriesCount == 3 && report.pointCount == 20)
    #expect(report.spooledMessages == 3)
    #expect(
      hexString(report.digest)
        == "1185d507751285676ffcf02efeff91e96d2b426e71b8c3ccf5255211a9467c47")
    let position = try await #require(IngestState(store: store)).positions().values.first
    #expect(position?.producer == "fixture" && position?.nextIndex == 3)
    #expect(position?.lineCount == 20 && position?.digest?.count == 32)
    let main = try await RocksSpool(store: store, name: "main")
    let other = try await RocksSpool(store: store, name: "other")
    let first = try #require(SpoolID(text: "01a1fd79ea9d7000b96e97a3c9bcc3dd"))
    let second = try #require(SpoolID(text: "01a1fd79eac97000b6338c54c7c1fabc"))
    let third = try #require(SpoolID(text: "01a1fd79eaf67000b8fcc84c51802378"))
    #expect(try await main.load(first) == Array("first message".utf8))
    #expect(try await main.load(second) == [])
    #expect(try await other.load(third) == [0, 1, 2, 255])
  }

  @Test func aStoreOfVersion1OpensForReading() async throws {
    try await withCopy("store-v1") { path in
      let store = try await Store.open(at: path, settings: .quiet, access: .reader)
      try await judge(store)
      try await store.close()
    }
  }

  @Test func aStoreOfVersion1OpensForWritingAndGoesOn() async throws {
    try await withCopy("store-v1") { path in
      for _ in 0..<2 {
        let store = try await Store.open(at: path, settings: .quiet)
        let pipeline = try await IngestPipeline(store: store)
        try await judge(store)
        await pipeline.close()
        try await store.close()
      }
      let store = try await Store.open(at: path, settings: .quiet)
      let pipeline = try await IngestPipeline(store: store)
      let ingest = try await pipeline.ingest(producer: "fixture")
      let line = Array("room,floor=1 celsius=1 99000000000\n".utf8)
      try await ingest.store(line, durability: .synced)
      try await ingest.drained()
      await pipeline.close()
      let report = try await StoreCheck(store).run()
      #expect(report.findings == [] && report.pointCount == 21)
      try await store.close()
    }
  }
}
