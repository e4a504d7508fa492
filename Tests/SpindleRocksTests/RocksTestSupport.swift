import SpindleCore
import SpindleRocks
import SpindleTestKit

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

extension DatabaseOptions {
  static var small: DatabaseOptions {
    var options = DatabaseOptions()
    options.createIfMissing = true
    options.writeBufferBytes = 4 << 20
    options.blockCacheBytes = 1 << 20
    return options
  }
}

extension Database {
  static func open(
    _ name: String = "db", mode: Mode = .readWrite, options: DatabaseOptions = .small,
    family: ColumnFamilyOptions = ColumnFamilyOptions(), guardian: WALGuard? = nil
  ) throws -> Database {
    try Database(
      at: TestDirectory.path(name), mode: mode, options: options, guardian: guardian,
      familyOptions: { _ in family })
  }

  var main: ColumnFamily {
    get throws {
      guard let family = columnFamily(named: "default") else { throw TestKitError("no default") }
      return family
    }
  }

  func put(_ family: ColumnFamily, _ key: String, _ value: String) throws {
    var record = WriteRecord()
    record.put(family.id, key: bytes(key).span, value: bytes(value).span)
    try write(&record)
  }

  func value(_ family: ColumnFamily, _ key: String, tier: ReadTier = .all) throws -> String? {
    guard let value = try get(family, bytes(key).span, tier: tier) else { return nil }
    return text(copyBytes(value.bytes))
  }

  func keys(
    _ family: ColumnFamily, _ options: IterationOptions = IterationOptions(), reverse: Bool = false
  ) throws -> [String] {
    var iterator = try iterator(family, options)
    var found: [String] = []
    if reverse { iterator.seekToLast() } else { iterator.seekToFirst() }
    while iterator.isValid {
      found.append(text(copyBytes(iterator.key)) ?? "")
      if reverse { iterator.previous() } else { iterator.next() }
    }
    try iterator.checkStatus()
    return found
  }
}
