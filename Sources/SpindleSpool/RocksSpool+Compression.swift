internal import SpindleCore
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

  /// Runs what makes the records of payloads, on a thread that may block unless it is quick.
  ///
  /// - Throws: what a write throws that found no thread in its time.
  func making<Value: Sendable>(
    quickly isQuick: Bool, until deadline: ContinuousClock.Instant?,
    _ body: @escaping @Sendable () throws -> Value
  ) async throws -> Value {
    if isQuick { return try body() }
    return try await storage.preparing(deadline: deadline, policy: storePolicy, body)
  }

  /// Makes a batch that stores a message, with the record's checksum header.
  func staged(
    _ id: SpoolID, _ data: Bytes, until deadline: ContinuousClock.Instant?
  ) async throws -> (batch: Batch, header: [UInt8]) {
    try await making(quickly: isQuicklyMade(data.count), until: deadline) { [self] in
      var batch = Batch(reservingBytes: data.count + 64)
      let header = stage(id, data, into: &batch)
      return (batch, header)
    }
  }
}
