import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

/// A replica without state: applies entries in order, as rows.
private final class PlainReplica: LogProcessor {
  typealias Op = Note
  let store: Store
  let tracker: Tracker
  /// How many entries it takes before it fails.
  let limit: UInt64
  /// Runs when it is asked for a cursor.
  let onCursor = Mutex<(@Sendable () throws -> Void)?>(nil)

  init(_ store: Store, prefix: String, limit: UInt64 = .max) async throws {
    self.store = store
    self.limit = limit
    tracker = try await Tracker(store: store, prefix: prefix)
  }

  func cursors() async throws -> PeerCursors { try await tracker.allCursors() }
  func cursor(of peer: PeerID) async throws -> UInt64 {
    try onCursor.withLock { $0 }?()
    return try await tracker.cursor(of: peer)
  }
  func watchCursors() -> CursorWatch { CursorBoard(PeerCursors()).watch() }

  func apply(
    peer: PeerID, index: UInt64, entry: DecodedEntry<Note>
  ) async throws -> Applied {
    let position = try await tracker.position(of: peer)
    guard index >= position.next else { return Applied(new: false) }
    guard index == position.next else {
      throw SyncError.cursorMismatch(peer: peer, expected: position.next, actual: index)
    }
    guard index < limit else { throw SyncError.backend(SpindleError(.io, "stopped by the test")) }
    var batch = Batch()
    switch entry {
    case .expunged(let hash):
      _ = try tracker.trackExpunged(
        peer: peer, index: index, hash: hash, following: position.head, into: &batch)
    case .logEntry(let entry):
      _ = try tracker.trackOne(
        peer: peer, index: index, timestamp: entry.timestamp, serverUser: entry.serverUser,
        op: entry.op, following: position.head, into: &batch)
    }
    try await store.commit(batch, durability: .buffered)
    return Applied(new: true)
  }
}

@Suite struct ArchiveTests {
  /// A log of three peers with markers, a floor, rows without chains, and some state.
  private func fill(_ store: Store, trims: Bool = true) async throws -> Tracker {
    let tracker = try await Tracker(
      store: store, prefix: "app", settings: OpLogSettings(indexes: .all))
    for peer in [zeroPeer, peer(1), lastPeer] {
      try await addChained(store, tracker, peer, 0..<12)
    }
    try await tracker.add(store, peer(2), 0)
    try await addChained(store, tracker, peer(2), 1..<9)
    try await addChained(store, tracker, zeroPeer, 12..<14)
    try await tracker.expunge(peer: peer(1), index: 7)
    if trims {
      _ = try await tracker.trim(
        below: PeerCursors([zeroPeer: 14, lastPeer: 5]), forced: true)
    }
    var batch = Batch()
    for number in 0..<UInt8(50) {
      batch.put(tracker.dataFamily, key: [number], value: Array(repeating: number, count: 100))
    }
    try await store.commit(batch, durability: .buffered)
    return tracker
  }

  private func rows(_ tracker: Tracker) async throws -> [PeerID: [IndexedOpLogRow]] {
    var rows: [PeerID: [IndexedOpLogRow]] = [:]
    for (peer, _) in try await tracker.allCursors().sorted {
      let floor = try await tracker.floor(of: peer)
      rows[peer] = try await tracker.readRows(peer: peer, from: floor, limit: .max)
    }
    return rows
  }

  func content(_ store: Store, _ family: StoreFamily) throws -> [[UInt8]: [UInt8]] {
    var pairs: [[UInt8]: [UInt8]] = [:]
    try store.scan(family) { key, value in
      pairs[copyBytes(key)] = copyBytes(value)
      return true
    }
    return pairs
  }

