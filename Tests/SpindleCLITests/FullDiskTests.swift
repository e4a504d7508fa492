import Foundation
import SpindleIO
import Testing

/// A real file system that is full.
@Suite(.serialized) struct FullDiskTests {
  /// Mounts a small file system; the tests need the right to do so.
  private func withDisk(
    _ kibibytes: Int, _ body: (Place, _ disk: Place) async throws -> Void
  ) async throws {
    try await withPlace { place in
      let disk = place.directory + "/disk"
      try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: true)
      let mount = try await RunningCommand([
        "mount", "-t", "tmpfs", "-o", "size=\(kibibytes)k", "tmpfs", disk,
      ]).result()
      try #require(
        mount.status == 0,
        "cannot mount a tmpfs, so a full disk cannot be tested; run as root: \(mount.problems)")
      do {
        try await body(place, Place(directory: disk))
      } catch {
        _ = try await RunningCommand(["umount", "-l", disk]).result()
        throw error
      }
      _ = try await RunningCommand(["umount", "-l", disk]).result()
    }
  }

  private func fill(_ disk: Place, leaving kibibytes: Int) throws {
    let space = try DiskSpace(of: disk.directory)
    let count = max(Int(space.freeBytes) - kibibytes << 10, 0)
    try disk.file("filler", [UInt8](repeating: 1, count: count))
  }

  private func cursor(_ place: Place) async throws -> Int {
    guard Files.exists(place.store + "/rocks/CURRENT") else { return 0 }
    let result = try await spindle("oplog", "cursors", "--store", place.store, "--json")
    guard result.status == 0 else { return 0 }
    return try result.objects().first?["cursor"] as? Int ?? 0
  }

  /// Room left beside the filler, in KiB: from so little that opening fails to most of the input.
  @Test(arguments: [0, 4, 20, 60, 100, 200, 400, 800, 1_600, 3_000])
  func aFullDiskIsOneSentenceAndTheRerunAppliesEverythingOnce(_ room: Int) async throws {
    try await withDisk(24 << 10) { place, disk in
      let expected = try await reference(place)
      try fill(disk, leaving: room)
      let refused = try await disk.ingest(
        "--producer", "p", "--batch", "300", "--durability", room % 3 == 0 ? "synced" : "buffered",
        januaryFlights)
      refused.expectRefusal()
      #expect(
        ["disk is full", "No space left", "disk_full"].contains { refused.problems.contains($0) },
        "\(refused.problems)")
      let kept = try await cursor(disk)
      // Still full: refused again, and nothing that was applied goes back.
      try await disk.ingest("--producer", "p", "--batch", "300", januaryFlights).expectRefusal()
      #expect(try await cursor(disk) >= kept)
      try FileManager.default.removeItem(atPath: disk.directory + "/filler")
      let counts = try await disk.counts("--producer", "p", januaryFlights)
      #expect(counts.applied + counts.already == 27_004)
      #expect(try await disk.sound() == expected)
      #expect(try await disk.counts("--producer", "p", januaryFlights).already == 27_004)
      #expect(try await disk.sound() == expected)
    }
  }

  @Test func aDiskThatFillsWhileAStoreRunsLosesNothingAcknowledged() async throws {
    try await withDisk(24 << 10) { place, disk in
      let expected = try await reference(place)
      let january = try await RunningCommand(["gzip", "-dc", januaryFlights]).result().output
      // A part goes in while there is room, then the room goes.
      let lines = january.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: true)
      let start = Array(lines.prefix(5_000).joined(separator: [10])) + [10]
      let part = try place.file("part.lp", start)
      _ = try await disk.counts("--producer", "p", part)
      let before = try await disk.sound()
      let kept = try await cursor(disk)
      for room in [0, 30, 300] {
        try fill(disk, leaving: room)
        try await disk.ingest("--producer", "p", "--batch", "200", januaryFlights).expectRefusal()
        #expect(try await cursor(disk) >= kept)
        try FileManager.default.removeItem(atPath: disk.directory + "/filler")
      }
      #expect(try await disk.sound().points >= before.points)
      let counts = try await disk.counts("--producer", "p", januaryFlights)
      #expect(counts.applied + counts.already == 27_004)
      #expect(try await disk.sound() == expected)
    }
  }

  @Test func aMessageThatFindsNoRoomIsRefusedAndIsNotThereLater() async throws {
    try await withDisk(8 << 10) { place, disk in
      let small = try place.file("small", [UInt8](repeating: 7, count: 1_000))
      let big = try place.file("big", [UInt8](repeating: 9, count: 6 << 20))
      let id = try await spindle("spool", "put", "--store", disk.store, small).text
      try fill(disk, leaving: 2_000)
      try await spindle("spool", "put", "--store", disk.store, big).expectRefusal()
      try FileManager.default.removeItem(atPath: disk.directory + "/filler")
      #expect(try await spindle("spool", "list", "--store", disk.store).text == id)
      _ = try await disk.sound()
    }
  }

  @Test func outputThatFindsNoRoomIsAnError() async throws {
    try await withPlace { place in
      let file = try place.file("a", [UInt8](repeating: 7, count: 100_000))
      let id = try await spindle("spool", "put", "--store", place.store, file).text.dropLast()
      let run = try RunningCommand(
        [spindleProgram, "spool", "get", "--store", place.store, String(id)], output: "/dev/full")
      let result = try await run.result()
      #expect(result.status == 1)
      #expect(result.problems.contains("cannot write to standard output: No space left"))
    }
  }

  private func reference(_ place: Place) async throws -> Soundness {
    _ = try await place.counts("--producer", "p", januaryFlights)
    return try await place.sound()
  }
}
