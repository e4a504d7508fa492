import ArgumentParser
import Foundation
import SpindleCore

/// The op-log's jobs. The same stand in `Benchmarks/Raw` written on RocksDB and on SQLite.
struct BenchOpLogCommand: AsyncParsableCommand {
  enum Job: String, CaseIterable { case apply, exec, synced, read, cursors, all }

  static let configuration = CommandConfiguration(
    commandName: "oplog",
    abstract: "Measure a fresh op-log.",
    discussion: """
      apply    entries of other peers, --batch of them a call, by --tasks tasks at once
      exec     one local op a call, by --tasks tasks at once
      synced   the same, made durable before each call returns
      read     every entry of one peer, in pages of 256
      cursors  the next index of each of 10000 peers with 10 entries each
      all      every job at its usual sizes

      An entry sets one of --cells cells to a value: its row, the cell, the clock's register and the
      link of its peer's hash chain are one commit.

      Example:
        spindle bench oplog --job exec --tasks 16 --dir /var/tmp
      """)

  @Option(help: "apply, exec, synced, read, cursors or all.", transform: choice) var job = Job.all
  @Option(help: "Entries a call of apply, 1 to 4096.") var batch = 1
  @Option(help: "Tasks at once, 1 to 4096.") var tasks = 1
  @Option(help: "Bytes of a value, 1 to 1048576.") var valueBytes = 100
  @Option(help: "Cells, 1 to 10000000.") var cells = 10_000
  @Option(help: "Entries of a run. The default is 200000; synced: 20000.") var ops: Int?
  @OptionGroup var common: BenchOptions

  func validate() throws {
    guard (1...4096).contains(batch), (1...4096).contains(tasks),
      (1...(1 << 20)).contains(valueBytes), (1...10_000_000).contains(cells),
      (1...1_000_000_000).contains(ops ?? 1)
    else { throw BenchOptions.outOfRange }
  }

  /// One measured run. The keys are those of the raw programs.
  struct Result: Encodable {
    var job: String
    var batch: Int
    var threads: Int
    var ops: Int
    var seconds: Double
    var opsPerSecond: Double
    var p50us: Double
    var p99us: Double
    var fsyncs: Int
  }

  /// What one run does.
  struct Plan {
    var job: Job
    var batch = 1
    var tasks = 1
  }

  func run() async throws {
    try await reportingErrors {
      if !common.json {
        Output.line("job       batch  tasks    entries/s    p50 us    p99 us  fsync/entry")
      }
      for _ in 0..<common.repeat {
        for plan in plans() { try show(try await measure(plan)) }
      }
    }
  }

  private func plans() -> [Plan] {
    guard job == .all else {
      return [Plan(job: job, batch: job == .read ? 256 : batch, tasks: tasks)]
    }
    return [
      Plan(job: .apply), Plan(job: .apply, tasks: 16), Plan(job: .apply, batch: 256),
      Plan(job: .exec), Plan(job: .exec, tasks: 16), Plan(job: .synced),
      Plan(job: .synced, tasks: 16), Plan(job: .read, batch: 256), Plan(job: .cursors),
    ]
  }

  private func measure(_ plan: Plan) async throws -> Result {
    try await common.withDirectory { directory in
      let bench = BenchOpLog(
        directory: directory, plan: plan, ops: ops ?? (plan.job == .synced ? 20_000 : 200_000),
        seconds: common.seconds, valueBytes: valueBytes, cells: cells)
      return try await bench.run()
    }
  }

  private func show(_ result: Result) throws {
    if common.json { return try Output.json(result) }
    let perOp = Double(result.fsyncs) / Double(max(result.ops, 1))
    Output.line(
      result.job.padding(toLength: 8, withPad: " ", startingAt: 0)
        + Output.right(String(result.batch), 7) + Output.right(String(result.threads), 7)
        + Output.right(Output.grouped(Int(result.opsPerSecond)), 13)
        + Output.right(String(format: "%.1f", result.p50us), 10)
        + Output.right(String(format: "%.1f", result.p99us), 10)
        + Output.right(String(format: "%.3f", perOp), 13))
  }
}
