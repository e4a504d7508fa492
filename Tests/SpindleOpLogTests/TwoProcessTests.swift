import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// Processes that share nothing but a folder.
@Suite(.temporaryDirectory) struct TwoProcessTests {
  private static var isSoak: Bool { unsafe getenv("SPINDLE_SOAK") != nil }

  /// More entries than are written before the last kill.
  private static let never: UInt64 = 1 << 40
  private let writers = [peer(0xA), peer(0xB)]

  private func worker(
    _ selfID: PeerID, root: String, goal: UInt64 = never, fate: ChildProcess.Fate = .free
  ) throws -> ChildProcess {
    try ChildProcess(
      ChildProcess.builtProgram("CrashWorker"),
      ["replica", TestDirectory.path("store-\(selfID)"), root, "\(selfID)", "\(goal)"]
        + writers.map(\.description),
      fate: fate)
  }

  @Test(
    "O-69, O-74: two processes that are killed again and again converge, a third catches up")
  func killedProcessesConverge() async throws {
    let root = try TestDirectory.path("logs")
    var random = SeededGenerator(seed: Self.isSoak ? UInt64(time(nil)) : 1)
    var told: [PeerID: UInt64] = [:]
    var unpublished = 0
    var round = 0
    // Goes on until a kill left entries that were not published yet.
    while round < (Self.isSoak ? 100 : 4) || unpublished == 0 && round < 40 {
      let children = try writers.map {
        try worker(
          $0, root: root,
          fate: .death(
            lines: round == 0 ? 12 : Int.random(in: 0..<12, using: &random),
            pause: .microseconds(Int.random(in: 0..<3_000, using: &random))))
      }
      for (writer, child) in zip(writers, children) {
        let lines = try await child.linesUntilDeath()
        #expect(!lines.contains { $0.hasPrefix("failed") })
        if let number = lines.last.flatMap({ UInt64($0) }) { told[writer] = number + 1 }
      }
      for writer in writers {
        if try await leftUnpublished(writer, root: root, told[writer] ?? 0) { unpublished += 1 }
        try harm(writer, root: root, &random)
      }
      round += 1
    }
    // Each line of the first round stands for three entries.
    for writer in writers { #expect(told[writer] ?? 0 >= 30) }
    #expect(unpublished > 0)
    try await withPlace { place in
      try await place.withStore { store in
        let puller = FileLogPuller<MaxRegisterOp>(
          root: root, settings: FileLogSettings(magic: testMagic), store: store)
        let reached = try await puller.cursors()
        let goal = (writers.map { max(reached[$0], told[$0] ?? 0) }.max() ?? 0) + 100
        let images = try await images(root: root, goal: goal)
        let cursors = PeerCursors([writers[0]: goal, writers[1]: goal])
        #expect(images.count == 1, "\(images)")
        #expect(images.first?.hasPrefix("done \(cursors) ") == true)
        #expect(try await puller.cursors() == cursors)
        for writer in writers { #expect(try await isWhole(writer, in: puller, goal: goal)) }
      }
    }
  }

  /// Whether a killed writer's op-log has entries that its files lack. It has all that it told of.
  private func leftUnpublished(_ writer: PeerID, root: String, _ told: UInt64) async throws -> Bool
  {
    let store = try await Store.small(at: try TestDirectory.path("store-\(writer)"))
    let written = try await RegisterTracker(store: store, prefix: "app").cursor(of: writer)
    let puller = FileLogPuller<MaxRegisterOp>(
      root: root, settings: FileLogSettings(magic: testMagic), store: store)
    let published = try await puller.cursors()[writer]
    try await store.close()
    #expect(written >= told)
    return published < written
  }

  /// Removes or damages a segment in the middle of a writer's files.
  private func harm(_ writer: PeerID, root: String, _ random: inout SeededGenerator) throws {
    let names = (try? Files.names(in: "\(root)/\(writer)"))?.filter { $0.hasSuffix(".seg") }
    guard let name = names?.dropLast().randomElement(using: &random) else { return }
    let path = "\(root)/\(writer)/\(name)"
    var bytes = try Files.read(path)
    try Files.remove(path)
    if Bool.random(using: &random) {
      // Behind the bytes that tell the format.
      bytes[Int.random(in: 7..<bytes.count, using: &random)] ^= 4
      try writeFile(bytes, to: path)
    }
  }

  /// Lets both go on to the end, and a third that starts with nothing while they write.
  ///
  /// - Returns: What they say they have.
  private func images(root: String, goal: UInt64) async throws -> Set<String> {
    var images: Set<String> = []
    let last = try writers.map { try worker($0, root: root, goal: goal, fate: .halt(lines: 3)) }
    for child in last { try await child.waitForStop() }
    let third = try worker(peer(0xC), root: root, goal: goal)
    for child in last {
      #expect(!child.lines.contains { $0.hasPrefix("done") }, "it was to write still")
      child.resume()
    }
    for child in last + [third] {
      #expect(try await child.ending() == .exit(0))
      images.insert(child.lines.last ?? "")
    }
    return images
  }

  /// Whether the files hold each entry of a peer once, as its writer makes it.
  private func isWhole(
    _ writer: PeerID, in puller: FileLogPuller<MaxRegisterOp>, goal: UInt64
  ) async throws -> Bool {
    var index: UInt64 = 0
    while true {
      let page = try await puller.readSince(peer: writer, from: index)
      if page.isEmpty { return index == goal }
      for (_, entry) in page {
        guard case .logEntry(let entry) = entry,
          entry.op == MaxRegisterOp("r\(index % 7)", index ^ writer.uuid.low)
        else { return false }
        index += 1
      }
    }
  }
}
