import SpindleIO
import SpindleRocks
import SpindleTestKit
import Testing

/// RocksDB's messages, written by a writer of our own.
@Suite(.temporaryDirectory) struct EngineLogTests {
  /// A line's time and thread.
  static var line: Regex<Substring> { #/\d{4}/\d\d/\d\d-\d\d:\d\d:\d\d\.\d{6} \d+ .*/# }

  private func log(_ path: String) throws -> String {
    String(decoding: try Files.read(path + "/LOG", limit: .max), as: UTF8.self)
  }

  private func oldLogs(_ path: String) throws -> [String] {
    try Files.names(in: path).filter { $0.hasPrefix("LOG.old.") }
  }

  /// Opens, writes, flushes and closes; gives the directory.
  @discardableResult
  private func run(
    _ name: String = "db", _ change: (inout DatabaseOptions) -> Void = { _ in },
    family: ColumnFamilyOptions = ColumnFamilyOptions(), flushes: Int = 1
  ) throws -> String {
    var options = DatabaseOptions.small
    change(&options)
    let database = try Database.open(name, options: options, family: family)
    for number in 0..<flushes {
      try database.put(database.main, "key \(number)", "value")
      try database.flush(database.main)
    }
    try database.close()
    return try TestDirectory.path(name)
  }

  @Test func theLogTellsOfOptionsAndFlushes() throws {
    let text = try log(try run())
    #expect(text.contains("RocksDB version: 7.8"))
    #expect(text.contains("\"flush_finished\""))
    // Each line begins with a time in UTC and a thread, and ends.
    #expect(text.hasSuffix("\n"))
    let first = try #require(text.split(separator: "\n").first)
    #expect(first.wholeMatch(of: Self.line) != nil)
  }

  @Test func linesBelowTheLevelAreLeftOut() throws {
    for level in EngineLog.Level.allCases {
      let path = try run("\(level)") { $0.engineLog.level = level }
      let text = try log(path)
      #expect(text.contains("Options.write_buffer_size"), "\(level)")
      #expect(text.contains("flush_finished") == (level.rawValue <= 1), "\(level)")
      #expect(text.contains("[DEBUG]") == (level == .debug), "\(level)")
    }
  }

  @Test func eachOpenBeginsAFileAndTheOldestGo() throws {
    var path = ""
    for _ in 0..<6 { path = try run("db", { $0.engineLog.keptFiles = 3 }) }
    #expect((2...3).contains(try oldLogs(path).count))
    #expect(try log(path).contains("RocksDB version"))
  }

  @Test func noFileExceedsTheSizeAndTheirNumberIsBounded() throws {
    let path = try run(
      "db",
      {
        $0.engineLog.byteLimit = 8_192
        $0.engineLog.keptFiles = 4
      }, flushes: 40)
    let old = try oldLogs(path)
    #expect((3...4).contains(old.count))
    for name in old + ["LOG"] { #expect(try Files.size(path + "/" + name) <= 8_192, "\(name)") }
    for name in old { #expect(try Files.size(path + "/" + name) > 4_096, "\(name)") }
  }

  @Test func aFileIsReplacedAtItsAge() throws {
    // Every line is older than the one before by more than a microsecond.
    let path = try run(
      "db",
      {
        $0.engineLog.rollInterval = .microseconds(1)
        $0.engineLog.keptFiles = 5
      })
    let old = try oldLogs(path)
    #expect(old.count == 5)
    for name in old { #expect(try Files.size(path + "/" + name) < 9_000) }
    let young = try run("young")
    #expect(try oldLogs(young) == [])
  }

  @Test func onlyAnOwnerWritesTheLog() throws {
    let path = try run()
    let before = try FolderState(of: path)
    let reader = try Database.open(mode: .readOnly)
    #expect(try reader.value(reader.main, "key 0") == "value")
    try reader.close()
    #expect(try FolderState(of: path) == before)
    let scratch = try TestDirectory.path("scratch")
    try Files.createDirectory(scratch)
    var options = DatabaseOptions.small
    options.createIfMissing = false
    options.maxOpenFiles = -1
    let follower = try Database.open(mode: .secondary(scratch: scratch), options: options)
    try follower.close()
    #expect(try FolderState(of: path) == before)
    #expect(try !Files.names(in: scratch).contains { $0.hasPrefix("LOG") })
  }

  @Test("A-D-13: level0_stop_writes_trigger 4 is effective, as the log shows")
  func theStopTriggerIsEffective() throws {
    var family = ColumnFamilyOptions()
    family.stopWrites(atLevel0Files: 4)
    let text = try log(try run("four", family: family))
    #expect(value(of: "level0_stop_writes_trigger", in: text) == 4)
    #expect(try #require(value(of: "level0_slowdown_writes_trigger", in: text)) <= 4)
    #expect(try #require(value(of: "level0_file_num_compaction_trigger", in: text)) <= 4)
    // The trigger alone would be raised.
    var alone = ColumnFamilyOptions()
    alone.level0StopTrigger = 4
    let raised = try log(try run("alone", family: alone))
    #expect(value(of: "level0_stop_writes_trigger", in: raised) == 20)
  }

  private func value(of option: String, in text: String) -> Int? {
    let line = text.split(separator: "\n").first { $0.contains("Options.\(option):") }
    return line?.split(separator: " ").last.flatMap { Int($0) }
  }

  @Test func presetsAndTheirOverridesAreEffective() throws {
    var family = ColumnFamilyOptions()
    family.adopt(.levelStyle(memtableBytes: 64 << 20))
    var text = try log(try run("level", family: family))
    #expect(value(of: "write_buffer_size", in: text) == 16 << 20)
    #expect(value(of: "max_write_buffer_number", in: text) == 6)
    #expect(value(of: "min_write_buffer_number_to_merge", in: text) == 2)
    #expect(value(of: "level0_file_num_compaction_trigger", in: text) == 2)
    #expect(value(of: "target_file_size_base", in: text) == 8 << 20)
    #expect(value(of: "max_bytes_for_level_base", in: text) == 64 << 20)
    family = ColumnFamilyOptions()
    family.adopt(.universalStyle(memtableBytes: 64 << 20))
    family.writeBufferBytes = 1 << 20
    family.memtableHugePageBytes = 4096
    text = try log(
      try run(
        "universal",
        {
          $0.compactionReadaheadBytes = 2 << 20
          $0.obsoleteFilesPeriod = .seconds(60)
          $0.usesFsync = true
          $0.bytesPerSync = 4096
          $0.parallelism = 3
          $0.writeRateLimit = 1 << 30
        }, family: family))
    #expect(text.contains("kCompactionStyleUniversal"))
    #expect(value(of: "write_buffer_size", in: text) == 1 << 20)
    #expect(value(of: "memtable_huge_page_size", in: text) == 4096)
    #expect(value(of: "compaction_readahead_size", in: text) == 2 << 20)
    #expect(value(of: "delete_obsolete_files_period_micros", in: text) == 60_000_000)
    #expect(value(of: "use_fsync", in: text) == 1)
    #expect(value(of: "bytes_per_sync", in: text) == 4096)
    #expect(value(of: "max_background_jobs", in: text) == 3)
    #expect(value(of: "keep_log_file_num", in: text) == 10)
  }

  @Test func theLinkedLibraryTellsItsCompressions() throws {
    let supported = ColumnFamilyOptions.Compression.supported
    #expect(supported.isSuperset(of: [.none, .snappy, .lz4]))
    // Each that it names can be opened with.
    for compression in ColumnFamilyOptions.Compression.allCases {
      var family = ColumnFamilyOptions()
      family.compression = compression
      let opened = (try? run("\(compression)", family: family)) != nil
      #expect(opened == supported.contains(compression), "\(compression)")
    }
  }
}

@Suite(.temporaryDirectory, .serialized) struct FullDiskEngineLogTests {
  @Test func aFullDiskCostsLinesAndNothingElse() async throws {
    let disk = try await SmallDisk.mount(at: TestDirectory.path("disk"), bytes: 8 << 20)
    do {
      var options = DatabaseOptions.small
      options.writeBufferBytes = 1 << 20
      options.engineLog.level = .debug
      let database = try Database(
        at: disk.path + "/db", mode: .readWrite, options: options, guardian: WALGuard(),
        familyOptions: { _ in ColumnFamilyOptions() })
      try database.put(database.main, "before", "1")
      try database.flush(database.main)
      try disk.fill()
      let written = try Files.size(disk.path + "/db/LOG")
      // Each attempt to flush has much to say, and room for at most the rest of a page.
      for number in 0..<50 {
        try? database.put(database.main, "key \(number)", String(repeating: "x", count: 4000))
        try? database.flush(database.main)
      }
      #expect(try Files.size(disk.path + "/db/LOG") < written + 4096)
      #expect(try database.value(database.main, "before") == "1")
      try disk.removeFiller()
      try? database.resume()
      try? database.put(database.main, "after", "2")
      try? database.flush(database.main)
      try? database.close()
      let text = String(
        decoding: try Files.read(disk.path + "/db/LOG", limit: .max), as: UTF8.self)
      let note = try #require(text.firstMatch(of: #/\((\d+) lines could not be written\)\n/#))
      #expect(try #require(Int(note.1)) > 10)
      // What came later is whole.
      let lines = text[note.range.upperBound...].split(separator: "\n")
      #expect(!lines.isEmpty)
      for line in lines where line.hasPrefix("20") {
        #expect(line.wholeMatch(of: EngineLogTests.line) != nil)
      }
    } catch {
      try? await disk.unmount()
      throw error
    }
    try await disk.unmount()
  }
}
