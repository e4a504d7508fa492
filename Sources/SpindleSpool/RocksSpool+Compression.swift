package import SpindleCore
internal import SpindleStore

extension RocksSpool {
  /// The most bytes that are compressed on the caller's thread, where zstd takes a quarter of a
  /// millisecond for them: longer work would be felt by other tasks.
  package static let compressionByteLimit = 64 << 10

  /// Makes the record of a payload, compressed as the spool is set, on a thread that may block
  /// where that takes long.
  ///
  /// - Throws: ``SpindleError`` with `closed` when the store is closed.
  package func encoded(_ data: Bytes) async throws -> SpoolRecord.Encoded {
    let compression = settings.compression
    if compression == .none || data.count <= Self.compressionByteLimit {
      return SpoolRecord.encode(data, compression)
    }
    return try await storage.blocking { SpoolRecord.encode(data, compression) }
  }
}
