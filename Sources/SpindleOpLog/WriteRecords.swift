public import SpindleCore
public import SpindleStore

/// A tracker that also keeps what the writer of a log must remember beside it: which calls were
/// made already, and how far its log is known elsewhere. A processor whose tracker is none refuses
/// tokens and knows no fence.
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

  /// Up to which index the log of the peer that writes here is known to exist elsewhere; 0 when
  /// nothing is known of it.
  func fence(of peer: PeerID) async throws -> UInt64

  /// Notes that another place knows the log of the peer that writes here up to a cursor.
  func raiseFence(of peer: PeerID, to cursor: UInt64) async throws
}

extension LogIndexTracker: WriteRecords {}
