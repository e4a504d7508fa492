import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleTestKit
import Testing

@Suite struct SegmentTests {
  // MARK: Primitives

  @Test("O-79: every primitive reads back, in its shortest form only")
  func primitivesReadBack() throws {
    let numbers: [UInt64] = [0, 1, 127, 128, 1 << 35, .max - 1, .max]
    let signed: [Int64] = [0, -1, 1, .min, .max]
    var writer = OpWriter()
    for number in numbers { writer.writeVarint(number) }
    for number in signed { writer.writeZigzag(number) }
    writer.writeUInt16(0x1234)
    try writer.writeText("g\u{fc}n")
    writer.writeOptionalBlob(nil)
    writer.writeOptionalBlob([])
    writer.writeOptionalBlob([7])
    var reader = OpReader(writer.bytes)
    for number in numbers { #expect(try reader.readVarint() == number) }
    for number in signed { #expect(try reader.readZigzag() == number) }
    #expect(try reader.readUInt16() == 0x1234)
    #expect(try reader.readText() == "g\u{fc}n")
    #expect(try reader.readOptionalBlob() == nil)
    #expect(try reader.readOptionalBlob() == [])
    #expect(try reader.readOptionalBlob() == [7])
    #expect(reader.remaining == 0)

    func failure(_ bytes: [UInt8], _ read: (inout OpReader) throws(CodecError) -> Void)
      -> CodecError?
    {
      var reader = OpReader(bytes)
      do throws(CodecError) { try read(&reader) } catch { return error }
      return nil
    }
    func varint(_ reader: inout OpReader) throws(CodecError) { _ = try reader.readVarint() }
    func text(_ reader: inout OpReader) throws(CodecError) { _ = try reader.readText() }
    func blob(_ reader: inout OpReader) throws(CodecError) { _ = try reader.readBlob() }
    let nine = [UInt8](repeating: 0xFF, count: 9)
    #expect(failure(nine + [1], varint) == nil)
    #expect(failure(nine + [2], varint) == .varintOverflow)
    #expect(failure(nine + [0x81, 0], varint) == .varintOverflow)
    #expect(failure([0x80, 0], varint) == .nonMinimalVarint)
    #expect(failure([0x80], varint) == .unexpectedEnd)
    #expect(failure([1, 0xFF], text) == .invalidUTF8)
    #expect(failure([1, 0], text) == .textContainsNul)
    #expect(failure([2, 0], blob) == .unexpectedEnd)
    #expect(failure(nine + [1], blob) == .lengthTooLarge(.max))
    #expect(throws: CodecError.textContainsNul) { try writer.writeText("a\0") }
  }

  @Test("O-80: a uuid stands once and is referred to afterwards")
  func uuidsAreDefinedOnce() throws {
    var writer = OpWriter()
    let uuids = [1, 2, 1, 1, 2, 3].map { UUIDValue(high: 7, low: $0) }
    for uuid in uuids { writer.writeUUID(uuid) }
    #expect(writer.bytes.count == 3 * 17 + 3)
    #expect(Array(writer.bytes[34..<37]) == [1, 1, 2])
    var reader = OpReader(writer.bytes)
    for uuid in uuids { #expect(try reader.readUUID() == uuid) }
    #expect(throws: CodecError.unresolvedUUID(4)) {
      var reader = OpReader(writer.bytes + [4])
      for _ in 0..<7 { _ = try reader.readUUID() }
    }
    let far = UInt64(UInt32.max) + 1
    var reference = OpWriter()
    reference.writeVarint(far)
    #expect(throws: CodecError.unresolvedUUID(far)) {
      var reader = OpReader(reference.bytes)
      _ = try reader.readUUID()
    }
    #expect(throws: CodecError.repeatedUUID) {
      var reader = OpReader(Array(writer.bytes.prefix(17) + writer.bytes.prefix(17)))
      for _ in 0..<2 { _ = try reader.readUUID() }
    }
  }

  // MARK: Whole segments

