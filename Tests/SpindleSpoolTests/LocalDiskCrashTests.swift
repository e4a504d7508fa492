import Glibc
import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@Suite("A spool on files: full disks and killed processes", .temporaryDirectory)
struct LocalDiskCrashTests {
  @Test("A-X-1, A-X-2: of a killed process every acknowledged message is there and whole")
  func acknowledgedMessagesSurviveKills() async throws {
    let path = try TestDirectory.path("spool")
    let program = try ChildProcess.builtProgram("CrashWorker")
    var random = SeededGenerator(seed: 17)
    var acknowledged: [SpoolID: Int] = [:]
    for _ in 0..<20 {
      let child = try ChildProcess(
        program, ["disk-write", path], fate: .death(lines: 2 + Int(random.next() % 60)))
      let lines = try await child.linesUntilDeath()
      #expect(lines.first == "opened")
      for line in lines.dropFirst() {
        let words = line.split(separator: " ")
        let number = try #require(words.first.flatMap { Int($0) }, "\(line)")
        acknowledged[try #require(SpoolID(text: words[1]))] = number
      }
    }
    try await withDiskSpool { (spool) async throws in
      #expect(try spool.namesInNew() == [])
      for (id, number) in acknowledged {
        let value = numberedValue(number, bytes: 64 + number % 5 * 30_000)
        #expect(try await spool.load(id) == value)
      }
      // What was not acknowledged is whole or absent, and at most what was under way.
      let (entries, outcome) = try await spool.all()
      #expect(outcome.corrupt == 0)
      #expect(outcome.skipped == 0)
      #expect(outcome.error == nil)
      #expect(entries.count >= acknowledged.count)
      #expect(entries.count <= acknowledged.count + 20 * 4)
    }
    #expect(acknowledged.count > 200)
  }

  @Test("A-DF-4: a full disk leaves no part of a message, shuts the spool, and heals")
  func fullDiskLeavesNothing() async throws {
    try await withSmallDisk(bytes: 4 << 20) { (disk) async throws in
      let clock = ManualClock()
      try await withDiskSpool(clock: clock, at: disk.path + "/spool") { (spool) async throws in
        let kept = id(atMilliseconds: 1_000, 1)
        try await spool.put(kept, [1, 2, 3])
        try disk.fill(leaving: 64 << 10)
        let big = [UInt8](repeating: 7, count: 1 << 20)
        for round in 1...3 {
          #expect(spool.unhealthyReason == nil, "failure \(round)")
          let id = id(atMilliseconds: 1_000, 2)
          do {
            try await spool.put(id, big, forceSync: round == 2)
            Issue.record("stored on a full disk")
          } catch let error as SpindleError {
            #expect(error.kind == .io)
            #expect(error.reason == "disk_full")
            #expect(error.message.contains("No space left on device"))
            #expect(error.message.contains("\(id)"))
          }
          // The older message of an id stays when a newer one does not fit.
          await expectError(.notFound) { _ = try await spool.load(id) }
          #expect(try spool.namesInNew() == [])
        }
        #expect(spool.unhealthyReason?.description == "the spool is not accepting writes")
        do {
          try await spool.put(id(atMilliseconds: 1_000, 3), [1])
          Issue.record("stored through a shut gate")
        } catch let error as SpindleError {
          #expect(error.kind == .unavailable)
          #expect(error.reason == "disk_full")
          // What may be told to strangers: no path and no word of the system.
          #expect(error.message == "the spool is not accepting writes")
        }
        // Reads and removes go on.
        #expect(try await spool.load(kept) == [1, 2, 3])
        #expect(try await spool.allIDs() == [kept])
        // Still full: a probe of the size that failed does not fit.
        #expect(await spool.heal() == false)
        #expect(spool.unhealthyReason != nil)
        #expect(try spool.namesInNew() == [])
        try disk.removeFiller()
        while clock.sleeperCount == 0 { await Task.yield() }
        clock.advance(by: .milliseconds(4_999))
        #expect(spool.unhealthyReason != nil)
        clock.advance(by: .milliseconds(1))
        while spool.unhealthyReason != nil { await Task.yield() }
        #expect(try spool.namesInNew() == [])
        try await spool.put(kept, big, forceSync: true)
        #expect(try await spool.load(kept) == big)
      }
    }
  }

  @Test("A replaced message survives a store that did not fit, and one failure shuts nothing")
  func aFailedReplacementKeepsTheOld() async throws {
    try await withSmallDisk(bytes: 4 << 20) { (disk) async throws in
      var settings = LocalDiskSettings()
      settings.capacityFloor = .none
      try await withDiskSpool(settings, at: disk.path + "/spool") { (spool) async throws in
        let kept = id(atMilliseconds: 1_000)
        try await spool.put(kept, [1])
        try disk.fill(leaving: 64 << 10)
        // Two failures, a success, two failures: never three in a row.
        for _ in 0..<2 {
          for _ in 0..<2 {
            await expectError(.io) {
              try await spool.put(kept, [UInt8](repeating: 7, count: 1 << 20))
            }
            #expect(try await spool.load(kept) == [1])
          }
          try await spool.put(kept, [1])
        }
        #expect(spool.unhealthyReason == nil)
      }
    }
  }

  @Test("A file system that became read-only shuts the spool, and heals")
  func readOnlyShutsTheSpool() async throws {
    try await withSmallDisk(bytes: 4 << 20) { (disk) async throws in
      var settings = LocalDiskSettings()
      settings.failuresToShut = 1
      let clock = ManualClock()
      let path = disk.path + "/spool"
      // The lock file is open for writing, which keeps a file system from becoming read-only; so it
      // lies elsewhere.
      try Files.createDirectory(path)
      try await withDiskSpool(settings, clock: clock, at: try TestDirectory.path("spool")) {
        (spool) async throws in
        for part in ["new", "data"] {
          try Files.createDirectory(path + "/" + part)
          #expect(Files.removeEmptyDirectory(spool.path + "/" + part))
          #expect(unsafe symlink(path + "/" + part, spool.path + "/" + part) == 0)
        }
        let id = id(atMilliseconds: 1_000)
        try await spool.put(id, [1])
        try await disk.setReadOnly(true)
        await expectError(.io) { try await spool.put(id, [2]) }
        #expect(spool.unhealthyReason != nil)
        do {
          try await spool.put(id, [3])
          Issue.record("stored through a shut gate")
        } catch let error as SpindleError {
          #expect(error.reason == "read_only")
        }
        #expect(await spool.heal() == false)
        try await disk.setReadOnly(false)
        #expect(await spool.heal())
        #expect(spool.unhealthyReason == nil)
        try await spool.put(id, [4])
        #expect(try await spool.load(id) == [4])
      }
    }
  }

  @Test func aSpoolOnAFullDiskOpensAndReads() async throws {
    try await withSmallDisk(bytes: 4 << 20) { (disk) async throws in
      let path = disk.path + "/spool"
      let id = id(atMilliseconds: 1_000)
      try await withDiskSpool(at: path) { try await $0.put(id, [1]) }
      try disk.fill()
      try await withDiskSpool(at: path) { (spool) async throws in
        #expect(spool.warnings == ["the disk is full"])
        #expect(try await spool.load(id) == [1])
        try await spool.remove(id)
      }
    }
  }
}
