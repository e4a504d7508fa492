import Glibc
import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleTestKit
import Testing

@Suite("Enumerations of a spool on files", .temporaryDirectory)
struct LocalDiskEnumerationTests {
  private let end = SpoolInstant(ticks: .max)

  @Test("A-E-1: messages made at or after the start are left out, the boundary too")
  func laterMessagesAreSkipped() async throws {
    try await withDiskSpool(clock: ManualClock(wallMilliseconds: 0)) { (spool) async throws in
      let ids = (1...5).map { id(atMilliseconds: UInt64($0 * 1_000)) }
      for id in ids { try await spool.put(id, [1]) }
      let start = SpoolInstant(unixMilliseconds: 3_000)
      let (entries, outcome) = try await spool.all(before: start)
      #expect(outcome.count == 2)
      #expect(outcome.skipped == 3)
      #expect(entries.count == 2)
      let next = SpoolInstant(unixMilliseconds: 3_001)
      #expect(try await spool.all(before: next).outcome.count == 3)
      #expect(try await spool.all(before: SpoolInstant(ticks: 0)).outcome.count == 0)
    }
  }

  @Test("R-ENUM-3: what was stored after the start under an older id is left out")
  func derivedMessagesAreNotGivenTwice() async throws {
    let clock = ManualClock(wallMilliseconds: 10_000)
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let (before, derived) = (id(atMilliseconds: 1_000), id(atMilliseconds: 1_001))
      try await spool.put(before, [1])
      clock.advance(by: .milliseconds(1))
      let start = SpoolInstant(unixMilliseconds: clock.wallMilliseconds)
      try await spool.put(derived, [2])
      let (entries, outcome) = try await spool.all(before: start)
      #expect(entries == [.item(id: before, data: [1])])
      #expect(outcome.skipped == 1)
    }
    // A later opening did not store it, so nobody has it in memory.
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let start = SpoolInstant(unixMilliseconds: clock.wallMilliseconds)
      #expect(try await spool.all(before: start).outcome.count == 2)
    }
  }

  @Test("R-ENUM-3: what was stored under an older id in the start's millisecond is left out")
  func startsAreFinerThanStores() async throws {
    let clock = ManualClock(wallMilliseconds: 10_000)
    try await withDiskSpool(clock: clock) { (spool) async throws in
      try await spool.put(id(atMilliseconds: 1_000), [1])
      try await spool.put(id(atMilliseconds: 10_000), [2])
      for ticks in [0, 5_000] as [Int64] {
        let start = SpoolInstant(ticks: SpoolInstant(unixMilliseconds: 10_000).ticks + ticks)
        #expect(try await spool.all(before: start).outcome.skipped == 2)
      }
      let next = SpoolInstant(unixMilliseconds: 10_001)
      #expect(try await spool.all(before: next).outcome.count == 2)
    }
  }

  @Test(
    "R-ENUM-3: a message that is being stored under an older id waits for the store's outcome",
    arguments: [false, true])
  func messagesBeingStoredAreNotGiven(fails: Bool) async throws {
    let (reached, go) = (ThreadSemaphore(), ThreadSemaphore())
    let clock = ManualClock(wallMilliseconds: 10_000)
    let old = id(atMilliseconds: 1_000)
    try await withDiskSpool(clock: clock) { try await $0.put(old, [1]) }
    try await withDiskSpool(
      LocalDiskSettings(), clock: clock,
      { step in
        guard case .written = step else { return }
        reached.signal()
        _ = go.wait(milliseconds: 120_000)
      }
    ) { (spool) async throws in
      let store = PendingCall {
        // Its header says a time before the start; it is acknowledged after it.
        try await spool.store(
          old, [2], forceSync: false, deadline: fails ? clock.now + .seconds(1) : nil)
      }
      while !reached.wait(milliseconds: 0) { await Task.yield() }
      clock.advance(by: .seconds(2))
      let channel = SpoolEntryChannel(capacity: 8)
      let walk = try spool.enumerate(
        into: channel, startTime: SpoolInstant(unixMilliseconds: clock.wallMilliseconds))
      try await eventually { walk.progress.skipped == 1 }
      go.signal()
      var entries: [SpoolEntry] = []
      for await entry in channel { entries.append(entry) }
      #expect(entries == (fails ? [.item(id: old, data: [1])] : []))
      #expect(await walk.finished().skipped == (fails ? 0 : 1))
      #expect(await store.kind == (fails ? .deadlineExceeded : nil))
    }
  }

  @Test(
    "A-E-9: a message from before the clock was set back is found, by however much",
    arguments: [3_600_000, 2_000, 1_000] as [UInt64])
  func futureMessagesAreFound(milliseconds: UInt64) async throws {
    let old = id(atMilliseconds: milliseconds)
    try await withDiskSpool(clock: ManualClock(wallMilliseconds: milliseconds)) {
      try await $0.put(old, [1])
    }
    let clock = ManualClock(wallMilliseconds: 1_000)
    try await withDiskSpool(clock: clock) { (spool) async throws in
      let start = SpoolInstant(unixMilliseconds: clock.wallMilliseconds)
      // As far ahead, and stored by this opening.
      try await spool.put(id(atMilliseconds: 3_600_001), [2])
      try await spool.put(id(atMilliseconds: 2_001), [3])
      let (entries, outcome) = try await spool.all(before: start)
      #expect(entries == [.item(id: old, data: [1])])
      #expect(outcome.skipped == 2)
    }
  }

  @Test("A-E-6: damaged files are told with their id, and what is no message is passed over")
  func damageIsTold() async throws {
    try await withDiskSpool { (spool) async throws in
      let ids = (0..<6).map { id(atMilliseconds: 1_000, $0) }
      for id in ids { try await spool.put(id, [1, 2, 3]) }
      let file = try Files.read(spool.file(ids[0]))
      try writeFile(Array(file.dropLast()), to: spool.file(ids[1]))
      try writeFile(file.dropLast() + [9], to: spool.file(ids[2]))
      try writeFile([], to: spool.file(ids[3]))
      try Files.remove(spool.file(ids[4]))
      try Files.createDirectory(spool.file(ids[4]))
      try Files.remove(spool.file(ids[5]))
      #expect(unsafe symlink(spool.file(ids[0]), spool.file(ids[5])) == 0)
      let data = spool.path + "/data"
      let leaf = Files.directory(of: spool.file(ids[0]))
      // A file, a directory, another spelling, an id of no known version, in odd places.
      let upper = leaf + "/" + String(repeating: "0", count: 3) + "A700080000000000000FF"
      let strays = [
        data + "/README", data + "/00/zz", leaf + "/draft", data + "/00/00/0",
        upper, leaf + "/" + String(repeating: "0", count: 24),
      ]
      for stray in strays { try writeFile([1], to: stray) }
      try Files.createDirectory(data + "/lost+found")
      let (entries, outcome) = try await spool.all()
      #expect(outcome.error == nil)
      #expect(outcome.count == 1)
      #expect(outcome.corrupt == 5)
      #expect(outcome.skipped == strays.count + 1)
      #expect(entries.contains(.item(id: ids[0], data: [1, 2, 3])))
      for id in ids.dropFirst() {
        #expect(entries.contains { if case .corrupt(id, _) = $0 { true } else { false } })
        // Left where it is.
        #expect(Files.exists(spool.file(id)))
      }
    }
  }

  @Test("A-E-6: a file that may not be read is told with its id")
  func unreadableFileIsTold() async throws {
    let path = try TestDirectory.path("spool")
    let (good, bad) = (id(atMilliseconds: 1_000, 1), id(atMilliseconds: 1_000, 2))
    try await withDiskSpool { (spool) async throws in
      for id in [good, bad] { try await spool.put(id, [1]) }
    }
    try giveToNobody(path)
    #expect(unsafe chmod(bad.path(under: path + "/data"), 0) == 0)
    let child = try ChildProcess(
      try ChildProcess.builtProgram("CrashWorker"), ["disk-list", path, "65534:65534"])
    #expect(try await child.ending() == .exit(0))
    #expect(child.lines.contains("item \(good)"))
    let told = child.lines.first { $0.hasPrefix("corrupt \(bad)") }
    #expect(told?.contains("Permission denied") == true)
    #expect(child.lines.count == 3)
  }

  @Test("A directory that cannot be listed is counted, and the rest is given")
  func unreadableDirectoriesAreCounted() async throws {
    let path = try TestDirectory.path("spool")
    let (good, hidden) = (id(atMilliseconds: 1_000), id(atMilliseconds: 1 << 40))
    try await withDiskSpool { (spool) async throws in
      try await spool.put(good, [1])
      try await spool.put(hidden, [1])
    }
    try giveToNobody(path)
    let directory = hidden.directory(under: path + "/data")
    #expect(unsafe chmod(Files.directory(of: directory), 0) == 0)
    let child = try ChildProcess(
      try ChildProcess.builtProgram("CrashWorker"), ["disk-list", path, "65534:65534"])
    #expect(try await child.ending() == .exit(0))
    #expect(child.lines.contains("item \(good)"))
    #expect(child.lines.last?.hasPrefix("unreadable 1 ") == true)
    #expect(child.lines.last?.contains("Permission denied") == true)
    #expect(child.lines.count == 3)
  }

  @Test("A-E-2: a slow reader gets them all, and the walk is never far ahead of it")
  func smallestChannelDeliversAll() async throws {
    try await withDiskSpool { (spool) async throws in
      let ids = (0..<200).map { id(atMilliseconds: 1_000, $0) }
      for id in ids { try await spool.put(id, [1]) }
      let channel = SpoolEntryChannel(capacity: 1)
      let walk = try spool.enumerate(into: channel, startTime: end)
      var seen: Set<SpoolID> = []
      for await entry in channel {
        for _ in 0..<20 { await Task.yield() }
        if case .item(let id, _) = entry { seen.insert(id) }
        // One in the channel, and one that the reader is about to get.
        #expect(walk.progress.count <= seen.count + 2)
      }
      #expect(seen == Set(ids))
      #expect(await walk.finished().count == 200)
    }
  }

  @Test("A-E-3: a reader that leaves its loop, or a shutdown, ends the walk")
  func lostReadersEndTheWalk() async throws {
    try await withDiskSpool { (spool) async throws in
      for number in 0..<50 {
        try await spool.put(id(atMilliseconds: 1_000, UInt64(number)), [1])
      }
      let channel = SpoolEntryChannel(capacity: 2)
      let walk = try spool.enumerate(into: channel, startTime: end)
      for await _ in channel { break }
      #expect(await walk.finished().error?.message.contains("its reader is gone") == true)
      let idle = SpoolEntryChannel(capacity: 2)
      let other = try spool.enumerate(into: idle, startTime: end)
      try await spool.shutdown()
      #expect(await other.finished().error?.message.contains("the spool was closed") == true)
      withExtendedLifetime(idle) {}
    }
  }

  @Test("A walk that gives nothing notices that its reader is gone")
  func lostReadersEndAWalkThatSkips() async throws {
    try await withDiskSpool { (spool) async throws in
      for number in 0..<50 { try await spool.put(id(atMilliseconds: 1_000, UInt64(number)), [1]) }
      let channel = SpoolEntryChannel(capacity: 2)
      let reader = Task { for await _ in channel {} }
      reader.cancel()
      await reader.value
      let walk = try spool.enumerate(into: channel, startTime: SpoolInstant(ticks: 0))
      let outcome = await walk.finished()
      #expect(outcome.error?.message.contains("its reader is gone") == true)
      #expect(outcome.skipped == 0)
    }
  }

  @Test("More walks than the limit are refused until one ends")
  func walksAreBounded() async throws {
    try await withDiskSpool { (spool) async throws in
      for number in 0..<4 { try await spool.put(id(atMilliseconds: 1_000, UInt64(number)), [1]) }
      var channels = (0..<LocalDiskSpool.walkLimit).map { _ in SpoolEntryChannel(capacity: 1) }
      let walks = try channels.map { try spool.enumerate(into: $0, startTime: end) }
      await expectError(.overloaded) { _ = try await spool.all() }
      channels.removeLast()
      #expect(await walks.last?.finished().error != nil)
      #expect(try await spool.all().outcome.count == 4)
      withExtendedLifetime(channels) {}
    }
  }

  @Test("A-E-7: stores during an enumeration do not fail, and new ones are not given")
  func storesGoOnDuringAnEnumeration() async throws {
    try await withDiskSpool { (spool) async throws in
      let ids = (0..<100).map { _ in newIDs.next() }
      for id in ids { try await spool.put(id, [1]) }
      let start = SpoolInstant(unixMilliseconds: SystemClock().wallMilliseconds + 1)
      let channel = SpoolEntryChannel(capacity: 1)
      let walk = try spool.enumerate(into: channel, startTime: start)
      var seen: Set<SpoolID> = []
      var number: UInt64 = 0
      for await entry in channel {
        if case .item(let id, _) = entry { seen.insert(id) }
        number += 1
        try await spool.put(
          id(atMilliseconds: UInt64(start.ticks / 10_000) + 1, number), [9])
      }
      #expect(await walk.finished().error == nil)
      #expect(seen == Set(ids))
      #expect(try await spool.allIDs().count == 200)
    }
  }

  @Test("A-E-8: what a killed process was writing is gone after the open, and only then")
  func leftoversAreRemovedAtOpen() async throws {
    let path = try TestDirectory.path("spool")
    try await withDiskSpool { try await $0.put(id(atMilliseconds: 1_000), [1]) }
    let leftovers = ["\(newIDs.next()).17", "\(newIDs.next()).reason.2", "probe.1"]
    for name in leftovers { try writeFile([1, 2], to: path + "/new/" + name) }
    try writeFile([1], to: path + "/quarantine/\(newIDs.next()).reason")
    // Nothing of the spool's.
    let others = [
      "/new/report.txt", "/new/\(newIDs.next())", "/new/\(newIDs.next()).x", "/new/.5",
      "/quarantine/notes.reason",
    ]
    for name in others { try writeFile([7], to: path + name) }
    let (reached, go) = (ThreadSemaphore(), ThreadSemaphore())
    try await withDiskSpool(
      LocalDiskSettings(),
      { step in
        if case .placing = step {
          reached.signal()
          go.wait()
        }
      },
      { (spool) async throws in
        for name in others {
          #expect(try Files.read(path + name) == [7])
          try Files.remove(path + name)
        }
        #expect(try spool.namesInNew() == [])
        #expect(try Files.names(in: path + "/quarantine") == [])
        let id = id(atMilliseconds: 2_000)
        async let stored: Void = spool.put(id, [2])
        while !reached.wait(milliseconds: 0) { await Task.yield() }
        // One is being written while everything is looked through.
        #expect(try await spool.all().outcome.count == 1)
        try await spool.cleanup()
        #expect(try spool.namesInNew().count == 1)
        // The cleanup took its directory, so it passes here twice.
        go.signal()
        go.signal()
        try await stored
        #expect(try await spool.load(id) == [2])
      })
  }
}

/// Gives a folder and all below it to the user 65534, and lets that user reach it.
func giveToNobody(_ path: String) throws {
  guard unsafe chmod(Files.directory(of: path), 0o755) == 0 else {
    throw TestKitError("cannot open \(path) to others")
  }
  try give(path, to: 65_534)
}

private func give(_ path: String, to user: UInt32) throws {
  guard unsafe chown(path, user, user) == 0 else { throw TestKitError("run the tests as root") }
  guard Files.isDirectory(path) else { return }
  for name in try Files.names(in: path) { try give(path + "/" + name, to: user) }
}
