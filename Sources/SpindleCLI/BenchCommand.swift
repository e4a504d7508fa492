import ArgumentParser
import Foundation
import SpindleCore
import SpindleRocks
import SpindleStore

struct BenchCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench",
    abstract: "Measure a workload on this machine.",
    discussion: "Example:\n  spindle bench store --dir /var/tmp --json",
    subcommands: [
      BenchStoreCommand.self, BenchSpoolCommand.self, BenchOpLogCommand.self,
      BenchParquetCommand.self,
    ])
}

/// The store's commit lanes. The same jobs stand in `Benchmarks/Raw` written on RocksDB directly.
struct BenchStoreCommand: AsyncParsableCommand {
  enum Job: String, CaseIterable {
    case inline, group, conditional, synced, beside, all
  }

  static let configuration = CommandConfiguration(
    commandName: "store",
    abstract: "Measure the commit lanes of a fresh store.",
    discussion: """
      inline       one buffered put a commit, one task
      group        64 buffered puts a commit, one task
      conditional  one buffered put a commit on the condition that its key is new
      synced       one synced put a commit, by --tasks tasks at once
      beside       inline puts of 256 bytes, alone and beside a task of synced commits
      all          every job at its usual sizes

      Example:
        spindle bench store --job synced --tasks 64 --value-bytes 1024 --dir /var/tmp
      """)

  @Option(help: "inline, group, conditional, synced, beside or all.", transform: choice)
  var job = Job.all
  @Option(help: "Bytes of a value, 1 to 16777216.") var valueBytes = 1024
  @Option(help: "Tasks at once, 1 to 4096.") var tasks = 64
  @Option(help: "Puts at most; the default is 100000, less for values over 10 KiB.")
  var ops: Int?
  @OptionGroup var common: BenchOptions

  func validate() throws {
    guard (1...(16 << 20)).contains(valueBytes), (1...4096).contains(tasks),
      (1...1_000_000_000).contains(ops ?? 1)
    else { throw BenchOptions.outOfRange }
  }

  /// One measured run. The keys are those of the raw program.
  struct Result: Encodable {
    var job: String
    var valueBytes: Int
    var threads: Int
    var ops: Int
    var seconds: Double
    var opsPerSecond: Double
    var p50us: Double
    var p99us: Double
    var fsyncs: Int
  }

  func run() async throws {
    try await reportingErrors {
      if !common.json {
        Output.line("job             bytes  tasks      ops/s    p50 us    p99 us  fsync/op")
      }
      for _ in 0..<common.repeat {
        for plan in plans() {
          for result in try await measure(plan) { try show(result) }
        }
      }
    }
  }

  private struct Plan {
    var job: Job
    var valueBytes: Int
    var tasks: Int
  }

  private func plans() -> [Plan] {
    guard job == .all else { return [Plan(job: job, valueBytes: valueBytes, tasks: tasks)] }
    let sizes = [256, 1024, 4096, 65_536]
    let lanes = [Job.inline, .group, .conditional].flatMap { job in
      sizes.map { Plan(job: job, valueBytes: $0, tasks: 1) }
    }
    let synced = [1, 16, 64].flatMap { tasks in
      sizes.prefix(3).map { Plan(job: .synced, valueBytes: $0, tasks: tasks) }
    }
    return lanes + synced + [Plan(job: .beside, valueBytes: 256, tasks: 1)]
  }

  private func show(_ result: Result) throws {
    if common.json { return try Output.json(result) }
    let name = result.job.padding(toLength: 14, withPad: " ", startingAt: 0)
    let perOp = Double(result.fsyncs) / Double(max(result.ops, 1))
    Output.line(
      name + Output.right(String(result.valueBytes), 7) + Output.right(String(result.threads), 7)
        + Output.right(Output.grouped(Int(result.opsPerSecond)), 11)
        + Output.right(String(format: "%.1f", result.p50us), 10)
        + Output.right(String(format: "%.1f", result.p99us), 10)
        + Output.right(String(format: "%.3f", perOp), 10))
  }

  private func measure(_ plan: Plan) async throws -> [Result] {
    try await common.withDirectory { try await measure(plan, in: $0) }
  }

  private func measure(_ plan: Plan, in directory: String) async throws -> [Result] {
    var settings = StoreSettings()
    settings.ballastBytes = 0
    // The raw program's options.
    settings.database.maxOpenFiles = 512
    var family = settings.database.writeBufferBytes
    family = min(family, 64 << 20)
    settings.familyOptions = Dictionary(
      uniqueKeysWithValues: ["spool", "oplog"].map { kind in
        var options = BenchStore.familyOptions
        options.writeBufferBytes = family
        return (kind, options)
      })
    let store = try await Store.open(at: directory, settings: settings)
    let bench = try await BenchStore(
      store: store, valueBytes: plan.valueBytes,
      limit: ops ?? min(100_000, max((1 << 30) / plan.valueBytes, 1)), seconds: common.seconds)
    let results: [Result]
    do {
      switch plan.job {
      case .inline: results = [try await bench.inline()]
      case .group: results = [try await bench.group()]
      case .conditional: results = [try await bench.conditional()]
      case .synced: results = [try await bench.synced(tasks: plan.tasks)]
      case .beside, .all: results = try await bench.beside()
      }
    } catch {
      try? await store.close()
      throw error
    }
    try await store.close()
    return results
  }
}
