import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

extension RocksSpool {
  var tables: [Database.TableFile] {
    get throws { try storage.database.tableFiles(of: family.columnFamily) }
  }

  func flush() async throws {
    try await storage.blocking { try self.storage.database.flush(self.family.columnFamily) }
  }

  func property(_ name: String) throws -> UInt64? {
    try storage.database.property("rocksdb." + name, of: family.columnFamily)
  }

  func setOptions(_ options: [String: String]) throws {
    try storage.database.setOptions(options, of: family.columnFamily)
  }
}

/// A payload of a number, all of its bytes of that number.
func payload(_ number: Int, bytes: Int = 1_000) -> Bytes {
  Bytes(repeating: UInt8(truncatingIfNeeded: number), count: bytes)
}

/// Messages in tables of some 64 KiB in the last level, one message a second.
func storeInTables(_ spool: RocksSpool, _ count: Int) async throws -> [SpoolID] {
  try spool.setOptions(["target_file_size_base": "65536", "disable_auto_compactions": "true"])
  let ids = (0..<count).map { id(atMilliseconds: UInt64($0 * 1_000 + 1_000)) }
  for (number, id) in ids.enumerated() { try await spool.put(id, payload(number)) }
  try await spool.compact()
  return ids
}

extension TestPlace {
  func pathOfTable(_ number: UInt64) -> String {
    let digits = String(number)
    return path + "/rocks/" + String(repeating: "0", count: 6 - digits.count) + digits + ".sst"
  }

  func damage(_ table: UInt64, _ kind: TableFault) throws {
    try kind.strike(pathOfTable(table))
  }
}
