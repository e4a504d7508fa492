public import SpindleCore
internal import SpindleStore

/// What a verification of a spool found.
public struct SpoolVerification: Sendable {
  /// Messages whose record and payload are whole.
  public var intact: UInt64 = 0
  /// Records that fail their checksum or cannot be read as what they claim to be.
  public var damaged: UInt64 = 0
  /// The ids of the damaged records, at most ``damagedIDLimit`` of them.
  public var damagedIDs: [SpoolID] = []
  /// Keys that are no spool id.
  public var stray: UInt64 = 0
  /// Some stray keys as hexadecimal digits: at most 10, of each at most 32 bytes.
  public var strayKeys: [String] = []
  /// Stretches whose table blocks could not be read.
  public var lostRanges: [SpoolLostRange] = []
  /// The spool's quarantine. Its blocks are checked; its messages are not, as they may be there
  /// because they are damaged.
  public var quarantine = QuarantineStatistics()

  /// The most ids kept; more damage is only counted, so that memory stays bounded.
  public static let damagedIDLimit = 1_000

  /// Whether everything in the spool is as it was stored, and its quarantine can be read.
  public var isIntact: Bool {
    damaged == 0 && stray == 0 && lostRanges.isEmpty && quarantine.lostRanges.isEmpty
  }
}

extension RocksSpool {
  /// Reads everything and checks the checksums of blocks and records. It changes nothing and
  /// leaves the block cache as it is; a damaged block shuts the spool's gate as any read of it
  /// would, but for one of the quarantine.
  ///
  /// - Throws: ``SpindleError``: `closed`, `overloaded` when too many walks are under way, or
  ///   `CancellationError`.
  /// - Complexity: O(bytes stored). One thread; the caller is suspended.
  public func verify() async throws -> SpoolVerification {
    try await working {
      try await upkeep.run("spindle-verify") { flag in
        var result = SpoolVerification()
        var stray = StrayKeys()
        var walk = SpoolWalk(self.storage, self.family) { self.stopReason(flag) }
        try walk.runReadable { key, record in
          guard let id = SpoolID(bytes: key) else {
            stray.note(key)
            return .next
          }
          do throws(DecodingFailure) {
            _ = try SpoolRecord.payload(of: record)
            result.intact += 1
          } catch {
            result.damaged += 1
            if result.damagedIDs.count < SpoolVerification.damagedIDLimit {
              result.damagedIDs.append(id)
            }
          }
          return .next
        }
        if let damage = walk.damage { self.metrics?.met(damage) }
        result.stray = UInt64(stray.count)
        result.strayKeys = stray.examples
        result.lostRanges = walk.lostRanges
        let aside = try self.walkQuarantineBlocking { self.stopReason(flag) }
        if let damage = aside.damage { self.metrics?.met(damage) }
        result.quarantine = aside.found
        return result
      }
    }
  }
}
