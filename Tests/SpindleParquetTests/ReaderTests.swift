import SpindleCore
import Testing

@testable import SpindleParquet

@Suite struct ReaderTests {
  @Test func metadataSaysWhatTheFileSays() throws {
    let metadata = try Fixture.reader("zstd-v2.parquet").metadata
    #expect(metadata.rowCount == 300 && metadata.rowGroups.map(\.rowCount) == [120, 120, 60])
    #expect(metadata.createdBy?.contains("parquet-cpp") == true)
    #expect(
      metadata.schema.columns.map(\.description) == [
        "optional BOOLEAN flag", "optional INT32 small", "required INT64 big",
        "optional FLOAT single", "required DOUBLE double", "optional BYTE_ARRAY tag (STRING)",
        "optional BYTE_ARRAY text (STRING)", "optional FIXED_LEN_BYTE_ARRAY(4) fixed",
        "required INT64 time (TIMESTAMP(NANOS,UTC))",
      ])
    let chunk = metadata.rowGroups[1].columns[1]
    #expect(chunk.codec == .zstd && chunk.hasDictionary && chunk.encodings.contains(.plain))
    #expect(chunk.statistics?.minimum == Fixture.value("small", 121))
    #expect(chunk.statistics?.maximum == Fixture.value("small", 239))
    #expect(chunk.statistics?.nullCount == 24 && chunk.valueCount == 120)
    #expect(chunk.columnIndexRange != nil && chunk.offsetIndexRange != nil)
    #expect(metadata.rowGroups[1].compressedBytes > chunk.compressedBytes)
  }

  @Test func aDictionaryPageIsFoundWithoutItsOffset() throws {
    let source = try Fixture.changed("zstd-v1.parquet") { file in
      for group in file.rowGroups.indices {
        for column in file.rowGroups[group].columns.indices {
          guard let metadata = file.rowGroups[group].columns[column].metadata,
            let offset = metadata.dictionaryPageOffset
          else { continue }
          file.rowGroups[group].columns[column].metadata?.dataPageOffset = offset
          file.rowGroups[group].columns[column].metadata?.dictionaryPageOffset = nil
        }
      }
    }
    let reader = try ParquetReader(source)
    #expect(try reader.verify().isSound)
    let whole = try reader.read(rowGroup: 1, columns: ["text"])
    let part = try reader.read(rowGroup: 1, columns: ["text"], rows: 100..<120)
    for row in 100..<120 {
      #expect(whole.columns[0].value(row) == Fixture.value("text", 120 + row))
      #expect(part.columns[0].value(row - 100) == Fixture.value("text", 120 + row))
    }
  }

  @Test func columnsThatAreElsewhereOrEncryptedAreRefused() throws {
    let source = try Fixture.changed("plain.parquet") {
      $0.rowGroups[0].columns[2].filePath = "other.parquet"
    }
    let reader = try ParquetReader(source)
    let error = #expect(throws: SpindleError.self) {
      try reader.read(rowGroup: 0, columns: ["big"])
    }
    #expect(error?.kind == .unsupportedFormat && error?.message.contains("another file") == true)
    _ = try reader.read(rowGroup: 0, columns: ["double"])
    _ = try reader.read(rowGroup: 1, columns: ["big"])
    var bytes = try Fixture.bytes("plain.parquet")
    bytes.replaceSubrange(bytes.count - 4..<bytes.count, with: Footer.encryptedMagic)
    let encrypted = MemorySource(bytes)
    let refusal = #expect(throws: SpindleError.self) { try ParquetReader(encrypted) }
    #expect(refusal?.kind == .unsupportedFormat)
  }

  @Test func oldParquetMRLeftOutTheHeadersOfDictionaries() throws {
    var file = CraftedFile(rows: 20)
    file.pages = [
      CraftedFile.dictionary(1, CraftedFile.plain(Array("word".utf8))),
      CraftedFile.data(20, .rleDictionary, CraftedFile.zeroIndices(20)),
    ]
    let header = Int64(file.pages[0].headerBytes)
    for (writer, isRead) in [
      ("parquet-mr version 1.2.8 (build 1)", true), ("parquet-mr version 1.2.8-SNAPSHOT", true),
      ("parquet-mr", true), ("parquet-mr version 1.2.9", false),
      ("parquet-mr version 1.10.0 (build 1)", false), ("parquet-cpp version 1.2.8", false),
      (nil, false),
    ] as [(String?, Bool)] {
      file.change = { footer in
        footer.createdBy = writer
        footer.rowGroups[0].columns[0].metadata?.compressedBytes -= header
        footer.rowGroups[0].columns[0].metadata?.uncompressedBytes -= header
      }
      if isRead {
        let whole = try WholeFile(MemorySource(file.bytes))
        #expect(whole.columns[0].expanded.texts == [String](repeating: "word", count: 20))
        #expect(try ParquetReader(MemorySource(file.bytes)).verify().findings == [])
      } else {
        let error = #expect(throws: SpindleError.self, "\(writer ?? "")") {
          try WholeFile(MemorySource(file.bytes))
        }
        #expect(error?.kind == .corruption)
      }
    }
  }

  // Behind a footer that is not encrypted stands its signature.
  @Test func aFooterMayBeSigned() throws {
    var file = CraftedFile(type: .int32)
    file.pages = [CraftedFile.data(1, .plain, [7, 0, 0, 0])]
    let plain = file.bytes
    let length = Int(plain.count - 8) - (4 + file.pages[0].headerBytes + 4)
    let pages = Array(plain.dropLast(length + 8))
    // Before the end of the footer: field 8, the algorithm, as an empty union.
    let footer = Array(plain.dropLast(9).suffix(length - 1))
    let signed = footer + [0x0C, 0x10, 0, 0]
    for (more, isRead) in [(28, true), (0, true), (27, false), (29, false)] {
      let end = CraftedFile.ending(signed + [UInt8](repeating: 9, count: more))
      if isRead {
        let whole = try WholeFile(MemorySource(pages + end))
        guard case .int32(let slots) = whole.columns[0].values else {
          Issue.record("no numbers")
          continue
        }
        #expect(slots == [7])
      } else {
        #expect(throws: SpindleError.self) { try ParquetReader(MemorySource(pages + end)) }
      }
    }
    let unsigned = CraftedFile.ending(footer + [0] + [UInt8](repeating: 9, count: 28))
    #expect(throws: SpindleError.self) { try ParquetReader(MemorySource(pages + unsigned)) }
  }

  @Test(arguments: [ParquetCodec.lzo, .brotli, .lz4])
  func codecsThatAreNotReadAreNamed(codec: ParquetCodec) throws {
    let source = try Fixture.changed("snappy-v1.parquet") {
      $0.rowGroups[0].columns[4].metadata?.codec = codec.rawValue
    }
    let error = #expect(throws: SpindleError.self) {
      try ParquetReader(source).read(rowGroup: 0, columns: ["double"])
    }
    #expect(error?.kind == .unsupportedFormat)
    #expect(error?.message.contains("\(codec)") == true)
  }

  @Test func anErrorSaysWhere() throws {
    var bytes = try Fixture.bytes("none-v2.parquet")
    let chunk = try Fixture.reader("none-v2.parquet").metadata.rowGroups[1].columns[4]
    bytes[Int(chunk.byteRange.upperBound) - 1] ^= 1
    let error = #expect(throws: SpindleError.self) {
      try ParquetReader(MemorySource(bytes, name: "some.parquet")).read(rowGroup: 1)
    }
    #expect(error?.kind == .corruption && error?.path == "some.parquet")
    for part in ["some.parquet", "row group 1", "column double", "page 7", "offset ", "checksum"] {
      #expect(error?.message.contains(part) == true, "\(part) in \(error?.message ?? "")")
    }
  }

  @Test func countsThatDisagreeAreAnError() throws {
    func opens(_ change: (inout FileMetaData) -> Void) throws -> Bool {
      let source = try Fixture.changed("plain.parquet", change)
      guard let reader = try? ParquetReader(source) else { return false }
      return (try? reader.read(rowGroup: 0)) != nil
    }
    #expect(try opens { _ in })
    #expect(try !opens { $0.rowCount = 301 })
    #expect(try !opens { $0.rowGroups[0].rowCount = 119 })
    #expect(try !opens { $0.rowGroups[0].columns.removeLast() })
    #expect(
      try !opens {
        $0.rowCount = 299
        $0.rowGroups[0].rowCount = 119
        for column in $0.rowGroups[0].columns.indices {
          $0.rowGroups[0].columns[column].metadata?.valueCount = 119
        }
      })
    #expect(
      try !opens {
        $0.rowCount = 301
        $0.rowGroups[0].rowCount = 121
        for column in $0.rowGroups[0].columns.indices {
          $0.rowGroups[0].columns[column].metadata?.valueCount = 121
        }
      })
    #expect(try !opens { $0.rowGroups[0].columns[3].metadata?.type = 5 })
    #expect(try !opens { $0.rowGroups[0].columns[3].metadata?.compressedBytes = 1 << 60 })
    #expect(try !opens { $0.rowGroups[0].columns[3].metadata?.dataPageOffset = -4 })
    #expect(try !opens { $0.rowGroups[0].columns[3].metadata?.compressedBytes -= 1 })
  }

  @Test func limitsAreKept() throws {
    func kind(_ change: (inout ParquetLimits) -> Void) -> String? {
      var limits = ParquetLimits.default
      change(&limits)
      do throws(SpindleError) {
        let reader = try Fixture.reader("zstd-v2.parquet", limits: limits)
        _ = try reader.read(rowGroup: 0, rows: 0..<119)
        let scan = try reader.scan(where: .equal("big", 1))
        while try scan.next() != nil {}
        return nil
      } catch {
        return error.reason
      }
    }
    #expect(kind { _ in } == nil)
    #expect(kind { $0.footerBytes = 100 } == "parquet_limit")
    #expect(kind { $0.rowGroupCount = 2 } == "parquet_limit")
    #expect(kind { $0.columnCount = 8 } == "parquet_limit")
    #expect(kind { $0.pageRows = 15 } == "parquet_limit")
    #expect(kind { $0.compressedPageBytes = 40 } == "parquet_limit")
    #expect(kind { $0.uncompressedPageBytes = 40 } == "parquet_limit")
    #expect(kind { $0.batchRows = 118 } == "parquet_limit")
    #expect(kind { $0.batchColumnBytes = 200 } == "parquet_limit")
  }

  @Test func boundsOfTheFirstYearsCountOnlyForSignedNumbers() throws {
    var statistics = Statistics()
    statistics.legacyMinimum = [1, 0, 0, 0]
    statistics.legacyMaximum = [2, 0, 0, 0]
    func minimum(_ order: ValueOrder, _ hasColumnOrder: Bool) throws -> ParquetValue? {
      try ParquetStatistics(statistics, order: order, hasColumnOrder: hasColumnOrder).minimum
    }
    let signed = ValueOrder.integer(bits: 32, isSigned: true)
    #expect(try minimum(signed, false) == .integer(1))
    #expect(try minimum(signed, true) == .integer(1))
    #expect(try minimum(.integer(bits: 32, isSigned: false), false) == nil)
    #expect(try minimum(.bytes, false) == nil)
    statistics.minimum = [7, 0, 0, 0]
    #expect(try minimum(signed, true) == .integer(7))
    // Without the order being stated, the newer bounds mean nothing.
    #expect(try minimum(signed, false) == .integer(1))
    #expect(try minimum(.bytes, false) == nil)
  }

  @Test func boundsThatAreNoNumbersBoundNothing() throws {
    var statistics = Statistics()
    var nan: [UInt8] = []
    nan.appendLittleEndian(Double.nan.bitPattern)
    var one: [UInt8] = []
    one.appendLittleEndian((1.0).bitPattern)
    statistics.minimum = nan
    statistics.maximum = one
    let typed = try ParquetStatistics(statistics, order: .double, hasColumnOrder: true)
    #expect(typed.minimum == nil && typed.maximum == .double(1))
    statistics.maximum = [1]
    #expect(throws: ParquetFailure.self) {
      try ParquetStatistics(statistics, order: .double, hasColumnOrder: true)
    }
  }
}
