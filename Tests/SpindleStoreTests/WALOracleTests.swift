import Foundation
import SpindleIO
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// The scan against RocksDB itself: over random damage, whenever the scan says `open`, opening
/// read-only with `paranoid_checks` on and off must succeed alike and find what the scan found.
///
/// The oracle, `Tests/Support/waloracle.cc`, is compiled with g++ for the run, and opens each
/// directory in a child process, because RocksDB aborts on some of them. `SPINDLE_WAL_SEED` repeats
/// a run; `SPINDLE_SOAK` makes it longer.
@Suite(.serialized) struct WALOracleTests {
  static let isSoak = ProcessInfo.processInfo.environment["SPINDLE_SOAK"] != nil
  static let caseCount = isSoak ? 1_000 : 72

  struct NoOracle: Error, CustomStringConvertible {
    var description: String
  }

  /// The compiled oracle, made once for all tests.
  static let tool = Result<String, NoOracle> { () throws(NoOracle) in
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Support/waloracle.cc").path
    let target = NSTemporaryDirectory() + "spindle-waloracle-\(getpid())"
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = [
      "g++", "-std=c++17", "-O1", source, "-o", target, "-lrocksdb", "-lpthread",
    ]
    do { try compiler.run() } catch { throw NoOracle(description: "\(error)") }
    compiler.waitUntilExit()
    guard compiler.terminationStatus == 0 else {
      throw NoOracle(
        description: "the oracle needs g++ and librocksdb-dev to be compiled (status "
          + "\(compiler.terminationStatus)); install them, its errors stand above")
    }
    return target
  }

  struct Answer: Decodable {
    var dir: String
    var ok: Bool
    var status: String
    var sequence: UInt64?
    var held: [String: String]?
  }

  /// Left as a killed process leaves them: several families, none or some flushed, long records.
  static let scripts: [(words: String, decision: WALDirectoryScan.Decision)] = [
    ("w120", .open), ("w100 b90 w60", .open), ("w60 f:a w60 f:a w60", .open),
    ("w60 f:b w60", .open), ("w60 F w60", .open), ("s60 t1 f:b s60 t1 f:b s60", .open),
    ("w40 f:a b120 f:b w40 f:default w40", .open), ("w60 f:a", .open),
    // A failed append leaves half a record; starting a new log cuts it off.
    ("w60 e", .open), ("w60 e f:a w30", .open),
    // Without a new log, what follows the half record is lost although it was acknowledged.
    ("w60 e w30", .refuse),
    // The marker's sequence number stands in no log.
    ("w60 m f:default w60", .probe),
  ]

  static func manifest(_ path: String) throws -> WALNumbersInManifest {
    let key = Array("log-rotation".utf8)
    return try Database.logNumbers(at: path, valueOf: key.span).inManifest
  }

  static func oracle(_ arguments: [String]) async throws -> [Answer] {
    let text = try await offPool {
      let process = Process()
      process.executableURL = URL(fileURLWithPath: try tool.get())
      process.arguments = arguments
      let output = Pipe()
      process.standardOutput = output
      process.standardError = FileHandle.nullDevice
      try process.run()
      let text = output.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      return text
    }
    return try text.split(separator: UInt8(ascii: "\n")).map {
      try JSONDecoder().decode(Answer.self, from: Data($0))
    }
  }

