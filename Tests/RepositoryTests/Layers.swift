/// Which module may import which. A module sees only lower layers; siblings do not import each
/// other except where it is drawn here.
enum Layers {
  static let layer: [String: Int] = [
    "CRocksDB": 0, "CRocksDBShim": 0, "CLZ4": 0, "CZlib": 0, "CZstd": 0,
    "CSnappy": 0,
    "CSpindleChecksum": 0,
    "SpindleCore": 1, "SpindleIO": 1,
    "SpindleRocks": 2, "SpindleCodecs": 2, "SpindleFormats": 2, "SpindleParquet": 2,
    "SpindleStore": 3,
    "SpindleSpool": 4, "SpindleOpLog": 4,
    "SpindlePipeline": 5,
    "Spindle": 6,
    "SpindleDiagnostics": 7, "SpindleCLI": 7,
    // Help for tests, above everything it may need.
    "SpindleTestKit": 8, "CrashWorker": 9,
  ]

  /// Imports between siblings.
  static let drawn: [String: Set<String>] = [
    "SpindleIO": ["SpindleCore"], "SpindleCLI": ["SpindleDiagnostics"],
    "SpindleParquet": ["SpindleCodecs"],
    // The shim is C++ on RocksDB's headers.
    "CRocksDBShim": ["CRocksDB"],
  ]

  /// C libraries and who alone may import them.
  static let owners: [String: String] = [
    "CRocksDB": "SpindleRocks", "CRocksDBShim": "SpindleRocks", "CLZ4": "SpindleCodecs",
    "CZlib": "SpindleCodecs", "CZstd": "SpindleCodecs", "CSnappy": "SpindleCodecs",
    "CSpindleChecksum": "SpindleCore",
  ]

  /// Modules from elsewhere, and who may import them; nil is everyone.
  static let foreign: [String: Set<String>?] = [
    "Glibc": nil, "SwiftOverlayShims": nil, "Synchronization": nil,
    "Crypto": ["SpindlePipeline", "SpindleOpLog"],
    "Logging": nil, "Metrics": nil,
    "ArgumentParser": ["SpindleCLI"], "Foundation": ["SpindleCLI"], "Testing": ["SpindleTestKit"],
  ]

  /// The modules that a file imports, with their lines.
  static func imports(of file: SourceFile) -> [(line: Int, module: String)] {
    let modifiers: Set<Substring> = ["public", "package", "internal", "fileprivate", "private"]
    return file.codeLines.enumerated().compactMap { index, line in
      var words = line.split(separator: " ")[...]
      while let first = words.first, modifiers.contains(first) || first.hasPrefix("@") {
        words = words.dropFirst()
      }
      guard words.first == "import", let last = words.last, words.count > 1 else { return nil }
      return (index + 1, String(last.prefix { $0 != "." }))
    }
  }

  static func check(_ file: SourceFile) -> [Finding] {
    guard let module = file.module else { return [] }
    guard let own = layer[module] else {
      return [Finding(path: file.path, line: 1, what: "module \(module) has no layer in the table")]
    }
    return imports(of: file).compactMap { line, name in
      let what: String
      if let owner = owners[name], owner != module {
        what = "only \(owner) imports \(name)"
      } else if let other = layer[name] {
        if other < own || drawn[module]?.contains(name) == true { return nil }
        what = "layer \(own) imports \(name) of layer \(other)"
      } else if let allowed = foreign[name] {
        if allowed?.contains(module) ?? true { return nil }
        what = "\(module) may not import \(name)"
      } else {
        what = "\(name) is in no table"
      }
      return Finding(path: file.path, line: line, what: what)
    }
  }
}
