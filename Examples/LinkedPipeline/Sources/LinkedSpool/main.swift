import SpindleCore
import SpindleSpool
import SpindleStore

// Takes a message in, and works on what an earlier run left behind.
let store = try await Store.open(at: "mail")
var settings = SpoolSettings()
settings.compression = .lz4
settings.quota = SpoolQuota(bytes: 1 << 30, entries: 100_000)
let spool = try await RocksSpool(store: store, name: "main", settings: settings)

// Exactly what was there when the spool was opened. Damaged messages are set aside, not deleted.
let channel = SpoolEntryChannel()
let walk = try spool.enumerateLeftovers(into: channel)
for await entry in channel {
  switch entry {
  case .item(let id, let data):
    print("left over: \(id), \(data.count) bytes")
    try await spool.remove(id)
  case .corrupt(let id, let error):
    try await spool.quarantine(id, reason: error)
  }
}
if let error = await walk.finished().error { print("not everything could be read: \(error)") }

// Asked before each message is taken in: no I/O, no waiting.
if let reason = spool.unhealthyReason {
  print("try later: \(reason)")
} else {
  let id = spool.makeID()
  do {
    // Kept, also if the power fails now, once this returns.
    try await spool.store(
      id, Array("Subject: hello\n\nworld\n".utf8), forceSync: true, deadline: .now + .seconds(5))
    print("stored: \(id)")
  } catch let error as SpindleError where error.kind == .quotaExceeded {
    print("full: \(error)")
  }
}
try await spool.shutdown()
try await store.close()
