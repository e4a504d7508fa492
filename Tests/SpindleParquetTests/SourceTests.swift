import Glibc
import SpindleCore
import SpindleIO
import SpindleParquet
import Testing

@Suite struct SourceTests {
  private func withFolder(_ body: (String) throws -> Void) throws {
    let folder = TemporaryDirectory.make(prefix: "spindle-parquet")
    defer { TemporaryDirectory.remove(folder) }
    try body(folder)
  }

  private func read(
    _ source: some ParquetSource, _ range: Range<UInt64>
  ) throws(SpindleError) -> [UInt8] {
    var bytes: [UInt8] = [9]
    try source.read(range, into: &bytes)
    return bytes
  }

  @Test func rangesAreAppended() throws {
    try withFolder { folder in
      let path = folder + "/file"
      try Files.writeAtomically([1, 2, 3, 4, 5], to: path)
      #expect(unsafe symlink("file", folder + "/link") == 0)
      for source in [try FileSource(path), try FileSource(folder + "/link")] {
        #expect(source.size == 5)
        #expect(try read(source, 3..<5) == [9, 4, 5])
        #expect(try read(source, 0..<1) == [9, 1])
        #expect(try read(source, 2..<2) == [9])
      }
      let memory = MemorySource([1, 2, 3, 4, 5])
      #expect(try read(memory, 1..<4) == [9, 2, 3, 4])
      #expect(throws: SpindleError.self) { try read(memory, 4..<6) }
    }
  }

  @Test func whatIsNoWholeFileIsAnError() throws {
    try withFolder { folder in
      let path = folder + "/file"
      try Files.writeAtomically([1, 2, 3, 4, 5], to: path)
      let source = try FileSource(path)
      #expect(unsafe truncate(path, 2) == 0)
      let short = #expect(throws: SpindleError.self) { try read(source, 0..<5) }
      #expect(short?.kind == .corruption && short?.path == path)
      let absent = #expect(throws: SpindleError.self) { try FileSource(folder + "/other") }
      #expect(absent?.kind == .notFound)
      let directory = #expect(throws: SpindleError.self) { try FileSource(folder) }
      #expect(directory?.kind == .io)
      for count in 0..<12 {
        let source = MemorySource([UInt8](repeating: 0x50, count: count))
        let error = #expect(throws: SpindleError.self) { try ParquetReader(source) }
        #expect(error?.kind == .corruption)
      }
    }
  }

  /// A source that gives more or less than it is asked for.
  private struct Liar: ParquetSource {
    let honest: MemorySource
    let more: Bool
    /// What begins in here is not given as asked for.
    let lies: Range<UInt64>

    var name: String { "liar" }
    var size: UInt64 { honest.size }

    func read(_ range: Range<UInt64>, into bytes: inout [UInt8]) throws(SpindleError) {
      try honest.read(range, into: &bytes)
      if !lies.contains(range.lowerBound) { return }
      if more { bytes.append(0) } else { bytes.removeLast() }
    }
  }

  @Test(arguments: [true, false])
  func aSourceThatGivesAnotherNumberOfBytesIsAnError(more: Bool) throws {
    let honest = try MemorySource(Fixture.bytes("zstd-v2.parquet"))
    let metadata = try ParquetReader(honest).metadata
    #expect(throws: SpindleError.self) {
      try ParquetReader(Liar(honest: honest, more: more, lies: 0..<honest.size))
    }
    // Honest on the magic and the footer with what may be its seal, not on what lies before.
    let end = metadata.fileBytes - UInt64(metadata.footerBytes + 8 + 8)
    let reader = try ParquetReader(Liar(honest: honest, more: more, lies: 4..<end))
    #expect(throws: SpindleError.self) { try reader.read(rowGroup: 0) }
  }
}
