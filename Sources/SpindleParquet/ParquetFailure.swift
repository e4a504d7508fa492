/// Why bytes of a Parquet file were refused, before it is known where in which file they stand.
struct ParquetFailure: Error {
  enum Kind {
    /// The bytes contradict the format.
    case damaged
    /// The format allows it; this reader does not.
    case unsupported
    /// Believing it would take more than the limits allow.
    case limit
  }

  var kind: Kind
  /// What is wrong and what was expected.
  var what: String
  /// Where in the bytes that were decoded.
  var offset: Int?

  static func damaged(_ what: String, at offset: Int? = nil) -> Self {
    Self(kind: .damaged, what: what, offset: offset)
  }

  static func unsupported(_ what: String, at offset: Int? = nil) -> Self {
    Self(kind: .unsupported, what: what, offset: offset)
  }

  static func limit(_ what: String, at offset: Int? = nil) -> Self {
    Self(kind: .limit, what: what, offset: offset)
  }
}
