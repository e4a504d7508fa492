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
    var found: [String: [String]] = [:]
    for file in files {
      for test in tests(in: file) {
        guard let name = test.name else { continue }
        for id in ids(before: name) { found[id, default: []].append("\(file.baseName): \(name)") }
      }
    }
    return found
  }

  private static func ids(before name: String) -> [String] {
    guard name.hasPrefix("A-") || name.hasPrefix("O-"), let colon = name.firstIndex(of: ":") else {
      return []
    }
    return name[..<colon].split(separator: ",").map { String($0.trimmingSpaces) }
  }

  /// A test function that runs.
  struct Test: Equatable {
    /// The display name, as it is written; nil where there is none.
    var name: String?
    var function: String
  }

  /// The tests of a file, without those that are commented out, disabled or only text.
  static func tests(in file: SourceFile) -> [Test] {
    let tokens = SwiftToken.all(of: file.text)
    var tests: [Test] = []
    var index = 0
    /// What stands in the parentheses at the index, which moves behind them.
    func arguments() -> ArraySlice<SwiftToken> {
      guard index < tokens.count, tokens[index] == .sign("(") else { return [] }
      let start = index + 1
      var depth = 0
      while index < tokens.count {
        if tokens[index] == .sign("(") { depth += 1 }
        if tokens[index] == .sign(")") { depth -= 1 }
        index += 1
        if depth == 0 { return tokens[start..<(index - 1)] }
      }
      return tokens[start...]
    }
    while index + 1 < tokens.count {
      defer { index += 1 }
      guard tokens[index] == .sign("@") else { continue }
      let attribute = tokens[index + 1]
      guard attribute == .word("Test") || attribute == .word("Suite") else { continue }
      index += 2
      let traits = arguments()
      let isDisabled = traits.contains(.word("disabled"))
      if attribute == .word("Suite") {
        // Its tests are the rest of the file.
        if isDisabled { return tests }
        index -= 1
        continue
      }
      while index + 1 < tokens.count, tokens[index] != .word("func") { index += 1 }
      guard index + 1 < tokens.count, !isDisabled, case .word(let function) = tokens[index + 1]
      else { continue }
      var name: String?
      if case .text(let text)? = traits.first { name = text }
      tests.append(Test(name: name, function: function))
    }
    return tests
  }
}

/// A word, a sign or a string literal of Swift source; comments are none.
enum SwiftToken: Equatable {
  case word(String)
  case sign(Character)
  /// What stands between the quotes.
  case text(String)

  /// Knows what occurs here: no regular expressions.
  static func all(of text: String) -> [SwiftToken] {
    var lexer = Lexer(bytes: Array(text.utf8))
    lexer.run(until: nil)
    return lexer.tokens
  }

  private struct Lexer {
    let bytes: [UInt8]
    var index = 0
    var tokens: [SwiftToken] = []

    private func byte(_ offset: Int = 0) -> UInt8? {
      index + offset < bytes.count ? bytes[index + offset] : nil
    }

    private func isAt(_ text: String) -> Bool { bytes[index...].starts(with: text.utf8) }

    private static func isOfWord(_ byte: UInt8) -> Bool {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
        true
      default: false
      }
    }

    /// Reads to the end, or behind the parenthesis that closes an interpolation.
    mutating func run(until end: UInt8?) {
      var depth = 0
      while let byte = byte() {
        let isSlash = byte == UInt8(ascii: "/")
        if isSlash, isAt("//") {
          while let next = self.byte(), next != UInt8(ascii: "\n") { index += 1 }
        } else if isSlash, isAt("/*") {
          skipBlockComment()
        } else if byte == UInt8(ascii: "\"") || isRawText {
          readText()
        } else if Self.isOfWord(byte) {
          let start = index
          while let next = self.byte(), Self.isOfWord(next) { index += 1 }
          tokens.append(.word(String(decoding: bytes[start..<index], as: UTF8.self)))
        } else {
          if byte > UInt8(ascii: " ") { tokens.append(.sign(Character(Unicode.Scalar(byte)))) }
          if byte == UInt8(ascii: "(") { depth += 1 }
          if byte == UInt8(ascii: ")") { depth -= 1 }
          index += 1
          if byte == end, depth == 0 { return }
        }
      }
    }

    private mutating func skipBlockComment() {
      var depth = 0
      repeat {
        if isAt("/*") {
          depth += 1
          index += 2
        } else if isAt("*/") {
          depth -= 1
          index += 2
        } else {
          index += 1
        }
      } while depth > 0 && index < bytes.count
    }

    /// Whether number signs and a quote stand here.
    private var isRawText: Bool {
      guard byte() == UInt8(ascii: "#") else { return false }
      var offset = 0
      while byte(offset) == UInt8(ascii: "#") { offset += 1 }
      return byte(offset) == UInt8(ascii: "\"")
    }

    private mutating func readText() {
      let start = index
      while byte() == UInt8(ascii: "#") { index += 1 }
      let marks = String(repeating: "#", count: index - start)
      let quote = isAt("\"\"\"") ? "\"\"\"" : "\""
      index += quote.utf8.count
      let first = index
      var nested: [SwiftToken] = []
      let (end, escape) = (quote + marks, "\\" + marks)
      while let byte = byte(), byte != UInt8(ascii: "\"") || !isAt(end) {
        if byte == UInt8(ascii: "\\"), isAt(escape + "(") {
          index += 1 + marks.utf8.count
          // An interpolation may have literals of its own; what it holds is no code of a test.
          swap(&nested, &tokens)
          run(until: UInt8(ascii: ")"))
          swap(&nested, &tokens)
        } else if byte == UInt8(ascii: "\\"), isAt(escape) {
          index += 2 + marks.utf8.count
        } else {
          index += 1
        }
      }
      let last = min(index, bytes.count)
      tokens.append(.text(String(decoding: bytes[first..<last], as: UTF8.self)))
      index = min(last + end.utf8.count, bytes.count)
    }
  }
}

extension Substring {
  fileprivate var trimmingSpaces: Substring {
    var text = drop { $0 == " " }
    while text.last == " " { text = text.dropLast() }
    return text
  }
}
