import Glibc
import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Processes that share nothing but a folder.
@Suite(.temporaryDirectory) struct TwoProcessTests {
  private static var isSoak: Bool { unsafe getenv("SPINDLE_SOAK") != nil }

  private let goal: UInt64 = isSoak ? 3_000 : 300
  private let writers = [peer(0xA), peer(0xB)]

  private func worker(_ selfID: PeerID, root: String) throws -> ChildProcess {
    try ChildProcess(
      ChildProcess.builtProgram("CrashWorker"),
      ["oplog", TestDirectory.path("store-\(selfID)"), root, "\(selfID)", "\(goal)"]
        + writers.map(\.description))
  }

  @Test(
    "O-69, O-74: two processes that are killed again and again converge, a third catches up",
    .timeLimit(.minutes(10)))
  func killedProcessesConverge() async throws {
    let root = try TestDirectory.path("logs")
    var random = SeededGenerator(seed: Self.isSoak ? UInt64(time(nil)) : 1)
    for _ in 0..<(Self.isSoak ? 100 : 4) {
      let children = try writers.map { try worker($0, root: root) }
      for child in children.shuffled(using: &random) {
        try await child.waitForLines(Int.random(in: 0..<12, using: &random))
        try await Task.sleep(for: .microseconds(Int.random(in: 0..<3_000, using: &random)))
        let lines = try await child.killAndCollect()
        #expect(!lines.contains { $0.hasPrefix("failed") })
      }
    }
    let last = try writers.map { try worker($0, root: root) }
    var images: Set<String> = []
    for child in last {
      #expect(try await child.ending() == .exit(0))
      images.insert(child.lines.last ?? "")
    }
    let third = try worker(peer(0xC), root: root)
    #expect(try await third.ending() == .exit(0))
    images.insert(third.lines.last ?? "")
    #expect(images.count == 1, "\(images)")
    let cursors = PeerCursors([writers[0]: goal, writers[1]: goal])
    #expect(images.first?.hasPrefix("done \(cursors) ") == true)

    // The folder holds the same, each entry once.
    try await withPlace { place in
      try await place.withStore { store in
        let puller = FileLogPuller<MaxRegisterOp>(
          root: root, settings: FileLogSettings(magic: testMagic), store: store)
        #expect(try await puller.cursors() == cursors)
        for writer in writers {
          var ops: [UInt64] = []
          while true {
            let page = try await puller.readSince(peer: writer, from: UInt64(ops.count))
            if page.isEmpty { break }
            for case (_, .logEntry(let entry)) in page {
              ops.append(UInt64(ops.count) ^ writer.uuid.low)
              #expect(entry.op == MaxRegisterOp("r\((ops.count - 1) % 7)", ops[ops.count - 1]))
            }
          }
          #expect(ops.count == Int(goal))
        }
      }
    }
  }
}
