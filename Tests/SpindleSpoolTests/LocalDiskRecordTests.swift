import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleTestKit
import Testing

@Suite("The file of a spool on files", .temporaryDirectory)
struct LocalDiskRecordTests {
  /// Writes bytes as the file of a message and loads it.
  private func load(_ bytes: [UInt8], _ spool: LocalDiskSpool) async throws -> Bytes {
    let id = id(atMilliseconds: 1_000)
    let path = id.path(under: spool.path + "/data")
    try Files.createDirectory(Files.directory(of: path))
    try writeFile(bytes, to: path)
    return try await spool.load(id)
  }

  private static func file(_ payload: Bytes) -> [UInt8] {
    file(payload, .none)
  }

  private static func file(_ payload: Bytes, _ compression: PayloadCompression) -> [UInt8] {
    let file = LocalDiskRecord.encode(
      payload, compression, run: 0x0102_0304, storedMilliseconds: 1_700_000_000_000)
    return file.header + file.body
  }

  private func withSpool(_ body: (LocalDiskSpool) async throws -> Void) async throws {
    let spool = try LocalDiskSpool(path: try TestDirectory.path("spool"), flush: false)
    try await body(spool)
    try await spool.shutdown()
  }

  // The bytes of the format's page; a change here is a change of the format.
  @Test(
    "Golden bytes",
    arguments: [
      (
        "hello",
        "8953504f4f4c0d0a" + "01000000" + "01020304" + "0000018bcfe56800" + "0000000000000005"
          + "6ac5a47a" + "68656c6c6f"
      ),
      (
        "",
        "8953504f4f4c0d0a" + "01000000" + "01020304" + "0000018bcfe56800" + "0000000000000000"
          + "7d6f06f8"
      ),
    ])
  func bytesAreThoseOfTheFormat(payload: String, expected: String) async throws {
    let file = Self.file(Array(payload.utf8))
    #expect(hexString(file) == expected)
    try await withSpool { (spool) async throws in
      #expect(try await load(file, spool) == Array(payload.utf8))
    }
  }

  /// The examples of the page are files that a spool reads.
  @Test func theExamplesOfThePageAreRead() async throws {
    let root = Files.directory(of: Files.directory(of: Files.directory(of: #filePath)))
    let page = String(
      decoding: try Files.read(root + "/Documentation/Formats/local-disk-spool.md"),
      as: UTF8.self)
    let examples = page.split(separator: "\n").filter { $0.hasPrefix("8953504f") }
    #expect(examples.count == 4)
    try await withSpool { (spool) async throws in
      var payloads: [String] = []
      for example in examples {
        var bytes: [UInt8] = []
        var rest = example[...]
        while let byte = UInt8(rest.prefix(2), radix: 16) {
          bytes.append(byte)
          rest = rest.dropFirst(2)
        }
        payloads.append(String(decoding: try await load(bytes, spool), as: UTF8.self))
      }
      let repeated = String(repeating: "abcd", count: 16)
      #expect(payloads == ["hello", "", repeated, repeated])
    }
  }

  @Test("A file cut at any byte is an error that names the id", arguments: [0, 1, 40])
  func truncationIsAnErrorAtEveryByte(count: Int) async throws {
    let file = Self.file([UInt8](repeating: 7, count: count))
    try await withSpool { (spool) async throws in
      for length in file.indices {
        let message = await expectError(.corruption) {
          _ = try await load(Array(file.prefix(length)), spool)
        }
        #expect(message.contains(id(atMilliseconds: 1_000).description))
      }
      #expect(try await load(file, spool).count == count)
      await expectError(.corruption) { _ = try await load(file + [0], spool) }
    }
  }

  @Test("Every flipped bit of a file is an error", arguments: [0, 1, 40])
  func everyFlippedBitIsAnError(count: Int) async throws {
    let file = Self.file([UInt8](repeating: 7, count: count))
    try await withSpool { (spool) async throws in
      for bit in 0..<(file.count * 8) {
        var damaged = file
        damaged[bit / 8] ^= 1 << (bit % 8)
        await expectError(.corruption) { _ = try await load(damaged, spool) }
      }
    }
  }

  @Test func errorsSayWhatIsWrong() async throws {
    try await withSpool { (spool) async throws in
      func message(_ change: (inout [UInt8]) -> Void) async -> String {
        var file = Self.file([1, 2, 3])
        change(&file)
        return await expectError(.corruption) { _ = try await load(file, spool) }
      }
      #expect(await message { $0[0] = 0 }.contains("does not begin with the spool's mark"))
      #expect(await message { $0[8] = 3 }.contains("record version 3 is unknown"))
      #expect(await message { $0[8] = 2 }.contains("payload codec 0 is unknown"))
      #expect(await message { $0[9] = 2 }.contains("the reserved bytes are not zero"))
      #expect(await message { $0[24] = 1 }.contains("larger than any that is stored"))
      #expect(await message { $0.append(0) }.contains("1 bytes follow the end"))
      #expect(await message { $0.removeLast() }.contains("needs 3 bytes where 2 are left"))
      #expect(await message { $0[37] = 9 }.contains("checksum 0x"))
      // A length that is too great asks for no memory.
      #expect(await message { $0[28] = 0x3F }.contains("are left"))
    }
  }

  @Test("A compressed file is of version 2, and names its codec", arguments: [1, 2] as [UInt8])
  func compressedFilesSayHow(codec: UInt8) async throws {
    let payload = SpoolCompressionTests.lines(100)
    let file = Self.file(payload, codec == 1 ? .lz4 : .zstd)
    #expect(file.count < payload.count / 2)
    #expect(file[8..<12] == [2, codec, 0, 0])
    #expect(file[24..<32].reduce(0) { $0 << 8 | Int($1) } == file.count - 36)
    #expect(file[36..<40].reduce(0) { $0 << 8 | Int($1) } == payload.count)
    // What is not worth it is a file of version 1.
    let noise = SpoolCompressionTests.noise(500)
    #expect(Self.file(noise, codec == 1 ? .lz4 : .zstd) == Self.file(noise))
    try await withSpool { (spool) async throws in
      #expect(try await load(file, spool) == payload)
      for length in stride(from: 0, to: file.count, by: 3) {
        await expectError(.corruption) { _ = try await load(Array(file.prefix(length)), spool) }
      }
      for bit in stride(from: 0, to: file.count * 8, by: 5) {
        var damaged = file
        damaged[bit / 8] ^= 1 << (bit % 8)
        await expectError(.corruption) { _ = try await load(damaged, spool) }
      }
    }
  }

  @Test func randomBytesAreNeverAMessage() async throws {
    var random = SeededGenerator(seed: 5)
    try await withSpool { (spool) async throws in
      for round in 0..<300 {
        var file = Self.file([UInt8](repeating: 1, count: round % 50))
        // From the mark on, so that the later fields are met as well.
        for index in 8..<file.count where random.next() % 3 == 0 {
          file[index] = UInt8(truncatingIfNeeded: random.next())
        }
        if file == Self.file([UInt8](repeating: 1, count: round % 50)) { continue }
        await expectError(.corruption) { _ = try await load(file, spool) }
      }
    }
  }
}
