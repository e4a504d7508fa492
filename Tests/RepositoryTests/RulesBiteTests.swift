import Testing

/// Each rule is fed something that breaks it, and something near that does not.
@Suite("The rules find what they are for")
struct RulesBiteTests {
  private func source(_ module: String, _ text: String) -> SourceFile {
    SourceFile("Sources/\(module)/File.swift", text)
  }

  @Test(
    "A module that imports what it may not",
    arguments: [
      ("SpindleStore", "internal import CRocksDB", "only SpindleRocks imports CRocksDB"),
      ("SpindleStore", "import CRocksDBShim", "only SpindleRocks imports CRocksDBShim"),
      ("SpindlePipeline", "internal import CLZ4", "only SpindleCodecs imports CLZ4"),
      ("SpindleRocks", "@preconcurrency internal import CZlib", "only SpindleCodecs imports CZlib"),
      ("SpindleCore", "import SpindleIO", "layer 1 imports SpindleIO of layer 1"),
      ("SpindleSpool", "public import SpindleOpLog", "layer 4 imports SpindleOpLog of layer 4"),
      (
        "SpindleStore", "import struct SpindleSpool.SpoolID",
        "layer 3 imports SpindleSpool of layer 4"
      ),
      ("SpindleStore", "import Foundation", "SpindleStore may not import Foundation"),
      ("SpindleStore", "import NIOCore", "NIOCore is in no table"),
      ("SpindleNew", "let a = 1", "module SpindleNew has no layer in the table"),
    ])
  func importsOfHigherLayers(module: String, text: String, expected: String) {
    #expect(Layers.check(source(module, text)).map(\.what) == [expected])
  }

  @Test(
    "A module that imports what it may",
    arguments: [
      ("SpindleRocks", "internal import CRocksDB"), ("SpindleIO", "public import SpindleCore"),
      ("SpindlePipeline", "import Crypto"), ("SpindleCLI", "import SpindleDiagnostics"),
      ("SpindleStore", "// import CRocksDB"), ("SpindleStore", "let a = \"import CRocksDB\""),
    ])
  func allowedImports(module: String, text: String) {
    #expect(Layers.check(source(module, text)).isEmpty)
  }

  @Test(
    "A banned call in a library",
    arguments: [
      "let now = Date()", "let now = ContinuousClock.now", "let now = ContinuousClock().now",
      "var random = SystemRandomNumberGenerator()", "Task.detached { work() }",
      "DispatchQueue.global().async {}", "Thread.sleep(forTimeInterval: 1)", "print(\"here\")",
      "let value = try! read()", "guard ok else { fatalError() }",
    ])
  func bannedCalls(text: String) {
    let findings = CodeRules.bannedCalls(source("SpindleStore", "\n" + text))
    #expect(findings.count == 1)
    #expect(findings.first?.line == 2)
    // The command line is above the rule.
    #expect(CodeRules.bannedCalls(source("SpindleCLI", text)).isEmpty)
  }

  @Test(
    "What only looks like a banned call",
    arguments: [
      "// print(it)", "let text = \"print(it)\"", "func print(_ text: String) {}",
      "blueprint(1)", "store.print(1)", "let text = \"\"\"\nprint(1)\n\"\"\"", "try read()",
      "/// Not `fatalError`.",
    ])
  func similarCalls(text: String) {
    #expect(CodeRules.bannedCalls(source("SpindleStore", text)).isEmpty)
  }

  @Test(
    "A C type in a signature that others see",
    arguments: [
      "public let handle: OpaquePointer", "  package func get() -> UnsafePointer<CChar>",
      "public init(\n  _ options: UnsafePointer<rocksdb_options_t>\n) {",
      "  public static func open(_ stream: inout z_stream) throws -> Int {",
      "package var thread: pthread_t { own }",
    ])
  func exposedCTypes(text: String) {
    #expect(CodeRules.exposedCTypes(source("SpindleRocks", text)).count == 1)
  }

  @Test(
    "A C type that others do not see",
    arguments: [
      "private let handle: OpaquePointer", "init(owning handle: OpaquePointer) {",
      "public var isValid: Bool { unsafe rocksdb_iter_valid(iterator) != 0 }",
      "public static let size = MemoryLayout<z_stream>.size", "// public let handle: OpaquePointer",
      "public func read(\n  _ bytes: Span<UInt8>\n) {\n  rocksdb_get()",
    ])
  func hiddenCTypes(text: String) {
    #expect(CodeRules.exposedCTypes(source("SpindleRocks", text)).isEmpty)
  }

