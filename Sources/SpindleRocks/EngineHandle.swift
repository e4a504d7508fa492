internal import CRocksDB
internal import Glibc
internal import Synchronization

/// An open `rocksdb_t` with a count of who uses it, so that it is never closed under a call.
///
/// Iterators, pinned values and running calls each hold a use. `close` stops new uses
/// and waits for the old ones; close order is so kept by type and not by care.
@safe final class EngineHandle: @unchecked Sendable {
  // Proof of sendability: the pointer never changes, RocksDB's calls on it are thread-safe, and
  // the two counters are atomic.
  let pointer: OpaquePointer
  private let uses = Atomic<Int>(0)
  private let closing = Atomic<Bool>(false)
  /// The snapshots that nobody has released: as many as there are views in use.
  private let snapshots = Mutex<Set<UInt>>([])

  init(owning pointer: OpaquePointer) { unsafe self.pointer = pointer }

  /// Whether no new use is allowed any more.
  var isClosed: Bool { closing.load(ordering: .acquiring) }

  /// Starts a use. Each success must be matched by ``leave()``.
  @inline(__always)
  func enter() throws(RocksError) {
    // The count rises before the flag is read, and `close` sets the flag before it reads the
    // count; so one of the two always sees the other.
    uses.wrappingAdd(1, ordering: .sequentiallyConsistent)
    guard !closing.load(ordering: .sequentiallyConsistent) else {
      leave()
      throw .closed
    }
  }

  @inline(__always)
  func leave() { uses.wrappingSubtract(1, ordering: .sequentiallyConsistent) }

  /// Stops new uses and waits for the old ones to end.
  ///
  /// - Parameter seconds: The longest wait.
  /// - Returns: false when uses remain; new ones stay refused.
  func quiesce(seconds: Int) -> Bool {
    closing.store(true, ordering: .sequentiallyConsistent)
    for _ in 0..<(seconds * 1000) {
      if uses.load(ordering: .sequentiallyConsistent) == 0 { return true }
      usleep(1000)
    }
    return uses.load(ordering: .sequentiallyConsistent) == 0
  }

  // MARK: Snapshots

  func takeSnapshot() throws(RocksError) -> OpaquePointer {
    try enter()
    defer { leave() }
    guard let snapshot = unsafe rocksdb_create_snapshot(pointer) else {
      throw RocksError(kind: .other, message: "no snapshot was made")
    }
    let address = UInt(bitPattern: snapshot)
    snapshots.withLock { _ = $0.insert(address) }
    return unsafe snapshot
  }

  /// Releases a snapshot, unless the close of the database has done so.
  func releaseSnapshot(_ snapshot: OpaquePointer) {
    release(UInt(bitPattern: snapshot))
  }

  /// Releases what is left before the database closes. Nobody uses the engine any more.
  func releaseSnapshots() { snapshots.withLock { $0 }.forEach(release) }

  private func release(_ address: UInt) {
    // Under the lock, so that the database does not close between the two steps.
    snapshots.withLock { snapshots in
      guard snapshots.remove(address) != nil else { return }
      unsafe rocksdb_release_snapshot(pointer, OpaquePointer(bitPattern: address))
    }
  }
}
