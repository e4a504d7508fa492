import ArgumentParser
import Foundation
import SpindleCore
import SpindleRocks
import SpindleSpool
import SpindleStore

/// The spool's jobs. The same stand in `Benchmarks/Raw` written on RocksDB directly.
struct BenchSpoolCommand: AsyncParsableCommand {
  enum Job: String, CaseIterable {
    case store, synced, load, loadBorrowed = "load-borrowed", loadCold = "load-cold", enumerate,
      ingress, remove, churn, gate, memory, all
  }

  static let configuration = CommandConfiguration(
    commandName: "spool",
    abstract: "Measure a fresh spool.",
    discussion: """
      store      one buffered store a call, by --tasks tasks at once
      synced     the same, made durable before each call returns
      load       random loads from a block cache that holds everything
      load-borrowed
                 the same without a copy of the message
      load-cold  a block cache of 64 KiB, each message once, in random order
      enumerate  one walk over all messages, read by --tasks tasks; tells the growth of memory
      ingress    buffered stores of one caller, alone and while 1000000 messages of 500 bytes
                 are enumerated
      remove     one buffered remove a call
      churn      store one, remove a random other of a live set; counts the bytes written
      gate       asks whether the spool takes writes
      memory     stores 2000000 messages and compares the peak of resident memory with the bound
                 that the settings give; exit code 2 when it is over
      all        every job at its usual sizes, memory apart

      A cold load finds its block in the system's page cache, or on the disk with --drop-caches.
      enumerate, churn, gate and memory run to their end, whatever --seconds says.

      Example:
        spindle bench spool --job synced --tasks 64 --value-bytes 1024 --dir /var/tmp
      """)

  @Option(
    help: """
      store, synced, load, load-borrowed, load-cold, enumerate, ingress, remove, churn, gate, \
      memory or all.
      """,
    transform: choice)
  var job = Job.all
  @Option(
    help: """
      Bytes of a message, 1 to 8388608. The default is 1024; enumerate: 500; churn: 16384.
      """)
  var valueBytes: Int?
  @Option(help: "Tasks at once, 1 to 4096.") var tasks = 1
  @Option(
    help: """
      Messages of a run. The default is 100000, less for large ones; churn: 4 times the live set \
      or 8 times the write buffer, whichever is more; ingress: 1000000 to enumerate; memory: \
      2000000; gate: 10000000.
      """)
  var ops: Int?
  @Option(help: "Bytes of the live set of churn.") var liveBytes = 16 << 20
  @Option(help: "Bytes of all memtables before a flush, 1048576 or more.")
  var writeBufferBytes = StoreSettings().database.writeBufferBytes
  @Option(help: "random or words.", transform: choice) var payload = BenchPayloads.Kind.random
  @Option(help: "none, lz4 or zstd.", transform: choice) var compression = PayloadCompression.none
  @Flag(help: "Messages of 4 KiB and more go to blob files.") var blobs = false
  @Flag(help: "load-cold: empty the system's page cache first; needs root.") var dropCaches = false
  @OptionGroup var common: BenchOptions

  func validate() throws {
    guard (1...(8 << 20)).contains(valueBytes ?? 1), (1...4096).contains(tasks),
      (1...1_000_000_000).contains(ops ?? 1), (1...100_000_000_000).contains(liveBytes),
      (1 << 20...1 << 36).contains(writeBufferBytes)
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
    var payload: BenchPayloads.Kind
    var compression: String
    var blobs: Bool
    /// Cold loads: what became of the system's page cache.
    var pageCache: String?
    // Ingress: the same stores with nothing beside them, and what was enumerated beside the others.
    var idleP50us: Double?
    var idleP99us: Double?
    var enumeratedCount: Int?
    // Churn.
    var liveBytes: Int?
    var storedBytes: Int?
    var kernelBytes: Int?
    var engineBytes: Int?
    var diskBytes: Int?
    // Enumerate and memory.
    var memoryBytes: Int?
    var memoryBoundBytes: Int?
  }

