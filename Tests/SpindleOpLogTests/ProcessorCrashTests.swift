import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// A killed process leaves each entry whole: row, state and clock together, or nothing.
@Suite(.temporaryDirectory) struct ProcessorCrashTests {
  typealias Log = Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>

  private func start(
    _ arguments: String..., fate: ChildProcess.Fate = .free
  ) throws -> ChildProcess {
    try ChildProcess(ChildProcess.builtProgram("CrashWorker"), arguments, fate: fate)
  }

  private static func crashPeer(_ number: UInt64) -> PeerID {
    PeerID(UUIDValue(high: 0xC, low: number))
  }

  /// Opens what a killed process left and checks that rows, state and clock agree.
  private func examine(
    _ path: String, _ body: (Log) async throws -> Void = { _ in }
  ) async throws -> PeerCursors {
    let store = try await Store.small(at: path)
    let log = try await Log(
      reducer: MaxRegister(), store: store, prefix: "crash", selfID: Self.crashPeer(0))
    let cursors = log.cursors()
    var expected: [[UInt8]: RegisterValue] = [:]
    var latest = Timestamp.zero
    for (peer, next) in cursors.sorted {
      let entries = try await log.tracker.readEntries(peer: peer, from: 0, limit: .max)
      #expect(entries.map(\.0) == Array(0..<next), "peer \(peer) has holes")
      for case (_, .logEntry(let entry)) in entries {
        latest = max(latest, entry.timestamp)
        expected[entry.op.name] = max(expected[entry.op.name] ?? entry.op.value, entry.op.value)
      }
    }
    let state = try await log.view.registers(limit: .max)
    #expect(Dictionary(uniqueKeysWithValues: state.map { ($0.name, $0.value) }) == expected)
    if latest > .zero {
      let clock = try #require(try await log.storedClock())
      #expect(clock >= latest)
    }
    try await expectChainsHold(log.tracker)
    try await body(log)
    await log.close()
    try await store.close()
    return cursors
  }

