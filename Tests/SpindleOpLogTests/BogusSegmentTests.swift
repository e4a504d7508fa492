import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Files of any size under the name of a segment.
@Suite(.temporaryDirectory) struct BogusSegmentTests {
  private func withFolder(_ body: (inout FileLogPlace) async throws -> Void) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        var folder = try FileLogPlace(store: store)
        try await body(&folder)
      }
    }
  }

  /// Gives a file a size without writing it.
  private func extend(_ path: String, to size: Int) throws {
    try #require(unsafe truncate(path, off_t(size)) == 0, "cannot extend \(path)")
  }

  @Test func aHugeFileWithoutAHeaderCostsOnePieceOnce() async throws {
    try await withFolder { folder in
      try await folder.sink().write(indexed(0..<9))
      try writeFile([], to: folder.path(99_999))
      try extend(folder.path(99_999), to: 1 << 30)
      let puller = folder.puller()
      let survey = try await puller.survey()
      #expect(survey.cursors == PeerCursors([peer(1): 9]) && survey.failures.isEmpty)
      let count = puller.readByteCount
      #expect(count > 0 && count < 200_000)
      for _ in 0..<3 {
        #expect(try await puller.survey().cursors == PeerCursors([peer(1): 9]))
        #expect(try await puller.readSince(peer: peer(1), from: 100_000).isEmpty)
      }
      #expect(puller.readByteCount == count)
      let (entries, error) = try await folder.readAll(puller)
      #expect(entries == notes(0..<9) && error == nil)
      // What takes its place is read.
      try writeFile(
        try segment(notes(0..<3), header(start: 99_999)), to: folder.path(99_999))
      #expect(try await puller.cursor(of: peer(1)) == 100_002)
    }
  }

  @Test func aHugeFileBehindAHeaderIsDamageAndReadOnce() async throws {
    try await withFolder { folder in
      try await folder.sink().write(indexed(0..<9))
      try writeFile(try segment(notes(9..<12), header(start: 9)), to: folder.path(9))
      try extend(folder.path(9), to: 1 << 30)
      let puller = folder.puller()
      for round in 0..<3 {
        let before = puller.readByteCount
        let survey = try await puller.survey()
        #expect(survey.cursors == PeerCursors([peer(1): 9]))
        let failure = try #require(survey.failures[peer(1)])
        #expect(failure.kind == .corruption && failure.reason == "corrupt_segment")
        #expect(failure.message.contains("1073741824 bytes"))
        #expect(round == 0 || puller.readByteCount == before)
        #expect(puller.readByteCount < 200_000)
      }
      let (entries, error) = try await folder.readAll(puller)
      #expect(entries == notes(0..<9) && error?.reason == "corrupt_segment")
    }
  }

  @Test func theEndsOfManyPeersAreFoundWithoutReadingThemAgain() async throws {
    try await withFolder { folder in
      let peers = (1...40).map { peer(UInt64($0)) }
      for peer in peers {
        let sink = try await folder.sink(peer)
        try await sink.write(indexed(0..<5))
        try sink.close()
      }
      let puller = folder.puller()
      let first = try await puller.survey()
      #expect(first.cursors == PeerCursors(Dictionary(uniqueKeysWithValues: peers.map { ($0, 5) })))
      let count = puller.readByteCount
      for _ in 0..<3 {
        #expect(try await puller.survey().cursors == first.cursors)
        for peer in peers {
          #expect(try await puller.cursor(of: peer) == 5)
          let head = try await puller.chainHead(of: peer, before: 5)
          #expect(head == (try chain(notes(0..<5), of: peer)))
        }
      }
      #expect(puller.readByteCount == count)
      // What was added to one is found, and what damaged another.
      let sink = try await folder.sink(peers[7])
      try await sink.write(indexed(5..<9))
      try sink.close()
      var bytes = try Files.read(folder.path(0, of: peers[9]))
      bytes[bytes.count - 3] ^= 1
      try Files.remove(folder.path(0, of: peers[9]))
      try writeFile(bytes, to: folder.path(0, of: peers[9]))
      let second = try await puller.survey()
      #expect(second.cursors[peers[7]] == 9 && second.cursors[peers[9]] == 4)
      #expect(Array(second.failures.keys) == [peers[9]])
      let changed = puller.readByteCount
      #expect(try await puller.survey().failures[peers[9]]?.reason == "corrupt_segment")
      #expect(puller.readByteCount == changed)
    }
  }

  /// With more peers than ends are kept of, those used longest ago are read again, and no other.
  @Test func beyondTheLimitTheEndsUsedLongestAgoAreReadAgain() async throws {
    try await withFolder { folder in
      let peers = (1...60).map { peer(UInt64($0)) }
      for peer in peers {
        let sink = try await folder.sink(peer)
        try await sink.write(indexed(0..<5))
        try sink.close()
      }
      let puller = FileLogPuller<Note>(
        root: folder.root, settings: folder.settings, store: folder.store, endLimit: 40)
      var count = 0
      func isRead(_ peer: PeerID) async throws -> Bool {
        #expect(try await puller.cursor(of: peer) == 5)
        defer { count = puller.readByteCount }
        return puller.readByteCount > count
      }
      // Used all the time, so it stays, although 16 other segments push its entries out.
      #expect(try await isRead(peers[0]))
      for peer in peers.dropFirst() {
        #expect(try await isRead(peer))
        #expect(try await !isRead(peers[0]))
      }
      // The 41st made room: the first ones are gone, the last ones are there.
      for peer in peers.suffix(20) { #expect(try await !isRead(peer)) }
      #expect(try await !isRead(peers[0]))
      for peer in peers[1..<15] { #expect(try await isRead(peer)) }
      #expect(try await !isRead(peers[0]))
      let whole = PeerCursors(Dictionary(uniqueKeysWithValues: peers.map { ($0, 5) }))
      #expect(try await puller.survey().cursors == whole)
    }
  }

  @Test func aSegmentThatIsReadAllTheTimeStaysAtHand() async throws {
    try await withFolder { folder in
      for number in UInt64(1)...40 {
        let sink = try await folder.sink(peer(number))
        try await sink.write(indexed(0..<5))
        try sink.close()
      }
      let puller = folder.puller()
      _ = try await puller.readSince(peer: peer(1), from: 0)
      for number in UInt64(2)...40 {
        _ = try await puller.readSince(peer: peer(number), from: 0)
        let count = puller.readByteCount
        _ = try await puller.readSince(peer: peer(1), from: 0)
        #expect(puller.readByteCount == count)
      }
    }
  }

  /// A number of files that are none, all newer than the good one.
  @Test func manyBogusFilesAreReadOnce() async throws {
    try await withFolder { folder in
      try await folder.sink().write(indexed(0..<9))
      for start in UInt64(100)..<140 {
        try writeFile(Array("no segment".utf8), to: folder.path(start))
      }
      let puller = folder.puller()
      _ = try await puller.survey()
      let count = puller.readByteCount
      #expect(try await puller.survey().cursors == PeerCursors([peer(1): 9]))
      #expect(puller.readByteCount == count)
    }
  }

  @Test func entriesLargerThanAPieceAreReadAsTheyGrow() async throws {
    try await withFolder { folder in
      let texts = [10, 300_000, 5, 70_000, 200_000].map { String(repeating: "t", count: $0) }
      let all = texts.enumerated().map { note($1, at: UInt64($0)) }
      let bytes = try segment(all)
      let ends = try SpindleOpLogTests.ends(all, header())
      let puller = folder.puller()
      try Files.createDirectory("\(folder.root)/\(peer(1))")
      for end in [ends[1], ends[1] + 100_000, ends[2] + 3, ends[4] + 100_000, ends[5]] {
        try writeFile(Array(bytes[..<end]), to: folder.path(0))
        let whole = ends.filter { $0 <= end }.count - 1
        #expect(try await puller.cursor(of: peer(1)) == UInt64(whole))
        let (entries, error) = try await folder.readAll(puller)
        #expect(entries == Array(all[..<whole]) && error == nil)
        #expect(try await folder.puller().cursor(of: peer(1)) == UInt64(whole))
      }
      // Zeros in place of what was not written are an end; anything else is damage.
      let torn = Array(bytes[..<(ends[3] + 10)]) + Array(repeating: 0, count: 300_000)
      try writeFile(torn, to: folder.path(0))
      let other = folder.puller()
      #expect(try await other.survey().failures.isEmpty)
      #expect(try await other.cursor(of: peer(1)) == 3)
      try writeFile(torn + [1], to: folder.path(0))
      #expect(try await other.survey().failures[peer(1)]?.reason == "corrupt_segment")
    }
  }

  @Test func theLimitHoldsForWritersAndReaders() async throws {
    try await withFolder { folder in
      folder.settings.rotationByteCount = 1_000
      folder.settings.segmentByteLimit = 5_000
      let large = [(index: UInt64(0), entry: note(String(repeating: "x", count: 6_000)))]
      do {
        let sink = try await folder.sink()
        await expectError(.invalidArgument, reason: "segment_limit") { try await sink.write(large) }
        #expect(try await sink.position().next == 0)
        try sink.close()
      }
      var other = folder
      other.settings.segmentByteLimit = 10_000
      try await other.sink().write(large)
      #expect(try await other.puller().cursor(of: peer(1)) == 1)
      #expect(try await folder.puller().survey().failures[peer(1)]?.kind == .corruption)
    }
  }
}
