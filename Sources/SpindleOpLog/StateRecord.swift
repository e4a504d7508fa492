internal import SpindleCore
package import SpindleStore

/// What a prefix says about its state: the ``Reducer/stateName`` of the reducer that makes it.
package enum StateRecord {
  /// So that the header of an export has room for it.
  private static let nameByteLimit = 64

  /// The name; nil for a prefix that does not say it.
  package static func name(of prefix: String, in store: Store) async throws -> String? {
    guard let log = store.existingFamily("oplog:" + prefix),
      let bytes = try await store.get(log, key: OpLogKeys.stateKey)
    else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Writes the name of a reducer that has one, the first time that it is opened over a prefix.
  /// Whoever calls it has the writer's claim, so nobody writes another name meanwhile. It is in the
  /// log before any entry that the reducer applies, so no crash keeps one without the other.
  ///
  /// - Throws: ``SpindleError`` with `conflict`, reason `other_reducer`, where the state is that of
  ///   another one; `invalidArgument`, reason `state_name`, for a name of another length.
  static func claim(_ name: String?, of prefix: String, in store: Store) async throws {
    guard let name else { return }
    guard 1...nameByteLimit ~= name.utf8.count else {
      throw SpindleError(
        .invalidArgument,
        "the name of the reducer \(printable(name)) has \(name.utf8.count) bytes; expected 1 to "
          + "\(nameByteLimit)", reason: "state_name")
    }
    if let known = try await self.name(of: prefix, in: store) {
      guard known == name else {
        throw SpindleError(
          .conflict,
          "the state of the op-log \(printable(prefix)) is that of the reducer "
            + "\(printable(known)), not \(name)", reason: "other_reducer")
      }
      return
    }
    var batch = Batch()
    batch.put(
      try await store.family("oplog:" + prefix), key: OpLogKeys.stateKey, value: Array(name.utf8))
    try await store.commit(batch, durability: .buffered)
  }
}