  @Test(arguments: [SegmentMode.device, .server])
  func segmentsReadBack(mode: SegmentMode) throws {
    let entries = richEntries(60, seed: 1, mode: mode)
    let bytes = try segment(entries, header(mode, start: 1 << 40))
    let decoded = try #require(try decode(bytes, as: Rich.self))
    #expect(decoded.entries == entries)
    #expect(decoded.failure == nil)
    #expect(decoded.state.next == 1 << 40 + 60)
    #expect(decoded.state.byteCount == bytes.count)
    #expect(decoded.state.head != nil)
    // Written again, the bytes are the same.
    #expect(try segment(decoded.entries, decoded.state.header) == bytes)
  }

  @Test func anOpWithoutAWireFormOfItsOwnTravelsAsItsParts() throws {
    let notes = [
      Note("text"), Note(tag: 0, key: nil, value: nil), Note(tag: 254, key: [], value: []),
      Note(tag: 2, key: [0, 255], value: Array(repeating: 7, count: 70_000)),
    ]
    let entries = notes.map {
      DecodedEntry.logEntry(LogEntry(serverUser: nil, timestamp: .zero, op: $0))
    }
    #expect(try decode(try segment(entries), as: Note.self)?.entries == entries)
  }

  @Test("O-83: an empty file is no segment; a wrong mark and unknown flags are told")
  func headersAreChecked() throws {
    #expect(try decode([], as: Note.self)?.entries == nil)
    #expect(throws: CodecError.badMagic) { _ = try DecodedSegment<Note>([1], magic: []) }
    #expect(throws: CodecError.badMagic) {
      _ = try SegmentEncoder<Note>(magic: [], header: header())
    }
    let bytes = try segment([note("x")])
    #expect(throws: CodecError.badMagic) {
      _ = try DecodedSegment<Note>(bytes, magic: Array("LEST".utf8))
    }
    #expect(throws: CodecError.unexpectedEnd) { _ = try decode(testMagic, as: Note.self) }
    func changed(_ offset: Int, _ value: UInt8) -> [UInt8] {
      var bytes = bytes
      bytes[testMagic.count + offset] = value
      return bytes
    }
    #expect(throws: CodecError.unknownSegmentFlags(2)) {
      _ = try decode(changed(0, 2), as: Note.self)
    }
    #expect(throws: CodecError.unknownSegmentVersion(9)) {
      _ = try decode(changed(1, 9), as: Note.self)
    }
    #expect(throws: CodecError.headerMismatch) { _ = try decode(changed(0, 1), as: Note.self) }
    #expect(throws: CodecError.headerMismatch) { _ = try decode(changed(3, 9), as: Note.self) }
  }

  @Test("O-81: a bit flipped anywhere is an error, and the entries before it are given")
  func everyFlippedBitIsFound() throws {
    for mode in [SegmentMode.device, .server] {
      let entries = richEntries(9, seed: 3, mode: mode)
      let bytes = try segment(entries, header(mode, start: 5))
      let ends = try ends(entries, header(mode, start: 5))
      for bit in 0..<(bytes.count * 8) {
        var damaged = bytes
        damaged[bit / 8] ^= 1 << (bit % 8)
        let whole = ends.count { $0 <= bit / 8 }
        do throws(CodecError) {
          let decoded = try decode(damaged, as: Rich.self)
          let isPrefix = decoded?.entries == Array(entries.prefix(whole - 1))
          if decoded?.failure == nil || !isPrefix { Issue.record("bit \(bit) was not found") }
        } catch {
          if whole > 0 { Issue.record("bit \(bit) cost the whole segment: \(error)") }
        }
      }
    }
  }

  @Test("O-82: a segment cut anywhere gives the entries before the cut")
  func everyCutIsFound() throws {
    let entries = richEntries(12, seed: 4, mode: .server)
    let bytes = try segment(entries, header(.server))
    let ends = try ends(entries, header(.server))
    #expect(ends.last == bytes.count)
    for count in 1..<bytes.count {
      let whole = ends.count { $0 <= count }
      do throws(CodecError) {
        let decoded = try decode(Array(bytes.prefix(count)), as: Rich.self)
        #expect(decoded?.entries == Array(entries.prefix(whole - 1)))
        #expect(decoded?.failure == (ends.contains(count) ? nil : .unexpectedEnd))
      } catch {
        #expect(whole == 0 && error == .unexpectedEnd)
      }
    }
  }

  @Test func anEntryIsNotTakenFromAnotherPlace() throws {
    let entries = [note("a"), note("a"), note("b")]
    let ends = try ends(entries, header())
    let bytes = try segment(entries)
    // The same op at the next index, with the bytes of the first.
    let moved = bytes[..<ends[1]] + bytes[ends[0]..<ends[1]]
    #expect(try decode(Array(moved), as: Note.self)?.failure == .hashMismatch)
    let other = try segment([DecodedEntry<Note>](), header(peer: peer(2)))
    #expect(
      try decode(other + bytes[ends[0]..<ends[1]], as: Note.self)?.failure == .hashMismatch)
  }

  // MARK: Encoding

  @Test("O-84, O-87: users, times and tags are checked, and a refused entry leaves no trace")
  func refusedEntriesLeaveNoTrace() throws {
    func refusal(
      _ encoder: inout SegmentEncoder<Note>, _ entry: DecodedEntry<Note>
    ) -> CodecError? {
      do throws(CodecError) { try encoder.append(entry) } catch { return error }
      return nil
    }
    var server = try SegmentEncoder<Note>(magic: testMagic, header: header(.server))
    #expect(refusal(&server, note("a", at: 7, user: someUser)) == nil)
    let state = server.state
    let count = server.pendingByteCount
    #expect(refusal(&server, note("b", at: 9)) == .missingUserID)
    #expect(refusal(&server, note("b", at: 6, user: someUser)) == .nonMonotonicDelta)
    let reserved = LogEntry(
      serverUser: someUser, timestamp: Timestamp(packed: 9),
      op: Note(tag: 255, key: nil, value: nil))
    #expect(refusal(&server, .logEntry(reserved)) == .reservedTag)
    #expect(refusal(&server, note("unwritable", at: 9, user: someUser)) != nil)
    #expect(server.state == state && server.pendingByteCount == count)
    #expect(refusal(&server, note("c", at: 7, user: someUser)) == nil)
    #expect(try decode(server.takeBytes(), as: Note.self)?.entries.count == 2)

    var device = try SegmentEncoder<Note>(magic: testMagic, header: header())
    #expect(refusal(&device, note("a", user: someUser)) == .unexpectedUserID)
    var loose = try SegmentEncoder<Note>(magic: testMagic, header: header(), isStrict: false)
    #expect(refusal(&loose, note("a", user: someUser)) == nil)
    #expect(try decode(loose.takeBytes(), as: Note.self)?.entries == [note("a")])

    var last = try SegmentEncoder<Note>(magic: testMagic, header: header(start: .max))
    #expect(refusal(&last, note("a")) == .indexOverflow)
  }

  @Test("O-87: a time beyond 64 bits is an error")
  func timesDoNotOverflow() throws {
    var bytes = try segment([note("a", at: .max)])
    var writer = OpWriter()
    try Note("b").encode(into: &writer)
    writer.writeVarint(1)
    bytes += writer.bytes + [0, 0, 0, 0]
    let decoded = try #require(try decode(bytes, as: Note.self))
    #expect(decoded.entries.count == 1)
    #expect(decoded.failure == .timestampOverflow)
  }

  @Test("O-88: an op that fails half-way defines no uuid")
  func failedOpsAreRolledBack() throws {
    var random = SeededGenerator(seed: 8)
    func entry(_ op: Rich) -> DecodedEntry<Rich> {
      .logEntry(LogEntry(serverUser: nil, timestamp: .zero, op: op))
    }
    var bad = Rich(&random)
    bad.thing = UUIDValue(high: 42, low: 42)
    bad.name = "a\0b"
    var good = Rich(&random)
    good.thing = bad.thing
    var encoder = try SegmentEncoder<Rich>(magic: testMagic, header: header())
    let state = encoder.state
    #expect(throws: CodecError.textContainsNul) { try encoder.append(entry(bad)) }
    #expect(encoder.state == state)
    try encoder.append(entry(good))
    try encoder.append(entry(good))
    #expect(
      try decode(encoder.takeBytes(), as: Rich.self)?.entries == [entry(good), entry(good)])
  }

  @Test("O-85: a marker leaves the times, hashes and chain of the others as they are")
  func markersDisturbNothing() throws {
    let entries = richEntries(20, seed: 5)
    let bytes = try segment(entries)
    let before = try #require(try decode(bytes, as: Rich.self))
    for index in 0..<entries.count {
      guard case .logEntry(let entry) = entries[index] else { continue }
      let hash = try OpLogRow(
        timestamp: entry.timestamp, serverUser: nil, entry: entry.op.toIndexEntry()
      ).hash(peer: peer(1), index: UInt64(index))
      var changed = entries
      changed[index] = .expunged(hash)
      let after = try #require(try decode(try segment(changed), as: Rich.self))
      #expect(after.entries == changed)
      #expect(after.failure == nil)
      #expect(after.state.head == before.state.head)
      // The beginnings of the hashes, which follow the entries.
      var trailers = try self.trailers(of: entries)
      var changedTrailers = try self.trailers(of: changed)
      trailers[index] = []
      changedTrailers[index] = []
      #expect(trailers == changedTrailers)
    }
  }

  private func trailers(of entries: [DecodedEntry<Rich>]) throws -> [[UInt8]] {
    let bytes = try segment(entries)
    return try ends(entries, header()).dropFirst().map { Array(bytes[($0 - 4)..<$0]) }
  }

  /// In a process of its own: the most that this one ever had tells nothing of these lengths.
  @Test("O-86: a length of 2^60 is an early end and nothing is allocated for it")
  func hugeLengthsAllocateNothing() async {
    await #expect(processExitsWith: .success) {
      let before = try SegmentTests.peakBytes()
      for (length, failure) in [
        (1 << 60, CodecError.unexpectedEnd), (1 << 32, .unexpectedEnd),
        (.max, .lengthTooLarge(.max - 1)),
      ] as [(UInt64, CodecError)] {
        var writer = OpWriter()
        writer.writeUInt8(1)
        writer.writeVarint(length)
        let bytes = try segment([note("a")]) + writer.bytes
        let decoded = try decode(bytes, as: Note.self)
        try #require(decoded?.failure == failure)
        try #require(decoded?.entries.count == 1)
      }
      let peak = try SegmentTests.peakBytes()
      try #require(peak - before < 1 << 31)
      // What is measured would have told.
      let block = unsafe mmap(nil, 1 << 32, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
      let risen = try SegmentTests.peakBytes()
      try #require(risen - before >= 1 << 31)
      unsafe munmap(block, 1 << 32)
    }
  }

  /// The most address space that the process ever had.
  fileprivate static func peakBytes() throws -> Int {
    let text = try #require(processStatus("VmPeak"))
    return try #require(Int(text.prefix { $0.isNumber })) * 1_024
  }

  @Test("O-89: a segment goes on where its reader stood")
  func segmentsAreContinued() throws {
    let entries = richEntries(30, seed: 6, mode: .server)
    let whole = try segment(entries, header(.server))
    for cut in [0, 1, 7, 29] {
      let first = try segment(Array(entries[..<cut]), header(.server))
      let ragged = first + whole[first.count..<min(first.count + 3, whole.count)]
      var known = try #require(try decode(ragged, as: Rich.self))
      #expect(known.failure == .unexpectedEnd)
      #expect(known.state.byteCount == first.count)
      var encoder = SegmentEncoder<Rich>(continuing: known.state)
      for entry in entries[cut...] { try encoder.append(entry) }
      let rest = encoder.takeBytes()
      #expect(first + rest == whole)
      known.extend(rest)
      #expect(known.entries == entries && known.failure == nil)
      #expect(known.state == encoder.state)
    }
  }
}

/// The bytes that `Documentation/Formats/oplog-segment.md` writes out.
@Suite struct SegmentFormatTests {
  @Test func theExampleOfThePageIsWhatIsWritten() throws {
    let hash = EntryHash(bytes: Array(1...32))!
    let entries = [note("hi", at: 5), note("hi", at: 300), .expunged(hash)]
    let bytes = try segment(entries)
    let page = try Files.read(
      Files.directory(of: #filePath) + "/../../Documentation/Formats/oplog-segment.md")
    let example = try #require(
      String(decoding: page, as: UTF8.self).split(separator: "## Example").last?
        .split(separator: "```").dropFirst().first)
    let hex = example.split(separator: "\n").map { line in
      line.prefix { $0 != "|" }.filter { $0 != " " }
    }.joined()
    #expect(hex == hexString(bytes))
  }
}
