package import SpindleCore
internal import SpindleStore

extension RocksSpool {
  /// The name of the spool that takes what could not be applied.
  package var quarantineName: String { String((name + ".quarantine").suffix(64)) }

  /// Moves a message as it is stored, damaged or not, to the quarantine spool, in one batch.
  package func quarantineBlocking(_ id: SpoolID, reason: String) throws {
    guard let record = try storage.getBlocking(family, key: id.bytes) else { return }
    let quarantine = try storage.familyBlocking("spool:" + quarantineName)
    var batch = Batch()
    batch.requireEqual(family, key: id.bytes, bytes: record)
    batch.put(quarantine, key: id.bytes, value: record)
    batch.delete(family, key: id.bytes)
    try storage.commitBlocking(batch)
    ledger?.settle(SpoolLedger.Change(before: record.count, after: nil))
    storage.send(.quarantined(spool: name, id: id.description, reason: reason))
  }
}
