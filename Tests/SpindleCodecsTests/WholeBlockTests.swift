import SpindleCodecs
import SpindleCore
import Testing

/// Blocks that are decompressed as a whole, into a size that is known.
@Suite("Blocks of a known size")
struct WholeBlockTests {
  enum Codec: String, CaseIterable {
    case snappy, zstd, gzip, lz4

    func decompress(_ block: [UInt8], byteCount: Int) throws(DecodingFailure) -> [UInt8] {
      switch self {
      case .snappy: try SnappyBlock.decompress(block.span, byteCount: byteCount)
      case .zstd: try ZstdBlock.decompressFrames(block.span, byteCount: byteCount)
      case .gzip: try GzipBlock.decompress(block.span, byteCount: byteCount)
      case .lz4: try LZ4Block.decompress(block.span, byteCount: byteCount)
      }
    }

    var block: [UInt8] {
      switch self {
      case .snappy: SnappyBlock.compress(page.span) ?? []
      case .zstd: WholeBlockTests.sizelessFrame
      case .gzip: WholeBlockTests.oneMember
      case .lz4: LZ4Block.compress(page.span, after: [], byteLimit: page.count) ?? []
      }
    }
  }

  static let page = LZ4BlockTests.lines(100)

  @Test(
    "What other programs compressed is read",
    arguments: [
      (Codec.zstd, sizelessFrame), (.zstd, twoFrames), (.gzip, oneMember), (.gzip, twoMembers),
    ])
  func foreignBlocks(codec: Codec, block: [UInt8]) throws {
    #expect(try codec.decompress(block, byteCount: Self.page.count) == Self.page)
  }

