import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// Files that are damaged, and names and bytes that no sink wrote.
@Suite(.temporaryDirectory) struct FileLogDamageTests {
  private func withFolder(_ body: (inout FileLogPlace) async throws -> Void) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        var folder = try FileLogPlace(store: store)
        try await body(&folder)
      }
    }
  }

  private func processor(
    _ store: Store, _ selfID: PeerID
  ) async throws -> Processor<KeepingReducer, Tracker> {
    try await Processor(
      reducer: KeepingReducer(), store: store, prefix: "copy", selfID: selfID)
  }

  // MARK: Readers

  @Test func noNameAndNoHeaderLeadsBehindTheLastIndex() async throws {
    try await withFolder { folder in
      try await folder.sink().write(indexed(0..<3))
      let puller = folder.puller()
      try writeFile([1, 2, 3, 4], to: folder.path(.max))
      #expect(try await puller.survey().failures.isEmpty)
      #expect(try await puller.cursors() == PeerCursors([peer(1): 3]))
      #expect(try await puller.readSince(peer: peer(1), from: .max).isEmpty)
      let last = try segment([DecodedEntry<Note>](), header(start: .max))
      #expect(throws: CodecError.indexOverflow) { try decode(last, as: Note.self) }
      // The last index that an entry can have, and damage behind it.
      let end = try segment(notes(0..<1), header(start: .max - 1))
      try writeFile(end + [1, 2, 3], to: folder.path(.max - 1))
      #expect(try await puller.cursor(of: peer(1)) == .max)
      await expectError(.corruption, reason: "corrupt_segment") {
        _ = try await puller.readSince(peer: peer(1), from: .max)
      }
    }
  }

  /// Opening a pipe waits for whoever is at its other end: a thread of the store, for ever.
  @Test func pipesUnderTheNamesOfSmallFilesAreErrors() async throws {
    try await withFolder { folder in
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<3))
      try sink.close()
      let (mark, word) = (folder.mark(), "\(folder.root)/\(peer(1))/cursors")
      try Files.remove(mark)
      var ends: [Int32] = []
      defer { for end in ends { close(end) } }
      for path in [mark, word] {
        try #require(unsafe mkfifo(path, 0o600) == 0)
        // The other end, so that a reader that waits is found to have read, and does not hang.
        let end = unsafe open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC)
        try #require(end >= 0)
        ends.append(end)
      }
      let puller = folder.puller()
      #expect(try await puller.acknowledgements().isEmpty)
      let survey = try await puller.survey()
      let failure = try #require(survey.failures[peer(1)])
      #expect(failure.kind == .io)
      #expect(failure.path == word || failure.path == mark)
      let place = folder
      let message = await expectError(.io) { _ = try await place.sink() }
      #expect(message.contains(mark))
    }
  }

  @Test func foldersOfAnyNamesAndContentsNeverTrap() async throws {
    try await withFolder { folder in
      var random = SeededGenerator(seed: 11)
      let starts: [UInt64] = [0, 1, 4, 9, .max - 1, .max]
      let place = folder
      for _ in 0..<150 {
        try Files.createDirectory("\(folder.root)/\(peer(1))")
        for name in try folder.names() { try Files.remove("\(folder.root)/\(peer(1))/\(name)") }
        for _ in 0..<Int.random(in: 1..<4, using: &random) {
          let start = starts[Int.random(in: 0..<starts.count, using: &random)]
          var bytes = try segment(notes(0..<6), header(start: min(start, .max - 7)))
          if start == .max - 1 { bytes = try segment(notes(0..<1), header(start: start)) }
          for _ in 0..<Int.random(in: 0..<3, using: &random) {
            let offset = Int.random(in: 0..<bytes.count, using: &random)
            bytes[offset] = UInt8(truncatingIfNeeded: random.next())
          }
          if random.next() % 3 == 0 { bytes.removeLast(Int(random.next() % 40)) }
          try writeFile(bytes, to: folder.path(start))
        }
        if random.next() % 2 == 0 {
          var mark = AcknowledgedMark(
            next: starts[Int(random.next() % 6)], start: starts[Int(random.next() % 6)],
            byteCount: random.next() >> (random.next() % 64)
          ).encoded
          if random.next() % 4 == 0 { mark[3] ^= 1 }
          try writeFile(mark, to: folder.mark())
        } else {
          try Files.remove(folder.mark())
        }
        let puller = folder.puller()
        let next = try await puller.survey().cursors[peer(1)]
        for index in starts + [next, next &+ 1] {
          _ = try? await puller.readSince(peer: peer(1), from: index)
        }
        if let sink = try? await place.sink() { try? sink.close() }
      }
    }
  }

  @Test func damageBelowTheCursorOfATargetIsTold() async throws {
    try await withFolder { folder in
      folder.settings.rotationEntryCount = 5
      try await folder.sink().write(indexed(0..<9))
      try await folder.sink(peer(2)).write(indexed(0..<2))
      let target = try await processor(folder.store, peer(7))
      let driver = PullDriver(from: folder.puller(), into: target)
      #expect(try await driver.run().newCount == 11)
      #expect(try await driver.run().peers.isEmpty)
      let whole = try Files.read(folder.path(5))
      var damaged = whole
      damaged[try ends(notes(5..<7), header(start: 5))[2] + 3] ^= 0x40
      for bytes in [damaged, [1] + whole, nil] {
        try Files.remove(folder.path(5))
        if let bytes {
          try writeFile(bytes, to: folder.path(5))
        } else {
          // What cannot be read is no end of the log either.
          try Files.createDirectory(folder.path(5))
        }
        let report = try await driver.run()
        let error = report.peers[peer(1)]?.error as? SpindleError
        #expect(bytes == nil ? error?.kind == .io : error?.reason == "corrupt_segment")
        #expect(report.peers[peer(1)]?.next == 9 && report.peers.count == 1)
        let clock = ManualClock()
        let convergence = ConvergenceDriver(from: folder.puller(), into: target, clock: clock)
        let run = Task { try await convergence.run() }
        try await eventually { convergence.progress[peer(1)]?.pause?.error is SpindleError }
        try await eventually { convergence.progress[peer(2)] != nil }
        #expect(convergence.progress[peer(2)]?.pause == nil)
        if bytes != nil {
          // The file arrives once more.
          try writeFile(whole, to: folder.path(5))
          try await eventually {
            clock.advance(by: .seconds(1))
            return convergence.progress[peer(1)]?.pause == nil
          }
        }
        run.cancel()
        _ = await run.result
      }
      await target.close()
    }
  }

  @Test func aLengthThatWasChangedDoesNotSwallowWhatIsBehindIt() async throws {
    try await withFolder { folder in
      try await folder.sink().write(indexed(0..<9))
      let whole = try Files.read(folder.path(0))
      let offset = try ends(notes(0..<9), header())[5]
      var damaged = whole
      // Of the value: more than follows.
      damaged[offset + 3] = 0x7F
      try writeFile(damaged, to: folder.path(0))
      let puller = folder.puller()
      var (entries, error) = try await folder.readAll(puller)
      #expect(entries == notes(0..<5))
      #expect(error?.message.contains("at byte \(offset):") == true)
      #expect(try await puller.survey().failures[peer(1)]?.reason == "corrupt_segment")
      // The same bytes could be on their way where fewer are here than were acknowledged.
      try writeFile(Array(damaged.dropLast()), to: folder.path(0))
      (entries, error) = try await folder.readAll(puller)
      #expect(entries == notes(0..<5) && error == nil)
      #expect(try await puller.survey().failures.isEmpty)
      try writeFile([7], to: folder.mark())
      #expect(try await puller.survey().failures[peer(1)]?.reason == "corrupt_mark")
      #expect(try await puller.cursors() == PeerCursors([peer(1): 5]))
    }
  }

  @Test func aHalfWrittenEntryBeforeZerosHasNotArrived() async throws {
    try await withFolder { folder in
      let whole = try segment(notes(0..<3))
      let more = try segment(notes(0..<5)).dropFirst(whole.count)
      try Files.createDirectory("\(folder.root)/\(peer(1))")
      for count in 0..<more.count {
        let zeros = [UInt8](repeating: 0, count: 4096)
        try writeFile(whole + more.prefix(count) + zeros, to: folder.path(0))
        let (entries, error) = try await folder.readAll(folder.puller())
        #expect((3..<5).contains(entries.count) && error == nil)
        #expect(try await folder.puller().survey().failures.isEmpty)
        try writeFile(whole + more.prefix(count) + zeros + [1], to: folder.path(0))
        #expect(try await folder.readAll(folder.puller()).error?.reason == "corrupt_segment")
      }
    }
  }

  @Test func onlyWhatCanBeReadFencesTheOwnWriter() async throws {
    try await withFolder { folder in
      let target = try await processor(folder.store, peer(1))
      for number in 0..<4 { try await target.exec(Note("\(number)")) }
      let sink = try await folder.sink()
      #expect(try await Publisher(log: target, sink: sink).sync() == 4)
      try sink.close()
      let whole = try Files.read(folder.path(0))
      let wrong: [UInt8] = [1, 1, 1, 0, 0, 0, 0, 1]
      for (start, bytes) in [(UInt64(0), whole + wrong), (4, [1, 2, 3]), (1 << 60, [9])] {
        try writeFile(bytes, to: folder.path(start))
        let report = try await PullDriver(from: folder.puller(), into: target).run()
        #expect(report.peers[peer(1)]?.error is SpindleError)
        try await target.exec(Note("not fenced"))
        try Files.remove(folder.path(start))
        try writeFile(whole, to: folder.path(0))
      }
      await target.close()
    }
  }

  @Test func aFileBeyondTheLimitOfASegmentIsNotRead() async throws {
    try await withFolder { folder in
      try await folder.sink().write(indexed(0..<9))
      #expect(unsafe truncate(folder.path(0), off_t(SegmentState.byteLimit) + 1) == 0)
      let error = try await folder.readAll(folder.puller()).error
      #expect(error?.reason == "corrupt_segment")
      #expect(error?.message.contains("has 1073741825 bytes") == true)
    }
  }

  // MARK: Writers

  @Test func noEntryIsWrittenBeyondTheLimitOfASegment() throws {
    var full = try SegmentEncoder<Note>(magic: testMagic, header: header())
    try full.append(note("0"))
    let entry = note(String(repeating: "x", count: 1_000))
    var state = full.state
    var room = SegmentEncoder<Note>(continuing: state)
    try room.append(entry)
    let count = room.pendingByteCount
    state.byteCount = SegmentState.byteLimit - count
    var encoder = SegmentEncoder<Note>(continuing: state)
    try encoder.append(entry)
    #expect(encoder.state.byteCount == SegmentState.byteLimit)
    #expect(throws: CodecError.segmentTooLarge) { try encoder.append(entry) }
    #expect(encoder.state.next == state.next + 1 && encoder.pendingByteCount == count)
    state.byteCount += 1
    encoder = SegmentEncoder<Note>(continuing: state)
    #expect(throws: CodecError.segmentTooLarge) { try encoder.append(entry) }
    #expect(encoder.state == state && encoder.pendingByteCount == 0)
  }

  @Test(arguments: [0, 9])
  func aSinkGoesOnWhenAllThatLeadsToItsFilesIsSynced(count: Int) async throws {
    try await withFolder { folder in
      let sink = try await folder.sink()
      try await sink.write(indexed(0..<count))
      try sink.close()
      let paths = Mutex<[String]>([])
      folder.settings.hooks.beforeSync = { path in paths.withLock { $0.append(path) } }
      try await folder.sink().close()
      let directories = [
        "\(folder.root)/\(peer(1))", folder.root, Files.directory(of: folder.root),
      ]
      let wanted = (count > 0 ? [folder.path(0)] : []) + directories
      #expect(paths.withLock { $0 } == wanted)
      // Without any of them it does not.
      for path in wanted {
        folder.settings.hooks.beforeSync = { if $0 == path { throw TrapError() } }
        let place = folder
        await #expect(throws: TrapError.self) { _ = try await place.sink() }
      }
    }
  }

  @Test func aMarkThatIsBehindLetsNothingBeCutThatIsNotTorn() async throws {
    try await withFolder { folder in
      var sink = try await folder.sink()
      try await sink.write(indexed(0..<5))
      let mark = try Files.read(folder.mark())
      try await sink.write(indexed(5..<9))
      try sink.close()
      let whole = try Files.read(folder.path(0))
      let place = folder
      var damaged = whole
      damaged[try ends(notes(0..<9), header())[7] + 5] ^= 1
      let newer = try segment(
        notes(0..<7) + [
          .logEntry(
            LogEntry(serverUser: nil, timestamp: Timestamp(packed: 9), op: Note("", tag: 9)))
        ])
      for (bytes, kind) in [
        (damaged, SpindleError.Kind.corruption), (newer, .unsupportedFormat),
      ] {
        try writeFile(bytes, to: folder.path(0))
        try writeFile(mark, to: folder.mark())
        await expectError(kind, reason: "corrupt_segment") { _ = try await place.sink() }
        #expect(try Files.read(folder.path(0)) == bytes)
      }
      // A segment of which not even the beginning is there is set aside.
      try writeFile(whole, to: folder.path(0))
      try writeFile(Array(whole.prefix(20)), to: folder.path(9))
      sink = try await folder.sink()
      #expect(try await sink.position().next == 9)
      #expect(try Files.read(folder.path(9) + ".torn") == Array(whole.prefix(20)))
      try sink.close()
    }
  }
}
