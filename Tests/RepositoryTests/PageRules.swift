import SpindleIO

/// Rules of the documentation.
enum PageRules {
  /// The relative links of a page whose targets do not exist.
  static func brokenLinks(_ page: SourceFile, exists: (String) -> Bool) -> [Finding] {
    let folder = Files.directory(of: "/" + page.path)
    return page.lines.enumerated().flatMap { index, line in
      links(in: line).compactMap { link in
        let target = String(link.prefix { $0 != "#" })
        if target.isEmpty || link.contains("://") || link.hasPrefix("mailto:") { return nil }
        if exists(resolve(target, from: folder)) { return nil }
        return Finding(path: page.path, line: index + 1, what: "\(target) does not exist")
      }
    }
  }

  private static func links(in line: Substring) -> [Substring] {
    var links: [Substring] = []
    var rest = line
    while let start = rest.firstRange(of: "](") {
      rest = rest[start.upperBound...]
      guard let end = rest.firstIndex(of: ")") else { break }
      links.append(rest[..<end])
      rest = rest[end...]
    }
    return links
  }

  /// A path from the root without "." and "..".
  static func resolve(_ target: String, from folder: String) -> String {
    var parts: [Substring] = []
    for part in (folder + "/" + target).split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return parts.joined(separator: "/")
  }

  /// The pages of formats that code cites and that do not exist.
  static func citedPages(_ file: SourceFile, exists: (String) -> Bool) -> [Finding] {
    file.lines.enumerated().compactMap { index, line in
      guard let start = line.firstRange(of: "Documentation/")?.lowerBound else { return nil }
      let path = line[start...].prefix {
        $0.isLetter || $0.isNumber || $0 == "/" || $0 == "." || $0 == "-"
      }
      let target = path.hasSuffix(".") ? path.dropLast() : path
      return exists(String(target))
        ? nil : Finding(path: file.path, line: index + 1, what: "\(target) does not exist")
    }
  }

  /// Code that lays down a format and that no page of the formats names.
  static func undescribedFormats(_ file: SourceFile, pages: [SourceFile]) -> [Finding] {
    guard let line = file.lines.firstIndex(where: { $0.contains("// Part of the format") }) else {
      return []
    }
    let names = ["`\(file.baseName)`", "`\(file.baseName).swift`", "/\(file.baseName).swift`"]
    if pages.contains(where: { page in names.contains { page.text.contains($0) } }) { return [] }
    return [
      Finding(
        path: file.path, line: line + 1,
        what: "no page of Documentation/Formats names \(file.baseName)")
    ]
  }

  /// The words of refusals that code gives and the page about them does not have in a first
  /// column: programs compare them, so each has its meaning written down.
  static func undescribedReasons(_ file: SourceFile, page: SourceFile) -> [Finding] {
    let described = Set(reasonRows(of: page).map(\.word))
    return reasons(in: file).compactMap { line, word in
      described.contains(word)
        ? nil : Finding(path: file.path, line: line, what: "\(page.path) has no row for \(word)")
    }
  }

  /// The words of the page that stand in no string of the sources: nobody gives them any more, or
  /// they are misspelt.
  static func unknownReasons(_ page: SourceFile, sources: [SourceFile]) -> [Finding] {
    reasonRows(of: page).compactMap { line, word in
      sources.contains { $0.text.contains("\"\(word)\"") }
        ? nil : Finding(path: page.path, line: line, what: "no source gives \(word)")
    }
  }

  /// The words in backquotes that are the first column of a page's tables.
  static func reasonRows(of page: SourceFile) -> [(line: Int, word: String)] {
    page.lines.enumerated().compactMap { index, line in
      guard line.hasPrefix("| `") else { return nil }
      let word = line.dropFirst(3).prefix { $0 != "`" }
      return isReason(word) ? (index + 1, String(word)) : nil
    }
  }

  /// The words that stand in quotes behind `reason:`, behind a constant's `Reason =`, or in a
  /// declaration that is named `reason`, as those of gates are. Sentences, such as why a message is
  /// set aside, are none.
  private static func reasons(in file: SourceFile) -> [(line: Int, word: String)] {
    var found: [(line: Int, word: String)] = []
    /// The line that ends the declaration.
    var end: String?
    for (index, line) in file.lines.enumerated() {
      let code = line.drop { $0 == " " }
      if code.hasPrefix("//") { continue }
      var rest: Substring = ""
      if end != nil {
        rest = line
      } else if let start = line.firstRange(of: "reason: ") ?? line.firstRange(of: "Reason = ") {
        rest = line[start.upperBound...]
        // A parameter; what follows is its function.
        if rest.hasPrefix("String") { rest = "" }
      }
      let texts = rest.split(separator: "\"", omittingEmptySubsequences: false)
      for (place, text) in texts.enumerated() where place % 2 == 1 && isReason(text) {
        found.append((index + 1, String(text)))
      }
      if let last = end {
        if line == last { end = nil }
      } else if line.hasSuffix("{"),
        line.contains("var reason:") || line.contains("func reason(")
      {
        end = line.prefix { $0 == " " } + "}"
      }
    }
    return found
  }

  private static func isReason(_ text: Substring) -> Bool {
    !text.isEmpty && text.allSatisfy { $0 == "_" || $0.isLowercase }
  }
}
