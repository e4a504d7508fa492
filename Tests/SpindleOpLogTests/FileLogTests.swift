import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// A folder of logs, and a store whose threads read it.
struct FileLogPlace {
  let root: String
  let store: Store
  var settings = FileLogSettings(magic: testMagic)

  init(store: Store) throws {
    self.store = store
    root = try TestDirectory.path("logs")
  }

  func sink(_ peer: PeerID = peer(1)) async throws -> FileLogSink<Note> {
    try await FileLogSink(root: root, selfID: peer, settings: settings, store: store)
  }

  func puller() -> FileLogPuller<Note> {
    FileLogPuller(root: root, settings: settings, store: store)
  }

  func path(_ start: UInt64, of peer: PeerID = peer(1)) -> String {
    let digits = String(start)
    return "\(root)/\(peer)/" + String(repeating: "0", count: 20 - digits.count) + digits + ".seg"
  }

  func mark(of peer: PeerID = peer(1)) -> String { "\(root)/\(peer)/acknowledged" }

  func names(of peer: PeerID = peer(1)) throws -> [String] {
    try Files.names(in: "\(root)/\(peer)").filter { $0.hasSuffix(".seg") }
  }

  /// Everything that can be read, and the error that ended it.
  func readAll(
    _ puller: FileLogPuller<Note>, of peer: PeerID = peer(1), from start: UInt64 = 0
  ) async throws -> (entries: [DecodedEntry<Note>], error: SpindleError?) {
    var entries: [DecodedEntry<Note>] = []
    do {
      while true {
        let from = start + UInt64(entries.count)
        let page = try await puller.readSince(peer: peer, from: from)
        if page.isEmpty { return (entries, nil) }
        #expect(page.map(\.index) == (0..<page.count).map { from + UInt64($0) })
        entries += page.map(\.entry)
      }
    } catch let error as SpindleError {
      return (entries, error)
    }
  }
}

func notes(_ range: Range<Int>) -> [DecodedEntry<Note>] {
  range.map { $0 % 7 == 3 ? .expunged(someHash) : note("note \($0)", at: UInt64($0)) }
}

func indexed(_ range: Range<Int>) -> [(index: UInt64, entry: DecodedEntry<Note>)] {
  zip(range, notes(range)).map { (UInt64($0), $1) }
}

