import SpindleCodecs
import SpindleCore
import Testing

@testable import SpindleParquet

/// Files put together by hand, of one column `v` or several that share its pages, whose claims need
/// not be true.
struct CraftedFile {
  struct Page {
    var kind: PageHeader.Kind
    var bytes: [UInt8]
    /// What the header claims; nil is the truth of a page that is not compressed.
    var claimed: Int?
  }

  var type: ParquetPhysicalType = .byteArray
  var codec = ParquetCodec.uncompressed
  var pages: [Page] = []
  var rows: Int64 = 1
  var isOptional = false
  /// Columns, all of which say that their pages are the same.
  var columns = 1
  /// Changes the footer at the end.
  var change: (inout FileMetaData) -> Void = { _ in }

  var bytes: [UInt8] {
    var file = Array("PAR1".utf8)
    var offsets: [Int64] = []
    for page in pages {
      offsets.append(Int64(file.count))
      let header = PageHeader(
        kind: page.kind, uncompressedSize: page.claimed ?? page.bytes.count,
        compressedSize: page.bytes.count)
      file += header.encoded + page.bytes
    }
    let hasDictionary = if case .dictionary = pages.first?.kind { true } else { false }
    var metadata = ColumnMetaData(
      type: type.number, encodings: [.plain, .rle, .rleDictionary], path: ["v"], codec: codec,
      valueCount: rows, uncompressedBytes: Int64(file.count - 4),
      compressedBytes: Int64(file.count - 4),
      dataPageOffset: offsets.count > 1 && hasDictionary ? offsets[1] : offsets.first ?? 4)
    metadata.dictionaryPageOffset = hasDictionary ? offsets.first : nil
    var root = SchemaElement(name: "schema")
    root.childCount = columns
    var leaf = SchemaElement(name: "v")
    leaf.type = type.number
    if case .fixedLengthByteArray(let width) = type { leaf.typeLength = Int32(width) }
    leaf.repetition = isOptional ? .optional : .required
    let leaves = (0..<columns).map { number in
      var named = leaf
      if number > 0 { named.name = "v\(number)" }
      return named
    }
    var footer = FileMetaData(
      version: 2, schema: [root] + leaves, rowCount: rows,
      rowGroups: [
        RowGroup(
          columns: Array(repeating: ColumnChunk(metadata), count: columns),
          uncompressedBytes: Int64(file.count - 4),
          rowCount: rows)
      ])
    change(&footer)
    return file + CraftedFile.ending(footer.encoded)
  }

