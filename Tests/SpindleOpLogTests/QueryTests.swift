import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

extension OpLogIndexes {
  static let all: OpLogIndexes = [.byTime, .byUser, .byKey]
}

extension LogIndexTracker where Op == Note {
  /// Every page of a query, with the token between two pages as text.
  func found(_ query: OpLogQuery, limit: Int = 7) async throws -> [FoundEntry<Note>] {
    var entries: [FoundEntry<Note>] = []
    var token: OpLogContinuation?
    repeat {
      let page = try await self.query(query, limit: limit, after: token)
      #expect(page.entries.count <= limit)
      entries += page.entries
      token = try page.next.map { try #require(OpLogContinuation($0.description)) }
    } while token != nil
    return entries
  }
}

@Suite struct QueryTests {
  /// A log of several peers with few users, keys and times, so that many entries share them.
  private func fill(
    _ store: Store, _ tracker: Tracker, _ generator: inout SeededGenerator
  ) async throws {
    let keys: [[UInt8]?] = [nil, [], [0], [0, 0], [0, 0xFF], [1], [1, 0], [0xFF], [0xFF, 0xFF]]
    let users = [nil, someUser, UserID(UUIDValue(high: .max, low: .max))]
    for peer in [zeroPeer, peer(1), lastPeer] {
      for index in 0..<UInt64(40) {
        if Int.random(in: 0..<8, using: &generator) == 0 {
          try await tracker.addMarker(store, peer, index)
          continue
        }
        let times: [UInt64] = [0, 1, 5, 6, 1 << 63 - 1, 1 << 63, .max]
        try await tracker.add(
          store, peer, index,
          Note(
            tag: 1, key: keys.randomElement(using: &generator) ?? nil,
            value: Array("\(peer) \(index)".utf8)),
          at: times.randomElement(using: &generator) ?? 0,
          user: users.randomElement(using: &generator) ?? nil)
      }
    }
  }

  /// What the query must give, from all rows.
  private func scan(_ tracker: Tracker, _ query: OpLogQuery) async throws -> [FoundEntry<Note>] {
    var all: [(key: [UInt8], found: FoundEntry<Note>)] = []
    for (peer, _) in try await tracker.allCursors().sorted {
      let floor = try await tracker.floor(of: peer)
      for (index, entry) in try await tracker.readEntries(peer: peer, from: floor, limit: .max) {
        guard case .logEntry(let entry) = entry, query.times.contains(entry.timestamp) else {
          continue
        }
        var order: [UInt8] = []
        switch query.subject {
        case .everything: break
        case .user(let user): guard entry.serverUser == user else { continue }
        case .key(let key): guard entry.op.key == key else { continue }
        case .keyPrefix(let prefix):
          guard let key = entry.op.key, key.starts(with: prefix) else { continue }
          // The order of the keys, each with an end that is below every byte.
          order = key.flatMap { [1, $0] } + [0]
        }
        order.appendBigEndian(entry.timestamp.packed)
        order += peer.uuid.bytes
        order.appendBigEndian(index)
        all.append((order, FoundEntry(peer: peer, index: index, entry: entry)))
      }
    }
    let sorted = all.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.found)
    return query.isReversed ? sorted.reversed() : sorted
  }

  private var queries: [OpLogQuery] {
    let subjects: [OpLogQuery.Subject] =
      [.everything, .user(someUser), .user(UserID(UUIDValue(high: 1, low: 1)))]
      + [[], [0], [0, 0], [0, 0xFF], [1], [0xFF], [2]].flatMap { [.key($0), .keyPrefix($0)] }
    let times: [ClosedRange<UInt64>] = [0...(.max), 1...5, 6...(1 << 63), (1 << 63)...(.max)]
    return subjects.flatMap { subject in
      times.flatMap { times in
        [false, true].map { isReversed in
          OpLogQuery(
            subject,
            times: Timestamp(packed: times.lowerBound)...Timestamp(packed: times.upperBound),
            isReversed: isReversed)
        }
      }
    }
  }

