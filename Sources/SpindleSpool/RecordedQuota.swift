internal import SpindleCore
internal import SpindleStore

/// The quota that an application gave its spool, kept in the store so that tools keep to it.
///
/// Key `spool-quota:<name>` in the family `default`, see
/// `Documentation/Formats/store-directory.md`. Written by an owner that opens the spool with
/// another quota than the recorded one, and removed by one that opens it without. A store that
/// refuses writes at that moment keeps the old record until the next opening.
enum RecordedQuota {
  private static let version: UInt8 = 1
  private static let byteCount = 22
  private static let hasBytes: UInt8 = 1
  private static let hasEntries: UInt8 = 2

  static func key(of name: String) -> [UInt8] { Array("spool-quota:\(name)".utf8) }

  /// Records the quota of the settings, or takes the recorded one, on a thread that may block.
  ///
  /// - Returns: The quota that holds; and for a reader, who stores nothing, why the recorded one is
  ///   not known.
  static func settle(
    _ settings: SpoolSettings, of name: String, in store: Store
  ) throws -> (quota: SpoolQuota, problem: SpindleError?) {
    let own = (settings.quota, nil as SpindleError?)
    guard let family = store.existingFamily("default") else { return own }
    if settings.usesRecordedQuota {
      guard settings.quota.isUnlimited else { return own }
      do {
        guard let bytes = try store.getBlocking(family, key: key(of: name)) else { return own }
        if let quota = decode(bytes) { return (quota, nil) }
        throw SpindleError(
          .corruption,
          "the recorded quota of the spool \(name) is damaged or of a newer version; the next "
            + "opening by its application records it anew", path: store.path)
      } catch let error as SpindleError
        where store.view != .owned && [.corruption, .io].contains(error.kind)
      {
        return (settings.quota, error)
      }
    }
    guard store.view == .owned else { return own }
    do {
      let recorded = try store.getBlocking(family, key: key(of: name))
      let wanted = settings.quota.isUnlimited ? nil : encode(settings.quota)
      if recorded != wanted {
        var batch = Batch()
        if let wanted {
          batch.put(family, key: key(of: name), value: wanted)
        } else {
          batch.delete(family, key: key(of: name))
        }
        try store.commitBlocking(batch)
      }
    } catch is SpindleError {
      // Shut gates and damage are told by those who look; what is intact stays readable.
    }
    return own
  }

  static func encode(_ quota: SpoolQuota) -> [UInt8] {
    let flags = (quota.bytes == nil ? 0 : hasBytes) | (quota.entries == nil ? 0 : hasEntries)
    var bytes = [version, flags]
    bytes.appendBigEndian(quota.bytes ?? 0)
    bytes.appendBigEndian(quota.entries ?? 0)
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  /// nil for anything that ``encode(_:)`` does not give.
  static func decode(_ bytes: [UInt8]) -> SpoolQuota? {
    guard bytes.count == byteCount else { return nil }
    var reader = ByteReader(bytes.span.extracting(droppingFirst: 2))
    guard let limit = try? reader.readBigEndian(UInt64.self),
      let entries = try? reader.readBigEndian(UInt64.self)
    else { return nil }
    let quota = SpoolQuota(
      bytes: bytes[1] & hasBytes == 0 ? nil : limit,
      entries: bytes[1] & hasEntries == 0 ? nil : entries)
    return encode(quota) == bytes ? quota : nil
  }
}