  @Test func bytesOutsideASCII() {
    #expect(CodeRules.nonASCII(source("A", "let a = 1\n// na\u{EF}ve")).map(\.line) == [2])
    #expect(CodeRules.nonASCII(source("A", "\tlet a = 1")).count == 1)
    #expect(CodeRules.nonASCII(source("A", "let a = 1\r")).count == 1)
    #expect(CodeRules.nonASCII(source("A", "let a = \"~\"")).isEmpty)
  }

  @Test func longLines() {
    let line = String(repeating: "a", count: 100)
    #expect(CodeRules.longLines(source("A", line)).isEmpty)
    #expect(CodeRules.longLines(source("A", "b\n" + line + "a")).map(\.line) == [2])
  }

  @Test(arguments: CodeRules.marks) func unfinishedMarks(mark: String) {
    #expect(CodeRules.unfinished(source("A", "// \(mark): later")).count == 1)
    #expect(CodeRules.unfinished(source("A", "// done")).isEmpty)
  }

  @Test func longFiles() {
    let text = String(repeating: "\n", count: CodeRules.lineLimit)
    #expect(CodeRules.longFiles(source("A", text)).isEmpty)
    #expect(CodeRules.longFiles(source("A", text + "\n")).count == 1)
    #expect(CodeRules.longFiles(SourceFile("Sources/C/a.cc", text + "\n")).isEmpty)
  }

  @Test func brokenLinks() {
    let page = SourceFile(
      "Documentation/Formats/a.md",
      """
      [here](b.md#part) and [up](../Concepts.md), [out](https://example.org/x), [self](#top)
      [gone](c.md)
      """)
    let there: Set<String> = ["Documentation/Formats/b.md", "Documentation/Concepts.md"]
    let findings = PageRules.brokenLinks(page) { there.contains($0) }
    #expect(findings.map(\.description) == ["Documentation/Formats/a.md:2: c.md does not exist"])
  }

  @Test func citedPages() {
    let file = source("A", "/// `Documentation/Formats/a.md` says.\n/// See Documentation/b.md.")
    #expect(PageRules.citedPages(file) { $0 == "Documentation/Formats/a.md" }.map(\.line) == [2])
  }

  @Test func undescribedFormats() {
    let file = source("A", "enum File {\n  // Part of the format; must not be changed.\n}")
    let page = { (text: String) in [SourceFile("Documentation/Formats/a.md", text)] }
    #expect(PageRules.undescribedFormats(file, pages: []).map(\.line) == [2])
    #expect(PageRules.undescribedFormats(file, pages: page("A File")).count == 1)
    #expect(PageRules.undescribedFormats(file, pages: page("Code: `File`.")).isEmpty)
    #expect(PageRules.undescribedFormats(file, pages: page("`Sources/A/File.swift`")).isEmpty)
    #expect(PageRules.undescribedFormats(source("A", "let a = 1"), pages: []).isEmpty)
  }

  @Test(
    "A word of a refusal that the page lacks",
    arguments: [
      "\nthrow SpindleError(.io, \"no\", reason: \"new_word\")",
      "\n  path: path, reason: isFull ? \"disk_full\" : \"new_word\")",
      "\nreason: reason ?? \"new_word\")", "\nstatic let fullReason = \"new_word\"",
      "var reason: String {\ncase .new: \"new_word\"\n}",
      "  func reason(of error: Int) -> String {\n    \"new_word\"\n  }",
    ])
  func undescribedReasons(text: String) {
    let file = source("SpindleStore", text)
    let page = { (row: String) in SourceFile("page.md", "| `disk_full` | `io` |\n" + row) }
    let findings = PageRules.undescribedReasons(file, page: page("The word `new_word`."))
    #expect(
      findings.map(\.description) == [
        "Sources/SpindleStore/File.swift:2: page.md has no row for new_word"
      ])
    #expect(PageRules.undescribedReasons(file, page: page("| `new_word` | |")).isEmpty)
  }

  @Test(
    "What is no word of a refusal",
    arguments: [
      "// reason: \"new_word\"", "quarantine(id, reason: \"a whole sentence\")",
      "reason: \"\\(failure)\")", "reason: cause.reason)", "let suffix = \"new_word\"",
      "var reason: String {\n  word\n}\nlet other = \"new_word\"",
      "func stopped(reason: String) { stops.add([(\"new_word\", reason)]) }",
    ])
  func noReasons(text: String) {
    let page = SourceFile("page.md", "")
    #expect(PageRules.undescribedReasons(source("SpindleStore", text), page: page).isEmpty)
  }

  @Test func unknownReasons() {
    let page = SourceFile("page.md", "| reason | kind |\n|---|---|\n| `gone` | |\n| `kept` | |")
    let sources = [source("A", "// gone, `gone`"), source("A", "case .a: \"kept\"")]
    let findings = PageRules.unknownReasons(page, sources: sources)
    #expect(findings.map(\.description) == ["page.md:3: no source gives gone"])
  }
}
