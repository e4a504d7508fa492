import Glibc
import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleStore
import SpindleTestKit
import Testing

/// What a reader takes from the blocks of a file.
extension ArchiveTests {
  /// A block as the format has it.
  private func block(_ kind: UInt8, _ body: [UInt8]) -> [UInt8] {
    var bytes: [UInt8] = [kind]
    bytes.appendBigEndian(UInt32(body.count))
    bytes += body
    bytes.appendBigEndian(CRC32C.mask(CRC32C.checksum(bytes)))
    return bytes
  }

  @Test func aLengthThatNoBlockHasCostsNoMemory() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        _ = try await Tracker(store: store, prefix: "app").export(to: file)
      }
      let signature = Array(try Files.read(file)[..<8])
      let header = Array(try Files.read(file)[8..<(8 + 5 + 15 + 4)])
      #expect(header[0] == 1)
      func refusal(_ bytes: [UInt8], sparse count: Int = 0) throws -> String {
        try? Files.remove(file)
        try Files.create(file, parts: [bytes], sync: false)
        if count > 0 { #expect(unsafe truncate(file, off_t(count)) == 0) }
        var message = ""
        do { _ = try OpLogArchive.verify(at: file) } catch let error as SpindleError {
          #expect(error.reason == "corrupt_export")
          message = error.message
        }
        return message
      }
      let claimed: [UInt8] = [0xFF, 0xFF, 0xFF, 0]
      for kind in [1, 2, 5] as [UInt8] {
        let start = signature + (kind == 1 ? [] : header)
        #expect(
          try refusal(start + [kind] + claimed, sparse: 5 << 30)
            .contains("claims 4294967040 bytes, more than 512"))
      }
      for kind in [3, 4] as [UInt8] {
        #expect(
          try refusal(signature + header + [kind] + claimed, sparse: 5 << 30)
            .contains("a block of kind \(kind) claims 4294967040 bytes"))
        // A length that a block may have, which its bytes do not bear out.
        #expect(
          try refusal(signature + header + [kind, 4, 0, 0, 0], sparse: 65 << 20)
            .contains("checksum"))
      }
      #expect(
        try refusal(signature + [3] + claimed, sparse: 5 << 30)
          .contains("does not begin with a header"))
      #expect(try refusal(signature + header + block(9, [])).contains("kind 9 is unknown"))
      // Many keys in few bytes.
      var body: [UInt8] = []
      body.appendVarint(1_025)
      body += Array(repeating: 0, count: 2 * 1_025)
      #expect(
        try refusal(signature + header + block(4, body)).contains("a block has 1025 elements"))
    }
  }

  @Test func aBlockOfALargeValueIsReadAndChecked() async throws {
    try await withPlace { place in
      let file = place.path + ".export"
      try await place.withStore { store in
        let source = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        for number in 0..<UInt8(3) {
          batch.put(
            source.dataFamily, key: [number],
            value: Array(repeating: number, count: Int(number) * 3 << 20))
        }
        try await store.commit(batch, durability: .buffered)
        let manifest = try await source.export(to: file)
        let archive = OpLogArchive(path: file, store: store)
        #expect(try await archive.verify() == manifest)
        try await archive.install(prefix: "copy")
        let copy = try await Tracker(store: store, prefix: "copy")
        #expect(try content(store, copy.dataFamily) == content(store, source.dataFamily))
        var bytes = try Files.read(file, limit: 64 << 20)
        bytes[bytes.count / 2] ^= 1
        try Files.remove(file)
        try Files.create(file, parts: [bytes], sync: false)
        await expectError(.corruption, reason: "corrupt_export") { _ = try await archive.verify() }
      }
    }
  }
}