  @Test func acknowledgedEntriesSurviveKill() async throws {
    for round in 0..<3 {
      let path = try TestDirectory.path("store\(round)")
      let worker = try start("oplog", path, fate: .death(lines: 300 + round * 271))
      let lines = try await worker.linesUntilDeath()
      #expect(!lines.contains { $0.hasPrefix("failed") }, "\(lines.suffix(3))")
      var acknowledged = PeerCursors()
      for line in lines {
        let words = line.split(separator: " ")
        let peer = try #require(words.first.flatMap { PeerID(text: $0) })
        acknowledged.advance(peer, to: try #require(words.last.flatMap { UInt64($0) }))
      }
      let found = try await examine(path) { log in
        let next = log.cursor(of: Self.crashPeer(0))
        let done = try await log.exec(MaxRegisterOp("after", 1))
        #expect(done.index == next)
      }
      for (peer, next) in acknowledged.sorted { #expect(found[peer] >= next) }
    }
  }

  @Test("O-67: a crash before the commit leaves no entry and no time; it can be applied again")
  func crashBeforeTheCommit() async throws {
    let path = try TestDirectory.path("store")
    let worker = try start("oplog-die", path, "apply", "20")
    #expect(try await worker.ending() == .signal(9))
    #expect(worker.lines.count == 19)
    let cursors = try await examine(path) { log in
      #expect(try await log.register("r") == 18)
      let applied = try await log.apply(
        peer: Self.crashPeer(0), index: 19, entry: entry("r", 19, at: 7))
      #expect(applied.new)
    }
    #expect(cursors == PeerCursors([Self.crashPeer(0): 19]))
  }

  @Test(
    "O-68: a crash after the commit, before anybody knew: the cursor is past it, a repeat is old")
  func crashAfterTheCommit() async throws {
    let path = try TestDirectory.path("store")
    let worker = try start("oplog-die", path, "commit", "20")
    #expect(try await worker.ending() == .signal(9))
    #expect(worker.lines.count == 19)
    let cursors = try await examine(path) { log in
      let page = try await log.readSince(peer: Self.crashPeer(0), from: 19)
      let last = try #require(page.first)
      let again = try await log.apply(
        peer: Self.crashPeer(0), index: 19, entry: last.entry)
      #expect(!again.new)
    }
    #expect(cursors == PeerCursors([Self.crashPeer(0): 20]))
  }

  @Test("O-70: wherever the log's end is torn, rows, state and clock agree")
  func tornLogs() async throws {
    let path = try TestDirectory.path("store")
    let worker = try start("oplog-die", path, "apply", "60")
    #expect(try await worker.ending() == .signal(9))
    let name = try #require(
      try Files.names(in: path + "/rocks").filter { $0.hasSuffix(".log") }.max())
    let size = Int(try Files.size(path + "/rocks/" + name))
    var counts: Set<UInt64> = []
    // The last records, at steps that meet every part of one.
    var cut = size
    while cut > size - 2_500 {
      let copy = try TestDirectory.path("cut\(cut)")
      try copyFolder(path, to: copy) { $0 == "rocks/" + name ? Array($1.prefix(cut)) : $1 }
      let cursors = try await examine(copy)
      counts.insert(cursors[Self.crashPeer(0)])
      TemporaryDirectory.remove(copy)
      cut -= 83
    }
    #expect(counts.count > 5)
  }

  /// The log ends with an entry, two of one batch, and an entry.
  @Test("O-70: cut at any byte, the log's end has each batch whole or not", arguments: 0..<4)
  func cutAtAnyByte(part: Int) async throws {
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path)
    let log = try await Log(
      reducer: MaxRegister(), store: store, prefix: "crash", selfID: Self.crashPeer(0))
    let name = try #require(
      try Files.names(in: path + "/rocks").filter { $0.hasSuffix(".log") }.max())
    func size() throws -> Int { Int(try Files.size(path + "/rocks/" + name)) }
    try await log.exec(MaxRegisterOp("a", 1))
    let ends = [
      try size(),
      try await { () async throws in
        try await log.exec([MaxRegisterOp("a", 2), MaxRegisterOp("b", 3)])
        return try size()
      }(),
      try await { () async throws in
        try await log.exec(MaxRegisterOp("b", 4))
        return try size()
      }(),
    ]
    #expect(ends[0] < ends[1] && ends[1] < ends[2] && ends[2] < ends[0] + 2_000)
    try await store.copyAsKilled(to: path + "-killed")
    await log.close()
    try await store.close()
    for cut in stride(from: ends[0] + part, through: ends[2], by: 4) {
      let copy = try TestDirectory.path("cut\(cut)")
      try copyFolder(path + "-killed", to: copy) {
        $0 == "rocks/" + name ? Array($1.prefix(cut)) : $1
      }
      let next: UInt64 = cut < ends[1] ? 1 : cut < ends[2] ? 3 : 4
      #expect(
        try await examine(copy) == PeerCursors([Self.crashPeer(0): next]), "cut at \(cut)")
      TemporaryDirectory.remove(copy)
    }
  }

  @Test("O-71: a process that dies while it makes a prefix leaves one that the next open completes")
  func deathWhileOpening() async throws {
    var deaths = 0
    while true {
      let path = try TestDirectory.path("store\(deaths)")
      let worker = try start("oplog-upkeep", path, "index", "\(deaths + 1)")
      let ending = try await worker.ending()
      let cursors = try await examine(path) { log in
        let done = try await log.exec(MaxRegisterOp("x", 1))
        #expect(done.index == 0)
      }
      #expect(cursors.isEmpty)
      #expect(try await examine(path) == PeerCursors([Self.crashPeer(0): 1]))
      if ending == .exit(0) { break }
      #expect(ending == .signal(9))
      deaths += 1
      try #require(deaths < 20)
    }
    #expect(deaths > 0)
  }

  @Test("O-71: a crash between making the families and the first row is completed by the next open")
  func crashWhileOpening() async throws {
    let path = try TestDirectory.path("store")
    let store = try await Store.small(at: path)
    _ = try await store.family("data:crash")
    try await store.copyAsKilled(to: path + "-half")
    _ = try await store.family("oplog:crash")
    try await store.copyAsKilled(to: path + "-both")
    try await store.close()
    for copy in [path + "-half", path + "-both"] {
      let cursors = try await examine(copy) { log in
        #expect(try await log.exec(MaxRegisterOp("x", 1)).index == 0)
        try await log.exec(MaxRegisterOp("x", 2))
      }
      #expect(cursors.isEmpty)
      #expect(try await examine(copy) == PeerCursors([Self.crashPeer(0): 2]))
    }
  }
}
