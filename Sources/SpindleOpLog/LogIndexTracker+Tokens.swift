internal import SpindleCore
internal import SpindleRocks
public import SpindleStore

/// Idempotency tokens: their storage. A token is in the batch of the entries that it stands for.
extension LogIndexTracker {
  /// What the write of a token did; nil for a token that is unknown or expired.
  ///
  /// - Parameter now: Milliseconds since the Unix epoch.
  public func receipt(of token: IdempotencyToken, now: UInt64) async throws -> TokenReceipt? {
    try await record(of: token).flatMap { $0.expiry > now ? $0.receipt : nil }
  }

  /// Adds a token to the batch of its entries, with the demand that no other write takes it first:
  /// `uniqueViolation` with the reason `token` or `conflict` at the commit.
  ///
  /// - Parameters:
  ///   - lifetimeMilliseconds: How long a repeat is recognised.
  ///   - now: Milliseconds since the Unix epoch.
  public func stage(
    _ token: IdempotencyToken, _ receipt: TokenReceipt, lifetimeMilliseconds: UInt64, now: UInt64,
    into batch: inout Batch
  ) async throws {
    let key = OpLogKeys.token(token)
    if let old = try await record(of: token), old.expiry <= now {
      batch.requireEqual(space.log, key: key, bytes: old.bytes)
      batch.delete(space.log, key: OpLogKeys.tokenExpiry(old.expiry, token))
    } else {
      batch.requireAbsent(space.log, key: key, owner: "token")
    }
    let (expiry, overflow) = now.addingReportingOverflow(lifetimeMilliseconds)
    let record = TokenRecord(expiry: overflow ? .max : expiry, receipt: receipt)
    batch.put(space.log, key: key, value: record.bytes)
    batch.put(space.log, key: OpLogKeys.tokenExpiry(record.expiry, token), value: [])
  }

  private func record(of token: IdempotencyToken) async throws -> TokenRecord? {
    guard let bytes = try await space.store.get(space.log, key: OpLogKeys.token(token)) else {
      return nil
    }
    guard let record = TokenRecord(decoding: bytes.span) else {
      throw LogTrackerError.damagedMeta(
        prefix: prefix, "the record of an idempotency token has \(bytes.count) bytes"
      ).spindleError
    }
    return record
  }

  /// Removes tokens that have expired.
  ///
  /// - Parameters:
  ///   - now: Milliseconds since the Unix epoch.
  ///   - limit: The most tokens of this call, so that its batch stays small; call again while it
  ///     returns as many.
  /// - Returns: How many were removed.
  /// - Throws: ``SpindleError`` with `conflict` when an expired token was used again meanwhile;
  ///   nothing was removed then.
  @discardableResult
  public func sweepTokens(now: UInt64, limit: Int = 1_024) async throws -> Int {
    let batch = try await space.store.blocking {
      var batch = Batch.upkeep
      var upper: [UInt8] = [OpLogKeys.tokenExpirySubspace]
      if now < .max { upper.appendBigEndian(now + 1) } else { upper[0] += 1 }
      let options = IterationOptions(
        lowerBound: [OpLogKeys.tokenExpirySubspace], upperBound: upper)
      var count = 0
      try space.store.scan(space.log, options) { key, _ in
        guard count < limit else { return false }
        guard let (expiry, token) = OpLogKeys.decodeTokenExpiry(key) else {
          throw LogTrackerError.damagedMeta(
            prefix: prefix, "a key of \(key.count) bytes among the expiries of tokens is none"
          ).spindleError
        }
        batch.delete(space.log, key: copyBytes(key))
        count += 1
        let own = OpLogKeys.token(token)
        guard let bytes = try space.store.getBlocking(space.log, key: own),
          TokenRecord(decoding: bytes.span)?.expiry == expiry
        else { return true }
        batch.requireEqual(space.log, key: own, bytes: bytes)
        batch.delete(space.log, key: own)
        return true
      }
      return (batch, count)
    }
    if batch.1 > 0 { try await space.store.commit(batch.0, durability: .buffered) }
    return batch.1
  }
}
