import Foundation
import Testing

@Suite(.serialized) struct PositionTests {
  @Test func sameFileTwiceAppliesNothingAndSaysHowManyWereApplied() async throws {
    try await withPlace { place in
      let text = sampleLines(0..<100)
      let file = try place.file("a.lp", text)
      let first = try await place.counts("--batch", "30", file)
      #expect(first == Counts(100, applied: 100, bytes: text.utf8.count))
      let before = try await place.sound()
      let second = try await place.counts(file)
      #expect(second == Counts(100, applied: 0, already: 100, bytes: text.utf8.count))
      let plain = try await place.ingest(file)
      #expect(plain.text.contains("lines already applied  100\n"))
      #expect(try await place.sound() == before)
    }
  }

  @Test func anotherBatchSizeContinuesWhereTheFirstRunStopped() async throws {
    try await withPlace { place in
      // A bad line stops the first run after three batches; once mended, the rest follows.
      var lines = sampleLines(0..<100).split(separator: "\n").map(String.init)
      lines[95] = "bad"
      let file = try place.file("a.lp", lines.joined(separator: "\n") + "\n")
      let stopped = try await place.ingest("--batch", "30", file)
      stopped.expectRefusal("\(file): line 96, column ")
      #expect(try await place.sound().points == 90)
      lines[95] = "m,t=4 v=95i 96"
      _ = try place.file("a.lp", lines.joined(separator: "\n") + "\n")
      for (index, batch) in ["3", "7"].enumerated() {
        let counts = try await place.counts("--batch", batch, file)
        #expect(counts.applied == (index == 0 ? 10 : 0))
        #expect(counts.already == (index == 0 ? 90 : 100))
      }
      let whole = Place(directory: place.directory + "/whole")
      try FileManager.default.createDirectory(
        atPath: whole.directory, withIntermediateDirectories: true)
      _ = try await whole.counts(file)
      let expected = try await whole.sound()
      #expect(try await place.sound() == expected)
    }
  }

