internal import Logging
public import SpindleCore
internal import SpindleIO
internal import Synchronization

/// Quarantine: the file moves to `quarantine` under its id, unchanged, with the reason beside it.
///
/// Crash windows. Of a quarantine: the reason is durable before the message moves, so a process
/// killed between leaves the message in the spool and a reason without a message, which the next
/// open removes. Of a restore: the message gets its old name before it loses the new one; killed
/// between, it is in both places, one file, and the next open, or another restore, takes the name
/// in quarantine away. Of a purge: the message goes before its reason. Every step is synced before
/// the next begins, whatever the spool's settings.
///
/// A name that cannot be looked for is an error and never absent: a pair would go on with one half
/// alone, and its sweep would remove the body of a message.
extension LocalDiskSpool {
  /// The most bytes of a reason that are kept.
  private static let reasonByteLimit = 1_024

  /// Moves a message, damaged or not, out of the spool.
  ///
  /// - Throws: ``SpindleError`` with `notFound` for an absent message, `conflict` when another
  ///   message of the id is in quarantine, which is left as it is, and `quotaExceeded`, reason
  ///   `quarantine_full`, when there is no room; the message stays in the spool.
  public func quarantine(_ id: SpoolID, reason: String) async throws {
    try await changeQuarantine("quarantine", id) { [self] usage in
      let (source, target) = (id.path(under: directory.data), directory.quarantined(id))
      guard try Files.isThere(source) else { throw absent(id, "in the spool") }
      guard try !Files.isThere(target) else {
        throw SpindleError(
          .conflict, "a message of the id \(id) is in quarantine already; restore or purge it first"
        )
      }
      let text = encode(Self.kept(reason), .none)
      let bytes = text.byteCount + Int(clamping: try Files.size(source))
      try checkRoom(for: bytes, beside: usage)
      let temporary = temporaryPath("\(id)\(LocalDiskDirectory.reasonSuffix)")
      try write(text, to: temporary, sync: true)
      do throws(IOFailure) {
        try Files.move(temporary, to: directory.reason(id))
      } catch {
        try? Files.remove(temporary)
        throw error
      }
      try synchronize(directory.quarantine)
      try counting(id, after: nil) {
        do throws(IOFailure) {
          // The quarantine is locked and one process has the spool, so the name is still free.
          try Files.move(source, to: target)
        } catch {
          try? Files.remove(directory.reason(id))
          if error.isNotFound { throw absent(id, "in the spool") }
          throw error
        }
        try synchronize(directory.quarantine)
        try synchronizeRemoval(of: id)
      }
      log.write(
        .warning, "a message was moved to quarantine", [("id", "\(id)"), ("reason", reason)])
    }
  }

  public func quarantined(after id: SpoolID?, limit: Int) async throws -> [QuarantinedMessage] {
    try await blocking { [self] in
      try withSpindleErrors {
        var messages: [QuarantinedMessage] = []
        // The order of the names is that of the keys.
        for name in try Files.names(in: directory.quarantine) where messages.count < limit {
          guard let found = SpoolID(text: name), found.description == name,
            id.map({ $0.description < name }) ?? true
          else { continue }
          if let message = describe(found) { messages.append(message) }
        }
        return messages
      }
    }
  }

  /// How many messages are in quarantine; see ``quarantineUsage()``.
  public func quarantinedCount() async throws -> Int {
    Int(clamping: try await quarantineUsage().entries)
  }

  /// What is in quarantine; no message is read.
  ///
  /// - Complexity: O(messages in quarantine) for the first change or count, which is kept from then
  ///   on.
  public func quarantineUsage() async throws -> SpoolUsage {
    try await blocking { [self] in try quarantineUsageBlocking() }
  }

  func quarantineUsageBlocking() throws -> SpoolUsage {
    try quarantining.withLock { usage in
      try withSpindleErrors {
        let counted = try usage ?? directory.quarantineUsage()
        usage = counted
        return counted
      }
    }
  }

  /// Refuses a message for which the quarantine has no room; the refusal is counted, and told when
  /// it is the first since something was taken out.
  private func checkRoom(for bytes: Int, beside usage: SpoolUsage) throws {
    let ledger = SpoolLedger(
      of: "the quarantine of spool \(name)", quota: settings.quarantineQuota, holding: usage,
      clock: clock, reason: QuarantineLedger.fullReason)
    do throws(SpindleError) {
      try ledger.reserve(SpoolLedger.Change(before: nil, after: bytes))
    } catch {
      metrics?.quarantineRefused()
      if !hasRefusedQuarantine.exchange(true, ordering: .relaxed) {
        log.write(
          .error, "a quarantine is full and messages stay in their spool",
          [("detail", error.message)])
      }
      throw error
    }
  }

