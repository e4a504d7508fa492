import Foundation
import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// `oplog import` into logs of any kind, also killed on the way.
@Suite(.serialized) struct OpLogImportTests {
  private static let me = PeerID(UUIDValue(high: 0, low: 7))

  /// Opens a log of a store in this process.
  private func withLog<R: IdempotentReducer>(
    _ store: String, _ reducer: R, prefix: String = "records", selfID: PeerID = Self.me,
    _ body: (Processor<R, LogIndexTracker<R.Op>>) async throws -> Void
  ) async throws where R.Op: IndexableOp {
    try await withStore(store) { store in
      let log = try await Processor<R, LogIndexTracker<R.Op>>(
        reducer: reducer, store: store, prefix: prefix, selfID: selfID)
      try await body(log)
      await log.close()
    }
  }

  private func export(_ place: Place, _ name: String, prefix: String = "records") async throws
    -> String
  {
    let file = place.directory + "/" + name
    let result = try await spindle(
      "oplog", "export", "--store", place.store, "--prefix", prefix, file)
    #expect(result.status == 0, "\(result.problems)")
    return file
  }

  private func add(_ file: String, to store: String, _ more: String...) async throws
    -> CommandResult
  {
    try await RunningCommand(
      [spindleProgram, "oplog", "import", "--store", store, "--prefix", "records", "--add", file]
        + more
    ).result()
  }

  @Test func registersAreAddedToALogInUse() async throws {
    try await withPlace { place in
      let other = try place.beside("other")
      let register = MaxRegisterOp("hottest", 31)
      try await withLog(place.store, MaxRegister()) { log in
        try await log.exec(register)
        try await log.exec(MaxRegisterOp("visitors", 4))
      }
      let file = try await export(place, "first")
      try await withLog(
        other.store, MaxRegister(), selfID: PeerID(UUIDValue(high: 0, low: 8))
      ) { log in _ = try await log.exec(MaxRegisterOp("hottest", 18)) }
      let added = try await add(file, to: other.store)
      #expect(added.status == 0 && added.text == "added 2 rows\n", "\(added.problems)")
      #expect(try await add(file, to: other.store, "--json").object()["added"] as? Int == 0)
      try await withLog(other.store, MaxRegister()) { (log) async throws in
        #expect(try await log.view.register("hottest") == .unsigned(31))
        #expect(try await log.view.register("visitors") == .unsigned(4))
        #expect(log.cursors()[Self.me] == 2 && log.cursors().count == 2)
      }
      let verified = try await spindle(
        "oplog", "verify", "--store", other.store, "--prefix", "records")
      #expect(verified.status == 0, "\(verified.text)")
      // Another entry at an index: nothing of the file is added, of other peers neither.
      let third = try place.beside("third")
      try await withLog(third.store, MaxRegister()) { log in
        _ = try await log.exec(MaxRegisterOp("hottest", 32))
      }
      let before = try await spindle(
        "oplog", "cursors", "--store", third.store, "--prefix", "records", "--json")
      let larger = try await export(other, "larger")
      try await add(larger, to: third.store)
        .expectRefusal("index 0 of peer \(Self.me) holds another entry already")
      let after = try await spindle(
        "oplog", "cursors", "--store", third.store, "--prefix", "records", "--json")
      #expect(after.text == before.text)
    }
  }

  /// A file with the log of a peer that sorts first and another log of the peer of `place`, whose
  /// cursor is 10.
  private func makeFork(_ place: Place) async throws -> String {
    let other = try place.beside("fork")
    for (number, count) in [(UInt64(1), 2), (7, 15)] {
      let selfID = PeerID(UUIDValue(high: 0, low: number))
      try await withLog(other.store, MaxRegister(), selfID: selfID) { log in
        for value in 0..<count { _ = try await log.exec(MaxRegisterOp("fork", UInt64(value))) }
      }
    }
    try await withLog(place.store, MaxRegister()) { log in
      for value in 0..<UInt64(10) { _ = try await log.exec(MaxRegisterOp("own", value)) }
    }
    return try await export(other, "file")
  }