  @Test func appendedFileContinuesAtItsEnd() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", sampleLines(0..<50))
      _ = try await place.counts(file)
      _ = try place.file("a.lp", sampleLines(0..<80))
      let counts = try await place.counts("--batch", "1", file)
      #expect(counts.applied == 30 && counts.already == 50 && counts.read == 80)
    }
  }

  @Test func appendedFileWithoutLastNewlineKeepsItsLineNumbers() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", "m v=1 1\nm v=2 2")
      #expect(try await place.counts(file) == Counts(2, applied: 2, bytes: 15))
      for (ending, number) in [("\n", 3), ("\r\n", 3)] {
        let other = Place(directory: place.directory + "/\(ending.utf8.count)")
        try FileManager.default.createDirectory(
          atPath: other.directory, withIntermediateDirectories: true)
        let copy = try other.file("a.lp", "m v=1 1\nm v=2 2")
        _ = try await other.counts(copy)
        _ = try other.file("a.lp", "m v=1 1\nm v=2 2\(ending)bad\n")
        try await other.ingest(copy).expectRefusal("line \(number), column ")
        let text = "m v=1 1\nm v=2 2\(ending)m v=3 3"
        _ = try other.file("a.lp", text)
        let counts = try await other.counts("--batch", "1", copy)
        #expect(counts == Counts(3, applied: 1, already: 2, bytes: text.utf8.count))
        #expect(try await other.sound().points == 3)
      }
      // Only the newline came.
      _ = try place.file("a.lp", "m v=1 1\nm v=2 2\n")
      #expect(try await place.counts(file) == Counts(2, applied: 0, already: 2, bytes: 16))
    }
  }

  @Test func lastLineThatGrewAfterItWasAppliedIsRefused() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", "m v=1 1\nm v=2 2")
      _ = try await place.counts(file)
      let before = try await place.sound()
      _ = try place.file("a.lp", "m v=1 1\nm v=2 25\nm v=3 30\n")
      try await place.ingest(file).expectRefusal("line 2 was applied", "use --producer NAME")
      #expect(try await place.sound() == before)
    }
  }

  @Test(arguments: ["changed", "truncated", "different", "empty"])
  func otherInputUnderTheSameProducerIsRefused(_ kind: String) async throws {
    try await withPlace { place in
      let text = sampleLines(0..<50)
      let file = try place.file("a.lp", text)
      _ = try await place.counts("--batch", "20", file)
      let before = try await place.sound()
      let cursors = try await spindle("oplog", "cursors", "--store", place.store).text
      let other =
        switch kind {
        case "changed": text.replacingOccurrences(of: "v=25i", with: "v=26i")
        case "truncated": String(text.dropLast(20))
        case "different": sampleLines(50..<200)
        default: ""
        }
      _ = try place.file("a.lp", other)
      try await place.ingest(file).expectRefusal(
        "producer \(file) applied 50 lines of another input; use --producer NAME")
      #expect(try await place.sound() == before)
      #expect(try await spindle("oplog", "cursors", "--store", place.store).text == cursors)
      // Under a name of its own it is another input.
      let counts = try await place.counts("--producer", "other", file)
      #expect(counts.already == 0)
    }
  }

  @Test func standardInputWithAProducerIsResumableAndWithoutIsNot() async throws {
    try await withPlace { place in
      let text = Array(sampleLines(0..<10).utf8)
      let first = try await place.counts("--producer", "p", "-", input: text)
      #expect(first.applied == 10)
      #expect(try await place.counts("--producer", "p", "-", input: text).already == 10)
      #expect(try await place.counts("-", input: text).applied == 10)
      #expect(try await place.counts("-", input: text).applied == 10)
      #expect(try await place.sound().points == 30)
    }
  }

  @Test func gzipIsTheSameInputAsItsText() async throws {
    try await withPlace { place in
      let file = try place.file("a.lp", sampleLines(0..<3_000))
      let packed = try await gzip(file)
      #expect(try await place.counts("--producer", "p", file).applied == 3_000)
      #expect(try await place.counts("--producer", "p", packed).already == 3_000)
      // Two members, one after the other; then the same through a pipe.
      let more = try await gzip(try place.file("b.lp", sampleLines(3_000..<4_000)))
      let both = try bytes(of: packed) + bytes(of: more)
      let joined = try place.file("c.gz", both)
      let counts = try await place.counts("--producer", "p", joined)
      #expect(counts.applied == 1_000 && counts.already == 3_000)
      #expect(try await place.counts("--producer", "p", "-", input: both).already == 4_000)
    }
  }

  @Test func truncatedAndDamagedGzipAreRefusedAndTheMendedFileGoesOn() async throws {
    try await withPlace { place in
      let text = sampleLines(0..<60_000)
      let packed = try bytes(of: try await gzip(try place.file("a.lp", text)))
      let file = try place.file("b.gz", Array(packed.dropLast(packed.count / 10)))
      try await place.ingest("--batch", "100", file).expectRefusal("ends too early")
      var damaged = packed
      damaged[packed.count / 2] ^= 0x55
      _ = try place.file("b.gz", damaged)
      try await place.ingest("--batch", "100", "--producer", "q", file).expectRefusal(file)
      _ = try place.file("b.gz", Array(packed.prefix(8)))
      try await place.ingest("--producer", "r", file).expectRefusal("ends too early")
      _ = try place.file("b.gz", packed)
      let counts = try await place.counts(file)
      #expect(counts.applied + counts.already == 60_000)
      _ = try await place.sound()
    }
  }

  @Test func commentsBlanksAndCarriageReturnsCountAsLinesAndNotAsPoints() async throws {
    try await withPlace { place in
      let text = "# head\r\nm v=1 1\r\n\r\n  \nm v=2 2\n# tail\n# tail 2"
      let file = try place.file("a.lp", text)
      for batch in ["1", "2", "100"] {
        let counts = try await place.counts("--producer", batch, "--batch", batch, file)
        #expect(counts == Counts(7, applied: 2, bytes: text.utf8.count))
        let again = try await place.counts("--producer", batch, file)
        #expect(again == Counts(7, applied: 0, already: 2, bytes: text.utf8.count))
      }
      // A tail of nothing but comments is passed too.
      _ = try place.file("a.lp", text + "\n# more\n# and more\n")
      #expect(try await place.counts("--producer", "1", file).read == 9)
      #expect(try await place.counts("--producer", "1", file).applied == 0)
    }
  }

  @Test func stringsWithNewlinesAreNeverCutByABatch() async throws {
    try await withPlace { place in
      let text = (0..<20).map { "m s=\"a\nb\n\($0)\" \($0 + 1)\n" }.joined()
      let file = try place.file("a.lp", text)
      for batch in ["1", "2", "4", "1000"] {
        let counts = try await place.counts("--producer", batch, "--batch", batch, file)
        #expect(counts == Counts(60, applied: 20, bytes: text.utf8.count))
      }
    }
  }

  @Test func aBadLineStopsItsBatchAndKeepsTheEarlierOnes() async throws {
    try await withPlace { place in
      var lines = sampleLines(0..<10).split(separator: "\n").map(String.init)
      lines[6] = "m,t=1 v=oops 7"
      let file = try place.file("a.lp", lines.joined(separator: "\n"))
      let result = try await place.ingest("--batch", "3", file)
      result.expectRefusal("\(file): line 7, column 9: ")
      #expect(try await place.sound().points == 6)
      let read = try await spindle("oplog", "cursors", "--store", place.store, "--json").objects()
      #expect(read.first?["cursor"] as? Int == 2)
    }
  }

  @Test func skippedLinesAreCountedAndTheFirstTwentyShown() async throws {
    try await withPlace { place in
      let text = (0..<100).map { $0 % 2 == 0 ? "m v=\($0) \($0 + 1)\n" : "bad \($0)\n" }.joined()
      let file = try place.file("a.lp", text)
      let result = try await place.ingest("--on-error", "skip", "--batch", "7", "--json", file)
      #expect(result.status == 0)
      let counts = try Counts(result.object())
      #expect(counts == Counts(100, applied: 50, rejected: 50, bytes: text.utf8.count))
      let shown = result.problems.split(separator: "\n")
      #expect(shown.count == 21)
      #expect(shown[0].hasPrefix("spindle: rejected \(file): line 2, column "))
      #expect(shown[19].contains(": line 40, column "))
      #expect(shown[20] == "spindle: 30 more rejected lines are not shown")
      // A rerun counts them and shows none.
      let again = try await place.ingest("--on-error", "skip", "--json", file)
      #expect(try Counts(again.object()).rejected == 50)
      #expect(again.problems.isEmpty, "\(again.problems)")
      #expect(try await place.sound().points == 50)
    }
  }

  @Test func aQuoteThatNeverClosesCostsOnlyItsLineAndHalfALineIsNeverApplied() async throws {
    try await withPlace { place in
      let good = (0..<700_000).map { "m,t=a value=1 \($0 + 1)\n" }.joined()
      let file = try place.file("a.lp", "m v=1 1\nm s=\"open 2\n" + good)
      let counts = try await place.counts("--on-error", "skip", "--batch", "10", file)
      #expect(counts.rejected == 1 && counts.applied == 700_001, "\(counts)")
      // One line of 17 MiB whose tail would be a line by itself.
      let long = try place.file(
        "b.lp", String(repeating: "x", count: 17 << 20) + "\nm v=1 1\n")
      try await place.ingest("--on-error", "skip", long).expectRefusal("longer than 16 MiB")
    }
  }

  @Test func aPipeByNameCanBeRead() async throws {
    try await withPlace { place in
      let pipe = place.directory + "/pipe"
      try #require(unsafe mkfifo(pipe, 0o600) == 0)
      let file = try place.file("a.lp", sampleLines(0..<20))
      let writer = try RunningCommand(["dd", "if=\(file)", "of=\(pipe)", "status=none"])
      let counts = try await place.counts("--producer", "pipe", pipe)
      #expect(counts.applied == 20)
      #expect(try await writer.result().status == 0)
    }
  }
}
