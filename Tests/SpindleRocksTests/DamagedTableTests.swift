import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct DamagedTableTests {
  private func tableNumber(paranoid: Bool) throws -> UInt64 {
    var options = DatabaseOptions.small
    options.paranoidChecks = paranoid
    let database = try Database.open(options: options)
    for number in 0..<100 { try database.put(database.main, "k\(100 + number)", "v\(number)") }
    try database.flush(database.main)
    let number = try #require(try database.tableFiles(of: database.main).first).number
    try database.close()
    let folder = try TestDirectory.path("db")
    for name in try Files.names(in: folder) where name.hasSuffix(".sst") {
      try Files.remove(folder + "/" + name)
    }
    return number
  }

  @Test("A-G-3: with paranoid checks a database whose table is gone does not open, and names it")
  func paranoidOpenNamesTheFile() throws {
    let number = try tableNumber(paranoid: true)
    var options = DatabaseOptions.small
    options.paranoidChecks = true
    do {
      let database = try Database.open(options: options)
      try database.close()
      Issue.record("the database opened")
    } catch let error as RocksError {
      // The suffix is that of another engine, the number is right.
      #expect(error.message.contains("\(number)."), "\(error.message)")
    }
  }

  @Test("A-G-2: without paranoid checks it opens, and the first read says what is gone")
  func plainOpenFailsAtTheFirstRead() throws {
    let number = try tableNumber(paranoid: false)
    let database = try Database.open()
    do {
      _ = try database.value(database.main, "k150")
      Issue.record("the value was read")
    } catch let error as RocksError {
      #expect(error.kind == .ioError)
      #expect(error.message.contains("\(number)."), "\(error.message)")
    }
    try database.close()
  }

  @Test func failedCompactionsAreCountedByFamily() throws {
    let guardian = WALGuard()
    let database = try Database.open(guardian: guardian)
    let other = try database.createColumnFamily(named: "other", options: ColumnFamilyOptions())
    try database.put(database.main, "a", "1")
    try database.put(other, "a", "1")
    for family in [try database.main, other] { try database.flush(family) }
    guardian.inject(.tableAppend, count: nil, error: .io)
    // The call tells what its own work met.
    let failure = #expect(throws: RocksError.self) { try database.compact(other) }
    #expect(failure?.kind == .ioError)
    guardian.clearFaults()
    let listener = database.listener
    #expect(listener.compactionFailures(of: "other") == 1)
    #expect(listener.lastCompactionError(of: "other")?.kind == .ioError)
    #expect(listener.compactionFailures(of: "default") == 0)
    #expect(listener.lastCompactionError(of: "default") == nil)
    #expect(!listener.isInFatalError)
    try database.compact(other)
    #expect(try database.waitForCompaction(idleMilliseconds: 5))
    #expect(listener.compactionFailures(of: "other") == 1)
    #expect(try database.value(other, "a") == "1")
    try database.close()
  }
}