@Suite(.temporaryDirectory) struct FileLogTests {
  private func withFolder(_ body: (inout FileLogPlace) async throws -> Void) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        var folder = try FileLogPlace(store: store)
        try await body(&folder)
      }
    }
  }

  @Test func whatWasWrittenIsReadInPages() async throws {
    try await withFolder { folder in
      let puller = folder.puller()
      #expect(try await puller.cursors().isEmpty)
      #expect(try await puller.listPeers() == [])
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<600))
      #expect(try await puller.readSince(peer: peer(1), from: 0).count == 256)
      #expect(try await folder.readAll(puller).entries == notes(0..<600))
      #expect(try await puller.cursors() == PeerCursors([peer(1): 600]))
      #expect(try await sink.position().head == chain(notes(0..<600), of: peer(1)))
      // What is added is seen, also by a reader that has the beginning already.
      for next in 600..<620 {
        try await sink.write(indexed(next..<(next + 1)))
        #expect(try await puller.cursor(of: peer(1)) == UInt64(next + 1))
      }
      #expect(try await folder.readAll(puller).entries == notes(0..<620))
      #expect(try folder.names().count == 1)
      #expect(try await puller.readSince(peer: peer(2), from: 0).isEmpty)
      #expect(try await puller.readSince(peer: peer(1), from: .max).isEmpty)
    }
  }

  @Test func segmentsEndAtTheirBoundsAndFormOneChain() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 10
      var sink = try await folder.sink()
      try await sink.write(indexed(0..<4))
      try await sink.write(indexed(4..<35))
      #expect(try folder.names().map { UInt64($0.prefix(20)) } == [0, 10, 20, 30])
      try sink.close()
      folder.settings.rotationEntryCount = 4096
      folder.settings.rotationByteCount = 400
      sink = try await folder.sink()
      #expect(try await sink.position().next == 35)
      try await sink.write(indexed(35..<80))
      for name in try folder.names() {
        #expect(try Files.size("\(folder.root)/\(peer(1))/\(name)") < 400 + 64)
      }
      let puller = folder.puller()
      #expect(try await folder.readAll(puller).entries == notes(0..<80))
      #expect(try await folder.readAll(puller, from: 57).entries == notes(57..<80))
      #expect(try await sink.position().head == chain(notes(0..<80), of: peer(1)))
    }
  }

  @Test func aPageIsBoundedInBytes() async throws {
    try await withFolder { folder in
      folder.settings.rotationByteCount = 64 << 20
      let sink = try await folder.sink()
      let large = DecodedEntry.logEntry(
        LogEntry(
          serverUser: nil, timestamp: .zero,
          op: Note(tag: 1, key: nil, value: [UInt8](repeating: 1, count: 3 << 20))))
      try await sink.write((0..<3).map { (UInt64($0), large) })
      let puller = folder.puller()
      #expect(try await puller.readSince(peer: peer(1), from: 0).count == 1)
      #expect(try await folder.readAll(puller).entries.count == 3)
    }
  }

  @Test func entriesMustFollowAndABadOneCostsNothing() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 2
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<3))
      for wrong in [indexed(2..<3), indexed(4..<6), indexed(3..<4) + indexed(5..<6)] {
        await #expect(throws: SyncError.self) { try await sink.write(wrong) }
      }
      var bad = indexed(3..<9)
      bad[5].entry = note("unwritable")
      await expectError(.invalidArgument, reason: "codec") { try await sink.write(bad) }
      #expect(try await sink.position().next == 3)
      #expect(try folder.names().count == 2)
      try await sink.write(indexed(3..<9))
      #expect(try await folder.readAll(folder.puller()).entries == notes(0..<9))
    }
  }

  @Test func oneSinkPerPeer() async throws {
    try await withFolder { folder in
      let sink = try await folder.sink()
      let place = folder
      await expectError(.unavailable, reason: "locked") { _ = try await place.sink() }
      _ = try await folder.sink(peer(2))
      #expect(try await sink.position().next == 0)
      try sink.close()
      _ = try await folder.sink()
      #expect(try await folder.puller().listPeers() == [peer(1), peer(2)])
    }
  }

  // MARK: What has not arrived

  @Test func aTornEndHasNotArrivedYetAndElsewhereIsDamage() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 10
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<20))
      let last = try Files.read(folder.path(10))
      let first = try Files.read(folder.path(0))
      for count in [0, 3, 60, last.count - 40, last.count - 1] {
        try writeFile(Array(last.prefix(count)), to: folder.path(10))
        let (entries, error) = try await folder.readAll(folder.puller())
        #expect(error == nil)
        #expect(entries == notes(0..<entries.count) && (10..<20).contains(entries.count))
        #expect(try await folder.puller().cursor(of: peer(1)) == UInt64(entries.count))
      }
      // Zeros, as some file systems leave them.
      try writeFile(last + [0, 0, 0, 0], to: folder.path(10))
      #expect(try await folder.readAll(folder.puller()).entries == notes(0..<20))
      #expect(try await folder.readAll(folder.puller()).error == nil)
      try writeFile(Array(first.dropLast(5)), to: folder.path(0))
      let (entries, error) = try await folder.readAll(folder.puller())
      #expect(entries == notes(0..<9))
      #expect(error?.kind == .corruption && error?.reason == "corrupt_segment")
      #expect(error?.path == folder.path(0))
      let offset = try ends(notes(0..<9), header())[9]
      #expect(error?.message.contains("at byte \(offset):") == true)
      // What lies behind stays readable.
      #expect(try await folder.readAll(folder.puller(), from: 12).entries == notes(12..<20))
    }
  }

  @Test func aMissingSegmentEndsTheLogUntilItArrives() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 10
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<40))
      let puller = folder.puller()
      let middle = try Files.read(folder.path(10))
      try Files.remove(folder.path(10))
      let (entries, error) = try await folder.readAll(puller)
      #expect(entries == notes(0..<10) && error == nil)
      #expect(try await puller.cursor(of: peer(1)) == 40)
      #expect(try await folder.readAll(puller, from: 20).entries == notes(20..<40))
      try writeFile(middle, to: folder.path(10))
      #expect(try await folder.readAll(puller).entries == notes(0..<40))
    }
  }

  @Test func damageInTheLastSegmentIsToldAtItsEntry() async throws {
    try await withFolder { folder in
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<9))
      try await folder.sink(peer(2)).write(indexed(0..<3))
      var bytes = try Files.read(folder.path(0))
      let offset = try ends(notes(0..<9), header())[5]
      bytes[offset + 4] ^= 1
      try writeFile(bytes, to: folder.path(0))
      let puller = folder.puller()
      let (entries, error) = try await folder.readAll(puller)
      #expect(entries == notes(0..<5))
      #expect(error?.kind == .corruption)
      #expect(error?.message.contains("at byte \(offset):") == true)
      // Its cursor is where it can be read to, and the damage is told beside it and behind it.
      var survey = try await puller.survey()
      #expect(survey.cursors == PeerCursors([peer(1): 5, peer(2): 3]))
      #expect(survey.failures.mapValues(\.reason) == [peer(1): "corrupt_segment"])
      #expect(try await folder.readAll(puller, from: 7).error?.reason == "corrupt_segment")
      bytes[5] ^= 1
      try writeFile(bytes, to: folder.path(0))
      #expect(try await folder.readAll(puller).error?.reason == "corrupt_segment")
      survey = try await puller.survey()
      #expect(survey.cursors == PeerCursors([peer(2): 3]))
      #expect(survey.failures.mapValues(\.reason) == [peer(1): "corrupt_segment"])
    }
  }

  @Test func segmentsOfAnotherHistoryOrPlaceAreRefused() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 10
      try await folder.sink().write(indexed(0..<20))
      var other = folder
      other = try FileLogPlace(store: folder.store, root: folder.root + "-other")
      other.settings.rotationEntryCount = 10
      var entries = indexed(0..<20)
      entries[2].entry = note("another", at: 2)
      try await other.sink().write(entries)
      try writeFile(try Files.read(other.path(10)), to: folder.path(10))
      let (read, error) = try await folder.readAll(folder.puller())
      #expect(read == notes(0..<10))
      #expect(error?.message.contains("chains differ") == true)
      try writeFile(try Files.read(folder.path(0)), to: folder.path(10))
      #expect(
        try await folder.readAll(folder.puller(), from: 10).error?.message
          .contains("its name says otherwise") == true)
    }
  }

  // MARK: The writer after a crash

  @Test func theWriterCutsOffATornEndOfItsOwn() async throws {
    try await withFolder { folder in
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<9))
      try sink.close()
      let whole = try Files.read(folder.path(0))
      let mark = try Files.read(folder.mark())
      let more = try segment(notes(0..<12)).dropFirst(
        try segment(notes(0..<9)).count)
      for count in [1, 10, more.count - 1, more.count] {
        for tail in [
          Array(more.prefix(count)), [UInt8](repeating: 0, count: count), [0xFF, 7, 7],
          Array(more.prefix(count)) + [0, 0, 0, 0, 0],
        ] {
          try writeFile(whole + tail, to: folder.path(0))
          let again = try await folder.sink()
          let next = Int(try await again.position().next)
          #expect((9...12).contains(next))
          try await again.write(indexed(next..<15))
          #expect(try await folder.readAll(folder.puller()).entries == notes(0..<15))
          try again.close()
          // As the crash left it.
          try Files.remove(folder.path(0))
          try writeFile(whole, to: folder.path(0))
          try writeFile(mark, to: folder.mark())
        }
      }
    }
  }

  @Test func damagedAcknowledgedEntriesAreNotCutOff() async throws {
    try await withFolder { folder in
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<9))
      try sink.close()
      let whole = try Files.read(folder.path(0))
      let place = folder
      for damaged in [Array(whole.dropLast(3)), Array(whole.dropLast(40)), []] {
        try writeFile(damaged, to: folder.path(0))
        await expectError(.corruption, reason: "corrupt_segment") { _ = try await place.sink() }
        #expect(try Files.read(folder.path(0)) == damaged)
      }
      try Files.remove(folder.path(0))
      await expectError(.corruption, reason: "corrupt_segment") { _ = try await place.sink() }
      // A mark that cannot be read may have said anything; none says nothing.
      try writeFile([1, 2, 3], to: folder.mark())
      await expectError(.corruption, reason: "corrupt_mark") { _ = try await place.sink() }
      try Files.remove(folder.mark())
      // Only an end that looks torn is cut.
      try writeFile(Array(whole.dropLast(3)), to: folder.path(0))
      let again = try await folder.sink()
      #expect(try await again.position().next == 8)
      try again.close()
      await expectError(.closed) { _ = try await again.position() }
      try writeFile(whole.dropLast(3) + [9, 9, 9], to: folder.path(0))
      await expectError(.corruption, reason: "corrupt_segment") { _ = try await place.sink() }
    }
  }

  @Test func afterAFailedWriteTheEndIsReadAgain() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 10
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<5))
      // The second segment cannot be made.
      try Files.createDirectory(folder.path(10) + ".tmp")
      await expectError(.io) { try await sink.write(indexed(5..<25)) }
      #expect(try await sink.position().next == 10)
      #expect(Files.removeEmptyDirectory(folder.path(10) + ".tmp"))
      try await sink.write(indexed(10..<25))
      #expect(try await folder.readAll(folder.puller()).entries == notes(0..<25))
    }
  }

  // MARK: Removal

  @Test func aRemovedEntryLeavesTheFilesAndTheChainStays() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 10
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<25))
      let puller = folder.puller()
      #expect(try await folder.readAll(puller).entries == notes(0..<25))
      let head = try await sink.position().head
      for index in [4, 12, 23] {
        let hash = try OpLogRow(
          timestamp: Timestamp(packed: UInt64(index)), serverUser: nil,
          entry: Note("note \(index)").toIndexEntry()
        ).hash(peer: peer(1), index: UInt64(index))
        await expectError(.conflict, reason: "chain_mismatch") {
          try await sink.expunge(index: UInt64(index), hash: someHash)
        }
        #expect(try await sink.expunge(index: UInt64(index), hash: hash))
        #expect(try await !sink.expunge(index: UInt64(index), hash: hash))
        let (entries, error) = try await folder.readAll(puller)
        #expect(error == nil && entries.count == 25)
        #expect(entries[index] == .expunged(hash))
        let bytes = try Files.read(folder.path(UInt64(index / 10 * 10)))
        #expect(!bytes.contains(Array("note \(index)".utf8)))
      }
      #expect(try await sink.position().head == head)
      #expect(try await !sink.expunge(index: 25, hash: someHash))
      try await sink.write(indexed(25..<30))
      #expect(try await folder.readAll(puller).entries.count == 30)
    }
  }
}

extension FileLogPlace {
  init(store: Store, root: String) throws {
    self.store = store
    self.root = root
  }
}
