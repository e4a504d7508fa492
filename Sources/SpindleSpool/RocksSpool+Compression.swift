package import SpindleCore
internal import SpindleStore

extension RocksSpool {
  /// The most bytes that are compressed on the caller's thread, where zstd takes a quarter of a
  /// millisecond for them: longer work would be felt by other tasks.
  package static let compressionByteLimit = 64 << 10

  /// Whether the record of a payload is made in so short a time that its caller's thread may do it:
  /// the checksum, the compression and the copy into a batch.
  func isQuicklyMade(_ byteCount: Int) -> Bool {
    byteCount
      <= (settings.compression == .none ? Self.decodingByteLimit : Self.compressionByteLimit)
  }

  /// Makes the record of a payload, compressed as the spool is set, on a thread that may block
  /// where that takes long.
  ///
  /// - Throws: ``SpindleError`` with `closed` when the store is closed.
  package func encoded(_ data: Bytes) async throws -> SpoolRecord.Encoded {
    let compression = settings.compression
    if isQuicklyMade(data.count) { return SpoolRecord.encode(data, compression) }
    return try await storage.blocking { SpoolRecord.encode(data, compression) }
  }
}
