/// A number that counts something and so is not negative.
func natural(
  _ number: some FixedWidthInteger, _ what: String
) throws(ParquetFailure) -> Int {
  guard number >= 0, let number = Int(exactly: number) else {
    throw .damaged("\(what) of \(number)")
  }
  return number
}

/// A field that the format requires.
func required<Value>(
  _ value: Value?, _ structure: String, _ field: String
) throws(ParquetFailure) -> Value {
  guard let value else { throw .damaged("\(structure) lacks its \(field)") }
  return value
}

func knownEncoding(_ number: Int32) throws(ParquetFailure) -> ParquetEncoding {
  guard let encoding = ParquetEncoding(rawValue: number) else {
    throw .unsupported("encoding \(number) is unknown")
  }
  return encoding
}
