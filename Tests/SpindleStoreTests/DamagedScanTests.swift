import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// What a walk does not give is an error, or is not there.
@Suite(.temporaryDirectory) struct DamagedScanTests {
  private static let families = ["oplog:a", "data:a", "table:a", "region:a"]

  /// A family whose middle table, of the last level, is damaged while the store is shut.
  private func store(
    with name: String, _ fault: TableFault?
  ) async throws -> (store: Store, family: StoreFamily) {
    let path = try TestDirectory.path("store")
    var settings = StoreSettings.small
    settings.familyOptions[name] = ColumnFamilyOptions()
    settings.familyOptions[name]?.compression = .none
    let store = try await Store.small(at: path, settings: settings)
    let family = try await store.family(name)
    try store.database.setOptions(
      ["target_file_size_base": "65536", "disable_auto_compactions": "true"],
      of: family.columnFamily)
    for number in 0..<400 { try await store.put(family, number, bytes: 1_000) }
    try await store.blocking { try store.database.compact(family.columnFamily) }
    if family.holdsRangeDeletions {
      // One that is in no table yet, and one in a table above the others.
      for number in [10, 390] {
        var batch = Batch()
        batch.deleteRange(family, from: numberedKey(number), to: numberedKey(number + 2))
        try await store.commit(batch, durability: .buffered)
        if number == 10 { try await store.flush(family) }
      }
    }
    let tables = try store.tablePaths(of: family)
    try await store.close()
    try #require(tables.count > 4)
    try fault?.strike(tables[2])
    let opened = try await Store.small(at: path)
    return (opened, try #require(opened.existingFamily(name)))
  }

  private func failure(_ body: () throws -> Void) -> SpindleError? {
    do {
      try body()
      return nil
    } catch {
      return error as? SpindleError
    }
  }

  @Test(
    "A-E-5: no walk of any family takes a damaged table for the end of the data",
    arguments: families, TableFault.allCases)
  func walksSayWhatTheyCannotRead(name: String, fault: TableFault) async throws {
    let (store, family) = try await store(with: name, fault)
    let scan = failure { try store.scan(family) { _, _ in true } }
    #expect(scan?.kind == .corruption || scan?.kind == .io)
    #expect(family.health.isShut)
    for isForward in [true, false] {
      let walk = failure {
        var iterator = try store.iterator(family)
        if isForward { iterator.seekToFirst() } else { iterator.seekToLast() }
        while iterator.isValid { if isForward { iterator.next() } else { iterator.previous() } }
        do throws(RocksError) {
          try iterator.checkStatus()
        } catch {
          throw error.spindleError
        }
      }
      #expect(walk?.kind == .corruption || walk?.kind == .io)
    }
    try await store.close()
  }

  @Test(arguments: families)
  func anIntactFamilyIsGivenWhole(name: String) async throws {
    let (store, family) = try await store(with: name, nil)
    let removed = family.holdsRangeDeletions ? [10, 11, 390, 391] : []
    #expect(try store.numbers(family) == (0..<400).filter { !removed.contains($0) })
    #expect(!family.health.isShut)
    try await store.close()
  }
}
