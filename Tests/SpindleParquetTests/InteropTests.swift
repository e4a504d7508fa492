import Foundation
import SpindleCore
import Testing

@testable import SpindleParquet

/// Files to and from pyarrow and DuckDB.
@Suite(.serialized) struct InteropTests {
  @Test func whatPyarrowAndDuckDBWriteIsReadEqual() async throws {
    try await withDirectory { directory in
      let files = try await PythonJudge.write(into: directory)
      #expect(files.count > 150)
      for file in files {
        let path = directory + "/" + file.file
        if let word = file.refused {
          expectRefusal(of: path, word)
          continue
        }
        do {
          let whole = try WholeFile(FileSource(path))
          compare(whole, file)
        } catch {
          Issue.record("\(file.file): \(error)")
        }
      }
    }
  }

  private func compare(_ whole: WholeFile, _ file: JudgedFile) {
    let metadata = whole.metadata
    #expect(metadata.rowCount == file.rows, "\(file.file)")
    #expect(metadata.rowGroups.count == file.rowGroups, "\(file.file)")
    #expect(metadata.schema.nestedNames == file.nested, "\(file.file)")
    let expected = file.columns ?? []
    #expect(metadata.schema.columns.map(\.name) == expected.map(\.name), "\(file.file)")
    #expect(metadata.schema.columns.map(\.meaning) == expected.map(\.logical), "\(file.file)")
    #expect(metadata.schema.columns.map(\.isOptional) == expected.map(\.optional), "\(file.file)")
    if metadata.rowGroups.isEmpty { return }
    for (found, expected) in zip(whole.judged, expected) where found != expected {
      Issue.record("\(file.file): column \(found), expected \(expected)")
    }
  }

  private func expectRefusal(of path: String, _ word: String) {
    do {
      _ = try WholeFile(FileSource(path))
      Issue.record("\(path) was read")
    } catch {
      #expect(error.kind == .unsupportedFormat && error.message.contains(word), "\(error)")
    }
  }

}
