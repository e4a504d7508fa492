import Foundation
import SpindleIO
import Testing

/// Runs `Tests/Support/parquet_judge.py` with the pyarrow and DuckDB of `make parquet-venv`.
enum PythonJudge {
  /// The repository this file belongs to.
  static let repository = Files.directory(of: Files.directory(of: Files.directory(of: #filePath)))
  static let sample = repository + "/Examples/nycflights13"

  /// Writes the files of the matrix into a directory and tells what they hold.
  static func write(into directory: String) async throws -> [JudgedFile] {
    let result = try await run(["write", directory, sample] + (isSoak ? ["--soak"] : []))
    try #require(result.status == 0, "\(result.text)")
    let manifest = try Data(contentsOf: URL(fileURLWithPath: directory + "/manifest.json"))
    return try JSONDecoder().decode(JudgedFiles.self, from: manifest).files
  }

  /// Has the files of a directory judged that `expected` describes; each finding fails the test.
  static func judge(
    _ expected: [JudgedFile], in directory: String, location: SourceLocation = #_sourceLocation
  ) async throws {
    let data = try JSONEncoder().encode(JudgedFiles(files: expected))
    try data.write(to: URL(fileURLWithPath: directory + "/expected.json"))
    let result = try await run(["read", directory])
    let lines = result.text.split(separator: "\n")
    for line in lines.dropLast().prefix(20) { Issue.record("\(line)", sourceLocation: location) }
    #expect(result.status == 0, "\(lines.last ?? "no answer")", sourceLocation: location)
    #expect(
      lines.last == "\(expected.count) files judged, 0 findings", sourceLocation: location)
  }

  static var isSoak: Bool { ProcessInfo.processInfo.environment["SPINDLE_SOAK"] != nil }

  /// Exit code and everything that was printed.
  static func run(_ arguments: [String]) async throws -> (status: Int32, text: String) {
    let python = repository + "/.build/venv/bin/python"
    try #require(Files.exists(python), "\(python) is missing: run make parquet-venv")
    let output = TemporaryDirectory.make(prefix: "spindle-judge")
    defer { TemporaryDirectory.remove(output) }
    try Data().write(to: URL(fileURLWithPath: output + "/text"))
    let file = try FileHandle(forWritingTo: URL(fileURLWithPath: output + "/text"))
    let process = Process()
    process.executableURL = URL(fileURLWithPath: python)
    process.arguments = [repository + "/Tests/Support/parquet_judge.py"] + arguments
    // The repository is not written to.
    process.environment = ProcessInfo.processInfo.environment.merging(
      ["PYTHONDONTWRITEBYTECODE": "1"]
    ) { $1 }
    process.standardOutput = file
    process.standardError = file
    try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
      process.terminationHandler = { _ in done.resume() }
      do { try process.run() } catch { done.resume(throwing: error) }
    }
    let text = try String(contentsOfFile: output + "/text", encoding: .utf8)
    return (process.terminationStatus, text)
  }
}

/// Makes a directory for a test and removes it.
func withDirectory<Value>(_ body: (String) async throws -> Value) async throws -> Value {
  let directory = TemporaryDirectory.make(prefix: "spindle-parquet")
  defer { TemporaryDirectory.remove(directory) }
  return try await body(directory)
}
