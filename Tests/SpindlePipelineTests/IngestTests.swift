import Foundation
import SpindleCore
import SpindleDiagnostics
import SpindleFormats
import SpindleIO
import SpindleStore
import SpindleTestKit
import Synchronization
import Testing

@testable import SpindlePipeline

@Suite struct IngestTests {
  @Test func concurrentCallsKeepTheirOrderAndEveryLineIsAppliedOnce() async throws {
    try await withPlace { place in
      try await place.withPipeline { pipeline in
        let producers = ["p", "q", "r"]
        try await withThrowingTaskGroup(of: Void.self) { group in
          for producer in producers {
            let ingest = try await pipeline.ingest(producer: producer)
            for number in 0..<150 {
              group.addTask {
                let durability: Durability = number % 50 == 0 ? .synced : .buffered
                try await ingest.store(
                  Array("\(producer) v=1i \(number + 1)\n".utf8), durability: durability)
              }
            }
          }
          try await group.waitForAll()
        }
        try await pipeline.drain()
        for producer in producers { #expect(pipeline.nextIndex(producer) == 150) }
        #expect(try await pipeline.summary().pointCount == 450)
        let report = try await StoreCheck(pipeline.store).run()
        #expect(report.findings == [] && report.spooledMessages == 0)
      }
    }
  }

  @Test func receiptsCountFromZeroInTheOrderOfTheCalls() async throws {
    try await withPlace { place in
      try await place.withPipeline { pipeline in
        let ingest = try await pipeline.ingest(producer: "p")
        for index in UInt64(0)..<10 {
          let receipt = try await ingest.store(
            Array("a v=1 1\nbad\na v=2 2".utf8), durability: .buffered, badLines: .skip)
          #expect(receipt.index == index && receipt.pointCount == 2)
          #expect(receipt.lineCount == 3 && receipt.rejectedCount == 1)
          #expect(receipt.errors.map(\.line) == [index * 3 + 2])
        }
        await #expect(throws: SpindleError.self) {
          try await ingest.store(Array("bad".utf8), durability: .buffered)
        }
        try await ingest.drained()
        #expect(pipeline.nextIndex("p") == 10)
      }
    }
  }

  @Test func aProducerHasOneHandleAtATime() async throws {
    try await withPlace { place in
      try await place.withPipeline { pipeline in
        let ingest = try await pipeline.ingest(producer: "p")
        await #expect(throws: SpindleError.self) { _ = try await pipeline.ingest(producer: "p") }
        await ingest.close()
        await ingest.close()
        await #expect(throws: SpindleError.self) {
          try await ingest.store(Array("a v=1 1".utf8), durability: .buffered)
        }
        let next = try await pipeline.ingest(producer: "p")
        try await next.store(Array("a v=1 1".utf8), durability: .buffered)
        await next.close()
        await #expect(throws: SpindleError.self) { _ = try await pipeline.ingest(producer: "") }
      }
    }
  }

  @Test func aHandleThatIsDroppedLetsGoOfItsProducer() async throws {
    try await withPlace { place in
      try await place.withPipeline { pipeline in
        for _ in 0..<3 {
          let ingest = try await pipeline.ingest(producer: "p")
          try await ingest.store(Array("a v=1 1\n".utf8), durability: .buffered)
        }
        try await pipeline.drain()
        #expect(pipeline.nextIndex("p") == 3)
      }
    }
  }

  @Test func callersWaitForRoomAndTheQueueDoesNotGrow() async throws {
    try await withPlace { place in
      try await place.withPipeline { pipeline in
        let ingest = try await pipeline.ingest(producer: "p")
        // Each batch costs the worker more than the caller: many series.
        let text = (0..<500).map { "m,t=\($0) v=1i 1\n" }.joined()
        let greatest = Mutex(0)
        let watching = Task {
          while !Task.isCancelled {
            let count = try await pipeline.ids().count
            greatest.withLock { $0 = max($0, count) }
            try await Task.sleep(for: .milliseconds(2))
          }
        }
        for _ in 0..<200 { try await ingest.store(Array(text.utf8), durability: .buffered) }
        watching.cancel()
        try await ingest.drained()
        // The queue, the group in hand, and the one that was just stored.
        let limit = DrainWorker.queueLimit + DrainWorker.groupLimit + 1
        #expect(greatest.withLock { $0 } <= limit)
        #expect(try await pipeline.summary().pointCount == 100_000)
      }
    }
  }
}