  @Test("O-95: an export put into an empty store gives the same rows, cursors and state")
  func anInstalledExportIsTheSameLog() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        let source = try await fill(store)
        let manifest = try await source.export(to: file)
        #expect(try await OpLogArchive(path: file, store: store).verify() == manifest)
        #expect(try await source.allCursors() == manifest.cursors)
        #expect(manifest.rows == 12 + 7 + 9 && manifest.stateKeys == 50)
        await expectError(.io) { try await source.export(to: file) }
      }
      let other = TestPlace(path: place.path + "2")
      try await place.withStore { store in
        let source = try await Tracker(store: store, prefix: "app")
        try await other.withStore { target in
          let archive = OpLogArchive(path: file, store: target)
          try await archive.install(prefix: "copy", indexes: .byTime)
          let copy = try await Tracker(store: target, prefix: "copy")
          #expect(try await copy.allPositions() == source.allPositions())
          #expect(try await copy.floors() == source.floors())
          #expect(try await rows(copy) == rows(source))
          #expect(
            try content(target, copy.dataFamily) == content(store, source.dataFamily))
          #expect(try await findings(target, "copy") == [])
          #expect(
            try await target.get(copy.logFamily, key: OpLogKeys.clockKey)
              == store.get(source.logFamily, key: OpLogKeys.clockKey))
          #expect(
            try await copy.found(OpLogQuery(.everything))
              == source.found(OpLogQuery(.everything)))
          await expectError(.uniqueViolation, reason: "oplog") {
            try await copy.add(target, zeroPeer, 3)
          }
          await expectError(.conflict, reason: "not_empty") {
            try await archive.install(prefix: "copy")
          }
          // The copy goes on where the original was.
          try await addChained(target, copy, zeroPeer, 14..<15)
          #expect(try await findings(target, "copy") == [])
        }
      }
    }
  }

  @Test("O-95: an import through apply is resumable and idempotent")
  func rowsAreAppliedOnceHoweverOften() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        let source = try await fill(store, trims: false)
        try await source.export(to: file, contents: .rows)
        let archive = OpLogArchive(path: file, store: store)
        let broken = try await PlainReplica(store, prefix: "copy", limit: 6)
        await #expect(throws: SyncError.self) { _ = try await archive.apply(to: broken) }
        let part = try await broken.tracker.allCursors()
        #expect(!part.isEmpty)
        #expect(try await source.allCursors() != part)

        let target = try await PlainReplica(store, prefix: "copy")
        let all = try await source.allCursors().sorted.reduce(0) { $0 + $1.next }
        let had = part.sorted.reduce(0) { $0 + $1.next }
        #expect(try await archive.apply(to: target) == all - had)
        #expect(try await archive.apply(to: target) == 0)
        #expect(try await target.tracker.allCursors() == source.allCursors())
        #expect(
          try await target.tracker.position(of: peer(1)) == source.position(of: peer(1)))
        await expectError(.invalidArgument, reason: "no_state") {
          try await archive.install(prefix: "third")
        }
      }
    }
  }

  @Test("O-95: an import through apply gives a processor the same state, clock and positions")
  func rowsAreAppliedToAProcessor() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withRegisters { (source, store) async throws in
        for number in UInt64(0)..<30 {
          try await source.exec([MaxRegisterOp("a\(number % 3)", number), MaxRegisterOp("b", 7)])
          let entry =
            number % 5 == 4
            ? .expunged(someHash) : entry("c", number * 7 % 11, at: number, user: someUser)
          _ = try await source.apply(peer: peer(1), index: number, entry: entry)
        }
        try await source.tracker.export(to: file)
        let archive = OpLogArchive(path: file, store: store)
        func target(_ prefix: String) async throws -> Registers {
          try await Registers(
            reducer: TestReducer(), store: store, prefix: prefix, selfID: peer(9))
        }
        let copy = try await target("copy")
        #expect(try await archive.apply(to: copy) == 90)
        #expect(try await archive.apply(to: copy) == 0)
        #expect(try await copy.tracker.allPositions() == source.tracker.allPositions())
        #expect(
          try content(store, copy.tracker.dataFamily) == content(store, source.tracker.dataFamily))
        #expect(try await copy.storedClock() == source.storedClock())
        #expect(try await findings(store, "copy") == [])
        await copy.close()

        // One row that is another there: what comes before it is taken, the rest of its peer not.
        let other = try await target("other")
        for index in UInt64(0)..<4 {
          let entry =
            index < 3 ? entry("c", index * 7 % 11, at: index, user: someUser) : entry("c", 9)
          _ = try await other.apply(peer: peer(1), index: index, entry: entry)
        }
        let failure = await syncError { try await archive.apply(to: other) }
        guard case .conflict(peer(1), 3) = failure else {
          Issue.record("expected a conflict, not \(String(describing: failure))")
          return
        }
        #expect(other.cursor(of: peer(1)) == 4)
        await other.close()
      }
    }
  }

  @Test func aSnapshotStartsAReplicaWhereTheSourceWasTrimmed() async throws {
    try await withPlace { place in
      let (log, state) = (place.path + ".log", place.path + ".state")
      try await place.withStore { store in
        let source = try await fill(store)
        try await source.export(to: log, contents: .rows)
        try await source.export(to: state, contents: .state)
        // The log alone does not go into an empty replica: its beginning is gone.
        let empty = try await PlainReplica(store, prefix: "empty")
        do {
          _ = try await OpLogArchive(path: log, store: store).apply(to: empty)
          Issue.record("expected an error")
        } catch SyncError.compacted(let peer, let oldest) {
          #expect(peer == zeroPeer && oldest == 14)
        }
        #expect(try await empty.tracker.allCursors().isEmpty)

        let manifest = try await OpLogArchive(path: state, store: store).install(prefix: "copy")
        #expect(manifest.rows == 0 && manifest.stateKeys == 50)
        await expectError(.invalidArgument, reason: "no_rows") {
          _ = try await OpLogArchive(path: state, store: store).apply(to: empty)
        }
        try await addChained(store, source, peer(1), 12..<14)
        let copy = try await PlainReplica(store, prefix: "copy")
        #expect(try await copy.tracker.floors() == manifest.cursors)
        for index: UInt64 in 12..<14 {
          let entry = try #require(
            try await source.readEntries(peer: peer(1), from: index, limit: 1).first
          ).1
          _ = try await copy.apply(peer: peer(1), index: index, entry: entry)
        }
        #expect(
          try await copy.tracker.position(of: peer(1)) == source.position(of: peer(1)))
        #expect(try await findings(store, "copy") == [])
      }
    }
  }

  @Test func anInterruptedInstallationIsFinishedByTheSameFileOnly() async throws {
    try await withPlace { place in
      let (file, other) = (place.path + ".export", place.path + ".other")
      try await place.withStore { store in
        let source = try await fill(store)
        let manifest = try await source.export(to: file)
        try await addChained(store, source, peer(1), 12..<13)
        try await source.export(to: other)
        let archive = OpLogArchive(path: file, store: store)
        // As a crash leaves it: the mark, a part of the rows and of the state.
        _ = try await Tracker(store: store, prefix: "copy")
        try await damage(
          store, "copy", key: OpLogKeys.installingKey, value: manifest.digest.bytes)
        let row = try #require(try await source.row(peer: peer(1), index: 0))
        try await damage(store, "copy", key: OpLogKeys.entry(peer(1), 0), value: row.encoded)
        await expectError(.unavailable, reason: "import_unfinished") {
          _ = try await Tracker(store: store, prefix: "copy")
        }
        await expectError(.unavailable, reason: "import_unfinished") {
          _ = try await ClockService(store: store, prefix: "copy")
        }
        await expectError(.conflict, reason: "not_empty") {
          try await OpLogArchive(path: other, store: store).install(prefix: "copy")
        }
        #expect(try await findings(store, "copy").contains { $0.contains("was interrupted") })
        try await archive.install(prefix: "copy")
        let copy = try await Tracker(store: store, prefix: "copy")
        #expect(try await copy.allCursors() == manifest.cursors)
        #expect(try await findings(store, "copy") == [])
      }
    }
  }

  @Test func writersGoOnWhileALogIsExported() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let source = try await fill(store)
        async let writing: Void = addChained(store, source, peer(9), 0..<200)
        var files: [String] = []
        for number in 0..<5 {
          let file = place.path + ".\(number)"
          try await source.export(to: file)
          files.append(file)
        }
        try await writing
        for file in files {
          let manifest = try await OpLogArchive(path: file, store: store).verify()
          #expect(manifest.rows >= 28)
        }
      }
    }
  }

  @Test("O-95: a damaged export is refused whole, wherever the damage is")
  func damageAnywhereIsFound() async throws {
    try await withPlace { place in
      let (file, bad) = (place.path + ".export", place.path + ".bad")
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        try await addChained(store, tracker, peer(1), 0..<4)
        var batch = Batch()
        batch.put(tracker.dataFamily, key: [1], value: [2, 3])
        try await store.commit(batch, durability: .buffered)
        try await tracker.export(to: file)
        let bytes = try Files.read(file)
        let archive = OpLogArchive(path: bad, store: store)
        func isRefused(_ bytes: [UInt8]) async throws -> Bool {
          try? Files.remove(bad)
          try Files.create(bad, parts: [bytes], sync: false)
          do {
            _ = try await archive.install(prefix: "copy")
            return false
          } catch let error as SpindleError {
            return error.kind == .corruption && error.reason == "corrupt_export"
          }
        }
        for count in 0..<bytes.count {
          #expect(try await isRefused(Array(bytes.prefix(count))), "cut at \(count)")
        }
        for index in bytes.indices {
          var flipped = bytes
          flipped[index] ^= 1 << (index % 8)
          #expect(try await isRefused(flipped), "flipped at \(index)")
        }
        // What is installed is verified before, so the other bits need no more than that.
        for index in bytes.indices {
          for bit in 0..<8 where bit != index % 8 {
            var flipped = bytes
            flipped[index] ^= 1 << bit
            try? Files.remove(bad)
            try Files.create(bad, parts: [flipped], sync: false)
            #expect(throws: SpindleError.self, "bit \(bit) of \(index)") {
              try OpLogArchive.verify(at: bad)
            }
          }
        }
        #expect(try await isRefused(bytes + [0]))
        #expect(store.existingFamily("oplog:copy") == nil)
        await expectError(.notFound) {
          _ = try await OpLogArchive(path: place.path + ".none", store: store).verify()
        }
        await expectError(.notFound) { _ = try OpLogArchive.verify(at: place.path + ".none") }
      }
    }
  }

  /// Rows 0 and 1 are in no chain, those up to 6 are; or all are, or none below the floor.
  enum Beginning: CaseIterable { case unchained, chained, unchainedBelowTheFloor, trimmedLate }

  @Test(arguments: Beginning.allCases, [OpLogArchive.Contents.everything, .state])
  func aChainThatBeganLateStaysSoInACopy(
    beginning: Beginning, contents: OpLogArchive.Contents
  ) async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        let source = try await Tracker(store: store, prefix: "app")
        if beginning != .chained {
          for index: UInt64 in 0..<2 { try await source.add(store, peer(1), index) }
        }
        if beginning == .unchainedBelowTheFloor {
          _ = try await source.trim(below: PeerCursors([peer(1): 2]), forced: true)
        }
        try await addChained(store, source, peer(1), (beginning == .chained ? 0 : 2)..<6)
        if beginning == .trimmedLate {
          _ = try await source.trim(below: PeerCursors([peer(1): 4]), forced: true)
        }
        let manifest = try await source.export(to: file, contents: contents)
        #expect(manifest.peers.map(\.startsLate) == [beginning != .chained])
        #expect(try await OpLogArchive(path: file, store: store).verify() == manifest)
        try await OpLogArchive(path: file, store: store).install(prefix: "copy")
        let copy = try await Tracker(store: store, prefix: "copy")
        // A snapshot does not tell the last entry's time.
        let (end, copied) = try await (
          source.position(of: peer(1)), copy.position(of: peer(1))
        )
        #expect(end.next == 6 && copied.next == 6 && end.head != nil && copied.head == end.head)
        for tracker in [source, copy] {
          let head = try await tracker.chainHead(of: peer(1), before: 6)
          #expect((head != nil) == (beginning == .chained))
          // Also when it goes on and is trimmed.
          try await addChained(store, tracker, peer(1), 6..<9)
          _ = try await tracker.trim(below: PeerCursors([peer(1): 8]), forced: true)
          let later = try await tracker.chainHead(of: peer(1), before: 8)
          #expect((later != nil) == (beginning == .chained))
        }
        #expect(try await findings(store, "copy") == [])
      }
    }
  }

  /// The same file as version 1 had it, where no flag of a late chain is set, or version 2.
  private func asVersion(_ version: UInt8, _ bytes: [UInt8]) -> [UInt8] {
    var result = Array(bytes[..<8])
    var digest = HashSuite.current.hash(result.span)
    var offset = 8
    while offset < bytes.count {
      let length = bytes[(offset + 1)..<(offset + 5)].reduce(0) { $0 << 8 | Int($1) }
      var block = Array(bytes[offset..<(offset + 5 + length)])
      if block[0] == 1 {
        block[5] = version
        // The name of the reducer, which is empty here.
        block.removeLast()
        block[4] -= 1
      }
      if block[0] == 5 { block.replaceSubrange((block.count - 32)..., with: digest.bytes) }
      block.appendBigEndian(CRC32C.mask(CRC32C.checksum(block)))
      let content = digest.bytes + block
      digest = HashSuite.current.hash(content.span)
      result += block
      offset += length + 9
    }
    return result
  }

  @Test func theNameOfTheReducerComesWithTheState() async throws {
    try await withPlace { place in
      let (named, plain) = (place.path + ".named", place.path + ".plain")
      try await place.withStore { store in
        let source = try await fill(store)
        try await source.export(to: plain)
        let old = place.path + ".old"
        try writeFile(asVersion(2, try Files.read(plain)), to: old)
        try await damage(
          store, "app", key: OpLogKeys.stateKey, value: Array("max-register".utf8))
        #expect(try await source.export(to: named).stateName == "max-register")
        for (file, name) in [(named, "max-register"), (plain, nil), (old, nil)] {
          let prefix = name ?? String(file.suffix(3))
          // Another reducer had the prefix open while it was empty.
          _ = try await Tracker(store: store, prefix: prefix)
          try await damage(store, prefix, key: OpLogKeys.stateKey, value: Array("other".utf8))
          let manifest = try await OpLogArchive(path: file, store: store).install(prefix: prefix)
          #expect(manifest.stateName == name)
          let copy = try await Tracker(store: store, prefix: prefix)
          #expect(
            try await store.get(copy.logFamily, key: OpLogKeys.stateKey)
              == name.map { Array($0.utf8) })
          #expect(try await copy.allPositions() == source.allPositions())
          #expect(try await findings(store, prefix) == [])
        }
      }
    }
  }

  @Test func filesOfVersion1AreRead() async throws {
    try await withPlace { place in
      let (file, old) = (place.path + ".export", place.path + ".old")
      try await place.withStore { store in
        let source = try await Tracker(store: store, prefix: "app")
        try await addChained(store, source, peer(1), 0..<12)
        _ = try await source.trim(below: PeerCursors([peer(1): 5]), forced: true)
        let manifest = try await source.export(to: file)
        try writeFile(asVersion(1, try Files.read(file)), to: old)
        var read = try await OpLogArchive(path: old, store: store).install(prefix: "copy")
        #expect(read.digest != manifest.digest)
        read.digest = manifest.digest
        #expect(read == manifest)
        let copy = try await Tracker(store: store, prefix: "copy")
        #expect(try await copy.allPositions() == source.allPositions())
        // It knew no such flag.
        let late = try await Tracker(store: store, prefix: "late")
        try await late.add(store, peer(1), 0)
        try await addChained(store, late, peer(1), 1..<3)
        try Files.remove(file)
        try await late.export(to: file)
        try writeFile(asVersion(1, try Files.read(file)), to: old)
        let message = await expectError(.corruption, reason: "corrupt_export") {
          _ = try await OpLogArchive(path: old, store: store).verify()
        }
        #expect(message.contains("flags 6 of a peer are unknown"))
      }
    }
  }

  @Test func aFileThatFailsWhileItIsImportedLeavesThePrefixEmpty() async throws {
    try await withPlace { place in
      let (file, other) = (place.path + ".export", place.path + ".other")
      try await place.withStore { store in
        let source = try await fill(store)
        var batch = Batch()
        for number in 100..<UInt8(140) {
          batch.put(
            source.dataFamily, key: [number], value: Array(repeating: number, count: 60_000))
        }
        try await store.commit(batch, durability: .buffered)
        try await source.export(to: file)
        try await source.export(to: other)
        let archive = OpLogArchive(path: file, store: store)
        let whole = try Files.read(file, limit: .max)
        var damaged = whole
        damaged[damaged.count - 1_000] ^= 1
        let stored = Atomic<UInt64>(0)
        let bytes = damaged
        await expectError(.corruption, reason: "corrupt_export") {
          try await archive.install(prefix: "copy", indexes: .all) { progress in
            stored.store(progress.count, ordering: .relaxed)
            try? Files.overwrite(bytes, at: file)
          }
        }
        #expect(stored.load(ordering: .relaxed) > 0)
        let copy = try await Tracker(store: store, prefix: "copy")
        #expect(try await copy.allCursors().isEmpty)
        #expect(try content(store, copy.dataFamily).isEmpty)
        #expect(
          try content(store, copy.logFamily).keys.filter { $0[0] != OpLogKeys.metaSubspace } == [])
        #expect(try await findings(store, "copy") == [])
        // Any sound file goes into it then.
        try await OpLogArchive(path: other, store: store).install(prefix: "copy")
        #expect(try await rows(copy) == rows(source))
        #expect(try content(store, copy.dataFamily) == content(store, source.dataFamily))
      }
    }
  }

  @Test func aFileThatIsReplacedWhileItIsAppliedIsTold() async throws {
    try await withPlace { place in
      let (file, other) = (place.path + ".export", place.path + ".other")
      try await place.withStore { store in
        let source = try await fill(store)
        try await source.export(to: file)
        try await addChained(store, source, peer(1), 12..<13)
        try await source.export(to: other)
        // It has everything already, so that only the file can be wrong.
        let target = try await PlainReplica(store, prefix: "app")
        #expect(try await OpLogArchive(path: file, store: store).apply(to: target) == 0)
        target.onCursor.withLock {
          $0 = { if Files.exists(other) { try Files.move(other, to: file) } }
        }
        let message = await expectError(.conflict) {
          _ = try await OpLogArchive(path: file, store: store).apply(to: target)
        }
        #expect(message.contains("was replaced while it was read"))
      }
    }
  }

  @Test func anExportHasTheDocumentedBytes() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        place.wall.set(1_000)
        try await Tracker(store: store, prefix: "app").export(to: file)
        let bytes = try Files.read(file)
        #expect(hexString(bytes.prefix(8)) == "8953504c0d0a1a0a")
        #expect(
          hexString(bytes[8..<32]) == "010000000f" + "030303617070" + "00000000000003e8" + "00"
            + "50bdf03b")
        #expect(hexString(bytes[32..<62]) == "0500000039" + String(repeating: "00", count: 25))
      }
    }
  }

  @Test func aDamagedLogIsNotExported() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        let tracker = try await fill(store)
        // A sound row in the place of another, a clock that is behind, a row that is gone.
        let key = OpLogKeys.entry(peer(1), 3)
        let row = try await store.get(tracker.logFamily, key: key)
        let other = try await store.get(tracker.logFamily, key: OpLogKeys.entry(peer(1), 4))
        let clock = try await store.get(tracker.logFamily, key: OpLogKeys.clockKey)
        for (damaged, value, whole) in [
          (key, other, row), (OpLogKeys.clockKey, [UInt8](repeating: 0, count: 8), clock),
          (key, nil, row),
        ] {
          try await damage(store, "app", key: damaged, value: value)
          await expectError(.corruption) { try await tracker.export(to: file) }
          try await damage(store, "app", key: damaged, value: whole)
        }
        let names = try Files.names(in: Files.directory(of: file))
        #expect(!names.contains { $0.hasSuffix(".tmp") } && !Files.exists(file))
        try await tracker.export(to: file)
        let archive = OpLogArchive(path: file, store: store)
        _ = try await archive.verify()
      }
    }
  }
}
