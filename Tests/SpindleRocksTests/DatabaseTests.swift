import SpindleCore
import SpindleRocks
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct DatabaseTests {
  @Test func familiesAreFoundAgainAndDroppedOnesAreNot() throws {
    let database = try Database.open()
    let kept = try database.createColumnFamily(named: "kept", options: ColumnFamilyOptions())
    let gone = try database.createColumnFamily(named: "gone", options: ColumnFamilyOptions())
    #expect(kept.id != gone.id)
    try database.put(kept, "a", "1")
    try database.put(gone, "a", "2")
    try database.dropColumnFamily(gone)
    #expect(database.columnFamily(named: "gone") == nil)
    try database.close()
    #expect(try Database.columnFamilyNames(at: database.path) == ["default", "kept"])
    let again = try Database.open()
    #expect(again.columnFamilies.map(\.name) == ["default", "kept"])
    let found = try #require(again.columnFamily(named: "kept"))
    #expect(try again.value(found, "a") == "1")
    #expect(try again.value(again.main, "a") == nil)
    try again.close()
  }

  @Test func openingWhatDoesNotExistFailsUnlessItMayBeCreated() throws {
    var options = DatabaseOptions.small
    options.createIfMissing = false
    #expect(throws: RocksError.self) { try Database.open("missing", options: options) }
  }

  @Test func pinnedValuesStayReadableAfterTheKeyIsReplaced() throws {
    let database = try Database.open()
    let family = try database.main
    try database.put(family, "key", "first")
    try database.flush(family)
    guard let pinned = try database.get(family, bytes("key").span) else {
      Issue.record("the key is missing")
      return
    }
    try database.put(family, "key", "second")
    try database.flush(family)
    try database.compact(family)
    #expect(text(copyBytes(pinned.bytes)) == "first")
    #expect(try database.value(family, "key") == "second")
    #expect(try database.value(family, "other") == nil)
  }

  @Test func emptyKeysAndValuesAreStored() throws {
    let database = try Database.open()
    let family = try database.main
    try database.put(family, "", "")
    #expect(try database.value(family, "") == "")
    #expect(try database.multiGet(family, [[]]) == [[]])
    try database.close()
  }

  @Test func cacheReadsNeverTouchTheDisk() throws {
    var database = try Database.open()
    try database.put(database.main, "key", "value")
    #expect(try database.value(database.main, "key", tier: .cache) == "value")
    try database.flush(database.main)
    try database.close()
    database = try Database.open()
    let error = #expect(throws: RocksError.self) {
      try database.value(database.main, "key", tier: .cache)
    }
    #expect(error?.kind == .incomplete)
    #expect(try database.value(database.main, "key") == "value")
    #expect(try database.value(database.main, "key", tier: .cache) == "value")
    let before = try database.memoryUsage().blockCache
    database.setBlockCacheCapacity(0)
    #expect(try database.memoryUsage().blockCache < before)
    try database.close()
  }

  @Test func manyValuesAreReadAtOnceInTheOrderAsked() throws {
    let database = try Database.open()
    let family = try database.main
    for number in 0..<100 { try database.put(family, "k\(number)", "v\(number)") }
    let asked = [99, 3, 1000, 3, 0].map { bytes("k\($0)") }
    let found = try database.multiGet(family, asked).map(text)
    #expect(found == ["v99", "v3", nil, "v3", "v0"])
    #expect(try database.multiGet(family, []).isEmpty)
    try database.close()
  }

  @Test func iteratorsKeepTheirBoundsInBothDirections() throws {
    let database = try Database.open()
    let family = try database.main
    for letter in ["a", "b", "c", "d", "e"] { try database.put(family, letter, letter) }
    var bounded = IterationOptions(lowerBound: bytes("b"), upperBound: bytes("d"))
    bounded.fillsCache = false
    bounded.readaheadBytes = 1 << 16
    #expect(try database.keys(family, bounded) == ["b", "c"])
    #expect(try database.keys(family, bounded, reverse: true) == ["c", "b"])
    #expect(try database.keys(family, reverse: true) == ["e", "d", "c", "b", "a"])
    #expect(try database.keys(family, IterationOptions(upperBound: [])) == [])
    var iterator = try database.iterator(family)
    iterator.seek(bytes("bb").span)
    #expect(text(copyBytes(iterator.key)) == "c")
    iterator.seekForPrevious(bytes("bb").span)
    #expect(text(copyBytes(iterator.value)) == "b")
    iterator.seek(bytes("z").span)
    let isValid = iterator.isValid
    #expect(!isValid)
    try iterator.checkStatus()
  }

  @Test func snapshotsSeeNothingThatCameLater() throws {
    let database = try Database.open()
    let family = try database.main
    try database.put(family, "old", "1")
    var options = IterationOptions()
    options.snapshot = try database.snapshot()
    try database.put(family, "new", "2")
    #expect(try database.keys(family, options) == ["old"])
    #expect(try database.keys(family) == ["new", "old"])
    options.snapshot = nil
    try database.close()
  }

  @Test func rangeDeletesSpareTheirUpperBound() throws {
    let database = try Database.open()
    let family = try database.main
    for letter in ["a", "b", "c", "d"] { try database.put(family, letter, letter) }
    var record = WriteRecord()
    record.deleteRange(family.id, lower: bytes("b").span, upper: bytes("d").span)
    try database.write(&record)
    #expect(try database.keys(family) == ["a", "d"])
    try database.flush(family)
    #expect(try database.keys(family) == ["a", "d"])
    try database.close()
  }

  @Test func aRecordSpansFamiliesAtomically() throws {
    let database = try Database.open()
    let other = try database.createColumnFamily(named: "other", options: ColumnFamilyOptions())
    var record = WriteRecord()
    record.put(try database.main.id, key: bytes("a").span, value: bytes("1").span)
    record.put(
      other.id, key: bytes("b").span, header: bytes("2").span, payload: bytes("3").span)
    record.delete(other.id, key: bytes("absent").span)
    let before = try database.latestSequenceNumber()
    try database.write(&record)
    #expect(try database.latestSequenceNumber() == before + 3)
    #expect(try database.value(database.main, "a") == "1")
    #expect(try database.value(other, "b") == "23")
    try database.close()
  }

  @Test func largeValuesGoToBlobFilesAndComeBack() throws {
    var family = ColumnFamilyOptions()
    var blobs = ColumnFamilyOptions.Blobs()
    blobs.minimumBytes = 1000
    blobs.compression = .lz4
    family.blobs = blobs
    let database = try Database.open(family: family)
    let main = try database.main
    let large = String(repeating: "large", count: 1000)
    try database.put(main, "large", large)
    try database.put(main, "small", "small")
    try database.flush(main)
    #expect(try database.property("rocksdb.num-blob-files", of: main) == 1)
    #expect(try database.value(main, "large") == large)
    #expect(try database.value(main, "small") == "small")
    try database.close()
  }

  @Test func readOnlyAndSecondaryOpensSeeTheOwnersData() throws {
    let database = try Database.open()
    try database.put(database.main, "logged", "1")
    var following = DatabaseOptions.small
    following.createIfMissing = false
    following.maxOpenFiles = -1
    let secondary = try Database.open(
      mode: .secondary(scratch: TestDirectory.path("scratch")), options: following)
    try database.put(database.main, "later", "2")
    try database.flush(database.main)
    try secondary.catchUpWithPrimary()
    #expect(try secondary.value(secondary.main, "later") == "2")
    try secondary.close()
    try database.put(database.main, "last", "3")
    try database.close()
    let reader = try Database.open(mode: .readOnly, options: following)
    #expect(try reader.keys(reader.main) == ["last", "later", "logged"])
    #expect(throws: RocksError.self) { try reader.put(reader.main, "refused", "") }
    try reader.close()
  }

  @Test func anOpenDatabaseIsLockedForOthers() throws {
    let database = try Database.open()
    let error = #expect(throws: RocksError.self) { try Database.open() }
    #expect(error?.isLocked == true)
    try database.close()
    try Database.open().close()
  }

  @Test func closeWaitsForReadersAndRefusesCallsAfterwards() throws {
    let database = try Database.open()
    let family = try database.main
    try database.put(family, "a", "1")
    func closeWithIterator() throws {
      let iterator = try database.iterator(family)
      let error = #expect(throws: RocksError.self) { try database.close(waitingAtMost: 0) }
      #expect(error?.kind == .busy)
      _ = iterator.isValid
    }
    try closeWithIterator()
    let refused = #expect(throws: RocksError.self) { try database.value(family, "a") }
    #expect(refused?.kind == .closed)
    try database.close()
    try database.close()
    try Database.open().close()
  }

  @Test func aDroppedDatabaseIsClosedAndKeepsItsData() throws {
    do {
      let database = try Database.open()
      try database.put(database.main, "k", "v")
    }
    let again = try Database.open()
    #expect(try again.value(again.main, "k") == "v")
    try again.close()
  }
}