  @Test func theScanNeverOpensWhatTheProbeRefuses() async throws {
    let root = try LogDirectory()
    let manager = FileManager.default
    let seed = ProcessInfo.processInfo.environment["SPINDLE_WAL_SEED"].flatMap { UInt64($0) } ?? 1
    var random = SeededBytes(seed: seed)
    var bases: [String] = []
    for (index, script) in Self.scripts.enumerated() {
      bases.append(root.path + "/base\(index)")
      _ = try await Self.oracle(["build", bases[index], script.words])
    }
    var cases: [String] = []
    var stories: [String: String] = [:]
    for index in 0..<Self.caseCount {
      let base = index < bases.count ? index : Int(random.next() % UInt64(bases.count))
      let path = root.path + "/case\(index)"
      try manager.copyItem(atPath: bases[base], toPath: path)
      let damage = index < bases.count ? "none" : try Self.damage(path, &random)
      cases.append(path)
      stories[path] = "case \(index) of seed \(seed), \(Self.scripts[base].words): \(damage)"
    }

    let strict = try await Self.oracle(["open", "ro1"] + cases)
    let lenient = try await Self.oracle(["open", "ro0"] + cases)
    #expect(strict.count == cases.count && lenient.count == cases.count)
    var tally: [String: Int] = [:]
    for (index, path) in cases.enumerated() {
      let story = stories[path] ?? path
      let scan = try WALScanner().scanDirectory(at: path, manifest: try Self.manifest(path))
      let agree =
        strict[index].ok && lenient[index].ok && strict[index].sequence == lenient[index].sequence
      tally["scan \(scan.decision), probe \(agree ? "equal" : "different")", default: 0] += 1
      if index < bases.count { #expect(scan.decision == Self.scripts[index].decision, "\(story)") }
      // What makes RocksDB abort must be refused before it is opened in any way.
      if strict[index].status.hasPrefix("signal") || lenient[index].status.hasPrefix("signal") {
        #expect(scan.decision == .refuse, "\(story)")
      }
      guard scan.decision == .open else { continue }
      #expect(agree, "\(story): \(strict[index].status)")
      #expect(strict[index].held == lenient[index].held, "\(story)")
      if let last = scan.files.compactMap(\.lastSequence).last {
        #expect(strict[index].sequence == last, "\(story)")
      }
    }
    // Both sides must have had their say, or nothing was tested.
    #expect(tally["scan open, probe equal", default: 0] >= cases.count / 10)
    #expect(tally["scan refuse, probe different", default: 0] >= cases.count / 10)
  }

  /// The scan must not keep a store shut that merely was killed, however often and whenever.
  @Test func aKilledWriterAlwaysOpens() async throws {
    let root = try LogDirectory()
    let path = root.path + "/rocks"
    var random = SeededBytes(seed: 5)
    for round in 0..<(Self.isSoak ? 30 : 8) {
      let pause = UInt32(60_000 + random.next() % 300_000)
      try await offPool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try Self.tool.get())
        process.arguments = ["churn", path, "\(round)"]
        try process.run()
        usleep(pause)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
      }
      let strict = try await Self.oracle(["open", "ro1", path])
      let lenient = try await Self.oracle(["open", "ro0", path])
      guard strict[0].ok else { continue }  // killed before the store was made
      let scan = try WALScanner().scanDirectory(at: path, manifest: try Self.manifest(path))
      // An opening makes its new log before the manifest lets go of the old one: killed in between,
      // it leaves a torn log before a later, empty one. That is left to the double open, which must
      // agree below; nothing else is.
      let isTornOnly = scan.findings.allSatisfy {
        if case .tornBeforeLater = $0.kind { true } else { false }
      }
      #expect(
        scan.decision == .open || scan.decision == .probe && isTornOnly,
        "round \(round): \(scan.findings)")
      #expect(strict[0].sequence == lenient[0].sequence)
      if let last = scan.files.compactMap(\.lastSequence).last {
        #expect(strict[0].sequence == last)
      }
    }
  }

  /// Damages one log of the store, or removes it, and says what was done.
  static func damage(_ path: String, _ random: inout SeededBytes) throws -> String {
    let logs = try FileManager.default.contentsOfDirectory(atPath: path)
      .filter { $0.hasSuffix(".log") }.sorted()
    guard let name = logs.randomElement(using: &random) else { return "no log" }
    let url = URL(fileURLWithPath: path + "/" + name)
    var bytes = try Files.read(url.path, limit: .max)
    let starts = fragments(bytes)
    let position = bytes.isEmpty ? 0 : Int.random(in: 0..<bytes.count, using: &random)
    let length = Int.random(in: 1...3_000, using: &random)
    let range = position..<min(bytes.count, position + length)
    var what: String
    switch Int.random(in: 0..<13, using: &random) {
    case 0, 1, 2:
      bytes.removeSubrange(position...)
      what = "cut at \(position)"
    case 3:
      let cut = starts.randomElement(using: &random) ?? 0
      bytes.removeSubrange(cut...)
      what = "cut at the fragment at \(cut)"
    case 4, 5:
      let bit = UInt8.random(in: 0..<8, using: &random)
      if !bytes.isEmpty { bytes[position] ^= 1 << bit }
      what = "flipped bit \(bit) of \(position)"
    case 6:
      // Headers are a small part of the bytes, and the most interesting one.
      let start = (starts.randomElement(using: &random) ?? 0) + Int(random.next() % 7)
      if start < bytes.count { bytes[start] = UInt8(truncatingIfNeeded: random.next()) }
      what = "changed header byte \(start)"
    case 7:
      for index in range { bytes[index] = 0 }
      what = "zeroed \(range)"
    case 8:
      for index in range { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
      what = "overwrote \(range)"
    case 9:
      bytes += [UInt8](repeating: 0, count: length)
      what = "appended \(length) zeros"
    case 10:
      bytes += random.bytes(length)
      what = "appended \(length) bytes"
    case 11:
      let start = starts.randomElement(using: &random) ?? 0
      bytes += bytes[start..<(starts.first { $0 > start } ?? bytes.count)]
      what = "repeated the fragment at \(start) at the end"
    default:
      if Bool.random(using: &random) {
        try FileManager.default.removeItem(at: url)
        return "removed \(name)"
      }
      bytes.removeSubrange(range)
      what = "left out \(range)"
    }
    try Data(bytes).write(to: url)
    return "\(name), \(what)"
  }

  /// Where the fragments of an undamaged log start.
  private static func fragments(_ bytes: [UInt8]) -> [Int] {
    var starts: [Int] = []
    var position = 0
    while position + 7 <= bytes.count {
      let room = 32_768 - position % 32_768
      if room < 7 {
        position += room
        continue
      }
      starts.append(position)
      position += 7 + Int(bytes[position + 4]) + Int(bytes[position + 5]) << 8
    }
    return starts
  }
}
