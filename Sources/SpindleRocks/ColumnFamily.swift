internal import CRocksDB
internal import SpindleCore

/// One column family of an open database.
@safe public final class ColumnFamily: @unchecked Sendable {
  // Proof of sendability: all fields are immutable; the handle is thread-safe by RocksDB's
  // contract and destroyed by the database that made it, after the last use.
  public let name: String
  /// The number that stands for the family in write batches and in the log.
  public let id: UInt32
  let handle: OpaquePointer

  init(name: String, handle: OpaquePointer) {
    self.name = name
    unsafe self.handle = handle
    unsafe id = rocksdb_column_family_handle_get_id(handle)
  }
}

/// A value pinned in the block cache or memtable: borrowed bytes, no copy. Ends its pin when it
/// goes out of scope.
@safe public struct PinnedValue: ~Copyable {
  private let slice: OpaquePointer
  private let engine: EngineHandle

  /// Takes the slice over, and the use of the engine that its caller entered.
  init(owning slice: OpaquePointer, engine: EngineHandle) {
    unsafe self.slice = slice
    self.engine = engine
  }

  deinit {
    unsafe rocksdb_pinnableslice_destroy(slice)
    engine.leave()
  }

  /// The stored bytes, valid while this value lives.
  public var bytes: Span<UInt8> {
    @_lifetime(borrow self) get {
      var count = 0
      let start = unsafe rocksdb_pinnableslice_value(slice, &count)
      let span = unsafe borrowedSpan(start, count)
      return unsafe _overrideLifetime(span, borrowing: self)
    }
  }
}

/// A consistent view of the whole database at one sequence number.
///
/// It pins every version that it sees: what is overwritten or removed later stays on the disk.
/// It does not keep the database open, and one that outlives it can be read no more.
@safe public final class Snapshot: @unchecked Sendable {
  // Proof of sendability: immutable fields; a RocksDB snapshot may be read from any thread. Readers
  // hold a use of the engine, which releases no snapshot while there is one.
  let pointer: OpaquePointer
  private let engine: EngineHandle

  init(engine: EngineHandle) throws(RocksError) {
    self.engine = engine
    unsafe pointer = try unsafe engine.takeSnapshot()
  }

  deinit { unsafe engine.releaseSnapshot(pointer) }
}

/// A span over C memory; the caller ties its lifetime to the owner.
@inline(__always)
@_lifetime(immortal)
func borrowedSpan(_ start: UnsafePointer<CChar>?, _ count: Int) -> Span<UInt8> {
  guard count > 0, let start = unsafe start else { return Span() }
  let bytes = unsafe UnsafeRawPointer(start).assumingMemoryBound(to: UInt8.self)
  let span = unsafe Span(_unsafeStart: bytes, count: count)
  return unsafe _overrideLifetime(span, copying: ())
}

/// Calls the body with the span's bytes as C characters; an empty span gets a stand-in address,
/// because the C API does not take a null pointer.
@inline(__always)
func withCharacters<Result>(
  _ bytes: Span<UInt8>, _ body: (UnsafePointer<CChar>, Int) -> Result
) -> Result {
  unsafe bytes.withUnsafeBufferPointer { buffer in
    guard let start = buffer.baseAddress else {
      var standIn: CChar = 0
      return unsafe withUnsafePointer(to: &standIn) { unsafe body($0, 0) }
    }
    return unsafe UnsafeRawPointer(start).withMemoryRebound(to: CChar.self, capacity: buffer.count)
    {
      unsafe body($0, buffer.count)
    }
  }
}