  private func cursors(_ place: Place) async throws -> String {
    try await spindle(
      "oplog", "cursors", "--store", place.store, "--prefix", "records", "--json"
    ).text
  }

  @Test func anotherHistoryBehindTrimmedRowsAddsNothing() async throws {
    try await withPlace { place in
      let file = try await makeFork(place)
      let trimmed = try await spindle(
        "oplog", "trim", "--store", place.store, "--prefix", "records", "--below", "10", "--force")
      #expect(trimmed.status == 0, "\(trimmed.problems)")
      let before = try await cursors(place)
      try await add(file, to: place.store)
        .expectRefusal("of peer \(Self.me) holds another entry already")
      #expect(try await cursors(place) == before)
    }
  }

  @Test func aLostRowLetsNothingBeAdded() async throws {
    try await withPlace { place in
      _ = try await makeFork(place)
      // The same log, and rows of a peer that sorts first.
      let copy = try place.beside("copy")
      try copyFolder(place.store, to: copy.store)
      try await withLog(
        copy.store, MaxRegister(), selfID: PeerID(UUIDValue(high: 0, low: 1))
      ) { log in _ = try await log.exec(MaxRegisterOp("first", 1)) }
      let file = try await export(copy, "whole")
      try await withStore(place.store) { store in
        var batch = Batch()
        batch.delete(
          try await store.family("oplog:records"), key: OpLogKeys.entry(Self.me, 3))
        try await store.commit(batch, durability: .buffered)
      }
      let before = try await cursors(place)
      try await add(file, to: place.store).expectRefusal("has lost the entry at index 3")
      #expect(try await cursors(place) == before)
    }
  }

  @Test func withoutAPrefixTheFileSaysWhichLogIsAddedTo() async throws {
    try await withPlace { place in
      try await withLog(place.store, MaxRegister()) { log in
        _ = try await log.exec(MaxRegisterOp("x", 1))
      }
      let file = try await export(place, "file")
      let other = try place.beside("other")
      try await withStore(other.store) { _ in }
      try await spindle("oplog", "import", "--store", other.store, "--add", file)
        .expectRefusal("no op-log records")
      try await withLog(
        other.store, MaxRegister(), selfID: PeerID(UUIDValue(high: 0, low: 8))
      ) { log in _ = try await log.exec(MaxRegisterOp("y", 1)) }
      let added = try await spindle("oplog", "import", "--store", other.store, "--add", file)
      #expect(added.status == 0 && added.text == "added 1 rows\n", "\(added.problems)")
      #expect(try await cursors(other).contains(Self.me.description))
      let ingest = try await spindle("oplog", "cursors", "--store", other.store, "--json")
      #expect(try ingest.objects().isEmpty)
      let points = try place.file("p.lp", sampleLines(0..<10))
      _ = try await place.counts("--producer", "p", points)
      let log = try await export(place, "ingest", prefix: "ingest")
      try await spindle(
        "oplog", "import", "--store", place.store, "--add", "--reducer", "max-register", log
      ).expectRefusal("takes no --reducer")
      let again = try await spindle("oplog", "import", "--store", place.store, "--add", log)
      #expect(again.text == "added 0 rows\n", "\(again.problems)")
    }
  }

