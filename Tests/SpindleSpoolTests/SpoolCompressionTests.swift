import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

@Suite("Compressed payloads")
struct SpoolCompressionTests {
  static let codecs = [
    (PayloadCompression.lz4, SpoolRecord.codecLZ4), (.zstd, SpoolRecord.codecZstd),
  ]

  static func lines(_ count: Int) -> [UInt8] {
    (0..<count).flatMap { Array("weather,origin=JFK temp=\($0 % 40) 13570\($0)\n".utf8) }
  }

  static func noise(_ count: Int) -> [UInt8] {
    var random = SeededGenerator(seed: 7)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  static func record(_ payload: [UInt8], _ compression: PayloadCompression) -> [UInt8] {
    let encoded = SpoolRecord.encode(payload, compression)
    return encoded.header + encoded.body
  }

  static func payload(of record: [UInt8]) throws(DecodingFailure) -> [UInt8] {
    try SpoolRecord.payload(of: record.span)
  }

  /// A record with a right checksum over any body.
  static func forged(codec: UInt8, body: [UInt8]) -> [UInt8] {
    var record: [UInt8] = [1, codec, 0, 0]
    record.appendBigEndian(UInt32(body.count))
    record.appendBigEndian(CRC32C.mask(CRC32C.checksum(record + body)))
    return record + body
  }

  static func bytes(_ hex: String) -> [UInt8] {
    let digits = hex.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map {
      UInt8(digits[$0] << 4 | digits[$0 + 1])
    }
  }

  @Test(
    "A large payload is checked and decompressed on the store's threads, a small one at once",
    arguments: PayloadCompression.allCases)
  func largePayloadsAreDecodedOnTheStoresThreads(compression: PayloadCompression) async throws {
    try await withPlace { (place) async throws in
      let store = try await Store.small(at: place.path)
      var settings = SpoolSettings()
      settings.compression = compression
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      let (small, large) = (spool.makeID(), spool.makeID())
      let limit = RocksSpool.decodingByteLimit
      let payloads = [small: limit - 100, large: limit + 100].mapValues {
        Bytes(repeating: 5, count: $0)
      }
      for (id, payload) in payloads { try await spool.put(id, payload) }
      // All threads of the store are taken.
      let held = Shared(0)
      let gate = SyncGate()
      gate.shut()
      let holders = (0..<store.settings.blockingThreads).map { _ in
        PendingCall {
          try await store.blocking {
            held.update { $0 += 1 }
            gate.wait()
          }
        }
      }
      try await eventually { held.value == holders.count }
      #expect(try await spool.load(small) == payloads[small])
      #expect(try await spool.withPayload(small) { $0?.count } == limit - 100)
      let loads = [
        PendingCall {
          let bytes = try await spool.load(large)
          #expect(bytes == payloads[large])
        },
        PendingCall {
          let bytes = try await spool.withPayload(large) { bytes -> Bytes in
            guard let bytes else { return [] }
            return copyBytes(bytes)
          }
          #expect(bytes == payloads[large])
        },
      ]
      try await Task.sleep(for: .milliseconds(50))
      #expect(loads.allSatisfy { !$0.isDone })
      gate.open()
      for call in holders + loads { #expect(await call.failure == nil) }
      try await store.close()
    }
  }

  @Test("The record has the codec, the length and a smaller body", arguments: codecs)
  func recordsAreOfTheFormat(compression: PayloadCompression, codec: UInt8) throws {
    let payload = Self.lines(100)
    let record = Self.record(payload, compression)
    #expect(record.count < payload.count / 2)
    #expect(Array(record[0..<4]) == [1, codec, 0, 0])
    #expect(record[4..<8].reduce(0) { $0 << 8 | Int($1) } == record.count - 12)
    #expect(record[12..<16].reduce(0) { $0 << 8 | Int($1) } == payload.count)
    #expect(try Self.payload(of: record) == payload)
  }

  @Test(
    "What does not become 1/16 smaller is stored as it is",
    arguments: PayloadCompression.allCases, [0, 1, 2, 5, 16, 17, 100, 70_000])
  func incompressiblePayloadsAreStoredAsTheyAre(compression: PayloadCompression, count: Int) throws
  {
    let payload = Self.noise(count)
    let record = Self.record(payload, compression)
    #expect(record == SpoolRecord.header(for: payload.span) + payload)
    #expect(try Self.payload(of: record) == payload)
  }

  @Test(arguments: codecs)
  func theGainIsAtLeastASixteenth(compression: PayloadCompression, codec: UInt8) throws {
    // Noise with ever longer runs: somewhere the gain begins to suffice.
    var wasCompressed: Set<Bool> = []
    for run in stride(from: 0, to: 400, by: 7) {
      let payload = Self.noise(1_600) + [UInt8](repeating: 0, count: run)
      let encoded = SpoolRecord.encode(payload, compression)
      wasCompressed.insert(encoded.header[1] == codec)
      if encoded.header[1] == codec {
        #expect(encoded.body.count * 16 <= payload.count * 15)
      } else {
        #expect(encoded.body == payload)
      }
      #expect(try Self.payload(of: encoded.header + encoded.body) == payload)
    }
    #expect(wasCompressed == [true, false])
  }

  // The bytes of the format's page: what was written once stays readable.
  @Test(
    "Golden bytes",
    arguments: [
      ("010100000000001203ab3f0e" + "00000040" + "4f61626364040024506461626364", "abcd"),
      ("0102000000000017f0570604" + "00000040" + "28b52ffd204055000020616263640100597244", "abcd"),
    ])
  func bytesAreThoseOfTheFormat(record: String, unit: String) throws {
    let payload = Array(String(repeating: unit, count: 16).utf8)
    #expect(try Self.payload(of: Self.bytes(record)) == payload)
  }

  @Test(arguments: codecs)
  func truncationIsAnErrorAtEveryByte(compression: PayloadCompression, codec: UInt8) {
    let record = Self.record(Self.lines(10), compression)
    for length in record.indices {
      #expect(throws: DecodingFailure.self, "\(length) bytes") {
        try Self.payload(of: Array(record.prefix(length)))
      }
    }
    // With a right checksum the codec itself has to find it.
    let body = Array(record.dropFirst(12))
    for length in body.indices {
      #expect(throws: DecodingFailure.self, "body of \(length) bytes") {
        try Self.payload(of: Self.forged(codec: codec, body: Array(body.prefix(length))))
      }
    }
  }

