internal import SpindleIO

extension LocalDiskSpool {
  /// How many directories stand above a message.
  static let depth = 4

  /// Removes empty directories below `data`, never `data` itself. Stores go on meanwhile: one whose
  /// directory is taken away makes it again.
  ///
  /// - Throws: ``SpindleError`` for the first directory that could not be listed, after the others
  ///   were cleaned.
  /// - Complexity: Reads every directory.
  public func cleanup() async throws {
    try await blocking { [self] in
      var first: IOFailure?
      removeEmptyDirectories(below: directory.data, depth: 0, &first)
      if let first { throw first.spindleError }
    }
  }

  private func removeEmptyDirectories(below path: String, depth: Int, _ first: inout IOFailure?) {
    guard depth < Self.depth else { return }
    do throws(IOFailure) {
      for name in try Files.names(in: path) where Self.isDirectoryName(name) {
        if calls.isClosed { return }
        let child = path + "/" + name
        removeEmptyDirectories(below: child, depth: depth + 1, &first)
        durable.removeEmpty(child)
      }
    } catch {
      // A file where a directory should be, or another cleanup: nothing to clean.
      if !error.isNotFound, !error.isNotDirectory, first == nil { first = error }
    }
  }

  /// Two lower-case hexadecimal digits.
  static func isDirectoryName(_ name: String) -> Bool {
    name.utf8.count == 2
      && name.utf8.allSatisfy {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
          || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
      }
  }

  /// Files hold no memory: 0.
  public func adviseLowMemory() async throws -> Int {
    try checkOpen()
    return 0
  }

  /// Files need no compaction: nothing.
  public func compact() async throws { try checkOpen() }
}
