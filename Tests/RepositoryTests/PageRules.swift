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
}