  @Test func tablesAreAddedToALogInUse() async throws {
    try await withPlace { place in
      let row = RowID(table: 3, key: [1])
      try await withLog(place.store, LastWriterWinsTable()) { log in
        _ = try await log.exec(.write(row, [TableCell(1, Array("a".utf8))]))
      }
      let first = try await export(place, "first")
      let copy = try place.beside("copy")
      let result = try await spindle(
        "oplog", "import", "--store", copy.store, "--prefix", "records", first)
      #expect(result.status == 0, "\(result.problems)")
      try await withLog(place.store, LastWriterWinsTable()) { log in
        _ = try await log.exec(.write(row, [TableCell(2, Array("b".utf8))]))
      }
      let second = try await export(place, "second")
      // As a file of an older version leaves it, which does not say what its state is.
      try await withStore(copy.store) { store in
        let family = try await store.family("oplog:records")
        #expect(
          try await store.get(family, key: OpLogKeys.stateKey)
            == Array("last-writer-wins-table".utf8))
        var batch = Batch()
        batch.delete(family, key: OpLogKeys.stateKey)
        try await store.commit(batch, durability: .buffered)
      }
      try await add(second, to: copy.store).expectRefusal(
        "does not say which reducer makes its state", "--reducer")
      try await add(second, to: copy.store, "--reducer", "max-register")
        .expectRefusal("the op at index 0 of peer \(Self.me) cannot be rebuilt")
      let added = try await add(
        second, to: copy.store, "--reducer", "last-writer-wins-table")
      #expect(added.text == "added 1 rows\n", "\(added.problems)")
      try await withLog(copy.store, LastWriterWinsTable()) { log in
        let found = try await log.view.row(row)
        #expect(found?.cells.map(\.column) == [1, 2])
      }
      // Now it does say it.
      #expect(try await add(second, to: copy.store).text == "added 0 rows\n")
      try await add(second, to: copy.store, "--reducer", "max-register")
        .expectRefusal("is made by the reducer last-writer-wins-table")
      await #expect(throws: SpindleError.self) {
        try await withLog(copy.store, MaxRegister()) { _ in }
      }
    }
  }

  @Test func aLogOfAnUnknownReducerIsRefused() async throws {
    try await withPlace { place in
      try await withLog(place.store, OwnReducer()) { log in
        _ = try await log.exec(MaxRegisterOp("x", 1))
      }
      let file = try await export(place, "own")
      try await add(file, to: place.store)
        .expectRefusal("made by the reducer own, which this program does not have")
      let usage = try await spindle(
        "oplog", "import", "--store", place.store, "--prefix", "ingest", "--add", "--reducer",
        "max-register", file)
      #expect(usage.status == 64 && usage.problems.contains("--reducer goes with"))
    }
  }

  /// A reducer of another program.
  private struct OwnReducer: IdempotentReducer {
    static var stateName: String? { "own" }
    func prepare(
      _ op: MaxRegisterOp, _ context: OpContext, _ view: ReducerView
    ) async throws -> PrepareOutcome<Void> { .proceed(()) }
    func apply(
      _ op: MaxRegisterOp, _ context: OpContext, _ state: Void, into batch: inout ReducerBatch
    ) throws {}
    func postApply(_ state: Void) throws -> Never? { nil }
  }

  // MARK: Kills

  private enum Kind: String, CaseIterable, CustomTestStringConvertible {
    case new, added, ingested
    var testDescription: String { rawValue }
    var prefix: String { self == .ingested ? "ingest" : "records" }
    var arguments: [String] { ["--prefix", prefix] + (self == .new ? [] : ["--add"]) }
  }

  @Test(arguments: Kind.allCases)
  private func anImportThatWasKilledIsCompletedByTheNext(_ kind: Kind) async throws {
    try await withPlace { place in
      let file = try await makeExport(kind, place)
      let origin = try place.beside("origin")
      try await makeTarget(kind, origin)

      let whole = try place.beside("whole")
      try copyFolder(origin.store, to: whole.store)
      let start = ContinuousClock.now
      let result = try await run(kind, file, whole).result()
      #expect(result.status == 0, "\(result.problems)")
      let longest = max((ContinuousClock.now - start) / .milliseconds(1), 20)
      let expected = try await image(kind, whole)

      var random = SeededGenerator(seed: 20_130_101)
      var killed = 0
      for round in 0..<200 where killed < Self.killCount {
        let store = try place.beside("\(round)")
        try copyFolder(origin.store, to: store.store)
        // Each store is killed up to three times before it is completed.
        for _ in 0..<Int.random(in: 1...3, using: &random) {
          let moment = Duration.milliseconds(Double.random(in: 0...longest, using: &random))
          let importing = try run(kind, file, store)
          let end = ContinuousClock.now + moment
          while ContinuousClock.now < end, !importing.hasEnded() {
            try await Task.sleep(for: .microseconds(200))
          }
          importing.kill()
          if try await importing.result().status == 128 + SIGKILL { killed += 1 }
        }
        let last = try await run(kind, file, store).result()
        // A new prefix that was completed before the kill came refuses another import.
        #expect(
          last.status == 0 || kind == .new && last.problems.contains("holds something already"),
          "\(last.problems)")
        #expect(try await image(kind, store) == expected, "round \(round)")
        let verified = try await spindle(
          "oplog", "verify", "--store", store.store, "--prefix", kind.prefix)
        #expect(verified.status == 0, "\(verified.text)")
        removeTree(store.directory)
      }
      #expect(killed >= Self.killCount)
    }
  }

  private static let killCount =
    ProcessInfo.processInfo.environment["SPINDLE_SOAK"] == nil ? 8 : 100

  private func run(_ kind: Kind, _ file: String, _ place: Place) throws -> RunningCommand {
    try RunningCommand(
      [spindleProgram, "oplog", "import", "--store", place.store] + kind.arguments + [file])
  }

  /// An export of a few megabytes, which takes many batches to store.
  private func makeExport(_ kind: Kind, _ place: Place) async throws -> String {
    if kind == .ingested {
      for producer in ["p", "q"] {
        let lines = try place.file(producer + ".lp", sampleLines(0..<8_000))
        _ = try await place.counts("--producer", producer, "--batch", "10", lines)
      }
    } else {
      try await withLog(place.store, MaxRegister()) { log in
        for page in UInt64(0)..<12 {
          try await log.exec(
            (0..<250).map { number in
              let value = Array(repeating: UInt8(truncatingIfNeeded: page), count: 1_000)
              return MaxRegisterOp(
                name: Array("r\(page * 100 + UInt64(number))".utf8), value: .bytes(value))
            })
        }
      }
    }
    return try await export(place, "export", prefix: kind.prefix)
  }

  /// The store that is imported into; nothing but itself for a new prefix.
  private func makeTarget(_ kind: Kind, _ place: Place) async throws {
    switch kind {
    case .new: try await withStore(place.store) { _ in }
    case .added:
      let other = PeerID(UUIDValue(high: 0, low: 8))
      try await withLog(place.store, MaxRegister(), selfID: other) { log in
        _ = try await log.exec(MaxRegisterOp("r1", 5))
      }
    case .ingested:
      let lines = try place.file("r.lp", sampleLines(0..<10))
      _ = try await place.counts("--producer", "r", lines)
    }
  }

  /// Rows, cursors, state and clock.
  private func image(_ kind: Kind, _ place: Place) async throws -> [[UInt8]] {
    var content: [[UInt8]] = []
    try await withStore(place.store) { store in
      content = try await store.content(of: ["oplog:", "data:"].map { $0 + kind.prefix })
      // When the prefix was made is another time in each.
      if let created = content.firstIndex(of: OpLogKeys.createdKey) { content[created + 1] = [] }
    }
    return content
  }

  // MARK: Progress

  /// Runs a command with a terminal for its streams and gives what it showed.
  private func onTerminal(_ arguments: [String]) async throws -> String {
    let line = ([spindleProgram] + arguments).map { "'\($0)'" }.joined(separator: " ")
    let result = try await RunningCommand(["script", "-qec", line, "/dev/null"]).result()
    #expect(result.status == 0, "\(result.text)")
    return result.text
  }

  @Test func longWorkShowsHowFarItIs() async throws {
    try await withPlace { place in
      let file = try await makeExport(.added, place)
      let copy = place.directory + "/copied"
      let exported = try await onTerminal([
        "oplog", "export", "--store", place.store, "--prefix", "records", copy,
      ])
      #expect(exported.contains(#/exporting: [0-9,]+ rows, [0-9]+ MiB, [0-9,]+ rows/s/#))
      #expect(exported.contains(" s left"))
      let other = try place.beside("other")
      let imported = try await onTerminal([
        "oplog", "import", "--store", other.store, "--prefix", "records", file,
      ])
      #expect(imported.contains(#/checking: [0-9,]+ rows, [0-9]+ MiB, [0-9,]+ rows/s/#))
      #expect(imported.contains(#/importing: [0-9,]+ rows/#))
      let quiet = try await spindle(
        "oplog", "export", "--store", place.store, "--prefix", "records", copy + "2")
      #expect(quiet.problems.isEmpty)
    }
  }
}