  @Test("O-94: queries skip markers and agree with a full scan", arguments: 1...4 as ClosedRange)
  func queriesAgreeWithAScan(seed: Int) async throws {
    try await withPlace { place in
      var generator = SeededGenerator(seed: UInt64(seed))
      try await place.withStore { store in
        // Half of the seeds build the indexes afterwards.
        let first = try await Tracker(
          store: store, prefix: "app",
          settings: OpLogSettings(indexes: seed % 2 == 0 ? .all : []))
        try await fill(store, first, &generator)
        let tracker = try await Tracker(
          store: store, prefix: "app", settings: OpLogSettings(indexes: .all))
        for query in queries {
          let expected = try await scan(tracker, query)
          #expect(try await tracker.found(query) == expected)
        }
        #expect(try await tracker.found(OpLogQuery(.everything)).count > 60)

        // What is expunged or trimmed is found no more, and leaves nothing behind.
        for index: UInt64 in [0, 7, 39] { try await tracker.expunge(peer: peer(1), index: index) }
        _ = try await tracker.trim(below: PeerCursors([lastPeer: 25]), forced: true)
        for query in queries {
          let expected = try await scan(tracker, query)
          #expect(try await tracker.found(query, limit: 3) == expected)
        }
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings.filter { $0.contains("index by") } == [])
      }
      try await place.withStore(.reader) { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(tracker.indexes == .all)
        for query in queries.prefix(8) {
          let expected = try await scan(tracker, query)
          #expect(try await tracker.found(query) == expected)
        }
      }
    }
  }

  @Test("O-18: a timestamp above 2^63 is exact, and the order by time goes on across it")
  func orderByTimeCrossesTheSignedRange() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(
          store: store, prefix: "app", settings: OpLogSettings(indexes: .byTime))
        let times: [UInt64] = [1 << 63 + 5, 7, .max, 1 << 63, 1 << 63 - 1]
        for (index, time) in times.enumerated() {
          try await tracker.add(store, peer(1), UInt64(index), at: time)
        }
        let found = try await tracker.found(OpLogQuery(.everything))
        #expect(found.map(\.entry.timestamp.packed) == times.sorted())
        let row = try #require(try await tracker.row(peer: peer(1), index: 0))
        #expect(row.timestamp == Timestamp(packed: 1 << 63 + 5))
      }
    }
  }

  @Test("O-19: with sqlCompatible an index or timestamp above 2^63 - 1 is refused")
  func signedIntegersAreKept() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(
          store: store, prefix: "app", settings: OpLogSettings(sqlCompatible: true))
        await expectError(.invalidArgument, reason: "integer_out_of_range") {
          try await tracker.add(store, peer(1), 1 << 63)
        }
        await expectError(.invalidArgument, reason: "integer_out_of_range") {
          try await tracker.addMarker(store, peer(1), 1 << 63)
        }
        await expectError(.invalidArgument, reason: "integer_out_of_range") {
          try await tracker.add(store, peer(1), 0, at: 1 << 63)
        }
        try await tracker.add(store, peer(1), 1 << 63 - 1, at: 1 << 63 - 1)
        #expect(try await tracker.cursor(of: peer(1)) == 1 << 63)
      }
    }
  }

  @Test func wallTimesIncludeTheWholeLastMillisecond() throws {
    let times = OpLogQuery.times(wallMilliseconds: 5...6)
    #expect(times.contains(Timestamp(packed: 5 << 16)))
    #expect(times.contains(Timestamp(packed: 7 << 16 - 1)))
    #expect(!times.contains(Timestamp(packed: 7 << 16)))
    let all = OpLogQuery.times(wallMilliseconds: 0...(.max))
    #expect(all == Timestamp.zero...Timestamp(packed: .max))
  }

  @Test func queriesWithoutTheirIndexOrWithAForeignTokenAreRefused() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(
          store: store, prefix: "app", settings: OpLogSettings(indexes: .byTime))
        for index in 0..<UInt64(4) { try await tracker.add(store, peer(1), index) }
        await expectError(.invalidArgument, reason: "missing_index") {
          _ = try await tracker.query(OpLogQuery(.user(someUser)))
        }
        let token = try #require(
          try await tracker.query(OpLogQuery(.everything), limit: 2).next)
        await expectError(.invalidArgument, reason: "bad_continuation") {
          _ = try await tracker.query(OpLogQuery(.everything, isReversed: true), after: token)
        }
        // Made up: right but for the position, which is that of the clock.
        var forged = Array(token.bytes.prefix(5)) + OpLogKeys.clockKey
        forged.appendBigEndian(CRC32C.mask(CRC32C.checksum(forged)))
        let stray = try #require(OpLogContinuation(bytes: forged))
        await expectError(.invalidArgument, reason: "bad_continuation") {
          _ = try await tracker.query(OpLogQuery(.everything), after: stray)
        }
        await expectError(.invalidArgument) {
          _ = try await tracker.query(OpLogQuery(.everything), limit: 0)
        }
        for index in token.bytes.indices {
          var bytes = token.bytes
          bytes[index] ^= 1
          #expect(OpLogContinuation(bytes: bytes) == nil)
          #expect(OpLogContinuation(bytes: Array(token.bytes.prefix(index))) == nil)
        }
        #expect(OpLogContinuation("") == nil && OpLogContinuation("zz") == nil)
      }
    }
  }

  @Test func anInterruptedBuildOfAnIndexIsDoneAgain() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for index in 0..<UInt64(5) { try await tracker.add(store, peer(1), index) }
        // As a crash leaves it: announced, some keys written, not complete.
        try await damage(
          store, "app", key: OpLogKeys.buildingKey, value: Array("time,key".utf8))
        let first = OpLogIndexKey(
          subject: .time, timestamp: Timestamp(packed: 5), peer: peer(1), index: 0)
        try await damage(store, "app", key: first.bytes, value: [])
      }
      try await place.withStore(.reader) { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        await expectError(.invalidArgument, reason: "missing_index") {
          _ = try await tracker.query(OpLogQuery(.everything))
        }
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.found(OpLogQuery(.everything)).map(\.index) == [0, 1, 2, 3, 4])
        #expect(try await tracker.found(OpLogQuery(.key([7]))).count == 5)
        #expect(tracker.indexes == [.byTime, .byKey])
      }
    }
  }

  @Test func indexKeysHaveTheDocumentedBytesAndReadBack() throws {
    let time = Timestamp(packed: 0x0102_0304_0506_0708)
    let tail = "0102030405060708" + "00000000000000000000000000000009" + "000000000000000a"
    let cases: [(OpLogIndexKey.Subject, String)] = [
      (.time, "10"), (.user(someUser), "1100112233445566778899aabbccddeeff"),
      (.key([]), "120000"), (.key([0xAA, 0, 0xFF]), "12aa00ffff0000"),
    ]
    for (subject, start) in cases {
      let key = OpLogIndexKey(subject: subject, timestamp: time, peer: peer(9), index: 10)
      #expect(hexString(key.bytes) == start + tail)
      #expect(OpLogIndexKey(decoding: key.bytes.span) == key)
      for count in 0..<key.bytes.count {
        #expect(OpLogIndexKey(decoding: Array(key.bytes.prefix(count)).span) == nil)
      }
    }
    #expect(OpLogIndexKey(decoding: [0x12, 0, 1].span) == nil)
  }

  @Test func aSharedOpenAddsTheIndexForEveryWriter() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let early = try await Tracker(store: store, prefix: "app")
        _ = try await Tracker(
          store: store, prefix: "app", settings: OpLogSettings(indexes: .byTime))
        try await early.add(store, peer(1), 0)
        #expect(try await early.found(OpLogQuery(.everything)).count == 1)
      }
    }
  }
}
