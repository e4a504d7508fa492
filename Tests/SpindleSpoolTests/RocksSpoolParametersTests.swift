import Foundation
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleTestKit
import Testing

@testable import SpindleSpool
@testable import SpindleStore

@Suite("The parameters of a spool") struct RocksSpoolParametersTests {
  private func decode(_ json: String) throws -> RocksSpoolParameters {
    try JSONDecoder().decode(RocksSpoolParameters.self, from: Data(json.utf8))
  }

  private func define(_ json: String) throws -> SpoolDefinition {
    try JSONDecoder().decode(SpoolDefinition.self, from: Data(json.utf8))
  }

  /// The message of the refusal of a configuration.
  private func refusal(
    _ body: () throws -> Void, location: SourceLocation = #_sourceLocation
  ) -> String {
    do {
      try body()
      Issue.record("nothing was refused", sourceLocation: location)
      return ""
    } catch let error as SpindleError {
      #expect(error.kind == .invalidArgument, sourceLocation: location)
      return error.message
    } catch {
      Issue.record("unexpected error \(error)", sourceLocation: location)
      return ""
    }
  }

  /// The example of the documentation.
  private func example() throws -> String {
    let root = (1...3).reduce(#filePath) { path, _ in Files.directory(of: path) }
    let source = try Files.read(
      root + "/Sources/SpindleSpool/SpoolDefinition.swift", limit: 1 << 20)
    let lines = String(decoding: source, as: UTF8.self).split(separator: "\n")
    let start = try #require(lines.firstIndex(of: "/// ```json"))
    let rest = lines[(start + 1)...]
    let end = try #require(rest.firstIndex(of: "/// ```"))
    return rest[..<end].map { $0.dropFirst(4) }.joined(separator: "\n")
  }

  // MARK: Text

  @Test func theExampleOfTheDocumentationNamesEveryParameterAndIsTaken() throws {
    let json = try example()
    for name in RocksSpoolParameters.Name.allCases where name != .optimizeUniversalStyleCompaction {
      #expect(json.contains("\"\(name.rawValue)\":"), "\(name.rawValue)")
    }
    let definition = try define(json)
    #expect(definition.name == "main" && definition.kind == .rocksDB && definition.flush)
    #expect(definition.minFreeSpace == .percent(10) && definition.minFreeInodes == .amount(5000))
    let parameters = try #require(definition.rocksParameters)
    #expect(parameters.increaseParallelism == 4)
    #expect(parameters.optimizeLevelStyleCompaction == 512 << 20)
    #expect(parameters.compressionType == .zstd && parameters.logLevel == .info)
    #expect(parameters.logFileTimeToRoll == .seconds(86_400))
    #expect(parameters.obsoleteFilesPeriod == .seconds(21_600))
    #expect(parameters.errorLatchDuration == .seconds(15))
    #expect(parameters.errorUnlatchDuration == .seconds(300))
    #expect(parameters.rateLimitBytesPerSecond == 200_000_000)
    #expect(parameters.maxSpoolBytes == 100 << 30 && parameters.payloadCompression == .lz4)
    #expect(parameters.maxSpoolEntries == 50_000_000)
  }

  @Test func whatIsWrittenIsReadBackAndCompact() throws {
    let definition = try define(try example())
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    let text = String(decoding: try encoder.encode(definition), as: UTF8.self)
    #expect(try define(text) == definition)
    for part in [
      #""store_deadline":"30s""#, #""log_file_time_to_roll":"1d""#,
      #""error_unlatch_duration":"5m""#, #""compression_type":"Zstd""#,
      #""write_buffer_size":67108864"#, #""min_free_space":"10%""#,
    ] {
      #expect(text.contains(part), "\(part)")
    }
    #expect(try JSONEncoder().encode(RocksSpoolParameters()) == Data("{}".utf8))
    let none = try decode(#"{"write_buffer_size": null, "store_deadline": null}"#)
    #expect(none == RocksSpoolParameters())
  }

  @Test(
    "Durations are text with units, or seconds",
    arguments: [
      (#""30s""#, .seconds(30)), (#""5m""#, .seconds(300)), (#""24 hours""#, .seconds(86_400)),
      (#""1h 30m""#, .seconds(5400)), (#""1h30m""#, .seconds(5400)),
      (#""500ms""#, .milliseconds(500)), (#""2days 3us""#, .seconds(172_800) + .microseconds(3)),
      (#""1 week""#, .seconds(604_800)), (#""1M""#, .seconds(2_630_016)), (#""0""#, .zero),
      ("30", .seconds(30)), ("0", .zero), ("1.5", .milliseconds(1500)), ("1e-3", .milliseconds(1)),
      (#""100 years""#, .seconds(3_155_760_000)), (#""7ns""#, .nanoseconds(7)),
    ] as [(String, Duration)])
  func durationsAreRead(text: String, expected: Duration) throws {
    let parameters = try decode("{\"store_deadline\": \(text)}")
    #expect(parameters.storeDeadline == expected)
    // The compact text gives the same again.
    #expect(try DurationText.parse(DurationText.text(expected)) == expected)
  }

  @Test(
    "A-L-3: a negative, endless or misspelt duration is refused",
    arguments: [
      "-1", "-0.5", "1e300", "99999999999", "99999999999999999999999", #""-5s""#, #""""#, #""30""#,
      #""s""#, #""3 parsecs""#, #""101 years""#, #""99999999999999999999s""#,
      #""9999999999999h""#, #""1.5h""#, "true", "[]", "{}", #"" ""#, #""5s!""#,
    ])
  func wrongDurationsAreRefused(text: String) {
    let message = refusal { _ = try decode("{\"store_deadline\": \(text)}") }
    #expect(message.contains("\"store_deadline\" in rocks_params is not valid; expected "))
  }

  @Test func notEveryFloatingPointNumberIsADuration() {
    for seconds in [-Double.leastNonzeroMagnitude, .nan, .infinity, -.infinity, 3_155_760_001] {
      #expect(throws: DurationText.Failure.self) { try DurationText.duration(seconds: seconds) }
    }
    #expect(throws: DurationText.Failure.self) { try DurationText.duration(seconds: Int64.max) }
    #expect(throws: DurationText.Failure.self) { try DurationText.duration(seconds: Int64.min) }
  }

  @Test func sizesAreBytesOrTextWithAUnit() throws {
    for (text, bytes) in [
      ("4096", 4096), (#""4096""#, 4096), (#""64 MiB""#, 64 << 20), (#""64MiB""#, 64 << 20),
      (#""2 kB""#, 2000), (#""3 gib""#, 3 << 30), (#""5 B""#, 5), ("0", 0),
    ] {
      #expect(try decode("{\"write_buffer_size\": \(text)}").writeBufferSize == bytes, "\(text)")
    }
    for text in [
      "1.5", #""""#, #""MiB""#, #""1.5 MiB""#, #""-1""#, #""9999999999 TiB""#, "true", #""1 mile""#,
    ] {
      let message = refusal { _ = try decode("{\"write_buffer_size\": \(text)}") }
      #expect(message.contains("\"write_buffer_size\" in rocks_params is not valid"), "\(text)")
    }
  }

  // MARK: Refusals

  @Test("A-L-3: an unknown parameter is refused, with its place and what is known")
  func unknownParametersAreRefused() {
    var message = refusal { _ = try decode(#"{"store_dedline": "30s"}"#) }
    #expect(message.hasPrefix("the parameter \"store_dedline\" in rocks_params is unknown"))
    #expect(message.contains("allow_error_unlatch, block_cache_size,"))
    #expect(message.contains("store_deadline"))
    message = refusal {
      _ = try JSONDecoder().decode(
        [String: [SpoolDefinition]].self,
        from: Data(
          #"{"spools":[{"name":"a","kind":"rocks_db","rocks_params":{"Max_Open_Files":1}}]}"#.utf8))
    }
    #expect(message.contains("\"Max_Open_Files\" in spools[0].rocks_params is unknown"))
    message = refusal { _ = try define(#"{"name": "a", "kind": "rocks_db", "pat": "b"}"#) }
    #expect(message.contains("\"pat\" in the spool is unknown; known are flush, kind"))
    #expect(refusal { _ = try decode("[1]") }.contains("is no object"))
    message = refusal {
      _ = try decode(#"{"\#u{1B}[31m": 1}"#.replacing("\u{1B}", with: "\\u001b"))
    }
    #expect(message.contains("\"?[31m\""))
  }

  @Test(
    "A-L-3, A-D-9: values out of range are refused with the range",
    arguments: [
      ("limit_concurrent_stores", "0", "is 0; expected 1 to 2147483647"),
      ("limit_concurrent_loads", "0", "is 0; expected 1"),
      ("limit_concurrent_removes", "-1", "is -1; expected 1"),
      ("increase_parallelism", "0", "is 0; expected 1 to 256"),
      ("increase_parallelism", "257", "expected 1 to 256"),
      ("max_open_files", "0", "expected 1 to"), ("max_open_files", "-2", "expected 1 to"),
      ("level0_stop_writes_trigger", "0", "expected 1 to"),
      ("level0_stop_writes_trigger", "2147483648", "expected 1 to"),
      ("optimize_level_style_compaction", "1", "expected 262144 to"),
      ("optimize_universal_style_compaction", "-1", "expected 262144 to"),
      ("write_buffer_size", "-1", "is -1; expected 0 to"),
      ("compaction_readahead_size", "67108865", "expected 0 to 67108864"),
      ("compaction_readahead_size", #""64 GiB""#, "expected 0 to 67108864"),
      ("db_write_buffer_size", "0", "expected 65536 to"),
      ("rate_limit_bytes_per_sec", "0", "expected 1 to"),
      ("memtable_huge_page_size", "9223372036854775807", "expected 0 to"),
      ("max_spool_bytes", "-1", "expected 0 to"),
      ("max_spool_entries", "-1", "expected 0 to"),
      ("max_quarantined_entries", "-1", "expected 0 to"),
      ("max_quarantined_bytes", "-1", "expected 0 to"),
      ("wal_sync_interval", "0", "expected 1 ms to 60 s"),
      ("wal_sync_interval", #""61s""#, "expected 1 ms to 60 s"),
      ("wal_sync_interval", #""5""#, "with a unit"),
      ("paranoid_checks", "true", "must be false: with it a failed append"),
      ("paranoid_checks", "1", "expected true or false"),
      ("log_level", #""Loud""#, "expected one of Debug, Info, Warn, Error, Fatal, Header"),
      ("compression_type", #""Zip""#, "expected one of None, Snappy, Zlib, Bz2, Lz4, Lz4hc, Zstd"),
      ("payload_compression", #""gzip""#, "expected one of none, lz4, zstd"),
      ("payload_compression", "5", "expected text"),
      ("max_open_files", "1.5", "expected a whole number"),
      ("max_open_files", #""5""#, "expected a whole number"),
    ])
  func valuesOutOfRangeAreRefused(name: String, value: String, expected: String) {
    let message = refusal { _ = try decode("{\"\(name)\": \(value)}") }
    #expect(message.contains("\"\(name)\" in rocks_params"))
    #expect(message.contains(expected), "\(message)")
  }

  @Test("A-L-3: both presets, and a compression that is not linked, before the disk is touched")
  func whatExcludesEachOtherIsRefused() async throws {
    var parameters = RocksSpoolParameters()
    parameters.optimizeLevelStyleCompaction = 64 << 20
    parameters.optimizeUniversalStyleCompaction = 64 << 20
    let both = parameters
    let message = refusal { try both.validate() }
    #expect(message.contains("optimize_level_style_compaction"))
    #expect(message.contains("excludes \"optimize_universal_style_compaction\""))
    let wedge = refusal {
      _ = try decode(
        #"{"optimize_universal_style_compaction": "64 MiB", "level0_stop_writes_trigger": 1}"#)
    }
    #expect(wedge.contains("\"level0_stop_writes_trigger\" in rocks_params is 1; expected 2 or"))
    #expect(wedge.contains("\"optimize_universal_style_compaction\""))
    // The library is asked once; what it lacks, if anything, is refused by name.
    let supported = ColumnFamilyOptions.Compression.supported
    for (name, compression) in RocksSpoolParameters.compressions {
      let json = "{\"compression_type\": \"\(name)\"}"
      if supported.contains(compression) {
        #expect(try decode(json).compressionType == compression)
      } else {
        #expect(refusal { _ = try decode(json) }.contains("is \(name), which the linked RocksDB"))
      }
    }
    var settings = StoreSettings()
    let before = settings.familyOptions
    _ = refusal { _ = try settings.apply(["main": both]) }
    #expect(settings.familyOptions == before)
  }

  @Test(
    "A-L-3: a definition whose parts do not fit its kind is refused",
    arguments: [
      (#"{"kind": "rocks_db"}"#, "\"name\" in the spool is not valid; expected a name"),
      (#"{"name": "a"}"#, "\"path\" of the spool a is missing"),
      (#"{"name": "a", "path": ""}"#, "\"path\" of the spool a is missing"),
      (#"{"name": "a", "path": "b", "rocks_params": {}}"#, "no effect on the kind local_disk"),
      (#"{"name": "a", "kind": "rocks_db", "path": "b"}"#, "no effect on the kind rocks_db"),
      (#"{"name": "a", "kind": "sqlite"}"#, "expected one of local_disk, rocks_db"),
      (#"{"name": "a", "path": "b", "min_free_space": "101%"}"#, "\"min_free_space\""),
      (#"{"name": "a", "path": "b", "min_free_space": "%"}"#, "\"min_free_space\""),
      (#"{"name": "a", "path": "b", "min_free_inodes": -1}"#, "\"min_free_inodes\""),
      (#"{"name": "a", "path": "b", "min_free_inodes": "5 %"}"#, "\"min_free_inodes\""),
      (#"{"name": "a", "path": "b", "flush": "yes"}"#, "expected true or false"),
      (#"{"name": "", "kind": "rocks_db"}"#, "the name \"\" is not valid: expected 1 to 64"),
      (#"{"name": "a b", "kind": "rocks_db"}"#, "the name \"a b\" is not valid"),
      (#"{"name": "a:b", "path": "b"}"#, "the name \"a:b\" is not valid"),
      (#"{"name": "a.quarantine", "kind": "rocks_db"}"#, "is that of a quarantine"),
    ])
  func misfitsAreRefused(json: String, expected: String) {
    let message = refusal { _ = try define(json) }
    #expect(message.contains(expected), "\(message)")
  }

  @Test func namesOfSpoolsAreCheckedBeforeTheStore() {
    var settings = StoreSettings()
    for name in ["", "a/b", "a.quarantine", String(repeating: "a", count: 65)] {
      _ = refusal { _ = try settings.apply([name: RocksSpoolParameters()]) }
      _ = refusal { _ = try settings.apply([:], over: [name: SpoolSettings()]) }
    }
    #expect(settings.familyOptions.isEmpty)
  }

  @Test func kindsHaveTwoSpellings() throws {
    for kind in ["rocks_db", "RocksDB", "rocksdb"] {
      #expect(try define(#"{"name": "a", "kind": "\#(kind)"}"#).kind == .rocksDB)
    }
    for kind in ["local_disk", "LocalDisk"] {
      #expect(try define(#"{"name": "a", "kind": "\#(kind)", "path": "b"}"#).kind == .localDisk)
    }
  }

  @Test func sharesOfMoreThanTheWholeAreRefused() async throws {
    for (number, minimum) in [FreeMinimum.percent(101), .percent(.max)].enumerated() {
      var definition = SpoolDefinition(name: "a", kind: .rocksDB)
      definition.minFreeSpace = minimum
      #expect(throws: SpindleError.self, "\(number)") { try definition.validate() }
      (definition.minFreeSpace, definition.minFreeInodes) = (.percent(100), minimum)
      let text = await expectError(.invalidArgument) { try definition.validate() }
      #expect(text.contains("\"min_free_inodes\" of the spool a is \(minimum.text); expected"))
      var settings = LocalDiskSettings()
      settings.capacityFloor.percent = try #require(minimum.percent)
      let path = "/nonexistent/spool"
      await expectError(.invalidArgument) {
        _ = try LocalDiskSpool(path: path, settings: settings)
      }
    }
  }

  // MARK: Effect

  @Test func aSpoolsPartReachesItsSettings() throws {
    let parameters = try decode(
      #"""
      {"store_deadline": "2s", "limit_concurrent_stores": 3, "limit_concurrent_loads": 4,
       "limit_concurrent_removes": 5, "error_latch_duration": 1, "error_unlatch_duration": "1m",
       "allow_error_unlatch": false, "max_spool_bytes": 77, "max_spool_entries": 8,
       "payload_compression": "zstd",
       "max_quarantined_entries": 5, "max_quarantined_bytes": "1 MiB"}
      """#)
    var base = SpoolSettings()
    base.payloadByteLimit = 5
    base.flush = true
    var settings = StoreSettings()
    let spools = try settings.apply(["a": parameters], over: ["a": base, "b": SpoolSettings()])
    let spool = try #require(spools["a"])
    #expect(spool.storeDeadline == .seconds(2) && spool.concurrentStores == 3)
    #expect(spool.concurrentLoads == 4 && spool.concurrentRemoves == 5)
    #expect(spool.gate.errorLatchDuration == .seconds(1))
    #expect(spool.gate.errorUnlatchDuration == .seconds(60) && !spool.gate.allowsErrorUnlatch)
    #expect(spool.quota == SpoolQuota(bytes: 77, entries: 8) && spool.compression == .zstd)
    #expect(spool.quarantineQuota == SpoolQuota(bytes: 1 << 20, entries: 5))
    // What no parameter names stays.
    #expect(spool.payloadByteLimit == 5 && spool.flush)
    #expect(spools["b"] == SpoolSettings())
    #expect(settings.database.usesFsync)
    #expect(spools.count == 2)
  }

  @Test func aFamilysPartReachesItsOptionsAndNoOther() throws {
    var settings = StoreSettings()
    let parameters = try decode(
      #"""
      {"optimize_universal_style_compaction": "64 MiB", "write_buffer_size": "1 MiB",
       "compression_type": "Snappy", "level0_stop_writes_trigger": 3,
       "memtable_huge_page_size": 4096, "enable_blob_files": true, "min_blob_size": 100}
      """#)
    _ = try settings.apply(["main": parameters, "other": RocksSpoolParameters()])
    let main = settings.options(forFamily: "spool:main")
    #expect(main.preset == .universalStyle(memtableBytes: 64 << 20))
    #expect(main.writeBufferBytes == 1 << 20 && main.maxWriteBuffers == 6)
    #expect(main.compression == .snappy && main.memtableHugePageBytes == 4096)
    #expect(main.level0StopTrigger == 3 && main.level0SlowdownTrigger == 3)
    #expect(main.level0CompactionTrigger == 3 && main.blobs?.minimumBytes == 100)
    #expect(!main.hasDynamicLevelBytes)
    let plain = StoreSettings().options(forFamily: "spool:other")
    #expect(settings.options(forFamily: "spool:other") == plain)
    #expect(settings.options(forFamily: "spool:third") == plain)
    // By kind, and by name before it.
    var kind = ColumnFamilyOptions()
    kind.maxWriteBuffers = 9
    settings.familyOptions["spool"] = kind
    #expect(settings.options(forFamily: "spool:third") == kind)
    #expect(settings.options(forFamily: "spool:main") == main)
  }

  @Test func aFamilysWriteBufferFollowsTheStoresWhateverTheOrder() throws {
    var settings = StoreSettings()
    var wide = RocksSpoolParameters()
    wide.dbWriteBufferSize = 8 << 20
    _ = try settings.apply(["a": RocksSpoolParameters(), "z": wide])
    #expect(settings.options(forFamily: "spool:a").writeBufferBytes == 4 << 20)
  }

  @Test(arguments: [#""20ms""#, #""0s 20ms""#, "0.02", #""20 msec""#])
  func theSyncIntervalReachesTheStore(text: String) throws {
    var settings = StoreSettings()
    #expect(settings.walSyncInterval == nil)
    let parameters = try decode("{\"wal_sync_interval\": \(text)}")
    _ = try settings.apply(["a": parameters])
    #expect(settings.walSyncInterval == .milliseconds(20))
    let other = try decode(#"{"wal_sync_interval": "1s"}"#)
    let message = refusal { _ = try settings.apply(["a": parameters, "b": other]) }
    #expect(message.contains("\"wal_sync_interval\" is 20ms in the spool a and 1s in the spool b"))
  }

  @Test("A-L-3: two spools that ask for different values of a shared parameter are refused")
  func sharedParametersMustAgree() throws {
    var settings = StoreSettings()
    let first = try decode(#"{"max_open_files": 100, "log_file_time_to_roll": "60s"}"#)
    let same = try decode(#"{"max_open_files": 100, "log_file_time_to_roll": "1m"}"#)
    let other = try decode(#"{"max_open_files": 200}"#)
    _ = try settings.apply(["a": first, "b": same, "c": RocksSpoolParameters()])
    #expect(settings.database.maxOpenFiles == 100)
    #expect(settings.database.engineLog.rollInterval == .seconds(60))
    let message = refusal { _ = try settings.apply(["a": first, "b": other]) }
    #expect(
      message.contains(
        "\"max_open_files\" is 100 in the spool a and 200 in the spool b; expected one value"))
    #expect(settings.database.maxOpenFiles == 100)
    let free = try ["10%", "5000"].map {
      try define(#"{"name": "n\#($0.count)", "kind": "rocks_db", "min_free_space": "\#($0)"}"#)
    }
    try settings.applyMinima(of: [free[1]])
    #expect(settings.capacityFloor.bytes == 5000 && settings.capacityFloor.percent == 100)
    try settings.applyMinima(of: [free[0]])
    #expect(settings.capacityFloor.bytes == .max && settings.capacityFloor.percent == 10)
    #expect(refusal { try settings.applyMinima(of: free) }.contains("min_free_space"))
  }

  @Test("A-D-13: the parameter of one spool is effective in its family, as the engine's log shows")
  func parametersReachTheEngine() async throws {
    try await withPlace { place in
      var settings = StoreSettings.small
      let parameters = try decode(
        #"""
        {"level0_stop_writes_trigger": 4, "compression_type": "Zstd", "increase_parallelism": 3,
         "compaction_readahead_size": 4096, "max_open_files": 77, "obsolete_files_period": "60s",
         "bytes_per_sync": 8192, "level_compaction_dynamic_level_bytes": true,
         "block_cache_size": "2 MiB", "max_total_wal_size": "3 MiB", "log_level": "Warn",
         "write_buffer_size": "5 MiB", "db_write_buffer_size": "9 MiB",
         "rate_limit_bytes_per_sec": "200 MB", "enable_blob_files": true, "min_blob_size": 5000}
        """#)
      let level = try decode(#"{"optimize_level_style_compaction": "64 MiB"}"#)
      let universal = try decode(
        #"""
        {"optimize_universal_style_compaction": "32 MiB", "write_buffer_size": "3 MiB",
         "compression_type": "Lz4"}
        """#)
      let spools = try settings.apply(
        ["main": parameters, "level": level, "universal": universal, "plain": .init()])
      for _ in 0..<2 {
        let store = try await Store.open(at: place.path, settings: settings)
        let spool = try await RocksSpool(
          store: store, name: "main", settings: spools["main"] ?? SpoolSettings())
        try await spool.put(spool.makeID(), [1])
        // A value beyond the bound, and one within, once they are in tables.
        try await spool.put(spool.makeID(), payload(1, bytes: 5_000))
        try await spool.flush()
        #expect(try spool.property("num-blob-files") ?? 0 > 0)
        #expect(try spool.property("block-cache-capacity") == 2 << 20)
        for name in ["level", "universal", "plain"] {
          _ = try await RocksSpool(
            store: store, name: name, settings: spools[name] ?? SpoolSettings())
        }
        try await store.close()
      }
      let names = try Files.names(in: place.path + "/rocks")
      let newest = try #require(names.filter { $0.hasPrefix("OPTIONS-") }.max())
      let options = String(
        decoding: try Files.read(place.path + "/rocks/" + newest, limit: .max), as: UTF8.self)
      let parts = options.components(separatedBy: "[CFOptions \"")
      let main = try #require(parts.first { $0.hasPrefix("spool\\:main\"") })
      for line in [
        "level0_stop_writes_trigger=4", "level0_slowdown_writes_trigger=4",
        "level0_file_num_compaction_trigger=4", "compression=kZSTD",
        "level_compaction_dynamic_level_bytes=true", "write_buffer_size=5242880",
        "max_write_buffer_number=2", "enable_blob_files=true", "min_blob_size=5000",
      ] {
        #expect(main.contains("\n  \(line)\n"), "\(line)")
      }
      let presets = [
        "level": [
          "write_buffer_size=16777216", "max_write_buffer_number=6",
          "min_write_buffer_number_to_merge=2", "level0_file_num_compaction_trigger=2",
          "target_file_size_base=8388608", "max_bytes_for_level_base=67108864",
          "compaction_style=kCompactionStyleLevel", "enable_blob_files=false",
        ],
        "universal": [
          "write_buffer_size=3145728", "max_write_buffer_number=6", "compression=kLZ4Compression",
          "compaction_style=kCompactionStyleUniversal",
        ],
        // Half of the shared one.
        "plain": ["write_buffer_size=4718592", "max_write_buffer_number=2"],
      ]
      for (name, lines) in presets {
        let part = try #require(parts.first { $0.hasPrefix("spool\\:\(name)\"") })
        for line in lines { #expect(part.contains("\n  \(line)\n"), "\(name): \(line)") }
      }
      #expect(parts.dropFirst().first?.contains("level0_stop_writes_trigger=36") == true)
      for line in [
        "max_background_jobs=3", "compaction_readahead_size=4096", "max_open_files=77",
        "delete_obsolete_files_period_micros=60000000", "bytes_per_sync=8192",
        "max_total_wal_size=3145728", "keep_log_file_num=10", "use_fsync=false",
        "db_write_buffer_size=9437184",
      ] {
        #expect(parts[0].contains("\n  \(line)\n"), "\(line)")
      }
      let log = String(
        decoding: try Files.read(place.path + "/rocks/LOG", limit: .max), as: UTF8.self)
      let family = try #require(log.components(separatedBy: "[spool:main]").last)
      #expect(family.contains("Options.level0_stop_writes_trigger: 4\n"))
      #expect(!log.contains("EVENT_LOG"))
      // Its address; without a limit there is none.
      #expect(log.contains(#/Options.rate_limiter: 0x[0-9a-f]+\n/#))
    }
  }
}
