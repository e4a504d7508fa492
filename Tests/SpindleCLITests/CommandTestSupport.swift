import Foundation
import SpindleCore
import SpindleIO
import SpindleStore
import SpindleTestKit
import Testing

/// What a command gave.
struct CommandResult {
  /// The exit code; 128 and the signal's number when a signal ended it.
  var status: Int32
  var output: [UInt8]
  var problems: String

  var text: String { String(decoding: output, as: UTF8.self) }

  /// The JSON object on standard output.
  func object(_ location: SourceLocation = #_sourceLocation) throws -> [String: Any] {
    try #require(
      try JSONSerialization.jsonObject(with: Data(output)) as? [String: Any],
      sourceLocation: location)
  }

  func objects(_ location: SourceLocation = #_sourceLocation) throws -> [[String: Any]] {
    try #require(
      try JSONSerialization.jsonObject(with: Data(output)) as? [[String: Any]],
      sourceLocation: location)
  }

  /// Expects exit code 1, one sentence on standard error and nothing on standard output.
  func expectRefusal(_ parts: String..., location: SourceLocation = #_sourceLocation) {
    #expect(status == 1, "\(problems)", sourceLocation: location)
    #expect(output.isEmpty, "\(text)", sourceLocation: location)
    #expect(problems.hasPrefix("spindle: "), "\(problems)", sourceLocation: location)
    #expect(problems.hasSuffix("\n"), sourceLocation: location)
    #expect(problems.dropLast().contains("\n") == false, "\(problems)", sourceLocation: location)
    for part in parts {
      #expect(problems.contains(part), "\(problems)", sourceLocation: location)
    }
  }
}

/// A program that runs; its streams are files, so that it never waits for a reader.
final class RunningCommand {
  let pid: pid_t
  private let outputFile: String
  private let problemFile: String
  private var ended: Int32?

  /// - Parameter output: Where standard output goes; the default is a file that the result holds.
  init(_ program: [String], input: [UInt8] = [], in directory: String? = nil, output: String? = nil)
    throws
  {
    let arguments = (directory.map { ["env", "-C", $0] } ?? []) + program
    let scratch = TemporaryDirectory.make(prefix: "spindle-command")
    outputFile = output ?? scratch + "/output"
    problemFile = scratch + "/problems"
    let inputFile = scratch + "/input"
    try Data(input).write(to: URL(fileURLWithPath: inputFile))
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    let create = O_WRONLY | O_CREAT
    unsafe posix_spawn_file_actions_addopen(&actions, 0, inputFile, O_RDONLY, 0)
    unsafe posix_spawn_file_actions_addopen(&actions, 1, outputFile, create, 0o644)
    unsafe posix_spawn_file_actions_addopen(&actions, 2, problemFile, create, 0o644)
    var words: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) }
    unsafe words.append(nil)
    defer { for index in unsafe words.indices { unsafe free(words[index]) } }
    var child: pid_t = 0
    let failure = unsafe posix_spawnp(&child, arguments[0], &actions, nil, words, environ)
    try #require(failure == 0, "cannot run \(arguments[0])")
    pid = child
  }

  /// Whether the program has ended.
  func hasEnded() -> Bool {
    if ended != nil { return true }
    var status: Int32 = 0
    guard unsafe waitpid(pid, &status, WNOHANG) == pid else { return false }
    ended = status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F
    return true
  }

  func kill() { _ = Glibc.kill(pid, SIGKILL) }

  /// What a program that runs has written to standard error so far.
  func problemsSoFar() throws -> String {
    String(decoding: try Data(contentsOf: URL(fileURLWithPath: problemFile)), as: UTF8.self)
  }

  /// Waits for the end; a program that hangs is killed and reported.
  func result(
    within limit: Duration = .seconds(120), location: SourceLocation = #_sourceLocation
  ) async throws -> CommandResult {
    let end = ContinuousClock.now + limit
    var pause = Duration.milliseconds(1)
    while !hasEnded() {
      if ContinuousClock.now > end {
        kill()
        Issue.record("the program did not end within \(limit)", sourceLocation: location)
        while !hasEnded() { try await Task.sleep(for: .milliseconds(5)) }
        break
      }
      try await Task.sleep(for: pause)
      pause = min(pause * 2, .milliseconds(10))
    }
    let output = (try? Data(contentsOf: URL(fileURLWithPath: outputFile))) ?? Data()
    let problems = try Data(contentsOf: URL(fileURLWithPath: problemFile))
    TemporaryDirectory.remove(Files.directory(of: problemFile))
    return CommandResult(
      status: ended ?? -1, output: Array(output),
      problems: String(decoding: problems, as: UTF8.self))
  }
}

/// The product under test, which stands beside the test bundle.
/// SPINDLE_PROGRAM names another one, such as a release build for the long crash tests.
let spindleProgram: String = {
  if let named = ProcessInfo.processInfo.environment["SPINDLE_PROGRAM"] { return named }
  let link = "/proc/self/exe"
  let runner = (try? FileManager.default.destinationOfSymbolicLink(atPath: link)) ?? ""
  let beside = Files.directory(of: runner) + "/spindle"
  if Files.exists(beside) { return beside }
  for argument in CommandLine.arguments where argument.hasSuffix(".xctest") {
    let other = Files.directory(of: argument) + "/spindle"
    if Files.exists(other) { return other }
  }
  return beside
}()

