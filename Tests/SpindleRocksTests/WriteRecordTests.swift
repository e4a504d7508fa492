import CRocksDB
import SpindleCore
import SpindleRocks
import SpindleTestKit
import Testing

@Suite struct WriteRecordTests {
  private struct Step: Equatable {
    var operation: WriteRecord.Operation
    var family: UInt32
    var key: [UInt8]
    var value: [UInt8]
  }

  private static let steps: [Step] = [
    Step(operation: .put, family: 0, key: bytes("a"), value: bytes("1")),
    Step(operation: .put, family: 7, key: [], value: []),
    Step(operation: .delete, family: 0, key: bytes("gone"), value: []),
    Step(operation: .delete, family: 300, key: bytes("gone"), value: []),
    Step(operation: .deleteRange, family: 0, key: bytes("b"), value: bytes("c")),
    Step(operation: .deleteRange, family: 200, key: [0], value: [255, 255]),
    Step(
      operation: .put, family: 70_000, key: [UInt8](repeating: 9, count: 200),
      value: [UInt8](repeating: 8, count: 70_000)),
  ]

  private func record(_ steps: [Step]) -> WriteRecord {
    var record = WriteRecord(reservingBytes: 100)
    for step in steps {
      switch step.operation {
      case .put: record.put(step.family, key: step.key.span, value: step.value.span)
      case .delete: record.delete(step.family, key: step.key.span)
      case .deleteRange:
        record.deleteRange(step.family, lower: step.key.span, upper: step.value.span)
      }
    }
    return record
  }

  private func walk(_ record: WriteRecord) -> [Step] {
    var found: [Step] = []
    record.forEach { operation, family, key, value in
      found.append(
        Step(
          operation: operation, family: family, key: copyBytes(key), value: copyBytes(value)))
    }
    return found
  }

  /// RocksDB's own batch of operations on the default family.
  @Test func bytesAreThoseOfRocksDBsOwnBatch() {
    let own = unsafe rocksdb_writebatch_create()
    defer { unsafe rocksdb_writebatch_destroy(own) }
    let key = bytes("key").map { CChar(bitPattern: $0) }
    let value = [CChar](repeating: 5, count: 300)
    unsafe rocksdb_writebatch_put(own, key, 3, value, 300)
    unsafe rocksdb_writebatch_delete(own, key, 3)
    unsafe rocksdb_writebatch_delete_range(own, key, 2, key, 3)
    unsafe rocksdb_writebatch_put(own, key, 0, value, 0)
    var count = 0
    let data = unsafe rocksdb_writebatch_data(own, &count)
    let expected = unsafe UnsafeRawBufferPointer(start: data, count: count).map { $0 }
    var record = WriteRecord()
    let wide = [UInt8](repeating: 5, count: 300)
    record.put(0, key: bytes("key").span, value: wide.span)
    record.delete(0, key: bytes("key").span)
    record.deleteRange(0, lower: bytes("ke").span, upper: bytes("key").span)
    record.put(0, key: Span(), value: Span())
    #expect(record.bytes == expected)
    #expect(record.byteCount == expected.count)
  }

  /// Families other than the default one, as RocksDB writes and reads them.
  @Test(.temporaryDirectory) func familyNumbersAreThoseOfRocksDBsOwnBatch() throws {
    let options = unsafe rocksdb_options_create()
    defer { unsafe rocksdb_options_destroy(options) }
    unsafe rocksdb_options_set_create_if_missing(options, 1)
    var error: UnsafeMutablePointer<CChar>? = nil
    let database = unsafe rocksdb_open(options, try TestDirectory.path("raw"), &error)
    defer { unsafe rocksdb_close(database) }
    var handles: [OpaquePointer?] = unsafe []
    for number in 0..<130 {
      unsafe handles.append(rocksdb_create_column_family(database, options, "f\(number)", &error))
    }
    defer {
      unsafe handles.forEach { unsafe rocksdb_column_family_handle_destroy($0) }
    }
    let own = unsafe rocksdb_writebatch_create()
    defer { unsafe rocksdb_writebatch_destroy(own) }
    let key = bytes("key").map { CChar(bitPattern: $0) }
    var record = WriteRecord()
    for index in [0, 125, 126, 127, 129] {
      let handle = unsafe handles[index]
      let id = unsafe rocksdb_column_family_handle_get_id(handle)
      unsafe rocksdb_writebatch_put_cf(own, handle, key, 3, key, 2)
      unsafe rocksdb_writebatch_delete_cf(own, handle, key, 1)
      unsafe rocksdb_writebatch_delete_range_cf(own, handle, key, 1, key, 2)
      record.put(id, key: bytes("key").span, header: bytes("k").span, payload: bytes("e").span)
      record.delete(id, key: bytes("k").span)
      record.deleteRange(id, lower: bytes("k").span, upper: bytes("ke").span)
    }
    var count = 0
    let data = unsafe rocksdb_writebatch_data(own, &count)
    let expected = unsafe UnsafeRawBufferPointer(start: data, count: count).map { $0 }
    #expect(record.bytes == expected)
  }

  @Test func walkingGivesBackWhatWasAdded() {
    #expect(walk(record(Self.steps)) == Self.steps)
    #expect(record(Self.steps).count == UInt32(Self.steps.count))
    #expect(walk(WriteRecord()).isEmpty)
  }

  @Test func appendedRecordsFollowInOrder() {
    var first = record(Array(Self.steps.prefix(3)))
    first.append(record(Array(Self.steps.dropFirst(3))))
    #expect(first.bytes == record(Self.steps).bytes)
    first.removeAll()
    #expect(first.isEmpty)
    #expect(first.bytes == WriteRecord().bytes)
    first.append(record(Self.steps))
    #expect(walk(first) == Self.steps)
  }
}
