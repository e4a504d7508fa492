/// Rules of how code is written, each a function from a file to what it finds.
enum CodeRules {
  static let columnLimit = 100
  static let lineLimit = 600

  /// What library code (below layer 7) does not use, and why.
  static let banned: [(text: String, reason: String)] = [
    ("Date()", "time comes from the store's clock"),
    ("ContinuousClock.now", "time comes from the store's clock"),
    ("ContinuousClock().now", "time comes from the store's clock"),
    ("SystemRandomNumberGenerator", "random numbers come from a seeded generator"),
    ("Task.detached", "work has an owner"),
    ("DispatchQueue.global", "blocking work runs on the store's threads"),
    ("Thread.sleep", "no thread sleeps"),
    ("sem_timedwait(", "a wait does not follow the wall clock, which may be set back"),
    ("sem_init(", "ThreadSemaphore's waits run on the monotonic clock"),
    ("print(", "only the command line writes to the terminal"),
    ("try!", "errors are thrown"),
    ("fatalError", "bad input never traps"),
  ]

  /// Where a banned text has its reason to stand.
  static let exceptions: Set<String> = [
    // The clock itself.
    "Sources/SpindleCore/StoreClock.swift ContinuousClock.now"
  ]

  static func bannedCalls(_ file: SourceFile) -> [Finding] {
    guard let module = file.module, let layer = Layers.layer[module], layer < 7 else { return [] }
    return file.codeLines.enumerated().flatMap { index, line in
      banned.compactMap { text, reason in
        guard contains(line, word: text), !line.contains("func " + text),
          !exceptions.contains("\(file.path) \(text)")
        else { return nil }
        return Finding(path: file.path, line: index + 1, what: "\(text): \(reason)")
      }
    }
  }

  /// Whether a text stands in a line, and not as the end of a longer name.
  private static func contains(_ line: String, word: String) -> Bool {
    var rest = line[...]
    while let start = rest.firstRange(of: word)?.lowerBound {
      let before = start == line.startIndex ? " " : line[line.index(before: start)]
      if !before.isLetter, !before.isNumber, before != "_", before != "." { return true }
      rest = rest[rest.index(after: start)...]
    }
    return false
  }

  /// C's types stay inside: no public or package declaration names one.
  static func exposedCTypes(_ file: SourceFile) -> [Finding] {
    signatures(of: file).compactMap { line, signature in
      let words = signature.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
      let exposed = words.first { word in
        ["OpaquePointer", "z_stream", "pthread_t", "sem_t", "timespec", "CChar", "CInt"]
          .contains(word)
          || ["rocksdb_", "spindle_", "LZ4_"].contains { word.hasPrefix($0) }
      }
      return exposed.map {
        Finding(path: file.path, line: line, what: "\($0) in a public or package signature")
      }
    }
  }

  /// The declarations that other modules see, up to their bodies.
  private static func signatures(of file: SourceFile) -> [(line: Int, text: String)] {
    var found: [(line: Int, text: String)] = []
    var isOpen = false
    var depth = 0
    for (index, line) in file.codeLines.enumerated() {
      if !isOpen {
        let words = line.split(separator: " ")
        guard words.contains("public") || words.contains("package"), !words.contains("import")
        else { continue }
        found.append((index + 1, ""))
        depth = 0
      }
      isOpen = true
      scan: for character in line {
        switch character {
        case "(", "[": depth += 1
        case ")", "]": depth -= 1
        case "{", "=":
          if depth == 0 {
            isOpen = false
            break scan
          }
        default: break
        }
        found[found.count - 1].text.append(character)
      }
      if depth == 0 { isOpen = false }
    }
    return found
  }

  static func nonASCII(_ file: SourceFile) -> [Finding] {
    findings(file) { line in
      line.utf8.contains { $0 >= 0x80 || $0 == 0x09 || $0 == 0x0D }
        ? "a byte outside printable ASCII" : nil
    }
  }

  static func longLines(_ file: SourceFile) -> [Finding] {
    findings(file) { line in
      line.utf8.count > columnLimit ? "\(line.utf8.count) columns" : nil
    }
  }

  /// Spelled in parts, so that the rule does not find itself.
  static let marks = ["TO" + "DO", "FIX" + "ME"]

  static func unfinished(_ file: SourceFile) -> [Finding] {
    findings(file) { line in marks.first { line.contains($0) } }
  }

  static func longFiles(_ file: SourceFile) -> [Finding] {
    let count = file.text.utf8.reduce(0) { $1 == 0x0A ? $0 + 1 : $0 }
    guard file.path.hasSuffix(".swift"), count > lineLimit else { return [] }
    return [Finding(path: file.path, line: count, what: "the file has \(count) lines")]
  }

  private static func findings(
    _ file: SourceFile, _ rule: (Substring) -> String?
  ) -> [Finding] {
    file.lines.enumerated().compactMap { index, line in
      rule(line).map { Finding(path: file.path, line: index + 1, what: $0) }
    }
  }
}
