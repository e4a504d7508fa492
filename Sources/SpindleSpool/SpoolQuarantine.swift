public import SpindleCore

/// A spool that can set messages aside instead of deleting them.
///
/// A message that is damaged, or that its consumer cannot use, must not be deleted and must not
/// come back at every start. In quarantine it is kept as it was stored until a person restores or
/// purges it.
public protocol QuarantiningSpool: Spool {
  /// Moves a message, damaged or not, out of the spool. An absent id throws `notFound`; a full
  /// quarantine `quotaExceeded` with the reason `quarantine_full`, and the message stays.
  ///
  /// - Parameter reason: One sentence for people; at most 1,024 bytes of UTF-8 are kept.
  func quarantine(_ id: SpoolID, reason: String) async throws

  /// What is in quarantine, in the order of the ids' keys.
  ///
  /// - Parameters:
  ///   - id: The list begins behind this id; nil is the beginning.
  ///   - limit: The most messages given.
  func quarantined(after id: SpoolID?, limit: Int) async throws -> [QuarantinedMessage]

  /// Moves a message back, byte for byte as it was. Throws `notFound` when it is not in
  /// quarantine, `conflict` when the spool holds a message under its id by now, and
  /// `quotaExceeded` when the spool has no room for it.
  func restoreQuarantined(_ id: SpoolID) async throws

  /// Deletes a message in quarantine for good. Throws `notFound` when it is not there.
  func purgeQuarantined(_ id: SpoolID) async throws

  /// Whether a message is in quarantine. The default walks ``quarantined(after:limit:)``.
  func isQuarantined(_ id: SpoolID) async throws -> Bool

  /// How many messages are in quarantine. The default walks ``quarantined(after:limit:)``.
  func quarantinedCount() async throws -> Int
}

extension QuarantiningSpool {
  public func isQuarantined(_ id: SpoolID) async throws -> Bool {
    var last: SpoolID?
    while true {
      // Pages bound the memory of a long list.
      let page = try await quarantined(after: last, limit: 1_000)
      if page.contains(where: { $0.id == id }) { return true }
      guard let next = page.last?.id else { return false }
      last = next
    }
  }

  public func quarantinedCount() async throws -> Int {
    var last: SpoolID?
    var count = 0
    while true {
      let page = try await quarantined(after: last, limit: 1_000)
      count += page.count
      guard let next = page.last?.id else { return count }
      last = next
    }
  }
}

/// What the quarantine of a spool holds.
public struct QuarantineStatistics: Sendable, Equatable {
  /// What could be read; no message was checked.
  public var usage = SpoolUsage()
  /// Stretches whose table blocks could not be read.
  public var lostRanges: [SpoolLostRange] = []

  public init() {}
}

/// A message in quarantine.
public struct QuarantinedMessage: Sendable, Equatable {
  public var id: SpoolID
  /// Bytes of the stored record.
  public var bytes: Int
  /// Why it was set aside.
  public var reason: String
  /// When it was set aside; nil when that is not known.
  public var since: SpoolInstant?
  /// Whether the stored record fails its own checks.
  public var isDamaged: Bool

  public init(
    id: SpoolID, bytes: Int, reason: String, since: SpoolInstant?, isDamaged: Bool
  ) {
    self.id = id
    self.bytes = bytes
    self.reason = reason
    self.since = since
    self.isDamaged = isDamaged
  }
}

/// What is stored of a message in quarantine.
public struct QuarantinedContents: Sendable, Equatable {
  /// What the bytes are.
  public enum Form: String, Sendable {
    /// The message's payload, whole.
    case payload
    /// The stored record, header and all: it fails its own checks.
    case record
    /// Everything that is stored under the id: the quarantine's own record is damaged.
    case envelope
  }

  public var form: Form
  public var bytes: Bytes
  /// Why the payload cannot be given; nil where it is.
  public var damage: String?
  /// Why the message was set aside; nil where that is damaged or was not recorded.
  public var reason: String?
}
