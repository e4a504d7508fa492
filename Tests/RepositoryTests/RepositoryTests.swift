import SpindleIO
import Testing

@Suite("The repository keeps its rules")
struct RepositoryTests {
  private func exists(_ path: String) -> Bool { Files.exists(Repository.root + "/" + path) }

  private func expectNone(
    _ findings: [Finding], location: SourceLocation = #_sourceLocation
  ) {
    let text = findings.map(\.description).joined(separator: "\n")
    #expect(findings.isEmpty, "\(text)", sourceLocation: location)
  }

  @Test func theTreeIsThere() throws {
    #expect(exists("Package.swift"))
    #expect(try Repository.swiftSources().count > 100)
    #expect(try Repository.pages().count > 1)
  }

  @Test("Modules import only lower layers, and C libraries have one owner each")
  func layersHold() throws {
    expectNone(try Repository.swiftSources().flatMap(Layers.check))
    // No module without a place in the table.
    for module in try Files.names(in: Repository.root + "/Sources") {
      #expect(Layers.layer[module] != nil, "\(module) has no layer in the table")
    }
  }

  @Test("Libraries take time, chance and threads from the store, and never trap or print")
  func bannedCallsAreAbsent() throws {
    expectNone(try Repository.swiftSources().flatMap(CodeRules.bannedCalls))
  }

  @Test("The gate ends at the first failure, feeds damaged files for minutes")
  func theGateIsWhole() throws {
    func lines(_ path: String) throws -> [Substring] {
      let text = String(decoding: try Files.read(Repository.root + "/" + path), as: UTF8.self)
      return text.split(separator: "\n", omittingEmptySubsequences: false)
    }
    let gate = try lines(".ci/run")
    #expect(gate.first { !$0.hasPrefix("#") } == "set -euo pipefail")
    for target in ["fuzz-oplog", "fuzz-parquet", "parquet-flips"] {
      #expect(gate.contains { $0.contains("make \(target) |") && !$0.hasPrefix("#") }, "\(target)")
    }
    #expect(
      try lines("Makefile").count { $0.hasPrefix("\tSPINDLE_FUZZ_SECONDS=60 ") } == 2)
  }

  @Test func cTypesStayInside() throws {
    expectNone(try Repository.swiftSources().flatMap(CodeRules.exposedCTypes))
  }

  @Test func sourcesArePrintableASCII() throws {
    expectNone(try Repository.allSources().flatMap(CodeRules.nonASCII))
  }

  @Test func linesHaveAtMost100Columns() throws {
    let sources = try Repository.allSources().filter { !$0.path.hasPrefix("Benchmarks/") }
    expectNone(
      sources.flatMap { file in
        CodeRules.longLines(file)
      })
  }

  @Test func nothingIsMarkedUnfinished() throws {
    expectNone(try (Repository.allSources() + Repository.pages()).flatMap(CodeRules.unfinished))
  }

  @Test func filesHaveAtMost600Lines() throws {
    expectNone(try Repository.allSources().flatMap(CodeRules.longFiles))
  }

  @Test func linkedPagesExist() throws {
    expectNone(
      try Repository.pages().flatMap { page in
        PageRules.brokenLinks(page, exists: exists)
      })
    expectNone(
      try Repository.swiftSources().flatMap { PageRules.citedPages($0, exists: exists) })
  }

  @Test func everyFormatHasAPage() throws {
    let pages = try Repository.files(["Documentation/Formats"], endings: [".md"])
    expectNone(
      try Repository.swiftSources().flatMap { PageRules.undescribedFormats($0, pages: pages) })
    // The index names every page.
    let index = try #require(pages.first { $0.path == "Documentation/Formats/README.md" })
    for page in pages where page.path != index.path {
      #expect(index.text.contains("](\(page.baseName).md)"), "\(page.path) is not in the index")
    }
  }

  @Test func everyRefusalIsDescribed() throws {
    let page = try #require(
      try Repository.files(["Documentation/refusals.md"], endings: [".md"]).first)
    let sources = try Repository.swiftSources().filter { $0.module != "SpindleTestKit" }
    #expect(PageRules.reasonRows(of: page).count > 50)
    expectNone(sources.flatMap { PageRules.undescribedReasons($0, page: page) })
    expectNone(PageRules.unknownReasons(page, sources: sources))
  }

  @Test func whatIsBuiltIsNotCommitted() throws {
    let bytes = try Files.read(Repository.root + "/.gitignore")
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    for entry in [".build/", "Package.resolved", "spindle-data/", "*.o", ".swiftpm/"] {
      #expect(lines.contains(Substring(entry)), "\(entry) is not in .gitignore")
    }
  }
}
