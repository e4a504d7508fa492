import ArgumentParser
import Foundation

/// The options that every benchmark has.
struct BenchOptions: ParsableArguments {
  @Option(help: "Seconds a run at most.")
  var seconds = 5.0
  @Option(help: "Runs of each job.") var `repeat` = 1
  @Option(help: "Where the temporary store is made.") var dir = "."
  @Flag(help: "Print one JSON object a run.") var json = false

  func validate() throws {
    guard seconds > 0, seconds <= 3600, (1...1000).contains(`repeat`) else {
      throw Self.outOfRange
    }
  }

  static var outOfRange: ValidationError {
    ValidationError("an option is out of its range; see --help")
  }

  /// Gives the body a directory of its own that does not exist, and removes it in the end.
  func withDirectory<Result>(_ body: (String) async throws -> Result) async throws -> Result {
    let directory = dir + "/spindle-bench-\(ProcessInfo.processInfo.processIdentifier)"
    try? FileManager.default.removeItem(atPath: directory)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try await body(directory)
  }
}

/// The raw programs' source of randomness.
func benchMix(_ number: UInt64) -> UInt64 {
  var value = number &+ 0x9E37_79B9_7F4A_7C15
  value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
  value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
  return value ^ value >> 31
}