  @Test("Another size than the block's is refused", arguments: Codec.allCases)
  func otherSizes(codec: Codec) throws {
    let block = codec.block
    #expect(try codec.decompress(block, byteCount: Self.page.count) == Self.page)
    for byteCount in [Self.page.count - 1, Self.page.count + 1, 0, -1, .min, .max, 1 << 40] {
      #expect(throws: DecodingFailure.self, "\(byteCount)") {
        try codec.decompress(block, byteCount: byteCount)
      }
    }
    for trailing in [[0], [1, 2, 3]] as [[UInt8]] {
      #expect(throws: DecodingFailure.self) {
        try codec.decompress(block + trailing, byteCount: Self.page.count)
      }
    }
    #expect(throws: DecodingFailure.self) { try codec.decompress([], byteCount: 10) }
  }

  @Test("Damage gives an error or as many bytes", arguments: Codec.allCases)
  func damage(codec: Codec) throws {
    let block = codec.block
    for length in block.indices {
      #expect(throws: DecodingFailure.self, "\(length)") {
        try codec.decompress(Array(block.prefix(length)), byteCount: Self.page.count)
      }
    }
    for bit in 0..<block.count * 8 {
      var flipped = block
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      let back = try? codec.decompress(flipped, byteCount: Self.page.count)
      #expect(back == nil || back?.count == Self.page.count)
    }
  }

  // A gigabyte in a kilobyte of zeros.
  @Test("What a block cannot hold is refused before memory is taken", arguments: Codec.allCases)
  func forgedSizes(codec: Codec) {
    let block: [UInt8] = [0x80, 0x80, 0x80, 0x80, 4] + Array(repeating: 0, count: 1000)
    #expect(throws: DecodingFailure.self) { try codec.decompress(block, byteCount: 1 << 30) }
  }

  @Test(
    "Snappy keeps what it is given",
    arguments: [
      [], [1], page, LZ4BlockTests.noise(100_000), Array(repeating: 0, count: 1 << 20),
    ] as [[UInt8]])
  func snappyRoundTrip(input: [UInt8]) throws {
    let compressed = SnappyBlock.compress(input.span, after: [7, 8])
    let block = try #require(compressed)
    #expect(block.prefix(2) == [7, 8])
    let limited = SnappyBlock.compress(input.span, after: [7, 8], byteLimit: block.count - 1)
    #expect(limited == nil)
    guard !input.isEmpty else { return }
    let bare = Array(block.dropFirst(2))
    let back = try SnappyBlock.decompress(bare.span, byteCount: input.count)
    #expect(back == input)
  }

  // The check value that catalogues of CRCs give.
  @Test func checksumsAreThoseOfGzip() {
    let bytes = Array("123456789".utf8)
    #expect(CRC32.checksum(bytes.span) == 0xCBF4_3926)
    #expect(CRC32.checksum(Span()) == 0)
    for cut in 0...bytes.count {
      let head = Array(bytes.prefix(cut))
      let tail = Array(bytes.dropFirst(cut))
      let first = CRC32.checksum(head.span)
      #expect(CRC32.checksum(tail.span, continuing: first) == 0xCBF4_3926)
    }
  }

  // MARK: Fixtures

  private static func unhex(_ text: String) -> [UInt8] {
    let digits = text.compactMap { $0.hexDigitValue }
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
  }

  /// ``page`` as `zstd -19 --no-check` writes it to a pipe: without its size.
  static let sizelessFrame = unhex(
    """
    28b52ffd0068950700a2cf2415902d7418a101a0d865d3c0b2659249a644be3f0a7080524a29a594524a\
    55555555d5ffffff4f4444444464dbb66d4fa9a9cf69c8e399e994c3cd0633282dad56df974a75dde9b4\
    6d59765d071db4b0b0583c4f22d13487c3b224c9711c70c0b2b25aedfb6834cf9bcdba8ee3b66db052aa\
    7e227ba62537c0607077810101d2484802878281e06028189187209258481089498094a81130fafe9f01\
    e0359631117885ff13552071f501a04d93145aab28a5d64ac456925949b624d98a642be31203c618c718\
    5794633846b118c3628c853116c6588c623186c5180b638c661f9e649d7c1e6d65de30205c21f2ae02
    """)

  /// The halves of ``page`` in a frame each; the second one has a checksum.
  static let twoFrames = unhex(
    """
    28b52ffd0068850500928c1e17804d3ab845d86c46c80471acb69452a694544824b18201e5e57e76ab17\
    9dfefbeecb733ec5c5e7b3d95c2e93c9f76ddb754dd3e37169e9f56ab556ab54eafbba6edbb2ec745a58\
    783c1a8dc52291789ea6599624391c9672675645f4db2d099831320333702c1248c040280c180a84e2d1\
    103c9204e490440263a81130f9fd3f03f0990311088611e157fc25085d45ae1132d3249668264b6c9265\
    34c9814c52e270cde3cac3251222044c5528b52ffd0468ed040092c71515902d3618a101a0d865d3c092\
    295a5cd919e4107301c0ffffff6f37dbb66dfbb77755338701f1ceacb6f0b77755338701f1ceacb4eeb7\
    7755338701f1ce2c7a84285924249980cada440bca08a849a4e0280cc26114265aa881eceeff19a09b96\
    31112878e111e11d3bcf014489500234ae28d4698f25f7bfa38c7be67f62678009fca2bedfb748817e08\
    cfd7dd88406f946de7209866945d05f5a4d820
    """)

  /// ``page`` as Python's `gzip.compress` makes it.
  static let oneMember = unhex(
    """
    1f8b080000000000020385d62b6e43510c45519e51640005cff6fd82d0827614054f6d403f8a2265fa05\
    d781e76d7ed096b5e4c7fe71ffda6f2fbfb7ebe7f5e7f2f6fa7ebeefdf7f97ed6c51fbb69d1e62606b60\
    72e06be072106b107250d6a0c8415d832a076d0d9a1cf435e87230d660c8c15c83a943654a3b68f98ca9\
    6b5ae634ddd332a8e9a296494d37b58c6abaaa6556d35d2dc39a2e6b99d6745bcbb8a6eb7ad6755dd7b3\
    ae1fdceaf358755dcfbaaeeb7ad6755dd7b3aeebba9e755dd7f5acebbaae675dd7753debbaae1b593774\
    ddc8baa1eb46d68d030b9e18e8ba917543d78dac1bba6e64ddd07523eb86ae1b593774ddc8baa1eb66dc\
    82c81654b620b3859d45680b4a5b90da82d616c4b6b0b695b5adac6d656d2b6b5b59dbcada56d6b6b2b6\
    95b5adac6d636d1b6bdb58dbc6da36d6b6b1b68db56dac6d636d1b6bdb59dbceda76d6b6b3b69db5edac\
    6d676d3b6bdb59db8eda0ed476a0b603b51da8ed406d076a3b50dbc19f2d6a3b58dbc9da4ed676b2b693\
    b59daced646d276b3b59dbc9dace79fa070b440f28840d0000
    """)

  /// The halves of ``page`` in a member each.
  static let twoMembers = unhex(
    """
    1f8b080000000000020385d43d4e03511443e19e5564011463fb4e2629d252c02a284690821f4591b27d\
    8aeb91683caf3fd527cb8ff5fdfeb9de9e7f6ed78febf7e5f5e5ed705fbf7e2fd3019a97697a7a84001d\
    2006ec803150078a41755031983b986370ece01883a5832506a70e4e31387770ce50a6c48ee586993561\
    4e644f18145914264536855191556156645718165916a645b685719175695d665d5a973b5bddc69a7569\
    5d665d5a975997d665d6a5759975695d665d5a975997d665d695759575655d655d59573b5fb09d41d695\
    759575655d655d59575957d655d695759575655d655de3d6f0646bf8b235bcd91affecf0686bf8b435bc\
    da1a7e6d0dcfb6fe9bfe011755b12ac20600001f8b080000000000020385d4216e03610c44619e53e400\
    05bb76d6fe0d420b925304acda0569ab2852af5ff2020a66cd1ffa349aed63fb3a5fdeafc7e77aff39cf\
    d371f625a7653afcaeb7e7e7fa78fb7e6cff939964d68991984e9cc475722239e9642159741224a19324\
    499d0c92a19322299918baa1750dddd0ba866e685d4337b4aea11b5ad7d00dad6be886d6357443eb1aba\
    a1750dddd0ba8e6e6a5d4737b5aea39b5ad7d14dadebe8a6d6757453eb3abaa9751dddd4ba8e6e6a5d47\
    37b52eb863e7182876964bb1434ba165811d1a16d7a15d611d9a15d5a155411d1a15d3a14d5f6f5bfddb\
    56ffb6d5bf6df56f5bfddb56ffb6d5bf6df56f5bfddb561dfe00cea35abfc2060000
    """)
}
