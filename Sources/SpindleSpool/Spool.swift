public import SpindleCore

/// A durable map from id to message: what was stored is there until it is removed.
///
/// Values are opaque. There is no order and no secondary index.
public protocol Spool: Sendable {
  /// Reads a message. An absent id throws `notFound`, naming it. A cancelled caller gets
  /// `CancellationError` at once where the disk is needed.
  func load(_ id: SpoolID) async throws -> Bytes

  /// Removes a message.
  func remove(_ id: SpoolID) async throws

  /// Stores a message, or replaces the one there.
  ///
  /// - Parameters:
  ///   - forceSync: True: the message survives power loss when the call returns. False: it
  ///     survives a killed process.
  ///   - deadline: Until when the spool may wait for room; its own bound applies as well. A
  ///     ``RocksSpool`` makes its first attempt whatever the deadline, for large messages when a
  ///     thread is free; a ``LocalDiskSpool`` begins nothing behind it.
  func store(
    _ id: SpoolID, _ data: Bytes, forceSync: Bool, deadline: ContinuousClock.Instant?
  ) async throws

  /// Sends every message made before `startTime` into a bounded channel, in no particular order.
  /// Returns at once; the handle tells the outcome.
  ///
  /// At a start prefer ``RocksSpool/enumerateLeftovers(into:)`` where there is one: it gives what
  /// the last run left whatever the clocks say, and nothing that came since.
  func enumerate(
    into channel: SpoolEntryChannel, startTime: SpoolInstant
  ) throws -> SpoolEnumeration

  /// Periodic housekeeping.
  func cleanup() async throws

  /// Refuses further calls and lets running ones end. Repeats do nothing.
  func shutdown() async throws

  /// Flushes and drops caches.
  ///
  /// - Returns: Bytes of memory saved; may be negative.
  func adviseLowMemory() async throws -> Int

  /// Flushes and compacts everything; errors surface.
  func compact() async throws

  /// A fixed, bland text while the spool refuses writes; nil otherwise. No I/O, no allocation.
  var unhealthyReason: StaticString? { get }
}

extension Spool {
  public func cleanup() async throws {}
  public func compact() async throws {}
  public var unhealthyReason: StaticString? { nil }
}

/// One message of an enumeration.
public enum SpoolEntry: Sendable, Equatable {
  case item(id: SpoolID, data: Bytes)
  /// The record under this id is damaged; the message is left where it is.
  case corrupt(id: SpoolID, error: String)
}
