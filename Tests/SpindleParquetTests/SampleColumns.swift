import SpindleCore
import SpindleParquet

/// Which rows of a sample are null.
enum NullPattern: String, CaseIterable {
  case none, all, third, runs, ends, random

  func isNull(_ row: Int, of count: Int) -> Bool {
    switch self {
    case .none: false
    case .all: true
    case .third: row % 3 == 1
    case .runs: row / 37 % 2 == 0
    case .ends: row == 0 || row == count - 1
    case .random: UInt32(truncatingIfNeeded: (row + count) &* 2_654_435_761) < 1_700_000_000
    }
  }
}

/// A column of every type that can be written, with its extreme values.
struct SampleColumns {
  var schema: ParquetSchema
  var batch: ColumnBatch

  /// - Parameter isRequired: Columns without null rows are required ones.
  init(rows: Int, _ pattern: NullPattern, seed: UInt64 = 1, isRequired: Bool = false) throws {
    var random = SeededGenerator(seed: seed &+ UInt64(rows))
    var columns: [ParquetColumn] = []
    var arrays: [ColumnArray] = []
    let nulls = (0..<rows).map { pattern.isNull($0, of: rows) }
    func add(
      _ name: String, _ type: ParquetPhysicalType, _ meaning: ParquetLogicalType?,
      _ array: ColumnArray
    ) {
      columns.append(
        ParquetColumn(
          name: name, physicalType: type, logicalType: meaning, isOptional: !isRequired))
      arrays.append(array)
    }
    func made<Element: ColumnElement>(_ value: () -> Element) -> ColumnArray {
      var builder = ColumnBuilder<Element>(capacity: rows)
      for row in 0..<rows { builder.append(nulls[row] ? nil : value()) }
      return builder.finish()
    }
    func integer(_ bits: Int, isSigned: Bool) -> Int64 {
      if UInt8.random(in: 0..<10, using: &random) > 2 {
        return Int64.random(in: (isSigned ? -40 : 0)...120, using: &random)
      }
      let width = UInt64(64 - bits)
      let low = isSigned ? Int64.min >> Int64(width) : 0
      let high = isSigned ? Int64.max >> Int64(width) : Int64(bitPattern: UInt64.max >> width)
      return [0, 1, low, high][Int.random(in: 0..<4, using: &random)]
    }

    add("bool", .boolean, nil, made { Bool.random(using: &random) })
    for bits in [8, 16, 32] {
      for isSigned in [true, false] {
        add(
          (isSigned ? "i" : "u") + "\(bits)", .int32,
          .integer(bitWidth: bits, isSigned: isSigned),
          made { Int32(truncatingIfNeeded: integer(bits, isSigned: isSigned)) })
      }
    }
    add("n32", .int32, nil, made { Int32(truncatingIfNeeded: integer(32, isSigned: true)) })
    add("n64", .int64, nil, made { integer(64, isSigned: true) })
    add(
      "u64", .int64, .integer(bitWidth: 64, isSigned: false),
      made { integer(64, isSigned: false) })
    add("date", .int32, .date, made { Int32.random(in: -40_000..<40_000, using: &random) })
    for (name, unit, scale) in [
      ("ms", ParquetTimeUnit.milliseconds, 1), ("us", .microseconds, 1000),
      ("ns", .nanoseconds, 1_000_000),
    ] {
      for isUTC in [true, false] {
        var time: Int64 = 1_357_035_300_000
        add(
          "ts_\(name)_\(isUTC ? "utc" : "local")", .int64, .timestamp(unit, isAdjustedToUTC: isUTC),
          made {
            time += Int64.random(in: 0..<100_000, using: &random)
            return time * Int64(scale)
          })
      }
    }
    add(
      "f32", .float, nil,
      made {
        let special: [Float] = [
          0, -0.0, .infinity, -.infinity, .nan, Float(bitPattern: 0x7FC0_0001),
          .leastNonzeroMagnitude, .greatestFiniteMagnitude, 21.5,
        ]
        return Bool.random(using: &random)
          ? special[Int.random(in: 0..<special.count, using: &random)]
          : Float(Int64.random(in: -9999..<9999, using: &random)) / 7
      })
    add(
      "f64", .double, nil,
      made {
        let special: [Double] = [
          0, -0.0, .infinity, -.infinity, .nan, Double(bitPattern: 0x7FF8_0000_0000_0001),
          .leastNonzeroMagnitude, .greatestFiniteMagnitude, 21.5,
        ]
        return Bool.random(using: &random)
          ? special[Int.random(in: 0..<special.count, using: &random)]
          : Double(Int64.random(in: -9999..<9999, using: &random)) / 7
      })

    let words = [
      "", "a", "flight", "flights", "\u{E9}t\u{E9}", "\u{1F680}", "N14228", "same", "same", "z\0z",
      String(repeating: "long ", count: 40), "\u{10FFFF}\u{10FFFF}",
    ]
    func strings(_ text: (Int) -> String) -> ColumnArray {
      var builder = ByteStringsBuilder(capacity: rows)
      for row in 0..<rows { builder.append(nulls[row] ? nil : text(row)) }
      return builder.finish()
    }
    add(
      "word", .byteArray, .string,
      strings { _ in words[Int.random(in: 0..<words.count, using: &random)] })
    add("unique", .byteArray, .string, strings { "row \($0) of \(seed)" })
    add("json", .byteArray, .json, strings { "{\"n\":\($0 % 9)}" })
    var binary = ByteStringsBuilder()
    var five = FixedBytesBuilder(width: 5)
    var wide = FixedBytesBuilder(width: 100)
    var uuid = FixedBytesBuilder(width: 16)
    for row in 0..<rows {
      if nulls[row] {
        binary.appendNull()
        five.appendNull()
        wide.appendNull()
        uuid.appendNull()
        continue
      }
      // Long ones of 0xFF: no greater string of a bounded length exists.
      let isHigh = UInt8.random(in: 0..<8, using: &random) == 0
      let count = isHigh ? 200 : Int.random(in: 0..<9, using: &random)
      binary.append(
        (0..<count).map { _ in isHigh ? 0xFF : UInt8.random(in: 0...255, using: &random) })
      five.append(row % 2 == 0 ? [1, 2, 3, 4, 5] : [0xFF, 0, 0, 0, UInt8(row % 7)])
      // Their ends tell them apart.
      wide.append([UInt8](repeating: 0x7F, count: 99) + [UInt8(truncatingIfNeeded: row * 37)])
      uuid.append(UUIDValue(high: random.next(), low: random.next()))
    }
    add("binary", .byteArray, nil, binary.finish())
    add("five", .fixedLengthByteArray(5), nil, five.finish())
    add("wide", .fixedLengthByteArray(100), nil, wide.finish())
    add("uuid", .fixedLengthByteArray(16), .uuid, uuid.finish())
    // A column that comes as a dictionary.
    let places = ByteStrings(["EWR", "JFK", "LGA"])
    add(
      "origin", .byteArray, .string,
      ColumnArray(
        .dictionary(
          indices: (0..<rows).map { nulls[$0] ? 0 : UInt32($0 / 5 % 3) }, values: places),
        validity: Self.validity(nulls)))
    schema = try ParquetSchema(columns)
    batch = ColumnBatch(columns: arrays, rowCount: rows)
  }

  private static func validity(_ nulls: [Bool]) -> Validity? {
    guard nulls.contains(true) else { return nil }
    var validity = Validity()
    for isNull in nulls { validity.append(!isNull) }
    return validity
  }

  /// Some of the columns.
  func keeping(_ names: [String]) throws -> SampleColumns {
    var kept = self
    let positions = names.compactMap { schema.index(of: $0) }
    kept.schema = try ParquetSchema(positions.map { schema.columns[$0] })
    kept.batch.columns = positions.map { batch.columns[$0] }
    return kept
  }

  /// What the judge is to find.
  var judged: [JudgedFile.Column] {
    zip(schema.columns, batch.columns).map { JudgedFile.Column($0, $1) }
  }
}
