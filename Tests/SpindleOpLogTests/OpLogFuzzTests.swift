import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Bytes that nobody wrote: no trap, no hang, and no more memory than the bytes themselves deserve.
///
/// `SPINDLE_FUZZ_SECONDS` sets how long each test goes on; `make fuzz-oplog` gives them a minute.
/// `SPINDLE_FUZZ_SEED` repeats a run.
@Suite struct OpLogFuzzTests {
  private func setting(_ name: String) -> String? {
    unsafe getenv(name).map { unsafe String(cString: $0) }
  }

  /// Runs `round` until the time is over.
  private func fuzz(
    _ what: String, _ round: (inout SeededGenerator) async throws -> Void
  ) async rethrows {
    let seconds = setting("SPINDLE_FUZZ_SECONDS").flatMap { Int($0) }
    let seed =
      setting("SPINDLE_FUZZ_SEED").flatMap { UInt64($0) }
      ?? (seconds == nil ? 1 : SeededGenerator(seed: UInt64(time(nil))).first)
    if seconds != nil {
      // Before the first one, and not in a buffer: a trap ends the process.
      print("fuzzing \(what) from seed \(seed)")
      _ = fflush(nil)
    }
    let end = ContinuousClock.now + .seconds(seconds ?? 1)
    var random = SeededGenerator(seed: seed)
    var count = 0
    while ContinuousClock.now < end {
      try await round(&random)
      count += 1
    }
    print("\(count) mutated \(what) from seed \(seed)")
    #expect(count > 0)
  }

  @Test func mutatedSegmentsNeverTrap() async throws {
    let bases = try [
      segment(richEntries(40, seed: 1), header()),
      segment(richEntries(40, seed: 2, mode: .server), header(.server, start: 99)),
      segment((0..<9).map { note("note \($0)", at: UInt64($0)) }),
    ]
    await fuzz("segments") { random in
      var bytes = bases[Int.random(in: 0..<bases.count, using: &random)]
      mutate(&bytes, &random)
      check(bytes, as: Rich.self)
      check(bytes, as: Note.self)
    }
  }

  /// What is read must be what would be written, as far as it goes.
  private func check<Op: IndexableOp & Equatable>(_ bytes: [UInt8], as: Op.Type) {
    guard let decoded = try? decode(bytes, as: Op.self) else { return }
    #expect(decoded.state.byteCount <= bytes.count)
    #expect((decoded.failure == nil) == (decoded.state.byteCount == bytes.count))
    let again = try? segment(decoded.entries, decoded.state.header)
    #expect(again == Array(bytes.prefix(decoded.state.byteCount)))
  }

  @Test func mutatedRowsNeverTrap() async throws {
    let rows = try OpLogRowTests.samples().map(\.encoded)
    await fuzz("rows") { random in
      for _ in 0..<64 {
        var bytes = rows[Int.random(in: 0..<rows.count, using: &random)]
        mutate(&bytes, &random)
        if let row = try? OpLogRow(decoding: bytes.span) { #expect(row.encoded == bytes) }
      }
    }
  }

  /// The checksums are made right again, or nothing behind them would ever be looked at.
  @Test func mutatedExportsNeverTrap() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await addChained(store, tracker, peer(1), 0..<9)
        for index: UInt64 in 0..<3 { try await tracker.add(store, peer(2), index) }
        _ = try await tracker.trim(below: PeerCursors([peer(1): 4]), forced: true)
        var batch = Batch()
        for number in 0..<UInt8(5) {
          batch.put(
            tracker.dataFamily, key: [number], value: Array(repeating: 7, count: Int(number)))
        }
        try await store.commit(batch, durability: .buffered)
        try await tracker.export(to: file)
      }
      let signature = Array(try Files.read(file).prefix(8))
      let blocks = Self.blocks(of: Array(try Files.read(file).dropFirst(8)))
      #expect(blocks.count >= 6)
      try await fuzz("exports") { random in
        var blocks = blocks
        let place = Int.random(in: 0..<blocks.count, using: &random)
        switch UInt64.random(in: 0..<10, using: &random) {
        case 0: blocks.remove(at: place)
        case 1: blocks.insert(blocks[place], at: Int.random(in: 0...place, using: &random))
        case 2: blocks[place].kind = UInt8.random(in: 0...6, using: &random)
        default: mutate(&blocks[place].body, &random)
        }
        try? Files.remove(file)
        try Files.create(file, parts: [Self.file(signature, blocks)], sync: false)
        do {
          let manifest = try OpLogArchive.verify(at: file)
          #expect(manifest.rows <= 12 + 64)
        } catch let error as SpindleError {
          #expect(error.kind == .corruption || error.kind == .unsupportedFormat)
        }
      }
    }
  }

  private struct Block {
    var kind: UInt8
    var body: [UInt8]
  }

  /// The blocks of an export that nothing is wrong with.
  private static func blocks(of bytes: [UInt8]) -> [Block] {
    var blocks: [Block] = []
    var rest = bytes[...]
    while rest.count > 9 {
      let count = rest.dropFirst().prefix(4).reduce(0) { $0 << 8 | Int($1) }
      blocks.append(Block(kind: rest.first!, body: Array(rest.dropFirst(5).prefix(count))))
      rest = rest.dropFirst(5 + count + 4)
    }
    return blocks
  }

  /// The file of such blocks, with the checksum of each, and at its end the digest of all.
  private static func file(_ signature: [UInt8], _ blocks: [Block]) -> [UInt8] {
    var bytes = signature
    var digest = HashSuite.current.hash(signature.span)
    for block in blocks {
      var body = block.body
      let digestByteCount = EntryHash.byteCount
      if block.kind == 5, body.count >= digestByteCount {
        body.replaceSubrange((body.count - digestByteCount)..., with: digest.bytes)
      }
      var encoded: [UInt8] = [block.kind]
      encoded.appendBigEndian(UInt32(body.count))
      encoded += body
      encoded.appendBigEndian(CRC32C.mask(CRC32C.checksum(encoded)))
      digest = HashSuite.current.hash((digest.bytes + encoded).span)
      bytes += encoded
    }
    return bytes
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
    for _ in 0..<Int.random(in: 1..<6, using: &random) {
      guard !bytes.isEmpty else { return }
      let place = Int.random(in: 0..<bytes.count, using: &random)
      switch UInt64.random(in: 0..<6, using: &random) {
      case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 1: bytes[place] = UInt8(truncatingIfNeeded: random.next())
      case 2: bytes.removeSubrange(place...)
      case 3: bytes.insert(contentsOf: [0xFF, 0xFF, 0xFF, 0xFF, 0x7F], at: place)
      case 4: bytes.remove(at: place)
      default:
        let other = Int.random(in: 0..<bytes.count, using: &random)
        bytes.insert(contentsOf: bytes[min(place, other)..<max(place, other)].prefix(64), at: place)
      }
    }
  }
}

extension SeededGenerator {
  fileprivate var first: UInt64 {
    var copy = self
    return copy.next()
  }
}
