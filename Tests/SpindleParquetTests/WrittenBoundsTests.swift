import SpindleCore
import Testing

@testable import SpindleParquet

@Suite("Bounds that a Parquet writer tells")
struct WrittenBoundsTests {
  static func file(
    _ type: ParquetPhysicalType, _ meaning: ParquetLogicalType? = nil, _ column: ColumnArray,
    pageRows: Int = 1000
  ) throws -> WrittenFile {
    try WrittenFile(type, meaning, column) { $0.pageRows = pageRows }
  }

  static func little<Number: FixedWidthInteger & UnsignedInteger>(_ number: Number) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendLittleEndian(number)
    return bytes
  }

  @Test func signedAndUnsignedNumbersHaveTheirOwnOrder() throws {
    let column = ColumnArray.numbers([5, -1, .min, .max, nil] as [Int32?])
    var statistics = try #require(try Self.file(.int32, nil, column).chunk().statistics)
    #expect(statistics.minimum == Self.little(UInt32(bitPattern: .min)))
    #expect(statistics.maximum == Self.little(UInt32(bitPattern: .max)))
    #expect(statistics.nullCount == 1)
    #expect(statistics.isMinimumExact == true && statistics.isMaximumExact == true)
    #expect(statistics.legacyMinimum == nil && statistics.legacyMaximum == nil)
    statistics = try #require(
      try Self.file(.int32, .integer(bitWidth: 32, isSigned: false), column).chunk().statistics)
    #expect(statistics.minimum == Self.little(UInt32(5)))
    #expect(statistics.maximum == Self.little(UInt32.max))
    let wide = ColumnArray.numbers([5, -1, .min, .max] as [Int64])
    statistics = try #require(
      try Self.file(.int64, .integer(bitWidth: 64, isSigned: false), wide).chunk().statistics)
    #expect(statistics.minimum == Self.little(UInt64(5)))
    #expect(statistics.maximum == Self.little(UInt64.max))
    statistics = try #require(try Self.file(.int64, nil, wide).chunk().statistics)
    #expect(statistics.minimum == Self.little(UInt64(bitPattern: .min)))
    let flags = ColumnArray.numbers([true, true] as [Bool])
    statistics = try #require(try Self.file(.boolean, nil, flags).chunk().statistics)
    #expect(statistics.minimum == [1] && statistics.maximum == [1])
  }

  @Test func zerosHaveBothSignsAndNaNNoPlace() throws {
    func bounds(_ numbers: [Double?]) throws -> (minimum: Double?, maximum: Double?) {
      let file = try Self.file(.double, nil, .numbers(numbers))
      let statistics = try #require(try file.chunk().statistics)
      #expect(statistics.nullCount == Int64(numbers.count { $0 == nil }))
      let floats = try Self.file(.float, nil, .numbers(numbers.map { $0.map { Float($0) } }))
      let narrow = try #require(try floats.chunk().statistics)
      func number(_ bytes: [UInt8]?) throws -> Double? {
        guard let bytes else { return nil }
        guard case .double(let number) = try ValueOrder.double.value(bytes.span) else { return nil }
        return number
      }
      let low = try number(statistics.minimum)
      let high = try number(statistics.maximum)
      #expect(narrow.minimum == low.map { Self.little(Float($0).bitPattern) })
      #expect(narrow.maximum == high.map { Self.little(Float($0).bitPattern) })
      return (low, high)
    }
    var found = try bounds([.nan, 2, nil, 1, .nan])
    #expect(found.minimum == 1 && found.maximum == 2)
    found = try bounds([0.0, 0.0])
    #expect(found.minimum?.sign == .minus && found.maximum?.sign == .plus)
    found = try bounds([-0.0, -0.0, nil])
    #expect(found.minimum?.sign == .minus && found.maximum?.sign == .plus)
    found = try bounds([-.infinity, .infinity])
    #expect(found.minimum == -.infinity && found.maximum == .infinity)
    found = try bounds([.infinity])
    #expect(found.minimum == .infinity && found.maximum == .infinity)
    for numbers in [[.nan, nil], [.nan], [nil, nil]] as [[Double?]] {
      found = try bounds(numbers)
      #expect(found.minimum == nil && found.maximum == nil)
    }
  }

  @Test func pagesOfNaNHaveNoIndexAndNullPagesHave() throws {
    let nulls = ColumnArray.numbers([1, 2, nil, nil, 3, nil] as [Double?])
    let index = try #require(try Self.file(.double, nil, nulls, pageRows: 2).columnIndex())
    #expect(index.nullPages == [false, true, false])
    #expect(index.nullCounts == [0, 2, 1])
    #expect(index.minimums[1].isEmpty && index.maximums[1].isEmpty)
    #expect(index.boundaryOrder == .ascending)
    let nan = ColumnArray.numbers([1, 2, .nan, .nan] as [Double])
    let file = try Self.file(.double, nil, nan, pageRows: 2)
    #expect(try file.columnIndex() == nil)
    #expect(try file.reader.offsetIndex(of: 0, in: 0)?.pages.count == 2)
    let mixed = ColumnArray.numbers([1, 2, .nan, 3] as [Double])
    #expect(try Self.file(.double, nil, mixed, pageRows: 2).columnIndex() != nil)
  }

  @Test func theOrderOfThePagesIsTold() throws {
    func order(_ numbers: [Int64?]) throws -> ColumnIndex.BoundaryOrder? {
      try Self.file(.int64, nil, .numbers(numbers), pageRows: 2).columnIndex()?.boundaryOrder
    }
    #expect(try order([1, 2, 2, 3, 3, 3]) == .ascending)
    #expect(try order([1, 2, nil, nil, 2, 3]) == .ascending)
    #expect(try order([3, 4, 2, 3, 1, 3]) == .descending)
    #expect(try order([1, 2, 3, 4, 2, 3]) == .unordered)
    #expect(try order([1, 9, 2, 3]) == .unordered)
    #expect(try order([5, 5, 5, 5]) == .ascending)
  }

  @Test func stringsAreOrderedByTheirBytes() throws {
    for texts in [
      ["b", "a", "\u{E9}", "aa", ""], ["zz", "z", "zzz"], ["same prefix 1", "same prefix 10"],
    ] {
      for encoding in [ParquetEncoding.plain, .rleDictionary] {
        let file = try WrittenFile(.byteArray, .string, .strings(texts)) {
          $0.columns["x"] = ParquetColumnSettings(encoding: encoding)
        }
        let sorted = texts.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let statistics = try #require(try file.chunk().statistics)
        #expect(statistics.minimum == Array(sorted[0].utf8))
        #expect(statistics.maximum == Array((sorted.last ?? "").utf8))
      }
    }
    var fixed = FixedBytesBuilder(width: 2)
    for value in [[0x80, 0], [0x7F, 0xFF], [0x80, 1]] as [[UInt8]] { fixed.append(value) }
    let file = try Self.file(.fixedLengthByteArray(2), nil, fixed.finish())
    let statistics = try #require(try file.chunk().statistics)
    #expect(statistics.minimum == [0x7F, 0xFF] && statistics.maximum == [0x80, 1])
  }

  // The ranks of a dictionary must give what comparing gives.
  @Test func boundsByRankAreBoundsByComparing() {
    var random = SeededGenerator(seed: 5)
    for round in 0..<50 {
      var strings = ByteStrings()
      let shared = Samples.bytes(round % 12, seed: UInt64(round))
      for _ in 0..<100 {
        strings.append(
          shared + (0..<Int(random.next() % 12)).map { _ in UInt8(random.next() % 3) * 127 })
      }
      let ranks = strings.ranks
      for _ in 0..<200 {
        let one = Int(random.next() % 100)
        let two = Int(random.next() % 100)
        let order = strings.order(one, two)
        if order != 0 { #expect((ranks[one] < ranks[two]) == (order < 0)) }
      }
    }
  }

  @Test func longBoundsAreCutAndRoundedUp() throws {
    func bounds(
      _ value: [UInt8], _ meaning: ParquetLogicalType?
    ) throws -> Statistics {
      var builder = ByteStringsBuilder()
      builder.append(value)
      let column = builder.finish()
      let file = try WrittenFile(.byteArray, meaning, column) { $0.boundBytes = 8 }
      let statistics = try #require(try file.chunk().statistics)
      let index = try #require(try file.columnIndex())
      #expect(copyBytes(index.minimums[0]) == statistics.minimum)
      #expect(copyBytes(index.maximums[0]) == statistics.maximum)
      let low = try #require(statistics.minimum)
      let high = try #require(statistics.maximum)
      #expect(!value.lexicographicallyPrecedes(low) && !high.lexicographicallyPrecedes(value))
      #expect(statistics.isMinimumExact == (low == value))
      #expect(statistics.isMaximumExact == (high == value))
      return statistics
    }
    func text(_ text: String) throws -> (String, String) {
      let statistics = try bounds(Array(text.utf8), .string)
      return (
        String(decoding: statistics.minimum ?? [], as: UTF8.self),
        String(decoding: statistics.maximum ?? [], as: UTF8.self)
      )
    }
    #expect(try text("01234567") == ("01234567", "01234567"))
    #expect(try text("012345678") == ("01234567", "01234568"))
    // Not within a character: two bytes, three, four.
    #expect(try text("0123456\u{E9}") == ("0123456", "0123457"))
    #expect(try text("012345\u{20AC}x") == ("012345", "012346"))
    #expect(try text("01234\u{1F680}x") == ("01234", "01235"))
    #expect(try text("0123\u{1F680}x") == ("0123\u{1F680}", "0123\u{1F681}"))
    // No character follows the last one, and none is a surrogate.
    #expect(try text("a\u{10FFFF}\u{10FFFF}") == ("a\u{10FFFF}", "b"))
    #expect(try text("01234\u{D7FF}x") == ("01234\u{D7FF}", "01234\u{E000}"))
    // The next character takes more bytes than there is room for.
    #expect(try text("0123456\u{7F}xx") == ("0123456\u{7F}", "0123457"))
    let high = String(repeating: "\u{10FFFF}", count: 3)
    #expect(try text(high) == ("\u{10FFFF}\u{10FFFF}", high))

    var statistics = try bounds([1, 2, 3, 4, 5, 6, 7, 0xFF, 1], nil)
    #expect(statistics.minimum == [1, 2, 3, 4, 5, 6, 7, 0xFF])
    #expect(statistics.maximum == [1, 2, 3, 4, 5, 6, 8])
    statistics = try bounds(Array(repeating: 0xFF, count: 20), nil)
    #expect(statistics.maximum == Array(repeating: 0xFF, count: 20))
    // Text that is none is cut like any bytes.
    statistics = try bounds(Array(repeating: 0xBF, count: 20), .string)
    #expect(statistics.minimum == Array(repeating: 0xBF, count: 8))
    #expect(statistics.maximum == Array(repeating: 0xBF, count: 7) + [0xC0])
  }

  // Readers take a bound for a value of the type, by its width.
  @Test(arguments: [5, 9, 16, 64, 65, 100, 1024, 1025])
  func valuesOfAFixedLengthAreBoundedWholeOrNotAtAll(width: Int) throws {
    let values = (1...3).map { [UInt8](repeating: 0xFF, count: width - 1) + [UInt8($0)] }
    var builder = FixedBytesBuilder(width: width)
    for index in [1, 0, 2] { builder.append(values[index]) }
    let column = builder.finish()
    for boundBytes in [8, 64] {
      let file = try WrittenFile(.fixedLengthByteArray(width), nil, column) {
        $0.boundBytes = boundBytes
      }
      let isBounded = width <= 1024
      let statistics = try #require(try file.chunk().statistics)
      #expect(statistics.nullCount == 0)
      #expect(statistics.minimum == (isBounded ? values[0] : nil))
      #expect(statistics.maximum == (isBounded ? values[2] : nil))
      #expect(statistics.isMinimumExact == (isBounded ? true : nil))
      let index = try file.columnIndex()
      #expect(index.map { copyBytes($0.minimums[0]) } == (isBounded ? values[0] : nil))
      #expect(index.map { copyBytes($0.maximums[0]) } == (isBounded ? values[2] : nil))
      #expect(try file.reader.verify().findings == [])
    }
  }

  @Test func whatIsNotWantedIsNotWritten() throws {
    let column = ColumnArray.numbers((0..<100).map { Int64($0) })
    for (statistics, index) in [(true, false), (false, true), (false, false)] {
      let file = try WrittenFile(.int64, nil, column) {
        $0.writesStatistics = statistics
        $0.writesPageIndex = index
        $0.pageRows = 10
      }
      #expect((try file.chunk().statistics != nil) == statistics)
      #expect((try file.columnIndex() != nil) == index)
      #expect((try file.reader.offsetIndex(of: 0, in: 0) != nil) == index)
      // Where there is no index, the pages tell of themselves.
      for page in try file.pages() {
        guard case .dataV2(let header) = page.header.kind else { continue }
        #expect((header.statistics != nil) == (statistics && !index))
      }
    }
  }

  @Test func theOffsetIndexLeadsToThePages() throws {
    let column = ColumnArray.numbers((0..<1000).map { $0 % 7 == 0 ? nil : Int64($0 * $0) })
    let file = try Self.file(.int64, nil, column, pageRows: 128)
    let index = try #require(try file.reader.offsetIndex(of: 0, in: 0))
    #expect(index.pages.map(\.firstRow) == stride(from: 0, to: 1000, by: 128).map { Int64($0) })
    for page in index.pages {
      let bytes = Array(file.bytes[Int(page.offset)..<Int(page.offset) + page.byteCount])
      var reader = ThriftReader(bytes.span)
      let header = try PageHeader(&reader)
      #expect(reader.offset + header.compressedSize == page.byteCount)
    }
  }
}
