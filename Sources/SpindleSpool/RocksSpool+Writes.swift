public import SpindleCore
package import SpindleStore
internal import Synchronization

extension RocksSpool {
  public func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws {
    try checkOpen()
    guard data.count <= Self.payloadByteLimit else {
      throw SpindleError(
        .invalidArgument,
        "the message has \(data.count) bytes; a spool takes at most \(Self.payloadByteLimit)")
    }
    var batch = Batch(reservingBytes: data.count + 64)
    batch.joinsGroupLane = beginChange(id)
    defer { endChange(id) }
    stage(id, try await encoded(data), into: &batch)
    try await storage.commit(
      batch, durability: forceSync ? .synced : .buffered, deadline: deadline)
  }

  /// Stores a message and claims it for the drain worker that will be handed it directly.
  ///
  /// - Returns: The record's checksum header, for ``stageRemoval(_:header:into:)``.
  package func storeClaimed(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws -> [UInt8] {
    guard claim(id) else { throw SpindleError(.conflict, "the message \(id) is being changed") }
    do {
      try checkOpen()
      guard data.count <= Self.payloadByteLimit else {
        throw SpindleError(
          .invalidArgument,
          "the message has \(data.count) bytes; a spool takes at most \(Self.payloadByteLimit)")
      }
      var batch = Batch(reservingBytes: data.count + 64)
      let header = stage(id, try await encoded(data), into: &batch)
      try await storage.commit(
        batch, durability: forceSync ? .synced : .buffered, deadline: deadline)
      return header
    } catch {
      release(id)
      throw error
    }
  }

  /// Finds out whether a message is stored, and claims it.
  ///
  /// - Returns: nil when it is not there; else its checksum header, or nil in it when another
  ///   holds the message.
  package func claimStored(_ id: SpoolID) async throws -> [UInt8]?? {
    let record = try await storage.get(family, key: id.bytes)
    guard let record else { return nil }
    return .some(claim(id) ? Array(record.prefix(SpoolRecord.headerBytes)) : nil)
  }

  /// Reads a claimed message with its checksum header, on a thread that may block; nil when it is
  /// gone.
  package func loadRecordBlocking(
    _ id: SpoolID
  ) throws -> (header: [UInt8], payload: Result<Bytes, DecodingFailure>)? {
    guard let record = try storage.getBlocking(family, key: id.bytes) else { return nil }
    let header = Array(record.prefix(SpoolRecord.headerBytes))
    do throws(DecodingFailure) {
      return (header, .success(try SpoolRecord.payload(of: record.span)))
    } catch {
      return (header, .failure(error))
    }
  }

  public func remove(_ id: SpoolID) async throws {
    try checkOpen()
    var batch = Batch()
    batch.delete(family, key: id.bytes)
    batch.joinsGroupLane = beginChange(id)
    defer { endChange(id) }
    try await storage.commit(batch, durability: .buffered)
  }

  /// Adds a store of a new id to a batch that somebody else commits. Compresses on the calling
  /// thread; for payloads above ``compressionByteLimit`` await ``encoded(_:)`` before.
  ///
  /// - Returns: The record's checksum header, which ``stageRemoval(_:header:into:)`` demands.
  @discardableResult
  package func stage(_ id: SpoolID, _ data: Bytes, into batch: inout Batch) -> [UInt8] {
    stage(id, SpoolRecord.encode(data, settings.compression), into: &batch)
  }

  /// The same for a record that is made already.
  @discardableResult
  package func stage(
    _ id: SpoolID, _ record: SpoolRecord.Encoded, into batch: inout Batch
  ) -> [UInt8] {
    let key = id.bytes
    batch.put(family, key: key.span, header: record.header.span, payload: record.body.span)
    return record.header
  }

  /// Adds the removal of a claimed message to a batch, on the condition that it is still the one
  /// that was read.
  package func stageRemoval(_ id: SpoolID, header: [UInt8], into batch: inout Batch) {
    batch.requirePrefix(family, key: id.bytes, bytes: header)
    batch.delete(family, key: id.bytes)
  }

  // MARK: Claims

  /// Marks a message as held by a drain worker; false when another holds or changes it.
  package func claim(_ id: SpoolID) -> Bool {
    claims.withLock { claims in
      !claims.changing.contains(id) && claims.held.insert(id).inserted
    }
  }

  package func release(_ id: SpoolID) { claims.withLock { _ = $0.held.remove(id) } }

  /// Notes a store or remove that is under way.
  ///
  /// - Returns: Whether the id is claimed.
  private func beginChange(_ id: SpoolID) -> Bool {
    claims.withLock { claims in
      claims.changing.append(id)
      return claims.held.contains(id)
    }
  }

  private func endChange(_ id: SpoolID) {
    claims.withLock { claims in
      if let index = claims.changing.lastIndex(of: id) {
        claims.changing.swapAt(index, claims.changing.count - 1)
        claims.changing.removeLast()
      }
    }
  }
}
