import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct SavepointTests {
  @Test func rollingBackTakesBackChangesConditionsAndFamilies() async throws {
    let store = try await Store.small(at: try TestDirectory.path("store"))
    let log = try await store.family("oplog:a")
    let data = try await store.family("data:a")
    var batch = Batch()
    let empty = batch.savepoint
    batch.put(log, key: [1], value: [1])
    let one = batch.savepoint
    let bytes = batch.byteCount
    batch.put(data, key: [2], value: [2, 2])
    batch.requireAbsent(log, key: [1], owner: "test")
    batch.delete(log, key: [3])
    batch.rollBack(to: one)
    #expect(batch.count == 1 && batch.byteCount == bytes && batch.valueByteCount == 1)
    var copy = batch
    copy.rollBack(to: empty)
    #expect(copy.isEmpty)
    batch.put(data, key: [4], value: [4])
    try await store.commit(batch, durability: .buffered)
    #expect(try await store.get(log, key: [1]) == [1])
    #expect(try await store.get(data, key: [2]) == nil)
    #expect(try await store.get(data, key: [4]) == [4])
    // Had the condition stayed, this batch would be refused.
    try await store.commit(batch, durability: .buffered)
    try await store.close()
  }

  @Test func anIndexFindsTheNewestChangeOfEachKey() {
    var generator = SeededGenerator(seed: 3)
    for _ in 0..<20 {
      var record = WriteRecord()
      var index = WriteRecordIndex(family: 7)
      var model: [[UInt8]: [UInt8]?] = [:]
      for step in 0..<400 {
        let key = [UInt8](repeating: UInt8.random(in: 0..<40, using: &generator), count: step % 3)
        let value = Array(repeating: UInt8(truncatingIfNeeded: step), count: step % 200)
        switch UInt8.random(in: 0..<4, using: &generator) {
        case 0:
          record.delete(7, key: key.span)
          model[key] = .some(nil)
        case 1: record.put(8, key: key.span, value: value.span)
        default:
          record.put(7, key: key.span, value: value.span)
          model[key] = value
        }
        guard step % 50 == 49 else { continue }
        index.extend(over: record)
        #expect(index.count == model.count)
        for (key, value) in model {
          switch index.change(of: key.span, in: record) {
          case .value(let place): #expect(copyBytes(record.bytes(at: place)) == value)
          case .deleted: #expect(value == nil)
          case nil: Issue.record("a key of \(key.count) bytes is unknown")
          }
        }
        let unknown: [UInt8] = [41, 41, 41]
        #expect(index.change(of: unknown.span, in: record) == nil)
      }
      index.removeAll()
      #expect(index.count == 0)
    }
  }
}
