import Glibc
import SpindleCore
import SpindleOpLog
import SpindleStore
import Synchronization
import Testing

/// An op that notes on which thread it is put together again.
private struct WitnessedOp: IndexableOp {
  static let threads = Mutex<Set<String>>([])
  let value: [UInt8]?

  func toIndexEntry() throws(CodecError) -> IndexEntry {
    IndexEntry(tag: 1, key: nil, value: value)
  }

  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> WitnessedOp {
    let name = threadName()
    threads.withLock { _ = $0.insert(name) }
    return WitnessedOp(value: value)
  }

  private static func threadName() -> String {
    let file = unsafe open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC)
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 64)
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe read(file, $0.baseAddress, 64) }
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  }
}

/// Where rows are decoded that a task reads.
@Suite struct DecodingThreadTests {
  private func isOnStoreThread(
    _ body: () async throws -> Int
  ) async throws -> Bool {
    WitnessedOp.threads.withLock { $0 = [] }
    #expect(try await body() > 0)
    let names = WitnessedOp.threads.withLock { $0 }
    #expect(names.count > 0)
    let count = names.filter { $0.hasPrefix("spindle-pool") }.count
    #expect(count == 0 || count == names.count)
    return count > 0
  }

  @Test func whatIsLargeIsDecodedOffTheCallersThread() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await LogIndexTracker<WitnessedOp>(store: store, prefix: "app")
        func add(_ number: UInt64, _ count: UInt64, bytes: Int) async throws {
          var batch = Batch()
          for index in 0..<count {
            try log.trackOne(
              peer: peer(number), index: index, timestamp: Timestamp(packed: 1), serverUser: nil,
              op: WitnessedOp(value: Array(repeating: 7, count: bytes)), into: &batch)
          }
          try await store.commit(batch, durability: .buffered)
        }
        try await add(1, 600, bytes: 200)
        try await add(2, 1, bytes: 300 << 10)
        try await add(3, 600, bytes: 2_000)
        func page(_ number: UInt64, _ limit: Int) async throws -> Int {
          try await log.readPage(
            peer: peer(number), from: 0, limit: limit, byteLimit: LogPage.byteLimit
          ).count
        }
        #expect(try await !isOnStoreThread { try await page(1, LogPage.entryLimit) })
        #expect(try await isOnStoreThread { try await page(2, 1) })
        #expect(try await isOnStoreThread { try await page(3, LogPage.entryLimit) })
        // Also where nobody bounds the bytes.
        #expect(
          try await isOnStoreThread {
            try await log.readEntries(peer: peer(3), from: 0, limit: .max).count
          })
        #expect(try await log.readRows(peer: peer(3), from: 0, limit: .max).count == 600)
        #expect(try await log.row(peer: peer(2), index: 0)?.value?.count == 300 << 10)
      }
    }
  }
}
