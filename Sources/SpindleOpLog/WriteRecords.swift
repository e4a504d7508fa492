public import SpindleCore
public import SpindleStore

/// A tracker that also remembers which calls of a log's writer were made already, and what other
/// replicas have. A processor whose tracker is none refuses idempotency tokens.
public protocol WriteRecords: Sendable {
  /// What the write of a token did; nil for a token that is unknown or expired.
  ///
  /// - Parameter now: Milliseconds since the Unix epoch.
  func receipt(of token: IdempotencyToken, now: UInt64) async throws -> TokenReceipt?

  /// Adds a token to the batch of its entries, with the demand that no other write takes it first:
  /// `uniqueViolation` with the reason `token` or `conflict` at the commit.
  ///
  /// - Parameters:
  ///   - lifetimeMilliseconds: How long a repeat is recognised.
  ///   - now: Milliseconds since the Unix epoch.
  func stage(
    _ token: IdempotencyToken, _ receipt: TokenReceipt, lifetimeMilliseconds: UInt64, now: UInt64,
    into batch: inout Batch
  ) async throws

  /// Removes tokens that have expired, at most `limit`.
  ///
  /// - Returns: How many were removed.
  func sweepTokens(now: UInt64, limit: Int) async throws -> Int

  /// Notes that a replica has each peer's log up to a cursor and keeps it, and nothing of peers
  /// that are not named. Of those in doubt no more than is named.
  func acknowledge(
    replica: PeerID, cursors: PeerCursors, except doubtful: Set<PeerID>
  ) async throws
}

extension LogIndexTracker: WriteRecords {}

/// A tracker whose rows are in one guarded family of the store. Whoever holds the claim of the
/// prefix holds the family's memory.
protocol RowKeeping {
  var rowFamily: StoreFamily { get }
}

extension LogIndexTracker: RowKeeping {
  var rowFamily: StoreFamily { space.log }
}
