import Foundation
import SpindleCore
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// A store as a killed process leaves it: its files are copied while it is open.
///
/// Every batch puts its own number into `spool:a`, `spool:b` or both, so that what a family holds
/// says which batches are there.
final class StoreImage {
  let path: String

  init(copying source: String) throws {
    path = NSTemporaryDirectory() + "spindle-image-" + UUID().uuidString
    try FileManager.default.copyItem(atPath: source, toPath: path)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// What is done to a store before it is copied.
  enum Word {
    case both(Int), a(Int), b(Int), flushA, flushB, sync
  }

  static var settings: StoreSettings {
    var settings = StoreSettings.quiet
    settings.ballastBytes = 0
    settings.capacityFloor = .none
    return settings
  }

  static func make(_ words: [Word]) async throws -> StoreImage {
    let source = NSTemporaryDirectory() + "spindle-source-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: source) }
    let store = try await Store.open(at: source, settings: settings)
    let a = try await store.family("spool:a")
    let b = try await store.family("spool:b")
    var random = SeededBytes(seed: 11)
    var next: UInt32 = 0
    for word in words {
      var families: [StoreFamily] = []
      var count = 0
      switch word {
      case .both(let batches): (families, count) = ([a, b], batches)
      case .a(let batches): (families, count) = ([a], batches)
      case .b(let batches): (families, count) = ([b], batches)
      case .flushA: try flush(store, "spool:a")
      case .flushB: try flush(store, "spool:b")
      case .sync: try await store.synchronize()
      }
      for _ in 0..<count {
        var batch = Batch()
        for family in families {
          batch.put(family, key: key(next), value: random.bytes(100 + Int(random.next() % 300)))
        }
        try await store.commit(batch, durability: .buffered)
        next += 1
      }
    }
    let image = try StoreImage(copying: source)
    try await store.close()
    return image
  }

  private static func flush(_ store: Store, _ name: String) throws {
    let family = try #require(store.database.columnFamily(named: name))
    try store.database.flush(family)
  }

  static func key(_ number: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: number >> (24 - 8 * UInt32($0))) }
  }

  // MARK: Files

  var logs: [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: path + "/rocks")) ?? [])
      .filter { WALFormat.fileNumber($0) != nil }.sorted()
  }

  func read(_ log: String) throws -> [UInt8] {
    try Files.read(path + "/rocks/" + log, limit: .max)
  }

  func write(_ bytes: [UInt8], to log: String) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: path + "/rocks/" + log))
  }

  func change(_ log: String, _ body: (inout [UInt8]) throws -> Void) throws {
    var bytes = try read(log)
    try body(&bytes)
    try write(bytes, to: log)
  }

  /// Where the records of a log start, and its length at the end.
  func starts(_ log: String) throws -> [Int] {
    let number = try #require(WALFormat.fileNumber(log))
    var starts: [Int] = []
    _ = try WALScanner().scanFile(at: path + "/rocks/" + log, number: number) { record in
      starts.append(Int(record.offset))
    }
    return starts + [try read(log).count]
  }

  /// Name, size, time of change and bytes of everything in the directory.
  func fingerprint() throws -> [String: String] {
    var result: [String: String] = [:]
    let manager = FileManager.default
    for name in try manager.subpathsOfDirectory(atPath: path) + [""] {
      let full = path + "/" + name
      let attributes = try manager.attributesOfItem(atPath: full)
      var text = "\(attributes[.modificationDate] ?? "") \(attributes[.size] ?? "")"
      if attributes[.type] as? FileAttributeType == .typeRegular {
        let bytes = try Files.read(full, limit: .max)
        text += " \(CRC32C.checksum(bytes))"
      }
      result[name] = text
    }
    return result
  }

  // MARK: What it holds

  /// The batch numbers of a family.
  static func held(_ store: Store, _ name: String) throws -> [UInt32] {
    guard let family = store.existingFamily(name) else { return [] }
    var numbers: [UInt32] = []
    try store.scan(family) { key, _ in
      var number: UInt32 = 0
      for index in 0..<key.count { number = number << 8 | UInt32(key[index]) }
      numbers.append(number)
      return true
    }
    return numbers
  }

  /// Opens the store, and tells what both families hold.
  func contents() async throws -> (a: [UInt32], b: [UInt32], recovery: Store.RecoverySummary) {
    let store = try await Store.open(at: path, settings: Self.settings)
    let a = try Self.held(store, "spool:a")
    let b = try Self.held(store, "spool:b")
    try await store.close()
    return (a, b, store.recovery)
  }

  func recover(_ mode: StoreRecovery.Mode) async throws -> StoreRecovery.Report {
    try await Store.recover(at: path, mode: mode, settings: Self.settings)
  }
}
