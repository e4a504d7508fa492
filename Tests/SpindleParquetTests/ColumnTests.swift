import SpindleCore
import SpindleParquet
import Testing

@Suite struct ColumnTests {
  @Test func buildersKeepValuesAndNulls() throws {
    var numbers = ColumnBuilder<Int64>(capacity: 4)
    numbers.append(7)
    numbers.appendNull()
    numbers.append(contentsOf: [8, 9].span)
    numbers.append(nil)
    let column = numbers.finish()
    try column.validate()
    #expect(numbers.count == 0)
    #expect(column.count == 5 && column.nullCount == 2)
    let seen = column.withView(of: Int64.self) { view in (0..<view.count).map { view[$0] } }
    #expect(seen == [7, nil, 8, 9, nil])
    #expect(column.withView(of: Double.self) { _ in 0 } == nil)
  }

  @Test func aColumnWithoutNullsHasNoValidity() {
    var builder = ColumnBuilder<Bool>()
    for row in 0..<100 { builder.append(row % 3 == 0) }
    let column = builder.finish()
    #expect(column.validity == nil && column.nullCount == 0 && !column.isNull(99))
  }

  @Test func stringsAreReadPlainAndThroughADictionary() throws {
    var builder = ByteStringsBuilder()
    builder.append("one")
    builder.appendNull()
    builder.append([UInt8]("three".utf8))
    let plain = builder.finish()
    let indexed = ColumnArray(
      .dictionary(indices: [1, 0, 0], values: ByteStrings(["three", "one"])),
      validity: plain.validity)
    for column in [plain, indexed] {
      try column.validate()
      let texts = column.withByteStrings { view in
        var texts: [String?] = []
        for row in 0..<view.count {
          if let bytes = view[row] {
            texts.append(String(decoding: copyBytes(bytes), as: UTF8.self))
          } else {
            texts.append(nil)
          }
        }
        return texts
      }
      #expect(texts == ["one", nil, "three"])
    }
  }

  @Test func fixedBytesAreReadBack() throws {
    var builder = FixedBytesBuilder(width: 3)
    builder.append([1, 2, 3])
    builder.appendNull()
    builder.append([4, 5, 6].span)
    let column = builder.finish()
    try column.validate()
    guard case .fixed(let values) = column.values else { return #expect(Bool(false)) }
    #expect(values.count == 3 && copyBytes(values[2]) == [4, 5, 6] && column.isNull(1))
  }

  /// Every start and length around the borders of words.
  @Test func validityAppendsAsBitByBit() {
    var generator = SeededGenerator(seed: 1)
    for start in [0, 1, 31, 63, 64, 65, 127] {
      for length in [0, 1, 2, 63, 64, 65, 130] {
        for first in [0, 1, 63, 64] {
          let bits = (0..<(first + length)).map { _ in Bool.random(using: &generator) }
          var source = Validity()
          for bit in bits { source.append(bit) }
          var expected = Validity(repeating: true, count: start)
          var got = expected
          for bit in bits[first...] { expected.append(bit) }
          got.append(source, rows: first..<bits.count)
          #expect(got == expected)
          #expect(Validity(words: got.words, count: got.count) == got)
          got.append(repeating: length % 2 == 0, count: length)
          for _ in 0..<length { expected.append(length % 2 == 0) }
          #expect(got == expected)
        }
      }
    }
  }

  @Test(arguments: [
    ColumnArray(.int32([1, 2]), validity: Validity(repeating: false, count: 1)),
    ColumnArray(.bytes(ByteStrings(offsets: [0, 2, 1], bytes: [0]))),
    ColumnArray(.bytes(ByteStrings(offsets: [0, 2], bytes: [0]))),
    ColumnArray(.bytes(ByteStrings(offsets: [1, 1], bytes: [0]))),
    ColumnArray(.bytes(ByteStrings(offsets: [], bytes: []))),
    ColumnArray(.fixed(FixedBytes(width: 2, bytes: [1, 2, 3]))),
    ColumnArray(.dictionary(indices: [1], values: ByteStrings(["a"]))),
    ColumnArray(.dictionary(indices: [0], values: ByteStrings())),
  ])
  func disagreeingPartsAreRefused(column: ColumnArray) {
    #expect(throws: SpindleError.self) { try column.validate() }
    #expect(throws: SpindleError.self) { try ColumnBatch([column]).validate() }
  }

  @Test func aNullRowNeedsNoDictionary() throws {
    try ColumnArray(
      .dictionary(indices: [0], values: ByteStrings()),
      validity: Validity(repeating: false, count: 1)
    ).validate()
  }

  @Test func columnsOfABatchHaveItsRows() {
    let batch = ColumnBatch([ColumnArray(.int32([1])), ColumnArray(.int32([1, 2]))])
    #expect(throws: SpindleError.self) { try batch.validate() }
  }
}
