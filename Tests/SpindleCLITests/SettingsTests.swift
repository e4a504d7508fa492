import Spindle
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindlePipeline
import SpindleSpool
import SpindleStore
import Testing

/// Spools as the settings of the whole define them.
@Suite struct SettingsTests {
  private func withPlace(_ body: (String) async throws -> Void) async throws {
    let directory = TemporaryDirectory.make(prefix: "spindle-settings")
    defer { TemporaryDirectory.remove(directory) }
    try await body(directory + "/store")
  }

  @Test func spoolsGetTheirSettingsAndParameters() async throws {
    try await withPlace { path in
      var settings = Settings()
      settings.store.ballastBytes = 0
      var main = SpoolDefinition(name: "main", kind: .rocksDB)
      main.flush = true
      main.rocksParameters = RocksSpoolParameters()
      main.rocksParameters?.payloadCompression = .zstd
      main.rocksParameters?.maxOpenFiles = 100
      main.minFreeSpace = .amount(1)
      try settings.define([main])
      settings.spools["plain"] = SpoolSettings()
      settings.spools["plain"]?.payloadByteLimit = 10
      let spindle = try await Spindle.open(at: path, settings: settings)
      let spool = try await spindle.spool("main")
      #expect(spool.settings.flush && spool.settings.compression == .zstd)
      #expect(try await spindle.spool("plain").settings.payloadByteLimit == 10)
      #expect(try await spindle.spool("other").settings == SpoolSettings())
      let id = spool.makeID()
      try await spool.store(
        id, [UInt8](repeating: 7, count: 100_000), forceSync: false, deadline: nil)
      #expect(try await spool.load(id).count == 100_000)
      try await spindle.close()
    }
  }

  @Test func anOpLogIsReadWhateverItsOpsMean() async throws {
    try await withPlace { path in
      var settings = Settings()
      settings.store.ballastBytes = 0
      let spindle = try await Spindle.open(at: path, settings: settings)
      let ingest = try await spindle.ingest(producer: "sensor")
      for number in 0..<3 {
        try await ingest.store(
          Array("room celsius=2\(number) 1\n".utf8), durability: .buffered)
      }
      try await ingest.drained()
      let log = try await spindle.opLog(IngestPipeline.name)
      let peer = IngestPipeline.peer(of: "sensor")
      let next = try await log.cursors()[peer]
      #expect(next > 0)
      #expect(try await log.floors() == PeerCursors())
      #expect(try await log.readRows(peer: peer, from: 0, limit: 99).count == Int(next))
      let plain = try await log.readEntries(peer: peer, from: 0, limit: 99)
      let known = try await log.readEntries(as: IngestOp.self, peer: peer, from: 0, limit: 99)
      #expect(plain.map(\.0) == Array(0..<next) && known.map(\.0) == plain.map(\.0))
      for (_, entry) in known {
        guard case .logEntry(let entry) = entry else {
          Issue.record("\(entry) is no entry")
          continue
        }
        #expect(entry.op.producer == "sensor")
      }
      try await spindle.close()
    }
  }

  @Test("A-L-3: wrong settings are refused before the disk is touched")
  func wrongSettingsTouchNothing() async throws {
    try await withPlace { path in
      func refused(_ change: (inout Settings) throws -> Void) async -> SpindleError? {
        var settings = Settings()
        do {
          try change(&settings)
          _ = try await Spindle.open(at: path, settings: settings)
          return nil
        } catch {
          return error as? SpindleError
        }
      }
      var errors: [SpindleError?] = []
      errors.append(
        await refused {
          $0.spoolParameters["a"] = RocksSpoolParameters()
          $0.spoolParameters["a"]?.optimizeLevelStyleCompaction = 1 << 20
          $0.spoolParameters["a"]?.optimizeUniversalStyleCompaction = 1 << 20
        })
      errors.append(
        await refused {
          $0.spoolParameters["a"] = RocksSpoolParameters()
          $0.spoolParameters["a"]?.storeDeadline = .seconds(-1)
        })
      errors.append(
        await refused {
          for (name, count) in [("a", 5), ("b", 6)] {
            $0.spoolParameters[name] = RocksSpoolParameters()
            $0.spoolParameters[name]?.maxOpenFiles = count
          }
        })
      errors.append(
        await refused {
          $0.spools["a"] = SpoolSettings()
          $0.spools["a"]?.concurrentStores = 0
        })
      errors.append(
        await refused {
          let twice = SpoolDefinition(name: "a", kind: .rocksDB)
          try $0.define([twice, twice])
        })
      errors.append(
        await refused {
          var local = SpoolDefinition(name: "a", kind: .localDisk)
          local.path = "/nowhere"
          try $0.define([local])
        })
      for (index, error) in errors.enumerated() {
        #expect(error?.kind == .invalidArgument, "\(index): \(String(describing: error))")
      }
      #expect(!Files.exists(path))
    }
  }
}
