import SpindleCodecs
import SpindleCore
import SpindleIO
import Testing

@Suite("Gzip")
struct GzipInflaterTests {
  static let text: [UInt8] = (0..<100).flatMap { Array("line \($0) of the fixture\n".utf8) }

  static func fixture(_ name: String) throws -> [UInt8] {
    let folder = Files.directory(of: #filePath) + "/Fixtures"
    return try Files.read(folder + "/" + name)
  }

  /// Inflates bytes handed over in pieces of a size.
  static func inflate(
    _ bytes: [UInt8], pieceBytes: Int = .max
  ) throws -> (bytes: [UInt8], isComplete: Bool) {
    var inflater = GzipInflater()
    var result: [UInt8] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(pieceBytes))
      rest = rest.dropFirst(pieceBytes)
      try inflater.inflate(piece.span) { result.append(borrowing: $0) }
    }
    return (result, inflater.isComplete)
  }

  @Test(
    "Members one after the other inflate to their contents one after the other",
    arguments: [
      "one.gz", "members.gz", "stored.gz",
    ], [1, 2, 7, 100, Int.max])
  func membersInflateInPiecesOfAnySize(name: String, pieceBytes: Int) throws {
    let result = try Self.inflate(try Self.fixture(name), pieceBytes: pieceBytes)
    #expect(result.bytes == Self.text)
    #expect(result.isComplete)
  }

  @Test func anEmptyMemberIsComplete() throws {
    let result = try Self.inflate(try Self.fixture("empty.gz"), pieceBytes: 1)
    #expect(result.bytes.isEmpty)
    #expect(result.isComplete)
  }

  @Test func nothingIsComplete() throws {
    #expect(try Self.inflate([]).isComplete)
  }

  @Test("64 MiB in 64 KiB come in pieces of at most 256 KiB", arguments: [1_000, Int.max])
  func expansionComesInBoundedPieces(pieceBytes: Int) throws {
    var inflater = GzipInflater()
    var count = 0
    var greatest = 0
    var onlyZeros = true
    var rest = try Self.fixture("zeros.gz")[...]
    while !rest.isEmpty {
      let piece = Array(rest.prefix(pieceBytes))
      rest = rest.dropFirst(pieceBytes)
      try inflater.inflate(piece.span) { bytes in
        count += bytes.count
        greatest = max(greatest, bytes.count)
        if bytes[0] != 0 || bytes[bytes.count - 1] != 0 { onlyZeros = false }
      }
    }
    #expect(count == 64 << 20)
    #expect(greatest <= 256 << 10)
    #expect(onlyZeros)
    let isComplete = inflater.isComplete
    #expect(isComplete)
  }

  @Test("A stream cut short gives no wrong byte and is not complete, at every length")
  func truncationIsNoticedAtEveryByte() throws {
    let whole = try Self.fixture("one.gz")
    for count in 1..<whole.count {
      let result = try Self.inflate(Array(whole.prefix(count)))
      #expect(!result.isComplete, "\(count) of \(whole.count) bytes")
      #expect(Self.text.starts(with: result.bytes))
    }
  }

  @Test("A flipped bit never gives other bytes as a complete stream")
  func everyFlippedBitIsNoticed() throws {
    let whole = try Self.fixture("one.gz")
    var errors = 0
    for bit in 0..<(whole.count * 8) {
      var damaged = whole
      damaged[bit / 8] ^= 1 << (bit % 8)
      guard let result = try? Self.inflate(damaged), result.isComplete else {
        errors += 1
        continue
      }
      // Bits that say nothing of the content, such as the time in the header.
      #expect(result.bytes == Self.text, "bit \(bit)")
    }
    #expect(errors > whole.count * 7)
  }

  @Test func aDamagedChecksumIsAnErrorOfItsOwnMember() throws {
    for fromEnd in [1, 4, 5, 8] {
      var whole = try Self.fixture("one.gz")
      whole[whole.count - fromEnd] ^= 0x40
      for pieceBytes in [1, Int.max] {
        #expect(throws: GzipInflater.Failure.self) {
          try Self.inflate(whole + whole, pieceBytes: pieceBytes)
        }
      }
    }
  }

  @Test("Zero bytes behind the last member are padding", arguments: [1, 511, 70_000])
  func zeroPaddingIsPassedOver(count: Int) throws {
    let padding = [UInt8](repeating: 0, count: count)
    for pieceBytes in [1, Int.max] {
      let result = try Self.inflate(
        try Self.fixture("members.gz") + padding, pieceBytes: pieceBytes)
      #expect(result.bytes == Self.text)
      #expect(result.isComplete)
    }
  }

  @Test(
    "Other bytes behind the last member are an error, after its content was given",
    arguments: [
      [0x0A], [0x1F, 0x8C], [0x1F, 0x00], Array("garbage".utf8), [0, 0, 1],
      [0, 0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3],
    ] as [[UInt8]], [1, Int.max])
  func trailingBytesAreAnError(garbage: [UInt8], pieceBytes: Int) throws {
    var inflater = GzipInflater()
    var result: [UInt8] = []
    var rest = (try Self.fixture("one.gz") + garbage)[...]
    #expect(throws: GzipInflater.Failure.self) {
      while !rest.isEmpty {
        let piece = Array(rest.prefix(pieceBytes))
        rest = rest.dropFirst(pieceBytes)
        try inflater.inflate(piece.span) { result.append(borrowing: $0) }
      }
    }
    #expect(result == Self.text)
  }

  @Test(
    "What is no gzip is refused at its first bytes",
    arguments: [
      Array("flights,carrier=UA delay=2".utf8), [0, 0], [0, 0, 0], [0x1F, 0x8C],
    ] as [[UInt8]])
  func plainBytesAreRefused(bytes: [UInt8]) {
    #expect(throws: GzipInflater.Failure.self) { try Self.inflate(bytes) }
  }

  @Test func zlibHeadersAreNoGzip() throws {
    let bytes = try Self.fixture("one.zlib")
    #expect(throws: GzipInflater.Failure.self) { try Self.inflate(bytes) }
    let behind = try Self.fixture("one.gz") + bytes
    #expect(throws: GzipInflater.Failure.self) { try Self.inflate(behind) }
  }

  @Test func anErrorOfTheSinkPassesThrough() throws {
    struct Stop: Error {}
    var inflater = GzipInflater()
    let bytes = try Self.fixture("one.gz")
    #expect(throws: Stop.self) { try inflater.inflate(bytes.span) { _ in throw Stop() } }
  }
}
