import SpindleCore
import SpindleOpLog
import SpindleStore

// Adds a member to a list that any number of replicas change, or removes one.
struct MemberOp: IndexableOp, Hashable {
  var name: String
  var isRemoval = false

  func toIndexEntry() throws(CodecError) -> IndexEntry {
    IndexEntry(tag: isRemoval ? 2 : 1, key: Array(name.utf8), value: nil)
  }

  static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> MemberOp {
    guard tag == 1 || tag == 2 else { throw .unknownTag(tag) }
    if let value { throw .trailingBytes(value.count) }
    guard let key, let name = String(validating: key, as: UTF8.self) else { throw .invalidUTF8 }
    return MemberOp(name: name, isRemoval: tag == 2)
  }
}

// Keeps under each name the time of its last op and whether that was a removal. The greater bytes
// stay, whatever came first; at the same time, as of ops of one call, the removal.
struct Members: IdempotentReducer {
  typealias Op = MemberOp
  typealias Event = String
  static var stateName: String? { "example-members" }

  func prepare(
    _ op: MemberOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<[UInt8]?> {
    if op.name.isEmpty { return .skip(reason: "a member has a name") }
    var record: [UInt8] = []
    record.appendBigEndian(context.timestamp.packed)
    record.append(op.isRemoval ? 1 : 0)
    let old = try await view.get(Array(op.name.utf8))
    if let old, !old.lexicographicallyPrecedes(record) { return .proceed(nil) }
    return .proceed(record)
  }

  func apply(
    _ op: MemberOp, _ context: OpContext, _ state: [UInt8]?, into batch: inout ReducerBatch
  ) throws -> String? {
    guard let state else { return nil }
    batch.put(Array(op.name.utf8), state)
    return op.name
  }

  func postApply(_ state: String?) throws -> String? { state }
}

typealias MemberLog = Processor<Members, LogIndexTracker<MemberOp>>
// Made once for each writer and kept; no other one ever writes under it.
let here = PeerID(UUIDValue(high: 0x0198_ca3f_5be0_7000, low: 0x8000_0000_0000_0003))
let there = PeerID(UUIDValue(high: 0x0198_ca3f_5be0_7000, low: 0x8000_0000_0000_0004))

let store = try await Store.open(at: "club")
var settings = ProcessorSettings()
settings.log.indexes = .byTime
let log = try await MemberLog(
  reducer: Members(), store: store, prefix: "members", selfID: here, settings: settings)

// A second call with the token records nothing, also after a crash in between.
let founders = ["Ada", "Bob", "Cleo"].map { MemberOp(name: $0) }
for _ in 1...2 {
  let executed = try await log.exec(founders, token: IdempotencyToken("founding"))
  print(executed.isRepeat ? "were there:" : "recorded:", executed.indices)
}
try await log.exec(MemberOp(name: "Bob", isRemoval: true))

// All entries by time, two a page.
var next: OpLogContinuation?
repeat {
  let page = try await log.tracker.query(OpLogQuery(.everything), limit: 2, after: next)
  print("a page:", page.entries.map { "\($0.index) \($0.entry.op.name)" })
  next = page.next
} while next != nil

// What is there, then what comes, until it is one entry more than there are now.
let count = log.cursor(of: here) + 1
let follower = Task {
  for try await entry in log.entries(follow: true) where entry.index + 1 == count { return true }
  return false
}
try await log.exec(MemberOp(name: "Dora"))
print("followed to the newest:", try await follower.value)

// The log as a file, and a second store that goes on where it ended. Each run makes new ones.
let path = "members-\(count).oplog"
print("exported:", try await log.tracker.export(to: path).rows)
let second = try await Store.open(at: "club-\(count)")
try await OpLogArchive(path: path, store: second).install(prefix: "members", indexes: .byTime)
let copy = try await MemberLog(reducer: Members(), store: second, prefix: "members", selfID: there)
let state = try await copy.view.scan(from: [], to: nil, limit: 100)
let members = state.filter { $0.value.last == 0 }.map { String(decoding: $0.key, as: UTF8.self) }
print("members of the copy:", members.joined(separator: ", "))

for log in [copy, log] { await log.close() }
try await second.close()
try await store.close()