  public func isQuarantined(_ id: SpoolID) async throws -> Bool {
    try await blocking { [self] in
      do throws(IOFailure) {
        return try Files.isThere(directory.quarantined(id))
      } catch {
        throw failure("look for", id, error)
      }
    }
  }

  /// What is known of a message in quarantine; nil when it was just taken out.
  private func describe(_ id: SpoolID) -> QuarantinedMessage? {
    let path = directory.quarantined(id)
    guard let bytes = try? Files.size(path) else { return nil }
    let reason = try? LocalDiskRecord.read(directory.reason(id))
    let isDamaged = (try? LocalDiskRecord.read(path)) == nil
    return QuarantinedMessage(
      id: id, bytes: Int(clamping: bytes),
      reason: reason.map { String(decoding: $0.payload, as: UTF8.self) } ?? "",
      since: reason.map { SpoolInstant(unixMilliseconds: $0.record.storedMilliseconds) },
      isDamaged: isDamaged)
  }

  public func restoreQuarantined(_ id: SpoolID) async throws {
    try await notingLateStore(of: id) { try await restore(id) }
  }

  private func restore(_ id: SpoolID) async throws {
    try await changeQuarantine("restore", id) { [self] _ in
      let source = directory.quarantined(id)
      guard try Files.isThere(source) else { throw absent(id, "in quarantine") }
      do {
        let bytes = Int(clamping: try Files.size(source))
        // A link, which never replaces: a store may give the name to a new message at any time.
        try counting(id, after: bytes) {
          try place(id, sync: true) { path throws(IOFailure) in
            do throws(IOFailure) {
              try Files.link(source, to: path)
            } catch {
              // A restore that failed later has linked it already.
              guard error.isTaken, try Files.isSameFile(source, path) else { throw error }
            }
          }
        }
      } catch let error as IOFailure where error.isTaken {
        throw SpindleError(
          .conflict, "the spool holds a message of the id \(id) by now; the quarantined one stays")
      }
      try takeOut(id)
    }
  }

  public func purgeQuarantined(_ id: SpoolID) async throws {
    try await changeQuarantine("purge", id) { [self] _ in
      guard try Files.isThere(directory.quarantined(id)) else {
        throw absent(id, "in quarantine")
      }
      try takeOut(id)
    }
  }

  /// Takes a message's name out of the quarantine, and its reason.
  private func takeOut(_ id: SpoolID) throws(IOFailure) {
    try Files.remove(directory.quarantined(id), mustExist: true)
    try synchronize(directory.quarantine)
    try Files.remove(directory.reason(id))
    try synchronize(directory.quarantine)
    hasRefusedQuarantine.store(false, ordering: .relaxed)
  }

  private func absent(_ id: SpoolID, _ place: String) -> SpindleError {
    SpindleError(.notFound, "there is no message \(id) \(place)")
  }

  /// Runs one change of the quarantine at a time, and counts what it did: a step that failed may
  /// have been taken all the same, so the files are asked.
  private func changeQuarantine(
    _ verb: String, _ id: SpoolID, _ body: @escaping @Sendable (SpoolUsage) throws -> Void
  ) async throws {
    try await alone(with: id, until: nil) {
      try await blocking { [self] in
        do {
          try quarantining.withLock { usage in
            let total = try usage ?? directory.quarantineUsage()
            let before = try directory.quarantinedBytes(id)
            defer {
              do throws(IOFailure) {
                let after = try directory.quarantinedBytes(id)
                usage = total.changed(by: SpoolLedger.Change(before: before, after: after))
              } catch {
                // Nobody can look: everything is counted anew by the next call.
                usage = nil
              }
            }
            try body(total)
          }
        } catch let error as IOFailure {
          recordFailure(error, bytes: 0)
          throw failure(verb, id, error)
        }
      }
    }
  }

  /// As many whole characters of a reason as are kept.
  private static func kept(_ reason: String) -> [UInt8] {
    var bytes: [UInt8] = []
    for character in reason {
      let next = Array(character.utf8)
      guard bytes.count + next.count <= reasonByteLimit else { break }
      bytes += next
    }
    return bytes
  }
}
