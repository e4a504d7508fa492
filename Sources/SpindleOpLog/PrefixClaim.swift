package import SpindleCore
package import SpindleStore

extension WriterClaim {
  /// Claims the log of one prefix.
  ///
  /// - Throws: ``SpindleError`` with `conflict`, reason `prefix_in_use`.
  package convenience init(_ store: Store, prefix: String) throws(SpindleError) {
    try self.init(
      store, part: "oplog:" + prefix,
      refusal: SpindleError(
        .conflict, "the op-log \(printable(prefix)) has a writer in this store already",
        reason: "prefix_in_use"))
  }
}
