internal import SpindleCore
public import SpindleFormats

/// What becomes of a batch that holds a line that is not line protocol.
public enum BadLinePolicy: String, Sendable, CaseIterable {
  /// Nothing of the batch is stored; the first bad line is thrown.
  case stop
  /// The bad lines are left out and counted; the good ones go on.
  case skip
}

/// What storing one batch of lines did.
public struct IngestReceipt: Sendable, Equatable {
  /// The batch's index in the producer's log.
  public var index: UInt64
  public var pointCount: UInt64
  /// Physical lines of the batch.
  public var lineCount: UInt64
  /// Lines left out under ``BadLinePolicy/skip``.
  public var rejectedCount: UInt64
  /// The first rejected lines, at most ``reportedErrorLimit``.
  public var errors: [LineProtocolError]

  /// Enough to see a pattern, too few to fill a log.
  public static let reportedErrorLimit = 20
}
