import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct MaintenanceTests {
  private func filled(
    _ options: DatabaseOptions = .small, guardian: WALGuard? = nil
  ) throws -> Database {
    let database = try Database.open(options: options, guardian: guardian)
    for number in 0..<1000 { try database.put(database.main, "k\(1000 + number)", "v\(number)") }
    return database
  }

  @Test func flushAndCompactionLeaveOneSortedLevel() throws {
    let database = try filled()
    let family = try database.main
    try database.flush(family)
    try database.put(family, "k1000", "new")
    try database.flush([family])
    #expect(try database.tableFiles(of: family).count == 2)
    try database.compact(family, from: bytes("k1"), to: bytes("k2"))
    #expect(try database.waitForCompaction(idleMilliseconds: 5))
    let files = try database.tableFiles(of: family)
    #expect(files.count == 1)
    let file = try #require(files.first)
    #expect(file.entries == 1000)
    #expect(file.deletions == 0)
    #expect(file.level > 0)
    #expect(!file.isBeingCompacted)
    #expect(file.bytes > 1000)
    #expect(text(file.smallestKey) == "k1000")
    #expect(text(file.largestKey) == "k1999")
    #expect(file.largestSequence >= file.smallestSequence)
    let sums = try database.tableProperties(of: family)
    #expect(sums.tables == 1)
    #expect(sums.entries == 1000)
    #expect(sums.rawKeyBytes > 0 && sums.rawValueBytes > 0 && sums.dataBytes > 0)
    #expect(sums.deletions == 0 && sums.rangeDeletions == 0)
    let counters = database.listener.counters
    #expect(counters.flushes == 2)
    #expect(counters.compactions >= 1)
    #expect(counters.backgroundErrors == 0)
    #expect(counters.flushBytes > 0)
    #expect(!database.listener.isInBackgroundError)
    #expect(database.listener.lastError == nil)
    try database.verifyTableChecksums()
    try database.cancelManualCompactions()
    try database.compact(family)
    try database.close()
  }

  @Test func propertiesAndStatisticsAreReadable() throws {
    var options = DatabaseOptions.small
    options.statistics = true
    let database = try filled(options)
    let family = try database.main
    #expect(try database.property("rocksdb.estimate-num-keys", of: family) == 1000)
    #expect(try database.property("rocksdb.background-errors") == 0)
    #expect(try database.property("rocksdb.no-such-thing") == nil)
    #expect(try database.propertyText("rocksdb.stats", of: family)?.isEmpty == false)
    #expect(try database.propertyText("rocksdb.no-such-thing") == nil)
    #expect(try database.statisticsText()?.contains("rocksdb.number.keys.written") == true)
    let usage = try database.memoryUsage()
    #expect(usage.memtables > 0)
    #expect(usage.unflushedMemtables > 0)
    try database.flush(family)
    #expect(try database.memoryUsage().tableReaders > 0)
    try database.close()
    let plain = try Database.open()
    #expect(try plain.statisticsText() == nil)
    try plain.close()
  }

  @Test func checkpointsOpenWithWhatWasInTheLog() throws {
    let database = try filled()
    try database.flush(database.main)
    try database.put(database.main, "logged", "only")
    try database.createCheckpoint(at: TestDirectory.path("copy"))
    #expect(throws: RocksError.self) {
      try database.createCheckpoint(at: TestDirectory.path("copy"))
    }
    try database.put(database.main, "later", "missing")
    try database.close()
    let copy = try Database.open("copy")
    #expect(try copy.value(copy.main, "logged") == "only")
    #expect(try copy.value(copy.main, "later") == nil)
    #expect(try copy.value(copy.main, "k1999") == "v999")
    try copy.close()
  }

  @Test func backupsAreVerifiedRestoredAndPurged() throws {
    let database = try filled()
    let place = try TestDirectory.path("backups")
    try Files.createDirectory(place)
    try database.createBackup(in: place)
    try database.put(database.main, "second", "2")
    try database.createBackup(in: place)
    try database.close()
    let backups = try BackupDirectory(place)
    let list = backups.backups
    #expect(list.map(\.id) == [1, 2])
    #expect(list.allSatisfy { $0.files > 0 && $0.bytes > 0 && $0.timestamp > 1_600_000_000 })
    try backups.verify(1)
    try backups.restore(1, to: TestDirectory.path("restored"))
    let restored = try Database.open("restored")
    #expect(try restored.value(restored.main, "second") == nil)
    #expect(try restored.value(restored.main, "k1500") == "v500")
    try restored.close()
    try backups.purge(keeping: 1)
    #expect(backups.backups.map(\.id) == [2])
    #expect(throws: RocksError.self) { try backups.verify(1) }
  }

  @Test func damagedBackupsAreFoundByVerifyOrRestore() throws {
    let database = try filled()
    try database.flush(database.main)
    let place = try TestDirectory.path("backups")
    try Files.createDirectory(place)
    try database.createBackup(in: place)
    try database.close()
    let shared = place + "/shared_checksum"
    let name = try #require(try Files.names(in: shared).first { $0.hasSuffix(".sst") })
    let whole = try Files.read(shared + "/" + name)
    let backups = try BackupDirectory(place)
    try writeFile(Array(whole.dropLast(10)), to: shared + "/" + name)
    #expect(throws: RocksError.self) { try backups.verify(1) }
    var flipped = whole
    flipped[whole.count / 2] ^= 1
    try writeFile(flipped, to: shared + "/" + name)
    try backups.verify(1)
    let error = #expect(throws: RocksError.self) {
      try backups.restore(1, to: TestDirectory.path("restored"))
    }
    #expect(error?.kind == .corruption)
  }

  @Test func damagedTablesAreFoundByTheirChecksums() throws {
    let database = try filled()
    try database.flush(database.main)
    let number = try #require(try database.tableFiles(of: database.main).first?.number)
    try database.close()
    let names = try Files.names(in: database.path)
    let name = try #require(names.first { $0.hasSuffix(".sst") && $0.contains("\(number)") })
    var bytes = try Files.read(database.path + "/" + name)
    bytes[200] ^= 1
    try writeFile(bytes, to: database.path + "/" + name)
    let again = try Database.open()
    let error = #expect(throws: RocksError.self) { try again.verifyTableChecksums() }
    #expect(error?.kind == .corruption)
    try again.close()
  }

  @Test func theGuardCountsWhatIsWrittenAndSynced() throws {
    let guardian = WALGuard()
    let database = try filled(guardian: guardian)
    let log = try database.currentLog()
    #expect(log.bytes > 0)
    var size = try #require(guardian.logSizes.last)
    #expect(size.logNumber == log.number)
    #expect(size.appendedBytes == log.bytes)
    #expect(size.syncedBytes == 0)
    let before = guardian.totals
    try database.syncLog()
    size = try #require(guardian.logSizes.last)
    #expect(size.syncedBytes == size.appendedBytes)
    #expect(guardian.totals.logSyncs == before.logSyncs + 1)
    #expect(guardian.totals.logBytes >= log.bytes)
    let other = guardian.totals.otherBytes
    try database.flush(database.main)
    #expect(guardian.totals.otherBytes > other)
    #expect(try database.currentLog().number > log.number)
    #expect(guardian.failure == nil)
    try database.close()
  }

  @Test func withoutAGuardTheLogSyncsToo() throws {
    let database = try filled()
    try database.syncLog()
    try database.close()
  }

  @Test func aFailedFlushIsToldAndResumed() throws {
    let guardian = WALGuard()
    let database = try filled(guardian: guardian)
    guardian.inject(.tableAppend, count: nil, error: .io)
    #expect(throws: RocksError.self) { try database.flush(database.main) }
    #expect(database.listener.isInBackgroundError)
    #expect(database.listener.counters.backgroundErrors == 1)
    #expect(database.listener.lastError?.kind == .ioError)
    #expect(throws: RocksError.self) { try database.put(database.main, "refused", "") }
    guardian.clearFaults()
    try database.resume()
    #expect(!database.listener.isInBackgroundError)
    try database.put(database.main, "taken", "1")
    #expect(try database.value(database.main, "k1000") == "v0")
    try database.close()
  }

  @Test func optionsChangeWhileTheDatabaseIsOpen() throws {
    let database = try filled()
    let family = try database.main
    try database.flush(family)
    let triggers = ["level0_slowdown_writes_trigger": "1", "level0_stop_writes_trigger": "1"]
    try database.setOptions(triggers, of: family)
    #expect(try database.property("rocksdb.is-write-stopped") == 1)
    #expect(database.listener.counters.stoppedFamilies == 1)
    let error = #expect(throws: RocksError.self) { try database.put(family, "refused", "") }
    #expect(error?.kind == .incomplete)
    try database.setOptions(triggers.mapValues { _ in "100" }, of: family)
    try database.put(family, "taken", "")
    #expect(throws: RocksError.self) {
      try database.setOptions(["no_such_option": "1"], of: family)
    }
    try database.close()
  }

  @Test func aWriteRateLimitIsTaken() throws {
    var options = DatabaseOptions.small
    options.writeRateLimit = 100 << 20
    let database = try filled(options)
    try database.flush(database.main)
    #expect(try database.value(database.main, "k1000") == "v0")
    try database.close()
  }

  @Test func aRecordWithoutLogIsGoneAfterACrash() throws {
    let database = try filled()
    var record = WriteRecord()
    record.put(0, key: bytes("volatile").span, value: bytes("1").span)
    try database.writeWithoutLog(&record)
    #expect(try database.value(database.main, "volatile") == "1")
    try copyFolder(database.path, to: TestDirectory.path("crashed"))
    let crashed = try Database.open("crashed")
    #expect(try crashed.value(crashed.main, "volatile") == nil)
    #expect(try crashed.value(crashed.main, "k1999") == "v999")
    try crashed.close()
    try database.close()
  }
}