  func run() async throws {
    try await reportingErrors {
      if !common.json { Output.line(Self.header) }
      for _ in 0..<common.repeat {
        for plan in plans() {
          let result = try await measure(plan)
          try show(result)
          if let bytes = result.memoryBytes, let bound = result.memoryBoundBytes, bytes > bound {
            Output.problem(
              "the peak of resident memory is \(Output.grouped(bytes)) bytes; expected at most "
                + Output.grouped(bound))
            throw ExitCode(2)
          }
        }
      }
    }
  }

  /// What one run does.
  struct Plan {
    var job: Job
    var valueBytes: Int
    var tasks = 1
    var liveBytes = 0
    var blobs = false
  }

  private func plans() -> [Plan] {
    guard job == .all else {
      let usual = job == .enumerate ? 500 : job == .churn ? 16_384 : 1024
      return [
        Plan(
          job: job, valueBytes: valueBytes ?? usual, tasks: tasks, liveBytes: liveBytes,
          blobs: blobs)
      ]
    }
    let sizes = [256, 1024, 4096, 65_536]
    var plans = sizes.map { Plan(job: .store, valueBytes: $0) }
    plans += sizes.prefix(3).map { Plan(job: .store, valueBytes: $0, tasks: 64) }
    for tasks in [1, 16, 64] {
      plans += sizes.prefix(3).map { Plan(job: .synced, valueBytes: $0, tasks: tasks) }
    }
    for job in [Job.load, .loadBorrowed, .loadCold] {
      plans += sizes.map { Plan(job: job, valueBytes: $0) }
    }
    plans += [1, 8].map { Plan(job: .enumerate, valueBytes: 500, tasks: $0) }
    plans.append(Plan(job: .remove, valueBytes: 1024))
    for live in [16 << 20, 1 << 30] {
      for blobs in [false, true] {
        plans.append(Plan(job: .churn, valueBytes: 16_384, liveBytes: live, blobs: blobs))
      }
    }
    return plans + [Plan(job: .ingress, valueBytes: 1024), Plan(job: .gate, valueBytes: 1024)]
  }

  private func measure(_ plan: Plan) async throws -> Result {
    try await common.withDirectory { directory in
      let bench = BenchSpool(
        directory: directory, plan: plan, ops: ops, seconds: common.seconds,
        writeBufferBytes: writeBufferBytes, payload: payload, compression: compression,
        dropsCaches: dropCaches)
      return try await bench.run()
    }
  }

  private static let header =
    "job            bytes  tasks        ops/s    p50 us    p99 us  fsync/op"

  private func show(_ result: Result) throws {
    if common.json { return try Output.json(result) }
    func mebibytes(_ bytes: Int) -> String { String(format: "%.1f MiB", Double(bytes) / 1_048_576) }
    var line = result.job.padding(toLength: 13, withPad: " ", startingAt: 0)
    line += Output.right(String(result.valueBytes), 7) + Output.right(String(result.threads), 7)
    line += Output.right(Output.grouped(Int(result.opsPerSecond)), 13)
    line += Output.right(String(format: "%.3f", result.p50us), 10)
    line += Output.right(String(format: "%.3f", result.p99us), 10)
    let perOp = Double(result.fsyncs) / Double(max(result.ops, 1))
    line += Output.right(String(format: "%.3f", perOp), 10)
    if let stored = result.storedBytes, let kernel = result.kernelBytes,
      let live = result.liveBytes, let disk = result.diskBytes
    {
      let share = String(format: "%.2f", Double(kernel) / Double(stored))
      line += "  \(share) bytes written a byte, live \(mebibytes(live)), disk \(mebibytes(disk))"
      if result.blobs { line += ", blobs" }
    }
    if let p50 = result.idleP50us, let p99 = result.idleP99us {
      line += String(format: "  alone p50 %.3f us, p99 %.3f us", p50, p99)
    }
    if let bytes = result.memoryBytes { line += "  memory \(mebibytes(bytes))" }
    if let bound = result.memoryBoundBytes { line += " of at most \(mebibytes(bound))" }
    Output.line(line)
  }
}
