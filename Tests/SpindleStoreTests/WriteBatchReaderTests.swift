import SpindleStore
import Testing

@Suite struct WriteBatchReaderTests {
  /// Every kind, as bytes of the format.
  static let batch: [UInt8] = [
    0x2a, 0, 0, 0, 0, 0, 0, 0,  // sequence 42
    9, 0, 0, 0,  // count
    0x01, 1, 0x6b, 2, 0x76, 0x76,  // put k = vv
    0x05, 0x80, 0x01, 1, 0x6b, 0,  // put into family 128
    0x00, 1, 0x6b,  // delete
    0x08, 3, 1, 0x6b,  // single delete from family 3
    0x06, 1, 1, 0x6b, 1, 0x6d,  // merge into family 1
    0x0f, 1, 0x61, 1, 0x7a,  // delete range a to z
    0x0d,  // noop
    0x03, 3, 1, 2, 3,  // log data
    0x11, 1, 0x6b, 1, 9,  // blob index
    0x17, 2, 1, 0x6b, 1, 9,  // entity into family 2
    0x0a, 1, 0x78,  // end of prepare of x
    0x04, 5, 1, 0x6b,  // delete from family 5
  ]

  static func kinds(_ bytes: [UInt8]) throws -> [WriteBatchOperationKind] {
    var reader = try WriteBatchReader(bytes.span)
    var kinds: [WriteBatchOperationKind] = []
    while let operation = try reader.next() { kinds.append(operation.kind) }
    return kinds
  }

  @Test func everyKindIsRead() throws {
    var reader = try WriteBatchReader(Self.batch.span)
    #expect(reader.sequence == 42)
    #expect(reader.count == 9)
    var text: [String] = []
    while let operation = try reader.next() {
      let key = (0..<operation.key.count).map { operation.key[$0] }
      let value = (0..<operation.value.count).map { operation.value[$0] }
      text.append("\(operation.kind) \(operation.columnFamilyID) \(key) \(value)")
    }
    #expect(
      text == [
        "put 0 [107] [118, 118]", "put 128 [107] []", "delete 0 [107] []",
        "singleDelete 3 [107] []", "merge 1 [107] [109]", "deleteRange 0 [97] [122]",
        "noop 0 [] []", "logData 0 [] [1, 2, 3]", "putBlobIndex 0 [107] [9]",
        "putEntity 2 [107] [9]", "endPrepare 0 [120] []", "delete 5 [107] []",
      ])
  }

  @Test func everyTruncationIsAnError() {
    for length in 0..<Self.batch.count {
      #expect(throws: WriteBatchFault.self, "\(length)") {
        try Self.kinds(Array(Self.batch[..<length]))
      }
    }
  }

  @Test func flippedBitsNeverTrap() {
    var outcomes: Set<String> = []
    for bit in 0..<(Self.batch.count * 8) {
      var bytes = Self.batch
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      do {
        outcomes.insert("\(try Self.kinds(bytes).count)")
      } catch {
        outcomes.insert("refused")
      }
    }
    #expect(outcomes.contains("refused"))
    #expect(outcomes.contains("12"))
  }

  @Test func countsAndKindsThatDisagreeAreNamed() {
    let header: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
    #expect(throws: WriteBatchFault.wrongCount(stated: 1, found: 0)) { try Self.kinds(header) }
    #expect(throws: WriteBatchFault.unknownKind(0x7e, offset: 12)) {
      try Self.kinds(header + [0x7e])
    }
    #expect(throws: WriteBatchFault.truncatedOperation(offset: 12)) {
      try Self.kinds(header + [0x00, 0xff, 0xff, 0xff, 0xff, 0x0f])
    }
    #expect(throws: WriteBatchFault.truncatedHeader) { try Self.kinds([1, 2, 3]) }
  }
}