func spindle(
  _ arguments: String..., input: [UInt8] = [], directory: String? = nil,
  location: SourceLocation = #_sourceLocation
) async throws -> CommandResult {
  try await RunningCommand([spindleProgram] + arguments, input: input, in: directory)
    .result(location: location)
}

/// The repository this file belongs to.
let repository = Files.directory(of: Files.directory(of: Files.directory(of: #filePath)))
let januaryFlights = repository + "/Examples/nycflights13/flights-2013-01.lp.gz"

/// The verbs below a command, as its help lists them; none of a command without any.
func subcommands(inHelp text: String) -> [String] {
  let parts = text.components(separatedBy: "SUBCOMMANDS:\n")
  guard parts.count > 1, let list = parts.last else { return [] }
  return list.split(separator: "\n", omittingEmptySubsequences: false)
    .prefix { !$0.isEmpty }.filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }
    .compactMap { $0.split(separator: " ").first.map(String.init) }
}

/// A directory of one test, removed at the end, with a store in it.
struct Place {
  let directory: String
  var store: String { directory + "/store" }

  /// Another place, in this one's directory.
  func beside(_ name: String) throws -> Place {
    let place = Place(directory: directory + "/" + name)
    try FileManager.default.createDirectory(
      atPath: place.directory, withIntermediateDirectories: true)
    return place
  }

  func file(_ name: String, _ text: String) throws -> String {
    try file(name, Array(text.utf8))
  }

  @discardableResult
  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    let path = directory + "/" + name
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    return path
  }

  func ingest(
    _ arguments: String..., location: SourceLocation = #_sourceLocation
  ) async throws -> CommandResult {
    try await RunningCommand([spindleProgram, "ingest", "--store", store] + arguments)
      .result(location: location)
  }

  /// Ingests with --json and gives the counts.
  func counts(
    _ arguments: String..., input: [UInt8] = [], location: SourceLocation = #_sourceLocation
  ) async throws -> Counts {
    let result = try await RunningCommand(
      [spindleProgram, "ingest", "--store", store, "--json"] + arguments, input: input
    ).result(location: location)
    #expect(result.status == 0, "\(result.problems)", sourceLocation: location)
    return try Counts(result.object(location))
  }

  /// What `check --json` says; expects a sound store.
  func sound(_ location: SourceLocation = #_sourceLocation) async throws -> Soundness {
    let result = try await spindle("check", "--store", store, "--json", location: location)
    let report = try result.object(location)
    #expect(result.status == 0, "\(result.text) \(result.problems)", sourceLocation: location)
    #expect((report["findings"] as? [String]) == [], sourceLocation: location)
    return Soundness(report)
  }
}

struct Counts: Equatable {
  var read = 0
  var applied = 0
  var already = 0
  var rejected = 0
  var bytes = 0

  init(_ read: Int, applied: Int, already: Int = 0, rejected: Int = 0, bytes: Int) {
    self.read = read
    self.applied = applied
    self.already = already
    self.rejected = rejected
    self.bytes = bytes
  }

  init(_ object: [String: Any]) throws {
    read = try #require(object["linesRead"] as? Int)
    applied = try #require(object["linesApplied"] as? Int)
    already = try #require(object["linesAlreadyApplied"] as? Int)
    rejected = try #require(object["linesRejected"] as? Int)
    bytes = try #require(object["bytes"] as? Int)
    _ = try #require(object["seconds"] as? Double)
  }
}

/// The part of a check's report that two stores of the same input share.
struct Soundness: Equatable {
  var digest: String
  var points: Int
  var series: Int
  var spooled: Int

  init(_ report: [String: Any]) {
    digest = report["digest"] as? String ?? ""
    points = report["points"] as? Int ?? -1
    series = report["series"] as? Int ?? -1
    spooled = report["spooledMessages"] as? Int ?? -1
  }
}

func withPlace(_ body: (Place) async throws -> Void) async throws {
  let directory = TemporaryDirectory.make(prefix: "spindle-cli")
  defer { removeTree(directory) }
  try await body(Place(directory: directory))
}

func removeTree(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

/// Lines of one field each, in several series, with distinct times.
func sampleLines(_ range: Range<Int>, field: String = "v") -> String {
  range.map { "m,t=\($0 % 7) \(field)=\($0)i \($0 + 1)\n" }.joined()
}

/// Opens a store in this process.
func withStore(_ path: String, _ body: (Store) async throws -> Void) async throws {
  let store = try await Store.open(at: path, settings: .quiet)
  do {
    try await body(store)
  } catch {
    try? await store.close()
    throw error
  }
  try await store.close()
}

func gzip(_ path: String) async throws -> String {
  let result = try await RunningCommand(["gzip", "-kfn", path]).result()
  try #require(result.status == 0, "\(result.problems)")
  return path + ".gz"
}

func bytes(of path: String) throws -> [UInt8] {
  Array(try Data(contentsOf: URL(fileURLWithPath: path)))
}