  /// A footer with its length and the magic.
  static func ending(_ footer: [UInt8], claimed: UInt32? = nil) -> [UInt8] {
    let length = claimed ?? UInt32(footer.count)
    return footer + (0..<4).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) }
      + Array("PAR1".utf8)
  }

  /// An unsigned LEB128 number.
  static func varint(_ value: UInt64) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendVarint(value)
    return bytes
  }

  static func zigzag(_ value: Int64) -> [UInt8] {
    varint(UInt64(bitPattern: value << 1 ^ value >> 63))
  }

  static func littleEndian(_ value: UInt32) -> [UInt8] {
    (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  static func data(
    _ rows: Int, _ encoding: ParquetEncoding, _ bytes: [UInt8], claimed: Int? = nil
  ) -> Page {
    Page(
      kind: .data(DataPageHeader(valueCount: rows, encoding: encoding)), bytes: bytes,
      claimed: claimed)
  }

  static func dictionary(_ count: Int, _ bytes: [UInt8]) -> Page {
    Page(kind: .dictionary(DictionaryPageHeader(valueCount: count)), bytes: bytes, claimed: nil)
  }

  /// A plain string.
  static func plain(_ string: [UInt8]) -> [UInt8] {
    littleEndian(UInt32(string.count)) + string
  }

  /// Indices that all are 0: one run.
  static func zeroIndices(_ count: UInt64) -> [UInt8] { [1] + varint(count << 1) + [0] }
}

/// Small files that would take much memory or time if they were believed.
struct Bomb: Sendable {
  var name: String
  var bytes: [UInt8]

  /// Limits that a file of good will keeps, far below what the bombs claim.
  static var limits: ParquetLimits {
    var limits = ParquetLimits()
    limits.footerBytes = 4 << 20
    limits.uncompressedPageBytes = 16 << 20
    limits.pageRows = 1 << 20
    limits.batchRows = 1 << 20
    limits.batchColumnBytes = 64 << 20
    limits.batchBytes = 96 << 20
    return limits
  }

  static func all() throws -> [Bomb] {
    try inflating() + counting() + pointing() + lengths() + footers()
  }

  private static func zeros(_ count: Int) throws -> [UInt8] {
    let zeros = [UInt8](repeating: 0, count: count)
    let packed = ZstdBlock.compress(zeros.span, after: [], byteLimit: 1 << 20)
    return try #require(packed)
  }

  /// Pages that inflate to more than they say, or to more than is allowed.
  private static func inflating() throws -> [Bomb] {
    let packed = try zeros(64 << 20)
    return [4, 4096, 16 << 20, 64 << 20, 1 << 30, Int(Int32.max)].map { claimed in
      var file = CraftedFile(type: .int64, codec: .zstd)
      file.rows = 8 << 20
      file.pages = [CraftedFile.data(1 << 19, .plain, packed, claimed: claimed)]
      return Bomb(name: "64 MiB of zeros that claim \(claimed) bytes", bytes: file.bytes)
    }
  }

  /// A few bytes that stand for many rows.
  private static func counting() -> [Bomb] {
    var bombs: [Bomb] = []
    for count in [1 << 21, 1 << 30, Int(Int32.max)] {
      var file = CraftedFile(rows: Int64(count))
      file.pages = [
        CraftedFile.dictionary(1, CraftedFile.plain([1])),
        CraftedFile.data(count, .rleDictionary, CraftedFile.zeroIndices(UInt64(count))),
      ]
      bombs.append(Bomb(name: "a run of \(count) rows", bytes: file.bytes))
      file = CraftedFile(type: .boolean, rows: Int64(count))
      file.pages = [
        CraftedFile.data(
          count, .rle,
          CraftedFile.plain(CraftedFile.varint(UInt64(count) << 1) + [1]))
      ]
      bombs.append(Bomb(name: "a run of \(count) booleans", bytes: file.bytes))
    }
    // One long string, many times.
    var file = CraftedFile(rows: 1 << 20)
    file.pages = [
      CraftedFile.dictionary(
        1, CraftedFile.plain([UInt8](repeating: 7, count: 1 << 20))),
      CraftedFile.data(1 << 20, .rleDictionary, CraftedFile.zeroIndices(1 << 20)),
    ]
    bombs.append(Bomb(name: "a string of 1 MiB in 1,048,576 rows", bytes: file.bytes))
    // Strings of which each repeats the one before and is a byte longer.
    let rows = 100_000
    file = CraftedFile(rows: Int64(rows))
    var ramp = delta((0..<rows).map { Int64($0) })
    ramp += delta([Int64](repeating: 1, count: rows)) + [UInt8](repeating: 7, count: rows)
    file.pages = [CraftedFile.data(rows, .deltaByteArray, ramp)]
    bombs.append(Bomb(name: "prefixes that add up to 5 GB", bytes: file.bytes))
    for claimed in [Int64.max, 1 << 62, 1 << 32, -1] {
      var file = CraftedFile(type: .int64)
      file.pages = [CraftedFile.data(1, .plain, [UInt8](repeating: 0, count: 8))]
      file.change = {
        $0.rowCount = claimed
        $0.rowGroups[0].rowCount = claimed
        $0.rowGroups[0].columns[0].metadata?.valueCount = claimed
      }
      bombs.append(Bomb(name: "\(claimed) rows in 8 bytes", bytes: file.bytes))
    }
    var two = CraftedFile(type: .int64)
    two.pages = [CraftedFile.data(1, .plain, [UInt8](repeating: 0, count: 8))]
    two.change = { footer in
      footer.rowGroups[0].rowCount = Int64.max
      footer.rowGroups += [footer.rowGroups[0], footer.rowGroups[0]]
    }
    bombs.append(Bomb(name: "rows that add up to more than 2^63", bytes: two.bytes))
    return bombs
  }

  /// Blocks of the delta encoding, by the plainest of writers: widths of 64 bits.
  static func delta(_ values: [Int64]) -> [UInt8] {
    var bytes = CraftedFile.varint(128) + [1] + CraftedFile.varint(UInt64(values.count))
    bytes += CraftedFile.zigzag(values.first ?? 0)
    var next = 1
    while next < values.count {
      let block = (next..<min(next + 128, values.count)).map { values[$0] &- values[$0 - 1] }
      let least = block.min() ?? 0
      let top = block.max() ?? 0
      bytes += CraftedFile.zigzag(least)
      // All the same: no bits at all.
      if top == least {
        bytes.append(0)
      } else {
        bytes.append(64)
        for index in 0..<128 {
          let value = UInt64(bitPattern: index < block.count ? block[index] &- least : 0)
          for byte in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * byte))) }
        }
      }
      next += 128
    }
    return bytes
  }

  /// Offsets that lead out of the file, back, or in a circle.
  private static func pointing() -> [Bomb] {
    func file(_ name: String, _ change: @escaping (inout ColumnChunk) -> Void) -> Bomb {
      var file = CraftedFile(rows: 4)
      file.pages = [
        CraftedFile.dictionary(1, CraftedFile.plain([1])),
        CraftedFile.data(2, .rleDictionary, CraftedFile.zeroIndices(2)),
        CraftedFile.data(2, .rleDictionary, CraftedFile.zeroIndices(2)),
      ]
      file.change = { change(&$0.rowGroups[0].columns[0]) }
      return Bomb(name: name, bytes: file.bytes)
    }
    var bombs: [Bomb] = []
    for offset in [Int64.min, -1, 1 << 20, 1 << 60, Int64.max] {
      bombs.append(file("data at \(offset)") { $0.metadata?.dataPageOffset = offset })
      bombs.append(file("a dictionary at \(offset)") { $0.metadata?.dictionaryPageOffset = offset })
      bombs.append(file("a chunk of \(offset) bytes") { $0.metadata?.compressedBytes = offset })
    }
    bombs.append(
      file("a dictionary that is the data page") {
        let offset = $0.metadata?.dataPageOffset
        $0.metadata?.dictionaryPageOffset = offset
      })
    bombs.append(
      file("data pages that begin with the dictionary") {
        $0.metadata?.dictionaryPageOffset = nil
        $0.metadata?.dataPageOffset = 4
        $0.metadata?.compressedBytes = 24
      })
    bombs.append(file("a chunk in another file") { $0.filePath = "/etc/passwd" })
    bombs.append(file("a codec of the future") { $0.metadata?.codec = 99 })
    bombs.append(file("no metadata") { $0.metadata = nil })
    return bombs
  }

  /// Lengths within pages.
  private static func lengths() -> [Bomb] {
    func page(_ name: String, _ type: ParquetPhysicalType, _ page: CraftedFile.Page) -> Bomb {
      var file = CraftedFile(type: type, rows: 2)
      file.pages = [page]
      return Bomb(name: name, bytes: file.bytes)
    }
    let huge = CraftedFile.varint(1 << 60)
    return [
      page(
        "a string of 4 GiB", .byteArray,
        CraftedFile.data(2, .plain, CraftedFile.littleEndian(.max) + [1, 2])),
      page(
        "a string of 2 GiB", .byteArray,
        CraftedFile.data(2, .plain, CraftedFile.littleEndian(0x7FFF_FFFF) + [1, 2])),
      page(
        "delta blocks of 2^60 values", .int64,
        CraftedFile.data(2, .deltaBinaryPacked, huge + [4, 2, 0])),
      page(
        "2^60 miniblocks", .int64,
        CraftedFile.data(2, .deltaBinaryPacked, CraftedFile.varint(128) + huge + [2, 0])),
      page(
        "2^60 delta values", .int64,
        CraftedFile.data(2, .deltaBinaryPacked, CraftedFile.varint(128) + [4] + huge + [0])),
      page(
        "lengths that add up beyond 2^63", .byteArray,
        CraftedFile.data(2, .deltaLengthByteArray, delta([Int64.max, Int64.max]))),
      page(
        "a negative length", .byteArray,
        CraftedFile.data(2, .deltaLengthByteArray, delta([-1, 1]))),
      page(
        "a prefix longer than what came before", .byteArray,
        CraftedFile.data(2, .deltaByteArray, delta([0, 1 << 20]) + delta([1, 1]) + [1, 1])),
      page(
        "indices of 33 bits", .byteArray,
        CraftedFile.data(2, .rleDictionary, [33, 4, 0, 0, 0, 0, 0])),
      page(
        "an index without a dictionary", .byteArray,
        CraftedFile.data(2, .rleDictionary, CraftedFile.zeroIndices(2))),
      page("too few plain values", .int64, CraftedFile.data(2, .plain, [1, 2, 3])),
      page("a stream that does not split", .double, CraftedFile.data(2, .byteStreamSplit, [1])),
    ]
  }

  /// Footers.
  private static func footers() -> [Bomb] {
    let magic = Array("PAR1".utf8)
    var bombs: [Bomb] = [
      Bomb(name: "no bytes", bytes: []), Bomb(name: "the magic once", bytes: magic),
      Bomb(name: "the magic twice", bytes: magic + magic),
      Bomb(name: "an empty footer", bytes: magic + CraftedFile.ending([])),
      Bomb(name: "a footer of 4 GiB", bytes: magic + CraftedFile.ending([0], claimed: .max)),
      Bomb(
        name: "an encrypted footer", bytes: Array("PARE".utf8) + [0, 0, 0, 0] + Array("PARE".utf8)),
    ]
    // Lists and texts of 2^60 elements, in each place where a footer has one.
    for head: [UInt8] in [
      [0x15, 0x02, 0x19, 0xFC], [0x15, 0x02, 0x48, 0xFC], [0x18], [0x19, 0xFC],
    ] {
      let footer = head + CraftedFile.varint(1 << 60) + [0, 0, 0]
      bombs.append(Bomb(name: "2^60 at \(head)", bytes: magic + CraftedFile.ending(footer)))
    }
    // Structures, and lists, within each other, in a field that nobody knows.
    for head: [UInt8] in [[0xEC], [0xE9, 0x19]] {
      let deep = head + [UInt8](repeating: head[0] == 0xEC ? 0x1C : 0x19, count: 1 << 20)
      bombs.append(Bomb(name: "1,048,576 deep", bytes: magic + CraftedFile.ending(deep)))
    }
    var file = CraftedFile(type: .int64)
    file.pages = [CraftedFile.data(1, .plain, [UInt8](repeating: 0, count: 8))]
    file.change = { $0.schema[0].childCount = Int(Int32.max) }
    bombs.append(Bomb(name: "2^31 columns", bytes: file.bytes))
    file.change = { footer in
      footer.schema[1].type = nil
      footer.schema[1].childCount = 1
    }
    bombs.append(Bomb(name: "a group without children", bytes: file.bytes))
    file.type = .fixedLengthByteArray(Int(Int32.max))
    file.change = { _ in }
    bombs.append(Bomb(name: "values of 2 GiB", bytes: file.bytes))
    file.rows = 1 << 20
    bombs.append(Bomb(name: "1,048,576 values of 2 GiB", bytes: file.bytes))
    // One run of levels: no row holds a value.
    let levels = CraftedFile.plain(CraftedFile.varint(1 << 21) + [0])
    file.isOptional = true
    file.type = .fixedLengthByteArray(1 << 20)
    file.pages = [CraftedFile.data(1 << 20, .plain, levels)]
    bombs.append(Bomb(name: "1,048,576 nulls of 1 MiB", bytes: file.bytes))
    bombs.append(Bomb(name: "32 columns of 32,768 nulls of 256 bytes", bytes: wide().bytes))
    return bombs
  }

  /// Columns of 8 MiB each, in a few bytes.
  static func wide() -> CraftedFile {
    let rows = 1 << 15
    var file = CraftedFile(
      type: .fixedLengthByteArray(256), rows: Int64(rows), isOptional: true, columns: 32)
    let levels = CraftedFile.plain(CraftedFile.varint(UInt64(rows) << 1) + [0])
    file.pages = [CraftedFile.data(rows, .plain, levels)]
    return file
  }
}
