import Glibc
import SpindleCore
import SpindleOpLog
import SpindleStore
import SpindleTestKit

/// `replica STORE ROOT SELF GOAL PEER...`: writes ops under its own name, publishes them in a
/// folder, and takes in what the others publish there.
///
/// Each published index is one line. When every named peer's log has GOAL entries, it says what it
/// has and ends. It writes only if it is named itself.
struct ReplicaWorker {
  static let mark = Array("TEST".utf8)

  let store: Store
  let root: String
  let selfID: PeerID
  let goal: UInt64
  let peers: [PeerID]

  init?(_ store: Store, _ arguments: [String]) {
    guard arguments[1] == "replica", arguments.count > 6, let selfID = PeerID(text: arguments[4]),
      let goal = UInt64(arguments[5])
    else { return nil }
    self.store = store
    root = arguments[3]
    self.selfID = selfID
    self.goal = goal
    peers = arguments[6...].compactMap { PeerID(text: $0) }
  }

  func run() async throws {
    let processor = try await Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>(
      reducer: MaxRegister(), store: store, prefix: "app", selfID: selfID)
    var settings = FileLogSettings(magic: Self.mark)
    settings.rotationEntryCount = 40
    let folder = try await FileLogReplica<MaxRegisterOp>(
      root: root, settings: settings, store: store, repairingFrom: processor)
    let publisher = try Publisher(log: processor, sink: folder.sink)
    var pulling = ConvergenceSettings()
    pulling.pollInterval = .milliseconds(2)
    pulling.backoff = .milliseconds(1)...(.milliseconds(50))
    let driver = ConvergenceDriver(from: folder, into: processor, settings: pulling)
    let pull = Task { try await driver.run() }
    while peers.contains(selfID), processor.cursor(of: selfID) < goal {
      let number = processor.cursor(of: selfID)
      try await processor.exec(MaxRegisterOp("r\(number % 7)", number ^ selfID.uuid.low))
      // Not after every write, so that a kill meets entries that are not published yet.
      guard number % 3 == 0 else { continue }
      _ = try await publisher.sync()
      CrashWorker.say("\(number)")
    }
    _ = try await publisher.sync()
    for await _ in processor.watchCursors()
    where peers.allSatisfy({ processor.cursor(of: $0) >= goal }) { break }
    pull.cancel()
    _ = await pull.result
    let registers = try await processor.view.registers(limit: .max)
      .map { "\(String(decoding: $0.name, as: UTF8.self))=\($0.value)" }
    CrashWorker.say("done \(processor.cursors()) \(registers)")
    await processor.close()
    try await store.close()
  }
}
