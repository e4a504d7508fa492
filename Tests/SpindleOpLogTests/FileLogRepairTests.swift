import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// What a writer finds wrong with its own files is written once more from its op-log.
@Suite(.temporaryDirectory) struct FileLogRepairTests {
  private static let count: UInt64 = 23

  /// An op-log of 23 entries, published in segments of five.
  private func withLog(
    _ body: (StoredLog, inout FileLogPlace, FileLogSink<Note>) async throws -> Void
  ) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        for number in 0..<Self.count { try await log.exec("\(number)") }
        var folder = try FileLogPlace(store: store)
        folder.settings.rotationEntryCount = 5
        let sink = try await folder.sink()
        #expect(try await Publisher(log: log, sink: sink).sync() == 23)
        try await body(log, &folder, sink)
        try? sink.close()
        await log.processor.close()
      }
    }
  }

  private func mending(
    _ log: StoredLog, _ folder: FileLogPlace
  ) async throws -> FileLogSink<Note> {
    try await FileLogSink(
      root: folder.root, settings: folder.settings, store: folder.store, repairingFrom: log)
  }

  private func texts(_ folder: FileLogPlace, from start: UInt64 = 0) async throws -> [String] {
    let (entries, error) = try await folder.readAll(folder.puller(), from: start)
    #expect(error == nil)
    return texts(entries)
  }

  private func texts(_ entries: [DecodedEntry<Note>]) -> [String] {
    entries.map { entry in
      guard case .logEntry(let entry) = entry else { return "expunged" }
      return String(decoding: entry.op.value ?? [], as: UTF8.self)
    }
  }

  private func indices(_ capture: LogCapture, _ level: String) -> [String?] {
    capture.all().filter { "\($0.level)" == level }.map(\.facts["spindle.indices"])
  }

  private func numbers(_ range: Range<UInt64>) -> [String] { range.map(String.init) }

  private func all(_ folder: FileLogPlace) throws -> [String: [UInt8]] {
    let directory = "\(folder.root)/\(peer(1))"
    return try Files.names(in: directory).reduce(into: [:]) {
      $0[$1] = try Files.read("\(directory)/\($1)")
    }
  }

  private func put(_ files: [String: [UInt8]], in folder: FileLogPlace) throws {
    let directory = "\(folder.root)/\(peer(1))"
    for name in try Files.names(in: directory) where name != "lock" {
      try Files.remove("\(directory)/\(name)")
    }
    for (name, bytes) in files where name != "lock" {
      try writeFile(bytes, to: "\(directory)/\(name)")
    }
  }

  enum Harm: CaseIterable {
    case firstGone, middleGone, twoGone, lastGone, allGone, content, header, cut, tail, last
    case lastCut, mark, empty, otherName, overlap, unreadableName

    func apply(_ folder: FileLogPlace) throws {
      func change(_ start: UInt64, _ body: (inout [UInt8]) throws -> Void) throws {
        var bytes = try Files.read(folder.path(start))
        try body(&bytes)
        try Files.remove(folder.path(start))
        try writeFile(bytes, to: folder.path(start))
      }
      switch self {
      case .firstGone: try Files.remove(folder.path(0))
      case .middleGone: try Files.remove(folder.path(10))
      case .twoGone:
        try Files.remove(folder.path(5))
        try Files.remove(folder.path(10))
      case .lastGone: try Files.remove(folder.path(20))
      case .allGone:
        for start: UInt64 in [0, 5, 10, 15, 20] { try Files.remove(folder.path(start)) }
      case .content: try change(10) { $0[$0.count - 20] ^= 0x10 }
      case .header: try change(10) { $0[12] ^= 0x10 }
      case .cut: try change(10) { $0.removeLast(9) }
      case .tail: try change(10) { $0 += [1, 2, 3] }
      case .last: try change(20) { $0[$0.count - 20] ^= 0x10 }
      case .lastCut: try change(20) { $0.removeLast(9) }
      case .mark: try writeFile([1, 2, 3], to: folder.mark())
      case .empty: try change(5) { $0 = [] }
      case .otherName: try change(10) { $0 = try Files.read(folder.path(15)) }
      case .overlap:
        try writeFile(try overlapping(), to: folder.path(12))
      case .unreadableName: try writeFile([9, 9, 9, 9, 9], to: folder.path(1 << 60))
      }
    }

    private func overlapping() throws -> [UInt8] {
      let header = SegmentHeader(
        mode: .device, peer: peer(1), start: 12, head: .seed(of: peer(1)))
      return try segment(notes(12..<14), header)
    }

    var republished: [Range<UInt64>] {
      switch self {
      case .firstGone: [0..<5]
      case .middleGone, .header, .otherName: [10..<15]
      case .twoGone: [5..<15]
      case .lastGone: [20..<23]
      case .allGone: [0..<23]
      case .content: [13..<15]
      case .cut: [14..<15]
      case .last: [21..<23]
      case .lastCut: [22..<23]
      case .empty: [5..<10]
      case .tail, .mark, .overlap, .unreadableName: []
      }
    }

    var setAside: [String] {
      switch self {
      case .firstGone, .middleGone, .twoGone, .lastGone, .allGone: []
      case .content, .header, .cut, .tail, .otherName: ["00000000000000000010.seg.damaged"]
      case .last, .lastCut: ["00000000000000000020.seg.damaged"]
      case .mark: ["acknowledged.damaged"]
      case .empty: ["00000000000000000005.seg.damaged"]
      case .overlap: ["00000000000000000012.seg.damaged"]
      case .unreadableName: ["01152921504606846976.seg.damaged"]
      }
    }
  }

  /// What a lower limit refuses is none the worse.
  @Test(arguments: [false, true])
  func segmentsAboveALoweredLimitAreLeftAlone(isLast: Bool) async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        try await log.exec("first")
        try await log.exec(String(repeating: "x", count: 6_000))
        if !isLast { for number in 0..<9 { try await log.exec("\(number)") } }
        var folder = try FileLogPlace(store: store)
        folder.settings.rotationByteCount = 1_000
        folder.settings.rotationEntryCount = 5
        folder.settings.segmentByteLimit = 10_000
        let sink = try await folder.sink()
        _ = try await Publisher(log: log, sink: sink).sync()
        try sink.close()
        let before = try all(folder)
        folder.settings.segmentByteLimit = 5_000
        // Where the last one is too large, there is no telling where to go on.
        if isLast {
          await expectError(.corruption, reason: "corrupt_segment") {
            _ = try await mending(log, folder)
          }
        } else {
          let again = try await mending(log, folder)
          let repair = try await again.repair(from: log)
          #expect(repair.setAside.isEmpty && repair.republished.isEmpty && repair.lost.isEmpty)
          #expect(repair.unreadable.map(\.reason) == ["corrupt_segment"])
          try again.close()
        }
        #expect(try all(folder) == before)
        folder.settings.segmentByteLimit = 10_000
        let last = try await mending(log, folder)
        #expect(try await last.repair(from: log).isSound)
        #expect(try await texts(folder).count == (isLast ? 2 : 11))
        try last.close()
        await log.processor.close()
      }
    }
  }

  @Test(arguments: Harm.allCases, [false, true])
  func ownFilesAreMendedFromTheOpLog(harm: Harm, isOpen: Bool) async throws {
    try await withLog { log, folder, first in
      var sink = first
      if !isOpen { try sink.close() }
      try harm.apply(folder)
      let harmed = try all(folder)
      let follower = folder.puller()
      _ = try? await follower.readSince(peer: peer(1), from: 10)
      let publisher: Publisher<Note>
      if isOpen {
        publisher = try Publisher(log: log, sink: sink)
        let repair = try await publisher.repair()
        #expect(repair.republished == harm.republished && repair.lost == [])
        #expect(repair.setAside == harm.setAside.map { "\(folder.root)/\(peer(1))/\($0)" })
      } else {
        sink = try await mending(log, folder)
        publisher = try Publisher(log: log, sink: sink)
      }
      #expect(try await texts(folder) == numbers(0..<23))
      // One who had read the old files goes on with the new ones.
      let (followed, error) = try await folder.readAll(follower)
      #expect(texts(followed) == numbers(0..<23) && error == nil)
      #expect(try await folder.puller().survey().failures.isEmpty)
      #expect(try await publisher.repair().isSound)
      let files = try all(folder)
      for name in harm.setAside {
        #expect(files[name] == harmed[String(name.dropLast(".damaged".count))])
      }
      try await log.exec("23")
      #expect(try await publisher.sync() == 1)
      #expect(
        try await sink.position().head == log.processor.chainHead(of: peer(1), before: 24))
      try sink.close()
      let strict = try await folder.sink()
      #expect(try await strict.position().next == 24)
      try strict.close()
    }
  }

  @Test func theFirstSyncLooksThroughTheFiles() async throws {
    try await withLog { log, folder, sink in
      try sink.close()
      try Files.remove(folder.path(10))
      let capture = LogCapture()
      folder.settings.logger = capture.logger
      let again = try await folder.sink()
      #expect(try await Publisher(log: log, sink: again).sync() == 0)
      #expect(try await texts(folder) == numbers(0..<23))
      #expect(indices(capture, "warning") == ["10..<15"])
      try again.close()
    }
  }

  @Test func aStopAtAnyStepIsMadeGoodByTheNextRepair() async throws {
    try await withLog { log, folder, sink in
      try sink.close()
      log.pageLimit.store(2, ordering: .relaxed)
      let whole = try all(folder)
      func harm(_ folder: FileLogPlace) throws {
        try put(whole, in: folder)
        try Files.remove(folder.path(0))
        try Harm.content.apply(folder)
        var bytes = try Files.read(folder.path(15))
        bytes[13] ^= 1
        try writeFile(bytes, to: folder.path(15))
        try Harm.lastCut.apply(folder)
      }
      // Learns the steps, then stops behind each of them.
      let steps = Mutex<[String]>([])
      folder.settings.hooks.afterRepairStep = { step in steps.withLock { $0.append(step) } }
      try harm(folder)
      try await mending(log, folder).close()
      let count = steps.withLock { $0.count }
      #expect(
        steps.withLock { Set($0) }
          == ["examined", "moved", "copied", "replaced", "page", "marked"])
      for stop in 1...count {
        try harm(folder)
        let seen = Atomic(0)
        var stopping = folder
        stopping.settings.hooks.afterRepairStep = { _ in
          if seen.add(1, ordering: .relaxed).newValue == stop { throw TrapError() }
        }
        let place = stopping
        await #expect(throws: TrapError.self) { _ = try await mending(log, place) }
        // Whoever reads now finds entries that are right, or none, or is told of damage.
        for start in 0..<Self.count {
          let (entries, _) = try await folder.readAll(folder.puller(), from: start)
          #expect(texts(entries) == Array(numbers(start..<Self.count).prefix(entries.count)))
        }
        folder.settings.hooks = FileLogHooks()
        let sink = try await mending(log, folder)
        #expect(try await texts(folder) == numbers(0..<23), "stopped after step \(stop)")
        #expect(try await sink.repair(from: log).isSound)
        #expect(
          try await sink.position().head == log.processor.chainHead(of: peer(1), before: 23))
        try sink.close()
        let aside = try all(folder).keys.filter { $0.contains(".damaged") }
        #expect(aside.count == 3, "\(aside)")
      }
    }
  }

  @Test func readersFollowWhileFilesAreMended() async throws {
    try await withLog { log, folder, sink in
      log.pageLimit.store(1, ordering: .relaxed)
      let place = folder
      let isDone = Atomic(false)
      let reader = Task {
        let puller = place.puller()
        var rounds = 0
        while !isDone.load(ordering: .relaxed) || rounds == 0 {
          let (entries, error) = try await place.readAll(puller)
          #expect(texts(entries) == Array(numbers(0..<Self.count).prefix(entries.count)))
          #expect(error == nil || error?.reason == "corrupt_segment")
          rounds += 1
        }
      }
      let publisher = try Publisher(log: log, sink: sink)
      for harm in Harm.allCases + Harm.allCases where harm != .otherName && harm != .overlap {
        try harm.apply(folder)
        try await publisher.repair()
      }
      isDone.store(true, ordering: .relaxed)
      try await reader.value
      #expect(try await texts(folder) == numbers(0..<23))
    }
  }

  // MARK: Trimmed op-logs

  @Test func whatTheOpLogWasTrimmedBelowIsToldAndStaysMissing() async throws {
    try await withLog { log, folder, sink in
      let capture = LogCapture()
      try sink.close()
      try Files.remove(folder.path(5))
      try Harm.content.apply(folder)
      var bytes = try Files.read(folder.path(15))
      bytes[try ends(bytes, of: 17, from: 15)] ^= 1
      try writeFile(bytes, to: folder.path(15))
      _ = try await log.processor.tracker.trim(below: PeerCursors([peer(1): 18]), forced: true)
      folder.settings.logger = capture.logger
      let again = try await mending(log, folder)
      #expect(
        indices(capture, "error")
          == ["5..<10", "13..<15", "17..<18"])
      let publisher = try Publisher(log: log, sink: again)
      let repair = try await publisher.repair()
      #expect(repair.lost == [5..<10, 13..<15, 17..<18] && repair.republished == [])
      // What is left of the damaged segments is read; behind it there is nothing.
      for (start, end) in [(UInt64(0), UInt64(5)), (10, 13), (15, 17), (18, 23)] {
        #expect(try await texts(folder, from: start) == numbers(start..<end))
      }
      let reader = try await Processor<KeepingReducer, Tracker>(
        reducer: KeepingReducer(), store: folder.store, prefix: "copy", selfID: peer(7))
      let pull = try await PullDriver(from: folder.puller(), into: reader).run()
      #expect(pull.peers[peer(1)]?.next == 5 && pull.peers[peer(1)]?.lacksHistory == true)
      await reader.close()
      try await log.exec("23")
      #expect(try await publisher.sync() == 1)
      try again.close()
    }
  }

  /// Where an entry of a segment begins.
  private func ends(_ bytes: [UInt8], of index: UInt64, from start: UInt64) throws -> Int {
    var decoder = try #require(try SegmentDecoder<Note>(bytes, magic: testMagic))
    for _ in start..<index { _ = try decoder.next() }
    return decoder.state.byteCount
  }

  @Test(arguments: [UInt64(21), 23])
  func anEndThatIsGoneEverywhereIsGivenUp(floor: UInt64) async throws {
    try await withLog { log, folder, sink in
      try sink.close()
      try Files.remove(folder.path(20))
      _ = try await log.processor.tracker.trim(
        below: PeerCursors([peer(1): floor]), forced: true)
      let again = try await mending(log, folder)
      #expect(try await again.position().next == (floor == 23 ? 20 : 23))
      try await log.exec("23")
      #expect(try await Publisher(log: log, sink: again).sync() == 1)
      #expect(try await texts(folder, from: floor) == numbers(floor..<24))
      #expect(try await texts(folder) == numbers(0..<20))
      #expect(try await again.repair(from: log).lost == [20..<floor])
      try again.close()
      try await folder.sink().close()
    }
  }

  @Test func aTrimmedLogIsPublishedFromItsFloor() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        let tracker = log.processor.tracker
        for number in 0..<4 { try await log.exec("\(number)") }
        // A snapshot of what is trimmed afterwards.
        let snapshot = place.path + ".snapshot"
        try await tracker.export(to: snapshot, contents: .state)
        for number in 4..<9 { try await log.exec("\(number)") }
        _ = try await tracker.trim(below: PeerCursors([peer(1): 4]), forced: true)
        var folder = try FileLogPlace(store: store)
        let capture = LogCapture()
        folder.settings.logger = capture.logger
        let sink = try await folder.sink()
        let publisher = try Publisher(log: log, sink: sink)
        #expect(try await publisher.sync() == 5)
        #expect(try folder.names().map { UInt64($0.prefix(20)) } == [4])
        #expect(try await texts(folder, from: 4) == numbers(4..<9))
        let decoded = try decode(try Files.read(folder.path(4)), as: Note.self)
        #expect(decoded?.state.header.head == (try await tracker.chainHead(of: peer(1), before: 4)))

        // Who starts with the snapshot follows; who starts with nothing is told why it cannot.
        try await OpLogArchive(path: snapshot, store: store).install(prefix: "copy")
        let copy = try await Processor<KeepingReducer, Tracker>(
          reducer: KeepingReducer(), store: store, prefix: "copy", selfID: peer(7))
        #expect(try await PullDriver(from: folder.puller(), into: copy).run().newCount == 5)
        #expect(
          try await copy.tracker.position(of: peer(1)) == tracker.position(of: peer(1)))
        let empty = try await Processor<KeepingReducer, Tracker>(
          reducer: KeepingReducer(), store: store, prefix: "empty", selfID: peer(8))
        let driver = ConvergenceDriver(from: folder.puller(), into: empty, clock: ManualClock())
        let run = Task { try await driver.run() }
        try await eventually { driver.progress[peer(1)]?.pause?.reason == "missing_history" }
        run.cancel()
        _ = await run.result
        #expect(empty.cursor(of: peer(1)) == 0)

        // Files that fell behind the floor go on there, too.
        #expect(indices(capture, "error").isEmpty)
        for number in 9..<15 { try await log.exec("\(number)") }
        _ = try await tracker.trim(below: PeerCursors([peer(1): 12]), forced: true)
        #expect(try await publisher.sync() == 3)
        #expect(indices(capture, "error") == ["9..<12"])
        #expect(try folder.names().map { UInt64($0.prefix(20)) } == [4, 12])
        let pull = try await PullDriver(from: folder.puller(), into: copy).run()
        #expect(pull.peers[peer(1)]?.lacksHistory == true && copy.cursor(of: peer(1)) == 9)
        try sink.close()
        let again = try await folder.sink()
        try await log.exec("15")
        #expect(try await Publisher(log: log, sink: again).sync() == 1)
        #expect(try await texts(folder, from: 12) == numbers(12..<16))
        try again.close()
        for log in [log.processor, copy, empty] { await log.close() }
      }
    }
  }

  @Test func aLogThatWasTrimmedWhollyIsPublishedFromItsNextEntry() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        for number in 0..<4 { try await log.exec("\(number)") }
        _ = try await log.processor.tracker.trim(
          below: PeerCursors([peer(1): 4]), forced: true)
        let folder = try FileLogPlace(store: store)
        let sink = try await folder.sink()
        let publisher = try Publisher(log: log, sink: sink)
        #expect(try await publisher.sync() == 0)
        #expect(try folder.names() == [])
        try await log.exec("4")
        #expect(try await publisher.sync() == 1)
        #expect(try await texts(folder, from: 4) == ["4"])
        #expect(
          try await sink.position().head == log.processor.chainHead(of: peer(1), before: 5))
        #expect(try await publisher.repair().isSound)
        try sink.close()
        await log.processor.close()
      }
    }
  }

  // MARK: What is not mended

  @Test func filesWithAnotherHistoryAreLeftAlone() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let log = try await StoredLog(store)
        for number in 0..<7 { try await log.exec("\(number)") }
        var folder = try FileLogPlace(store: store)
        folder.settings.rotationEntryCount = 3
        let sink = try await folder.sink()
        try await sink.write(indexed(0..<7))
        let publisher = try Publisher(log: log, sink: sink)
        try Files.remove(folder.path(3))
        var before = try all(folder)
        await expectError(.conflict, reason: "chain_mismatch") { try await publisher.repair() }
        await expectError(.conflict, reason: "chain_mismatch") { _ = try await publisher.sync() }
        #expect(try all(folder) == before)
        try sink.close()
        // It opens, so that others can be pulled from the folder, and does not publish.
        let again = try await mending(log, folder)
        await expectError(.conflict, reason: "chain_mismatch") {
          _ = try await Publisher(log: log, sink: again).sync()
        }
        #expect(try all(folder) == before)
        try again.close()
        // More than the op-log has.
        var other = try FileLogPlace(store: store, root: folder.root + "-ahead")
        other.settings.rotationEntryCount = 3
        let longer = try await other.sink()
        try await longer.write(indexed(0..<9))
        try Files.remove(other.path(0))
        before = try all(other)
        await expectError(.conflict, reason: "fenced") {
          try await Publisher(log: log, sink: longer).repair()
        }
        #expect(log.fence.withLock { $0 } == 9)
        try longer.close()
        let fenced = try await mending(log, other)
        await expectError(.conflict, reason: "fenced") {
          _ = try await Publisher(log: log, sink: fenced).sync()
        }
        #expect(try all(other) == before)
        try fenced.close()
        await log.processor.close()
      }
    }
  }

  @Test func filesOfANewerVersionAndFilesThatCannotBeReadAreLeftAlone() async throws {
    try await withLog { log, folder, sink in
      var bytes = try Files.read(folder.path(10))
      bytes[5] = 9
      try writeFile(bytes, to: folder.path(10))
      try Files.remove(folder.path(5))
      try Files.createDirectory(folder.path(5))
      let repair = try await Publisher(log: log, sink: sink).repair()
      #expect(repair.unreadable.map(\.kind) == [.io, .unsupportedFormat])
      #expect(repair.republished == [] && repair.setAside == [] && !repair.isSound)
      #expect(try Files.read(folder.path(10)) == bytes)
      try await log.exec("23")
      #expect(try await Publisher(log: log, sink: sink).sync() == 1)
    }
  }

  /// The first rows are in no chain, so the op-log's heads are not those of the files.
  @Test func aLogWhoseChainBeganLateIsMended() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for index: UInt64 in 0..<3 {
          try await tracker.add(store, peer(1), index, Note("\(index)"))
        }
        let log = try await StoredLog(store)
        for number in 3..<12 { try await log.exec("\(number)") }
        var folder = try FileLogPlace(store: store)
        folder.settings.rotationEntryCount = 4
        let sink = try await folder.sink()
        let publisher = try Publisher(log: log, sink: sink)
        #expect(try await publisher.sync() == 12)
        let head = try await sink.position().head
        try Files.remove(folder.path(4))
        #expect(try await publisher.repair().republished == [4..<8])
        #expect(try await texts(folder) == numbers(0..<12))
        #expect(try await sink.position().head == head)
        _ = try await tracker.trim(below: PeerCursors([peer(1): 5]), forced: true)
        try Files.remove(folder.path(4))
        #expect(try await publisher.repair().republished == [5..<8])
        #expect(try await texts(folder, from: 5) == numbers(5..<12))
        try sink.close()
        await log.processor.close()
      }
    }
  }
}
