import Glibc
import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit

/// A process with a spool on files, or with a store that it only opens.
///
/// `CrashWorker disk-MODE DIRECTORY [REAL:EFFECTIVE]`; with user ids, the process takes those
/// before it opens the spool. Whoever changed users may not be traced any more, and the leak check
/// at the end of `exit` needs that: these processes end with `_exit`.
enum DiskWorker {
  static func run(_ mode: String, _ path: String, ids: String) async throws {
    try take(ids)
    let spool: LocalDiskSpool
    do {
      if mode == "disk-store" {
        try await Store.small(at: path).close()
        return CrashWorker.say("opened")
      }
      spool = try LocalDiskSpool(path: path, flush: false)
    } catch let error as SpindleError {
      CrashWorker.say("refused \(error.kind) \(error.reason ?? "-") \(error.message)")
      _exit(3)
    }
    CrashWorker.say("opened")
    switch mode {
    case "disk-open": try await spool.shutdown()
    case "disk-hold": try await hold(spool)
    case "disk-spawn": try await holdBesideChild(spool)
    case "disk-write": try await write(spool)
    case "disk-list": try await list(spool)
    default: _exit(64)
    }
  }

  /// Becomes other users, for good unless one of them is root.
  private static func take(_ ids: String) throws {
    let parts = ids.split(separator: ":").compactMap { uid_t($0) }
    guard parts.count == 2 else { return }
    guard setreuid(parts[0], parts[1]) == 0 else { _exit(65) }
  }

  private static func hold(_ spool: LocalDiskSpool) async throws {
    while true {
      try await Task.sleep(for: .seconds(3600))
      withExtendedLifetime(spool) {}
    }
  }

  /// A child that lives on must not keep the lock.
  private static func holdBesideChild(_ spool: LocalDiskSpool) async throws {
    let child = try ChildProcess("/bin/sleep", ["600"])
    CrashWorker.say("\(child.pid)")
    try await hold(spool)
  }

  /// Stores messages of several sizes, so that a kill may fall into any step.
  private static func write(_ spool: LocalDiskSpool) async throws {
    let generator = SpoolIDGenerator(clock: SystemClock(), seed: UInt64(getpid()))
    await withTaskGroup(of: Void.self) { group in
      for task in 0..<4 {
        group.addTask {
          var number = task
          while true {
            let id = generator.next()
            let value = numberedValue(number, bytes: 64 + number % 5 * 30_000)
            do {
              try await spool.store(id, value, forceSync: number % 16 == 0, deadline: nil)
            } catch {
              CrashWorker.say("failed \(error)")
              _exit(1)
            }
            CrashWorker.say("\(number) \(id)")
            number += 4
          }
        }
      }
    }
  }

  private static func list(_ spool: LocalDiskSpool) async throws {
    let channel = SpoolEntryChannel()
    let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: .max))
    for await entry in channel {
      switch entry {
      case .item(let id, _): CrashWorker.say("item \(id)")
      case .corrupt(let id, let error): CrashWorker.say("corrupt \(id) \(error)")
      }
    }
    let outcome = await walk.finished()
    if let first = outcome.firstUnreadableDirectory, outcome.error?.kind == .io {
      CrashWorker.say("unreadable \(outcome.unreadableDirectories) \(first)")
    }
  }
}
