public import SpindleCore
internal import SpindleIO
internal import SpindleStore

/// What an export wrote, and what it could not read.
public struct SpoolExport: Sendable {
  public var messages: UInt64 = 0
  /// Bytes of their payloads.
  public var bytes: UInt64 = 0
  /// Messages whose record is damaged.
  public var damaged: UInt64 = 0
  /// The ids of those, at most ``SpoolVerification/damagedIDLimit``.
  public var damagedIDs: [SpoolID] = []
  /// Stretches whose table blocks could not be read.
  public var lostRanges: [SpoolLostRange] = []

  /// Whether the file holds everything that the spool does.
  public var isComplete: Bool { damaged == 0 && lostRanges.isEmpty }
}

/// What an import took in.
public struct SpoolImport: Sendable, Equatable {
  /// Messages stored.
  public var stored: UInt64 = 0
  /// Messages that the spool held already, byte for byte.
  public var skipped: UInt64 = 0
  /// Messages whose id the spool has with other bytes, or with a damaged record; that stays.
  public var conflicts: UInt64 = 0
  /// The ids of those, at most ``SpoolVerification/damagedIDLimit``.
  public var conflictingIDs: [SpoolID] = []

  public init() {}
}

extension RocksSpool {
  /// Writes every message that can be read into a new file, which ``importMessages(from:)`` takes
  /// in again. Goes on behind damage, and says what is missing. Works beside a running owner, too.
  ///
  /// The file appears under its name when it is whole and durable, or not at all.
  ///
  /// - Parameter path: Must not exist.
  /// - Throws: ``SpindleError``: `io` when the file cannot be written or is there already, and as
  ///   ``verify()``.
  /// - Complexity: O(bytes stored). One thread; memory for one message.
  public func export(to path: String) async throws -> SpoolExport {
    try await working {
      try await upkeep.run("spindle-export") { flag in
        do {
          return try self.write(to: path, flag)
        } catch let error as IOFailure {
          throw error.spindleError
        }
      }
    }
  }

  private func write(to path: String, _ flag: StopFlag) throws -> SpoolExport {
    var result = SpoolExport()
    var file = try NewFile(path)
    try file.write(SpoolExportFile.header)
    var walk = SpoolWalk(storage, family) { self.stopReason(flag) }
    try walk.runReadable { key, record in
      guard let id = SpoolID(bytes: key) else { return .next }
      let payload: [UInt8]
      do throws(DecodingFailure) {
        payload = try SpoolRecord.payload(of: record)
      } catch {
        result.damaged += 1
        if result.damagedIDs.count < SpoolVerification.damagedIDLimit {
          result.damagedIDs.append(id)
        }
        return .next
      }
      try file.write(SpoolExportFile.recordHeader(id, payload))
      try file.write(payload)
      result.messages += 1
      result.bytes += UInt64(payload.count)
      return .next
    }
    result.lostRanges = walk.lostRanges
    try file.write(
      SpoolExportFile.end(
        messages: result.messages, unreadable: result.damaged + UInt64(walk.lostRanges.count)))
    try file.finish()
    return result
  }

  /// Stores the messages of an export under their ids. What the spool has already is left as it is:
  /// equal messages are skipped, others are conflicts.
  ///
  /// The whole file is checked first, so a damaged one changes nothing. An import that was
  /// interrupted may be repeated. Nobody else may store or remove the same ids meanwhile.
  ///
  /// - Throws: ``SpindleError``: `corruption` with the offset for a damaged file, `io`, and what a
  ///   store throws; what was stored before stays then.
  /// - Complexity: reads the file twice; memory for some MiB, or one message.
  public func importMessages(from path: String) async throws -> SpoolImport {
    try await storage.blocking { try Self.checkExportBlocking(at: path) }
    var result = SpoolImport()
    var offset: UInt64 = 0
    var count: UInt64 = 0
    while true {
      let page = try await page(path, offset, count)
      count += UInt64(page.messages.count)
      try await take(page.messages, &result)
      if page.isLast { return result }
      offset = page.next
    }
  }

  /// Reads the file of an export through, without a store.
  ///
  /// - Throws: ``SpindleError``: `corruption` with the offset of what is damaged, or `io`.
  public static func checkExport(at path: String) async throws {
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
      do throws(IOFailure) {
        _ = try NamedThread(name: "spindle-import") {
          done.resume(with: Result { try checkExportBlocking(at: path) })
        }
      } catch {
        done.resume(throwing: error.spindleError)
      }
    }
  }

  private static func checkExportBlocking(at path: String) throws {
    var offset: UInt64 = 0
    var count: UInt64 = 0
    while true {
      let page = try SpoolExportFile.page(path, from: offset, after: count)
      if page.isLast { return }
      count += UInt64(page.messages.count)
      offset = page.next
    }
  }

  private func page(
    _ path: String, _ offset: UInt64, _ count: UInt64
  ) async throws -> SpoolExportFile.Page {
    try await storage.blocking { try SpoolExportFile.page(path, from: offset, after: count) }
  }

  private func take(
    _ messages: [(id: SpoolID, payload: [UInt8])], _ result: inout SpoolImport
  ) async throws {
    var missing: [(id: SpoolID, payload: [UInt8])] = []
    for message in messages {
      do {
        guard let present = try await loadIfPresent(message.id) else {
          missing.append(message)
          continue
        }
        if bytesEqual(present.span, message.payload.span) {
          result.skipped += 1
          continue
        }
      } catch let error as SpindleError where error.kind == .corruption {
        // What is damaged is not replaced: a person may still want it.
      }
      result.conflicts += 1
      if result.conflictingIDs.count < SpoolVerification.damagedIDLimit {
        result.conflictingIDs.append(message.id)
      }
    }
    for (index, message) in missing.enumerated() {
      // The last one's sync makes those before it durable, too.
      try await store(
        message.id, message.payload, forceSync: index == missing.count - 1, deadline: nil)
      result.stored += 1
    }
  }
}
