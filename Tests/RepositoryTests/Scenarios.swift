/// The acceptance scenarios of a page, and the tests that name them.
enum Scenarios {
  /// The ids in the first column of a page's tables.
  static func promised(by page: SourceFile) -> [String] {
    page.lines.compactMap { line in
      guard line.hasPrefix("| A-") || line.hasPrefix("| O-") else { return nil }
      return line.dropFirst(2).split(separator: " ").first.map(String.init)
    }
  }

  /// The rules of a page's tables with what the last column names: scenarios, and test functions.
  static func rules(of page: SourceFile) -> [(rule: String, proofs: [String])] {
    page.lines.compactMap { line in
      guard line.hasPrefix("| R-") else { return nil }
      let cells = line.split(separator: "|").map(\.trimmingSpaces)
      guard cells.count == 3 else { return (String(cells.first ?? ""), []) }
      return (String(cells[0]), cells[2].split(separator: " ").map(String.init))
    }
  }

  /// The ids that begin the names of tests, with the files of the tests.
  ///
  /// A test proves the ids that stand before the colon of its display name:
  /// `@Test("A-L-1, A-L-2: a lock ends with its process")`.
  static func proven(by files: [SourceFile]) -> [String: [String]] {
    var tests: [String: [String]] = [:]
    for file in files {
      for name in displayNames(in: file) {
        for id in ids(before: name) { tests[id, default: []].append("\(file.baseName): \(name)") }
      }
    }
    return tests
  }

  private static func ids(before name: Substring) -> [String] {
    guard name.hasPrefix("A-") || name.hasPrefix("O-"), let colon = name.firstIndex(of: ":") else {
      return []
    }
    return name[..<colon].split(separator: ",").map { String($0.trimmingSpaces) }
  }

  /// The first string of each `@Test(...)`, which may stand on the next line. Tests that are
  /// commented out or always disabled do not count, nor do those of a suite that is disabled.
  private static func displayNames(in file: SourceFile) -> [Substring] {
    var names: [Substring] = []
    let code = code(of: file)
    var rest = code[...]
    while let start = rest.firstRange(of: "@Suite(") {
      rest = rest[start.upperBound...]
      if isDisabled(arguments(rest)) { return [] }
    }
    rest = code[...]
    while let start = rest.firstRange(of: "@Test(") {
      rest = rest[start.upperBound...]
      let argument = rest.drop { $0 == " " || $0 == "\n" }
      guard argument.first == "\"" else { continue }
      let text = argument.dropFirst()
      guard let end = text.firstIndex(of: "\"") else { continue }
      if !isDisabled(arguments(rest)) { names.append(text[..<end]) }
      rest = text[end...]
    }
    return names
  }

  /// The lines that are not commented out.
  private static func code(of file: SourceFile) -> String {
    var end: String?
    var lines: [Substring] = []
    for line in file.text.split(separator: "\n", omittingEmptySubsequences: false) {
      let text = line.trimmingSpaces
      if end == nil, text.hasPrefix("/*") { end = "*/" }
      if end == nil, text == "#if false" { end = "#endif" }
      if let mark = end {
        if text.firstRange(of: mark) != nil { end = nil }
      } else if !text.hasPrefix("//") {
        lines.append(line)
      }
    }
    return lines.joined(separator: "\n")
  }

  /// What stands before the parenthesis that ends a call, strings left out.
  private static func arguments(_ text: Substring) -> String {
    var depth = 1
    var isInString = false
    var found = ""
    for character in text {
      if character == "\"" { isInString.toggle() }
      if isInString { continue }
      if character == "(" { depth += 1 }
      if character == ")" { depth -= 1 }
      if depth == 0 { break }
      found.append(character)
    }
    return found
  }

  /// Disabled on a condition is not disabled for good.
  private static func isDisabled(_ arguments: String) -> Bool {
    var rest = arguments[...]
    while let start = rest.firstRange(of: ".disabled(") {
      rest = rest[start.upperBound...]
      if !rest.hasPrefix("if:") { return true }
    }
    return false
  }
}

extension Substring {
  fileprivate var trimmingSpaces: Substring {
    var text = drop { $0 == " " }
    while text.last == " " { text = text.dropLast() }
    return text
  }
}
