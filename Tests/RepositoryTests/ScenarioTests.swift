import SpindleIO
import Testing

@Suite("Every promised scenario is tested")
struct ScenarioTests {
  private static let page = "Documentation/spool-scenarios.md"

  private static let opLogPage = "Documentation/oplog-scenarios.md"

  /// Scenarios that are figures: rows of the benchmark's results stand for them.
  private static let measured: Set<String> = ["A-G-12", "A-E-10"]

  @Test func everySpoolScenarioIsNamedByATest() throws {
    let page = try #require(try Repository.files([Self.page], endings: [".md"]).first)
    let promised = Scenarios.promised(by: page)
    #expect(promised.count == Set(promised).count, "an id stands twice on \(Self.page)")
    #expect(promised.count == 84)
    let proven = Scenarios.proven(by: try Repository.files(["Tests"], endings: [".swift"]))
    let results = try Repository.files(["Benchmarks/Results/spool.md"], endings: [".md"])
    for id in promised {
      if Self.measured.contains(id) {
        let rows = results.flatMap { $0.text.split(separator: "\n") }
          .filter { $0.hasPrefix("| \(id): ") }
        print("\(id)  measured by spindle bench spool")
        #expect(!rows.isEmpty, "\(id): Benchmarks/Results/spool.md has no row of it")
        for row in rows { #expect(row.contains("| met |"), "\(id) is missed: \(row)") }
        continue
      }
      let tests = proven[id] ?? []
      for test in tests { print("\(id)  \(test)") }
      #expect(!tests.isEmpty, "\(id) is named by no test")
    }
  }

  @Test func everyOpLogScenarioIsNamedByATest() throws {
    let page = try #require(try Repository.files([Self.opLogPage], endings: [".md"]).first)
    let promised = Scenarios.promised(by: page)
    #expect(promised.count == Set(promised).count, "an id stands twice on \(Self.opLogPage)")
    #expect(Set(promised) == Set((1...96).map { "O-\($0)" }))
    let proven = Scenarios.proven(by: try Repository.files(["Tests"], endings: [".swift"]))
    for id in promised {
      let tests = proven[id] ?? []
      for test in tests { print("\(id)  \(test)") }
      #expect(!tests.isEmpty, "\(id) is named by no test")
    }
    for (id, tests) in proven where id.hasPrefix("O-") && !promised.contains(id) {
      Issue.record("\(id) is not on \(Self.opLogPage); named by \(tests.joined(separator: "; "))")
    }
  }

  @Test func everyRuleHasAProofThatExists() throws {
    let page = try #require(try Repository.files([Self.page], endings: [".md"]).first)
    let files = try Repository.files(["Tests"], endings: [".swift"])
    let proven = Scenarios.proven(by: files)
    let functions = Set(files.flatMap(Scenarios.tests(in:)).map(\.function))
    let rules = Scenarios.rules(of: page)
    #expect(rules.count == 34)
    for (rule, proofs) in rules {
      #expect(!proofs.isEmpty, "\(rule) names no proof")
      for proof in proofs {
        print("\(rule)  \(proof)")
        let name = proof.filter { $0 != "`" }
        let exists =
          proof.hasPrefix("`")
          ? functions.contains(name) : proven[name] != nil
        #expect(exists, "\(rule): there is no test \(name)")
      }
    }
  }

  @Test func testsNameOnlyPromisedScenarios() throws {
    let page = try #require(try Repository.files([Self.page], endings: [".md"]).first)
    let promised = Set(Scenarios.promised(by: page))
    let proven = Scenarios.proven(by: try Repository.files(["Tests"], endings: [".swift"]))
    for (id, tests) in proven where id.hasPrefix("A-") && !promised.contains(id) {
      Issue.record("\(id) is not on \(Self.page); named by \(tests.joined(separator: "; "))")
    }
  }

  @Test func aHoleWouldBeFound() {
    let page = SourceFile("page.md", "| A-X-1 | one |\n| A-X-2 | two |\n| other | row |\n")
    #expect(Scenarios.promised(by: page) == ["A-X-1", "A-X-2"])
    let rules = Scenarios.rules(of: SourceFile("page.md", "| R-X-1 | what | A-X-1 `one` |\n"))
    #expect(rules.count == 1 && rules.first?.rule == "R-X-1")
    #expect(rules.first?.proofs == ["A-X-1", "`one`"])
    let file = SourceFile(
      "Tests/T/Sample.swift",
      """
      @Test(
        "A-X-1, A-Y-3: both", arguments: [1])
      func both() {}
      @Test("not A-X-2: at the start") func other() {}
      """)
    let proven = Scenarios.proven(by: [file])
    #expect(Set(proven.keys) == ["A-X-1", "A-Y-3"])
    #expect(proven["A-X-1"] == ["Sample: A-X-1, A-Y-3: both"])
  }

  @Test(
    "A test that does not run proves nothing",
    arguments: [
      "// @Test(\"A-X-1: a\") func a() {}", "/* @Test(\"A-X-1: a\") func a() {} */",
      "/// @Test(\"A-X-1: a\")\nfunc a() {}", "let a = \"@Test(\\\"A-X-1: a\\\") func a() {}\"",
      "let a = \"\"\"\n@Test(\"A-X-1: a\") func a() {}\n\"\"\"",
      "@Test(\"A-X-1: a\", .disabled(\"later\")) func a() {}",
      "@Test(\"A-X-1: a\", .tags(.slow), .disabled()) func a() {}",
      "@Suite(\"S\", .disabled()) struct S { @Test(\"A-X-1: a\") func a() {} }",
    ])
  func whatDoesNotRunIsNotCounted(text: String) {
    let file = SourceFile("Tests/T/Sample.swift", text)
    #expect(Scenarios.proven(by: [file]).isEmpty)
    #expect(!Scenarios.tests(in: file).contains { $0.function == "a" })
  }

  @Test func whatRunsIsCounted() {
    let text = """
      /* a */ @Suite("S", .serialized) struct S {
        // once .disabled
        @Test func plain() {}
        @Test("A-X-1: \\(one(")"))", arguments: ["a.disabled"]) private func a() async {}
        @Test(.tags(.fast)) func b(_ text: String = #"a " b"#) {}
        func helper() {}
      }
      """
    let tests = Scenarios.tests(in: SourceFile("Tests/T/Sample.swift", text))
    #expect(tests.map(\.function) == ["plain", "a", "b"])
    #expect(tests[1].name?.hasPrefix("A-X-1: ") == true)
  }
}
