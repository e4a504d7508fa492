import SpindleCore
import SpindleIO
import SpindleStore
import SpindleTestKit
import Testing

/// Damage of the write-ahead log that a killed process does not leave: the open is refused, names
/// the file, and changes nothing.
@Suite(.temporaryDirectory) struct LogDamageTests {
  enum Shape: CaseIterable {
    case oneLog, severalLogs, oneFamilyFlushed, closedCleanly
  }

  /// A store as a killed (or closed) process leaves it.
  private func make(_ shape: Shape) async throws -> String {
    let path = try TestDirectory.path("live")
    let store = try await Store.small(at: path)
    let first = try await store.family("spool:a")
    let second = try await store.family("oplog:a")
    for number in 0..<300 {
      var batch = Batch()
      batch.put(first, key: numberedKey(number), value: numberedValue(number, bytes: 300))
      batch.put(second, key: numberedKey(number), value: numberedValue(number, bytes: 300))
      try await store.commit(batch, durability: .buffered)
      // A flush of one family starts a new log and leaves the old one for the other.
      if shape == .severalLogs, number % 100 == 50 {
        try await store.flush(number == 50 ? first : second)
      }
      if shape == .oneFamilyFlushed, number == 299 { try await store.flush(first) }
    }
    let target = try TestDirectory.path("store")
    if shape != .closedCleanly { try copyFolder(path, to: target) }
    try await store.close()
    if shape == .closedCleanly { try copyFolder(path, to: target) }
    return target
  }

  @Test(arguments: Shape.allCases)
  func aFlippedBitInTheLogIsRefusedByName(shape: Shape) async throws {
    let path = try await make(shape)
    let logs = try logFiles(in: path + "/rocks").filter { try Files.size($0) > 1000 }
    #expect(shape != .severalLogs || logs.count >= 1)
    var random = SeededGenerator(seed: 7)
    for log in logs {
      let whole = try Files.read(log, limit: .max)
      for _ in 0..<(4 * soakFactor) {
        // Not in the last record, where damage may look like a torn end.
        let offset = Int.random(in: 0..<(whole.count - 1000), using: &random)
        var damaged = whole
        damaged[offset] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        try writeFile(damaged, to: log)
        let before = try FolderState(of: path).without("owner.pid")
        for access in [Store.Access.owner, .reader] {
          let error = await refusal {
            let store = try await Store.open(at: path, settings: .small, access: access)
            try await store.close()
          }
          #expect(error?.kind == .corruption, "\(log) at \(offset)")
          #expect(error?.message.contains(Files.name(of: log)) == true)
        }
        #expect(try FolderState(of: path).without("owner.pid") == before)
      }
      try writeFile(whole, to: log)
    }
    let store = try await Store.small(at: path)
    #expect(try await store.numbers(store.family("spool:a")) == Array(0..<300))
    #expect(try await store.numbers(store.family("oplog:a")) == Array(0..<300))
    try await store.close()
  }

  @Test func aTornLastRecordOpensAndIsReported() async throws {
    let path = try await make(.oneLog)
    let log = try #require(try logFiles(in: path + "/rocks").last)
    for cut in [1, 7, 100, 600] {
      let place = path + "-\(cut)"
      try copyFolder(path, to: place) { name, bytes in
        name.hasSuffix(Files.name(of: log)) ? Array(bytes.dropLast(cut)) : bytes
      }
      let store = try await Store.small(at: place)
      #expect(store.recovery.droppedTailBytes > 0)
      #expect(store.recovery.droppedTailBytes < 700)
      for await event in store.events {
        #expect(
          event
            == .opened(
              path: place, wasClean: false,
              droppedTailBytes: store.recovery.droppedTailBytes))
        break
      }
      #expect(try await store.numbers(store.family("spool:a")) == Array(0..<299))
      #expect(try await store.numbers(store.family("oplog:a")) == Array(0..<299))
      try await store.put(store.family("spool:a"), 299, .synced)
      try await store.close()
      let again = try await Store.small(at: place)
      #expect(try await again.numbers(again.family("spool:a")) == Array(0..<300))
      #expect(again.recovery.droppedTailBytes == 0)
      try await again.close()
    }
  }

  @Test func aTornEndBehindACleanCloseIsDamage() async throws {
    let path = try await make(.closedCleanly)
    let log = try #require(try logFiles(in: path + "/rocks").last)
    let whole = try Files.read(log, limit: .max)
    for cut in [1, 300] {
      try writeFile(Array(whole.dropLast(cut)), to: log)
      let error = await refusal { _ = try await Store.small(at: path) }
      #expect(error?.kind == .corruption)
      #expect(error?.message.contains(Files.name(of: log)) == true)
    }
    try writeFile([], to: log)
    let error = await refusal { _ = try await Store.small(at: path) }
    #expect(error?.kind == .corruption)
  }

  @Test func aMissingLogIsRefused() async throws {
    for shape in [Shape.oneLog, .closedCleanly] {
      let path = try await make(shape)
      for log in try logFiles(in: path + "/rocks") { try Files.remove(log) }
      let error = await refusal { _ = try await Store.small(at: path) }
      #expect(error?.kind == .corruption, "\(shape)")
      TemporaryDirectory.remove(path)
      TemporaryDirectory.remove(try TestDirectory.path("live"))
    }
  }
}

extension Files {
  static func name(of path: String) -> String { String(path.split(separator: "/").last ?? "") }
}
