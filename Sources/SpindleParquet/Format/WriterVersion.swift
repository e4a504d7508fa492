/// What is known of single versions of writers, by what files name as `created_by`.
enum WriterVersion {
  /// Whether the sizes of column chunks may lack the header of the dictionary page: parquet-mr did
  /// so before version 1.2.9.
  static func leavesOutDictionaryHeaders(_ createdBy: String?) -> Bool {
    let words = createdBy?.lowercased().split(separator: " ") ?? []
    guard words.first == "parquet-mr" else { return false }
    // The first versions do not tell theirs.
    guard words.count > 2, words[1] == "version" else { return true }
    let numbers = words[2].split(separator: ".").map { part in
      Int(part.prefix { $0.isASCII && $0.isNumber }) ?? 0
    }
    return numbers.lexicographicallyPrecedes([1, 2, 9])
  }
}
