import SpindleIO

/// A file of the repository.
struct SourceFile: Sendable {
  /// Relative to the repository's root.
  let path: String
  let text: String

  init(_ path: String, _ text: String) {
    self.path = path
    self.text = text
  }

  var lines: [Substring] { text.split(separator: "\n", omittingEmptySubsequences: false) }

  /// The module of a file below Sources; nil elsewhere.
  var module: String? {
    let parts = path.split(separator: "/")
    return parts.count > 2 && parts[0] == "Sources" ? String(parts[1]) : nil
  }

  /// The file's name without its ending.
  var baseName: String {
    let name = path.split(separator: "/").last ?? ""
    return String(name.prefix { $0 != "." })
  }

  /// The lines without comments and the contents of string literals, so that words in them are
  /// not taken for code. Knows what occurs here: no block comments, no raw strings.
  var codeLines: [String] {
    var isInText = false
    return lines.map { line in
      var code = ""
      if line.contains("\"\"\"") {
        isInText.toggle()
        return code
      }
      if isInText { return code }
      var isInString = false
      var isEscaped = false
      var last: Character = " "
      for character in line {
        if isInString {
          if isEscaped {
            isEscaped = false
          } else if character == "\\" {
            isEscaped = true
          } else if character == "\"" {
            isInString = false
          }
          continue
        }
        if character == "\"" { isInString = true }
        if character == "/", last == "/" {
          code.removeLast()
          break
        }
        code.append(character)
        last = character
      }
      return code
    }
  }
}

/// Something that a rule found.
struct Finding: Equatable, CustomStringConvertible {
  let path: String
  let line: Int
  let what: String
  var description: String { "\(path):\(line): \(what)" }
}

/// The repository on disk.
enum Repository {
  static let root = Files.directory(
    of: Files.directory(of: Files.directory(of: #filePath)))

  /// The files below some folders whose names end so, without what builds leave behind.
  static func files(_ folders: [String], endings: [String]) throws -> [SourceFile] {
    try folders.flatMap { try list($0, endings) }
  }

  private static func list(_ path: String, _ endings: [String]) throws -> [SourceFile] {
    let absolute = root + "/" + path
    guard Files.isDirectory(absolute) else {
      guard Files.exists(absolute), endings.contains(where: { path.hasSuffix($0) }) else {
        return []
      }
      let bytes = try Files.read(absolute, limit: 1 << 24)
      return [SourceFile(path, String(decoding: bytes, as: UTF8.self))]
    }
    return try Files.names(in: absolute).filter { !$0.hasPrefix(".") && $0 != "build" }
      .flatMap { try list(path + "/" + $0, endings) }
  }

  static func swiftSources() throws -> [SourceFile] { try files(["Sources"], endings: [".swift"]) }

  /// Everything written by hand in a programming language.
  static func allSources() throws -> [SourceFile] {
    try files(
      ["Sources", "Tests", "Examples", "Benchmarks", "Package.swift"],
      endings: [".swift", ".h", ".c", ".cc", ".sh"])
  }

  static func pages() throws -> [SourceFile] {
    try files(
      ["README.md", "CHANGELOG.md", "Documentation", "Examples", "Benchmarks"], endings: [".md"])
  }
}
