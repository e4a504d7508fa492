import Testing

/// Memory is bounded by settings and does not grow with what is stored.
struct MemoryTests {
  /// Twelve times the write buffer, and more than the bound: kept in memory it would not fit.
  @Test func storingDoesNotGrowTheMemory() async throws {
    try await withPlace { place in
      let result = try await spindle(
        "bench", "spool", "--job", "memory", "--ops", "200000", "--write-buffer-bytes", "16777216",
        "--dir", place.directory, "--json")
      #expect(result.status == 0, "\(result.problems)")
      let run = try result.object()
      let peak = try #require(run["memoryBytes"] as? Int)
      let bound = try #require(run["memoryBoundBytes"] as? Int)
      #expect(run["ops"] as? Int == 200_000)
      #expect(peak <= bound)
      #expect(bound < 200_000 * 1024)
    }
  }

  /// The messages are windows into 16 MiB that are made before the first is stored.
  @Test func theMeasureSeesWhatIsHeld() async throws {
    try await withPlace { place in
      let result = try await spindle(
        "bench", "spool", "--job", "memory", "--ops", "10", "--dir", place.directory, "--json")
      #expect(result.status == 0)
      #expect(try #require(result.object()["memoryBytes"] as? Int) > 16 << 20)
    }
  }

  @Test(arguments: ["store", "synced", "load", "load-cold", "enumerate", "remove", "churn", "gate"])
  func everyJobRunsAndSaysSo(job: String) async throws {
    try await withPlace { place in
      let result = try await spindle(
        "bench", "spool", "--job", job, "--ops", "200", "--value-bytes", "1000", "--tasks", "2",
        "--live-bytes", "10000", "--payload", "words", "--blobs", "--dir", place.directory,
        "--json")
      #expect(result.status == 0, "\(result.problems)")
      let run = try result.object()
      #expect(run["job"] as? String == job)
      #expect(try #require(run["ops"] as? Int) >= 200)
      if job == "churn" {
        let stored = try #require(run["storedBytes"] as? Int)
        #expect(stored == 200 * 1000)
        #expect(try #require(run["engineBytes"] as? Int) >= stored)
      }
    }
  }
}
