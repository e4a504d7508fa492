import SpindleCore
import SpindleOpLog
import SpindleStore

// Two replicas with a store each that share a folder. Here they live in one process; they could be
// two machines, and the folder one that any program synchronises.
struct Replica {
  let store: Store
  let registers: Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>
  let folder: FileLogReplica<MaxRegisterOp>
  let publisher: Publisher<MaxRegisterOp>

  /// - Parameter id: Made once for this replica and kept; no other one ever writes under it.
  init(_ name: String, id: PeerID) async throws {
    store = try await Store.open(at: name)
    registers = try await Processor(
      reducer: MaxRegister(), store: store, prefix: "records", selfID: id)
    folder = try await FileLogReplica(
      root: "shared", settings: FileLogSettings(magic: Array("RECS".utf8)), store: store,
      repairingFrom: registers)
    publisher = try Publisher(log: registers, sink: folder.sink)
  }

  /// Takes in what the folder has, then publishes what was written here.
  func synchronize() async throws {
    let report = try await PullDriver(from: folder, into: registers).run()
    for (peer, outcome) in report.peers {
      if let error = outcome.error { print("peer \(peer) has to wait: \(error)") }
    }
    let published = try await publisher.sync()
    print("took in \(report.newCount), published \(published)")
  }

  func close() async throws {
    await registers.close()
    try folder.sink.close()
    try await store.close()
  }
}

let kitchen = try await Replica(
  "kitchen", id: PeerID(UUIDValue(high: 0x0198_ca3f_5be0_7000, low: 0x8000_0000_0000_0001)))
let cellar = try await Replica(
  "cellar", id: PeerID(UUIDValue(high: 0x0198_ca3f_5be0_7000, low: 0x8000_0000_0000_0002)))

// Each is written without the other. A register keeps the greatest value that anybody wrote.
try await kitchen.registers.exec(MaxRegisterOp("hottest", 31))
try await kitchen.registers.exec(MaxRegisterOp("visitors", 4))
try await cellar.registers.exec(MaxRegisterOp("hottest", 18))

try await kitchen.synchronize()
try await cellar.synchronize()
try await kitchen.synchronize()
for replica in [kitchen, cellar] {
  for (name, value) in try await replica.registers.view.registers(limit: 10) {
    if case .unsigned(let number) = value {
      print("\(String(decoding: name, as: UTF8.self)) = \(number)")
    }
  }
  print("entries: \(replica.registers.cursors())")
  try await replica.close()
}