@Suite struct BatchIndependenceTests {
  /// Lines with repeats of series and times, so that ties and orders matter.
  static func mixedLines(seed: UInt64) -> String {
    var random = SeededGenerator(seed: seed)
    return (0..<700).map { number in
      let series = Int.random(in: 0..<40, using: &random)
      let time = Int.random(in: 0..<50, using: &random)
      return "m,t=\(series) v=\(number)i,s=\"a \(number)\" \(time)\n"
    }.joined()
  }

  private func ingest(
    _ text: String, batch: UInt64, seriesLimit: Int
  ) async throws -> IngestState.Summary {
    var result: IngestState.Summary?
    try await withPlace { place in
      let file = Files.directory(of: place.path) + "/a.lp"
      try Data(text.utf8).write(to: URL(fileURLWithPath: file))
      result = try await place.withPipeline(seriesLimit: seriesLimit) { pipeline in
        var options = FileIngest.Options()
        options.batchLines = batch
        let ingest = try await pipeline.ingest(producer: "p")
        let summary = try await FileIngest(ingest, in: pipeline, options: options).run(path: file)
        #expect(summary.linesApplied == 700)
        #expect(try await StoreCheck(pipeline.store).run().findings == [])
        return try await pipeline.summary()
      }
    }
    return try #require(result)
  }

  @Test(arguments: [11, 12] as [UInt64]) func digestAndCountsDoNotDependOnTheBatchSize(
    _ seed: UInt64
  ) async throws {
    let text = Self.mixedLines(seed: seed)
    let expected = try await ingest(text, batch: 10_000, seriesLimit: 1_000)
    #expect(expected.pointCount == 700)
    for batch in [1, 2, 7, 64, 699, 700] as [UInt64] {
      let found = try await ingest(text, batch: batch, seriesLimit: 1_000)
      #expect(found == expected, "batches of \(batch), seed \(seed)")
    }
  }

  @Test func aFullSeriesCacheGivesTheSameDigest() async throws {
    let text = Self.mixedLines(seed: 13)
    let expected = try await ingest(text, batch: 10, seriesLimit: 1_000)
    for limit in [0, 1, 3, 20] {
      let found = try await ingest(text, batch: 10, seriesLimit: limit)
      #expect(found == expected, "limit \(limit)")
    }
  }
}

@Suite struct SampleTests {
  /// Series and times of a file of line protocol.
  private struct Sink: LineProtocolSink, Sendable {
    var seen: Set<[UInt8]> = []
    var lines = 0
    var repeats: [[UInt8]] = []
    var rejected: LineProtocolError?

    mutating func receive(_ line: borrowing LineProtocolLine) {
      lines += 1
      var key: [UInt8] = []
      key.appendBigEndian(UInt64(bitPattern: line.timestamp ?? .min))
      line.appendSeriesKey(to: &key)
      if !seen.insert(key).inserted { repeats.append(key) }
    }

    mutating func reject(_ error: LineProtocolError) -> Bool {
      rejected = error
      return false
    }
  }

  private func check(_ path: String, lines expected: Int) async throws {
    let sink = try await offPool {
      var reader = try InputReader(path: path)
      var text: [UInt8] = []
      while try reader.read(into: &text) {}
      var sink = Sink()
      var decoder = LineProtocolDecoder()
      _ = decoder.decode(text.span, into: &sink)
      return sink
    }
    #expect(sink.rejected == nil)
    #expect(sink.lines == expected && sink.repeats.isEmpty, "\(path)")
  }

  private var repository: String {
    Files.directory(of: Files.directory(of: Files.directory(of: #filePath)))
  }

  @Test func noTwoRowsOfTheSampleShareSeriesAndTime() async throws {
    try await check(repository + "/Examples/nycflights13/flights-2013-01.lp.gz", lines: 27_004)
    try await check(repository + "/Examples/nycflights13/weather-2013.lp.gz", lines: 26_115)
  }

  @Test func noTwoFlightsOfTheYearShareSeriesAndTime() async throws {
    let candidates = ["/../shared/data/nycflights13", "/../../shared/data/nycflights13"]
    guard let data = candidates.map({ repository + $0 }).first(where: Files.exists) else { return }
    let directory = TemporaryDirectory.make(prefix: "spindle-year")
    defer { TemporaryDirectory.remove(directory) }
    let script = repository + "/Examples/nycflights13/make_sample.py"
    let status = try await offPool {
      let python = Process()
      python.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      python.standardOutput = FileHandle.nullDevice
      python.arguments = ["python3", script, data, directory, "--months", "all", "--plain"]
      try python.run()
      python.waitUntilExit()
      return python.terminationStatus
    }
    try #require(status == 0)
    try await check(directory + "/flights-2013.lp", lines: 336_776)
  }
}
