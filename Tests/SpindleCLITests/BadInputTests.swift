import Foundation
import SpindleCore
import SpindleIO
import SpindleStore
import Testing

@Suite(.serialized) struct BadInputTests {
  /// One line of each kind that the decoder rejects.
  static let badLines = [
    ",t=1 v=1 1", "m,=1 v=1 1", "m,t v=1 1", "m,t= v=1 1", "m,t=a=b v=1 1", "m", "m,t=1", "m  ",
    "m =1 1", "m v 1", "m v= 1", "m v=abc 1", "m v=1x 1", "m v=99999999999999999999i 1",
    "m v=1e999 1", "m v=-1u 1", "m s=\"open 1", "m s=\"a\"b 1", "m v=1 1.5", "m v=1 x",
    "m v=1 99999999999999999999", "m v=1 1 2", "m,t=1,t=2 v=1 1", "_m v=1 1", "m,time=1 v=1 1",
    "m v=1 1\u{0}", "m\u{0} v=1 1", "m v=tru 1", "m v=1,", "m v=1,,w=2 1",
  ]

  @Test(arguments: badLines) func aMalformedLineIsNamedAndNothingOfItsBatchIsStored(
    _ line: String
  ) async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", "m v=1 1\n\(line)\n")
      try await place.ingest(file).expectRefusal("\(file): line 2, column ")
      let sound = try await place.sound()
      #expect(sound.points == 0 && sound.spooled == 0)
    }
  }

  @Test func everyMalformedLineIsSkippedAndTheGoodOnesGoOn() async throws {
    try await withPlace { place in
      // The open string last: it takes in what follows it up to a closing quote.
      let bad = Self.badLines.filter { !$0.contains("open") }
      let text = bad.enumerated().map { "m v=1 \($0.offset + 1)\n\($0.element)\n" }.joined()
      let file = try place.file("a.lp", text)
      let counts = try await place.counts("--on-error", "skip", file)
      #expect(counts.rejected == bad.count && counts.applied == bad.count, "\(counts)")
      #expect(try await place.sound().points == bad.count)
    }
  }

  @Test func aBinaryFileIsRefusedAndSkippedWithoutHarm() async throws {
    try await withPlace { place in
      var random = SeededGenerator(seed: 77)
      let noise = (0..<200_000).map { _ in UInt8.random(in: 0...255, using: &random) }
      let file = try place.file("noise", noise)
      try await place.ingest(file).expectRefusal("\(file): line 1, column ")
      let skipped = try await place.counts("--on-error", "skip", "--producer", "s", file)
      #expect(skipped.rejected > 100 && skipped.bytes == noise.count)
      try await place.ingest(spindleProgram).expectRefusal("column ")
      _ = try await place.sound()
    }
  }

  @Test func anEmptyFileIsNoErrorAndSaysSo() async throws {
    try await withPlace { place in
      let file = try place.file("empty", "")
      let result = try await place.ingest("--json", file)
      #expect(result.status == 0)
      #expect(try Counts(result.object()) == Counts(0, applied: 0, bytes: 0))
      #expect(result.problems == "spindle: note: \(file) is empty; there was nothing to ingest\n")
    }
  }

  @Test func whatCannotBeReadCreatesNoStore() async throws {
    try await withPlace { place in
      try await place.ingest(place.directory + "/missing").expectRefusal("missing")
      try await place.ingest(place.directory).expectRefusal("is a directory")
      try await spindle("spool", "put", "--store", place.store, place.directory + "/missing")
        .expectRefusal("missing")
      #expect(!Files.exists(place.store))
      for command in [["check"], ["series"], ["oplog", "cursors"], ["spool", "list"]] {
        let result = try await RunningCommand(
          [spindleProgram] + command + ["--store", place.store]
        )
        .result()
        #expect(result.status == 1 && !Files.exists(place.store), "\(command)")
        #expect(result.problems.contains("is not a Spindle store"), "\(result.problems)")
      }
    }
  }

  @Test func anUnreadableFileIsRefused() async throws {
    try await withPlace { place in
      // Opens and cannot be read, for every user.
      let result = try await spindle(
        "ingest", "--store", place.directory + "/other", "/proc/self/mem")
      result.expectRefusal("/proc/self/mem")
      guard getuid() == 0 else { return }
      let file = try place.file("secret", "m v=1 1\n")
      try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file)
      try FileManager.default.setAttributes(
        [.posixPermissions: 0o777], ofItemAtPath: place.directory)
      // The program itself may stand where another user cannot reach it. Copied by a process of its
      // own: a child that another test spawns meanwhile would hold a file written here open, and a
      // program that is open for writing cannot be executed.
      let program = place.directory + "/program"
      let copy = try await RunningCommand(["cp", spindleProgram, program]).result()
      #expect(copy.status == 0, "\(copy.problems)")
      let other = try await RunningCommand([
        "setpriv", "--reuid", "65534", "--clear-groups", program, "ingest", "--store",
        place.store, file,
      ]).result()
      other.expectRefusal("secret", "ermission denied")
      #expect(!Files.exists(place.store))
    }
  }

  @Test func aStoreOfANewerFormatIsRefusedByEveryCommand() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", "m v=1 1\n")
      _ = try await place.counts(file)
      let format = try bytes(of: place.store + "/FORMAT")
      _ = try place.file("store/FORMAT", "spindle store\nformat 99\n")
      try await place.ingest(file).expectRefusal("newer version of Spindle")
      for command in [["check"], ["series"], ["oplog", "read"], ["spool", "list"]] {
        try await RunningCommand([spindleProgram] + command + ["--store", place.store]).result()
          .expectRefusal("newer version of Spindle")
      }
      _ = try place.file("store/FORMAT", format)
      #expect(try await place.sound().points == 1)
    }
  }

  @Test func aStoreInUseNamesItsProcessAndCanBeReadBeside() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", sampleLines(0..<10))
      _ = try await place.counts(file)
      try await withStore(place.store) { _ in
        try await place.ingest(file).expectRefusal("held by process \(getpid())")
        let readers = [
          ["check"], ["series"], ["oplog", "cursors"], ["oplog", "read"],
          ["spool", "list", "--name", "ingest"], ["spool", "stats", "--name", "ingest"],
          ["spool", "verify", "--name", "ingest"],
          ["spool", "quarantine", "list", "--name", "ingest"],
        ]
        for command in readers {
          let result = try await RunningCommand(
            [spindleProgram] + command + ["--store", place.store]
          ).result()
          #expect(result.status == 0, "\(command) \(result.problems)")
          #expect(result.problems.contains("note: process \(getpid()) is running this store"))
        }
      }
      _ = try await place.sound()
    }
  }

  @Test func pathsThatAreNoStoreAreRefusedAndLeftAlone() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", "m v=1 1\n")
      let plain = try await spindle("ingest", "--store", file, file)
      plain.expectRefusal("is not a directory")
      try await spindle("ingest", "--store", file + "/below", file).expectRefusal()
      try await spindle("ingest", "--store", place.directory, file).expectRefusal(
        "is not empty", "a.lp")
      #expect(try FileManager.default.contentsOfDirectory(atPath: place.directory) == ["a.lp"])
    }
  }

  @Test(arguments: [
    [], ["ingest"], ["ingest", "--store"], ["ingest", "--store", "x"], ["nonsense"],
    ["ingest", "--store", "x", "--batch", "0", "f"],
    ["ingest", "--store", "x", "--batch", "-1", "f"],
    ["ingest", "--store", "x", "--batch", "1000001", "f"],
    ["ingest", "--store", "x", "--durability", "maybe", "f"],
    ["ingest", "--store", "x", "--precision", "h", "f"],
    ["ingest", "--store", "x", "--on-error", "cry", "f"],
    ["ingest", "--store", "x", "--format", "xml", "f"], ["ingest", "--store", "x", "f", "g"],
    ["spool", "get", "--store", "x", "no-id"], ["spool", "remove", "--store", "x", "12"],
    ["spool", "get", "--store", "x"], ["oplog", "read", "--store", "x", "--peer", "no"],
    ["oplog", "read", "--store", "x", "--limit", "0"], ["series", "--store", "x", "--limit", "0"],
    ["check"], ["check", "--store", "x", "--nonsense"],
  ]) func wrongUsageExits64(_ arguments: [String]) async throws {
    try await withPlace { place in
      let result = try await RunningCommand([spindleProgram] + arguments, in: place.directory)
        .result()
      if arguments.isEmpty {
        #expect(result.status == 0 && result.text.contains("USAGE"))
      } else {
        #expect(result.status == 64, "\(arguments): \(result.problems)")
        #expect(result.output.isEmpty)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: place.directory).isEmpty)
    }
  }

  @Test func aReaderThatGoesAwayEndsTheOutputQuietly() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", sampleLines(0..<3_000))
      _ = try await place.counts("--batch", "1", file)
      for command in ["oplog read --limit 100000", "series --limit 100000"] {
        let result = try await RunningCommand([
          "bash", "-o", "pipefail", "-c",
          "'\(spindleProgram)' \(command) --store '\(place.store)' | head -n 1",
        ]).result()
        #expect(result.status == 0, "\(result.problems)")
        #expect(result.problems.isEmpty, "\(result.problems)")
        #expect(result.text.split(separator: "\n").count == 1)
      }
    }
  }
}