  @Test(arguments: codecs)
  func everyFlippedBitIsAnError(compression: PayloadCompression, codec: UInt8) {
    let payload = Self.lines(10)
    let record = Self.record(payload, compression)
    for bit in 0..<(record.count * 8) {
      var damaged = record
      damaged[bit / 8] ^= 1 << (bit % 8)
      #expect(throws: DecodingFailure.self, "bit \(bit)") { try Self.payload(of: damaged) }
    }
    // With a right checksum a flip may give other bytes, never more of them and never a trap.
    let body = Array(record.dropFirst(12))
    for bit in 32..<(body.count * 8) {
      var damaged = body
      damaged[bit / 8] ^= 1 << (bit % 8)
      if let result = try? Self.payload(of: Self.forged(codec: codec, body: damaged)) {
        #expect(result.count == payload.count)
      }
    }
  }

  @Test(arguments: codecs)
  func forgedLengthsAreRefused(compression: PayloadCompression, codec: UInt8) throws {
    let body = Array(Self.record(Self.lines(10), compression).dropFirst(16))
    let limit = UInt32(RocksSpool.payloadByteLimit)
    for length in [0, 1, 5_000, 1 << 20, 1 << 28, limit, limit + 1, .max] as [UInt32] {
      var forged: [UInt8] = []
      forged.appendBigEndian(length)
      #expect(throws: DecodingFailure.self, "\(length)") {
        try Self.payload(of: Self.forged(codec: codec, body: forged + body))
      }
      #expect(throws: DecodingFailure.self, "\(length) of nothing") {
        try Self.payload(of: Self.forged(codec: codec, body: forged))
      }
    }
    #expect(throws: DecodingFailure.invalid("payload codec 3 is unknown")) {
      try Self.payload(of: Self.forged(codec: 3, body: body))
    }
  }

  @Test(arguments: PayloadCompression.allCases)
  func storedPayloadsComeBackWhateverTheSettingIs(compression: PayloadCompression) async throws {
    try await withPlace { place in
      let payloads = [
        [], [1], Self.lines(3), Self.lines(40_000), Self.noise(200_000),
        [UInt8](repeating: 0, count: 3 << 20),
      ]
      var ids: [SpoolID] = []
      let store = try await place.open()
      var settings = SpoolSettings()
      settings.compression = compression
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      for payload in payloads {
        let id = spool.makeID()
        try await spool.put(id, payload)
        ids.append(id)
      }
      let claimed = spool.makeID()
      let header = try await spool.storeClaimed(
        claimed, payloads[3], forceSync: false, deadline: nil)
      let stored = try #require(await store.get(spool.family, key: claimed.bytes))
      #expect(Array(stored.prefix(12)) == header)
      #expect((stored.count < payloads[3].count / 2) == (compression != .none))
      #expect(try spool.loadRecordBlocking(claimed)?.payload.get() == payloads[3])
      try await store.close()
      // A spool with another setting reads what is there.
      try await place.withSpool { spool in
        for (id, payload) in zip(ids, payloads) { #expect(try await spool.load(id) == payload) }
        let (entries, outcome) = try await spool.all()
        #expect(entries.count == payloads.count + 1)
        #expect(outcome.corrupt == 0)
      }
    }
  }

  @Test(
    "A failure of the caller's own is not told as damage", arguments: PayloadCompression.allCases)
  func callersFailuresAreTheirOwn(compression: PayloadCompression) async throws {
    var settings = SpoolSettings()
    settings.compression = compression
    try await withPlace { (place) async throws in
      let store = try await place.open()
      let spool = try await RocksSpool(store: store, name: "main", settings: settings)
      let id = spool.makeID()
      let stored = Self.lines(50)
      try await spool.put(id, stored)
      await #expect(throws: DecodingFailure.invalid("the caller's own format")) {
        try await spool.withPayload(id) { (payload: Span<UInt8>?) throws -> Void in
          #expect(payload?.count == stored.count)
          throw DecodingFailure.invalid("the caller's own format")
        }
      }
      try await store.close()
    }
  }

  @Test func aDamagedCompressedMessageIsAnErrorThatNamesIt() async throws {
    try await withNewSpool { spool in
      let id = spool.makeID()
      var body: [UInt8] = []
      body.appendBigEndian(UInt32(1 << 30))
      try await spool.putRaw(id.bytes, Self.forged(codec: 2, body: body + [1, 2, 3]))
      let message = await expectError(.corruption) { _ = try await spool.load(id) }
      #expect(message.contains("\(id)"))
      #expect(message.contains("claims 1073741824 bytes; the limit is 1073741760"))
    }
  }
}
