import SpindleCore
import SpindleIO
import SpindleOpLog
import SpindleRocks
import SpindleStore
import Synchronization
import Testing

@Suite struct OpLogVerifierTests {
  /// Three peers of ten entries each, the clock in step.
  private func fill(_ store: Store, valueBytes: Int = 10) async throws -> Tracker {
    let tracker = try await Tracker(store: store, prefix: "app")
    let clock = try await ClockService(store: store, prefix: "app")
    for index in 0..<UInt64(10) {
      var batch = Batch()
      var stage = try clock.begin()
      for peer in [zeroPeer, peer(5), lastPeer] {
        let text = String(repeating: "v", count: valueBytes)
        try tracker.trackOne(
          peer: peer, index: index, timestamp: try stage.now(into: &batch), serverUser: nil,
          op: Note(text), into: &batch)
      }
      try await store.commit(batch, durability: .buffered)
      clock.committed(stage)
    }
    return tracker
  }

  @Test func soundLogHasNoFindings() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await fill(store)
        try await tracker.addMarker(store, peer(5), 10)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [])
        #expect((report.peers, report.entries, report.markers) == (3, 30, 1))
      }
      try await place.withStore(.reader) { store in
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [] && report.entries == 30)
        await expectError(.notFound) { _ = try OpLogVerifier(store: store, prefix: "other") }
      }
    }
  }

  @Test("O-96: verify finds a hole, a damaged row, a lowered clock and more in one walk")
  func everyInjectedFaultIsFoundInOneWalk() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await fill(store)
        // Holes at the start and in the middle, a flipped version byte, a clock set back, a key of
        // the wrong length, an unknown subspace, a lost prefix.
        try await damage(store, "app", key: OpLogKeys.entry(zeroPeer, 0), value: nil)
        for index: UInt64 in 3...5 {
          try await damage(store, "app", key: OpLogKeys.entry(peer(5), index), value: nil)
        }
        var bytes = try #require(try await tracker.row(peer: lastPeer, index: 4)).encoded
        bytes[0] ^= 0x40
        try await damage(store, "app", key: OpLogKeys.entry(lastPeer, 4), value: bytes)
        try await damage(store, "app", key: OpLogKeys.clockKey, value: [0, 0, 0, 0, 0, 0, 0, 1])
        try await damage(store, "app", key: OpLogKeys.entries(of: peer(6)), value: [])
        try await damage(store, "app", key: [0x77, 1], value: [])
        try await damage(store, "app", key: OpLogKeys.prefixKey, value: nil)

        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        let greatest = try #require(try await tracker.row(peer: lastPeer, index: 9)).timestamp
        #expect(
          report.findings == [
            "the log of peer \(zeroPeer) has a hole: indices 0 to 0",
            "the log of peer \(peer(5)) has a hole: indices 3 to 5",
            "a key among the entries has 17 bytes; expected 25",
            "the row at index 4 of peer \(lastPeer) is damaged: record version 65 is unknown",
            "a key lies in the unknown subspace 0x77",
            "the clock register 0.1 is below the greatest timestamp \(greatest), that of index 9 "
              + "of peer \(lastPeer)",
            "the op-log app is damaged: its prefix key names another prefix or is absent",
          ])
        #expect(report.entries == 25)
      }
    }
  }

  @Test("O-96: verify finds index keys without entries and entries without index keys")
  func indexesThatDisagreeWithTheRowsAreFound() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(
          store: store, prefix: "app", settings: OpLogSettings(indexes: .all))
        try await addChained(store, tracker, peer(1), 0..<6)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings == [] && report.indexRows == 6 + 3 + 6 && report.links == 6)
        func key(_ subject: OpLogIndexKey.Subject, _ time: UInt64, _ index: UInt64) -> [UInt8] {
          OpLogIndexKey(
            subject: subject, timestamp: Timestamp(packed: time), peer: peer(1), index: index
          ).bytes
        }
        try await damage(store, "app", key: key(.time, 1, 9), value: [])
        try await damage(store, "app", key: key(.time, 7, 2), value: [])
        try await damage(store, "app", key: key(.user(someUser), 2, 1), value: [])
        try await damage(store, "app", key: key(.key([8]), 1, 0), value: [])
        try await damage(store, "app", key: key(.key([7]), 4, 3), value: nil)
        try await damage(store, "app", key: [0x10, 1], value: [])
        #expect(
          try await findings(store) == [
            "the index by key has no key for index 3 of peer \(peer(1))",
            "the index by time has a key for index 9 of peer \(peer(1)), which holds no such entry",
            "the index by time has a key for index 2 of peer \(peer(1)), which holds no such entry",
            "a key of 2 bytes among the indexes, with 0 bytes of value, is none",
            "the index by user has a key for index 1 of peer \(peer(1)), which holds no such entry",
            "the index by key has a key for index 0 of peer \(peer(1)), which holds no such entry",
          ])
        await expectError(.corruption, reason: "corrupt_meta") {
          _ = try await tracker.found(OpLogQuery(.user(someUser)))
        }
      }
    }
  }

  /// No checksum is wrong here: the rows were written through the store.
  @Test("O-96: verify finds a row that was replaced behind the log's back")
  func aChangedRowBreaksItsChainOnce() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for peer in [peer(1), peer(2), peer(3), peer(4)] {
          try await addChained(store, tracker, peer, 0..<6)
        }
        // One byte of the content; one of the head; a head that is gone; the last row's content.
        for (peer, index, offset) in [(peer(1), 2, -1), (peer(2), 3, 11), (peer(4), 5, -1)] {
          var bytes = try #require(try await tracker.row(peer: peer, index: UInt64(index))).encoded
          // Behind the user where there is one.
          let place = offset < 0 ? bytes.count + offset : bytes.count - 1 - 8 - 31
          bytes[place] ^= 1
          try await damage(store, "app", key: OpLogKeys.entry(peer, UInt64(index)), value: bytes)
        }
        let plain = try OpLogRow(
          timestamp: Timestamp(packed: 2), serverUser: nil,
          entry: IndexEntry(tag: 1, key: [7], value: []))
        try await damage(
          store, "app", key: OpLogKeys.entry(peer(3), 1), value: plain.encoded)
        let changed = "is not the one that its chain was made with: it or its head was changed"
        #expect(
          try await findings(store) == [
            "the row at index 2 of peer \(peer(1)) \(changed)",
            "the row at index 3 of peer \(peer(2)) \(changed)",
            "the row at index 1 of peer \(peer(3)) is in no chain, and the rows before it are",
            "the row at index 5 of peer \(peer(4)) \(changed)",
          ])
      }
    }
  }

  /// Rows of before there were chains, then chained ones, also across a floor.
  @Test func aChainMayStartBehindRowsWithoutOne() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for index in 0..<UInt64(3) { try await tracker.add(store, peer(1), index, at: 1) }
        try await addChained(store, tracker, peer(1), 3..<6)
        #expect(try await findings(store) == [])
        for floor: UInt64 in [2, 3, 5, 6] {
          _ = try await tracker.trim(below: PeerCursors([peer(1): floor]), forced: true)
          #expect(try await findings(store) == [])
        }
        try await addChained(store, tracker, peer(1), 6..<8)
        #expect(try await findings(store) == [])
      }
    }
  }

  @Test("O-96: verify finds floors, tokens, acknowledgements and a fence that are not well formed")
  func recordsBesideTheRowsAreChecked() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await Tracker(store: store, prefix: "app")
        let token = try #require(IdempotencyToken("t"))
        let record: [UInt8] = [
          0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5,
        ]
        for (key, value) in [
          (OpLogKeys.floor(peer(1)), [1]), ([0x04, 1], []),
          (OpLogKeys.token(token), record), ([0x05], record), ([0x05, 1], [2]),
          (OpLogKeys.tokenExpiry(8, token), []), ([0x06, 1], []),
          (OpLogKeys.acknowledgement(peer(1), peer(2)), [3]), ([0x07, 1], []),
        ] as [([UInt8], [UInt8])] {
          try await damage(store, "app", key: key, value: value)
        }
        #expect(
          try await findings(store) == [
            "the floor of peer \(peer(1)) has 1 bytes or is 0; expected 8, 40 or 41",
            "the key of a floor has 2 bytes; expected 17",
            "an idempotency token has 0 bytes; expected 1 to 128",
            "the record of an idempotency token has 1 bytes or counts no entry",
            "no peer's log holds the entries of the idempotency token of index 4: the newest "
              + "entries are lost",
            "the idempotency token of index 4 never expires: it is not among the expiries",
            "an expiry at 8 ms belongs to no idempotency token",
            "a key of 2 bytes among the expiries of tokens is none",
            "an acknowledgement has 1 bytes; expected 8",
            "the key of an acknowledgement has 2 bytes; expected 33",
          ])
      }
    }
  }

  @Test func absentRegisterAndMetaAreFound() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await fill(store)
        for key in [
          OpLogKeys.clockKey, OpLogKeys.formatKey, OpLogKeys.prefixKey, OpLogKeys.createdKey,
        ] {
          try await damage(store, "app", key: key, value: nil)
        }
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings.count == 2)
        #expect(report.findings.first?.hasPrefix("the clock register is absent") == true)
        #expect(report.findings.last == "the format key is absent")
      }
    }
  }

  @Test func findingsAreBounded() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        var batch = Batch()
        for number in 0..<UInt64(OpLogReport.findingLimit + 7) {
          try tracker.trackExpunged(peer: peer(number), index: 1, hash: someHash, into: &batch)
        }
        try await store.commit(batch, durability: .buffered)
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings.count == OpLogReport.findingLimit + 1)
        #expect(report.findings.last == "7 more findings are not listed")
      }
    }
  }

  /// A byte flipped on disk within one peer's rows costs that peer's rest, and the walk goes on
  /// with the next peer.
  @Test func flippedByteOnDiskIsFoundAndTheWalkGoesOn() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        _ = try await fill(store, valueBytes: 8_000)
        let family = try #require(store.database.columnFamily(named: "oplog:app"))
        try store.database.flush(family)
      }
      let tables = try Files.names(in: place.path + "/rocks").filter { $0.hasSuffix(".sst") }
      let files = try tables.map { name in
        let path = place.path + "/rocks/" + name
        return (path: path, bytes: try Files.read(path, limit: 1 << 24))
      }
      var table = try #require(files.max { $0.bytes.count < $1.bytes.count })
      // Thirty rows of 8,000 bytes, a block each, in the order of the peers: row 15 is the sixth of
      // the second peer.
      table.bytes[15 * 8_000 + 4_000] ^= 1
      try Files.writeAtomically(table.bytes, to: table.path)

      try await place.withStore(.reader) { store in
        let report = try await OpLogVerifier(store: store, prefix: "app").verify()
        #expect(report.findings.count == 1)
        let finding = try #require(report.findings.first)
        #expect(finding.hasPrefix("the rows of peer \(peer(5)) from index"), "\(finding)")
        #expect(report.peers == 3)
        #expect(report.entries >= 20 && report.entries < 30)
        let tracker = try await Tracker(store: store, prefix: "app")
        await expectError(.corruption) {
          _ = try await tracker.readRows(peer: peer(5), from: 0, limit: 10)
        }
        #expect(try await tracker.readRows(peer: lastPeer, from: 0, limit: 99).count == 10)
      }
    }
  }

  /// A damaged log must not cost more with each row.
  @Test func rowsThatDoNotFitLeaveTwoHeadsAtMost() throws {
    var audit = ChainAudit(floor: .start)
    var wrong = 0
    for index in 0..<UInt64(50) {
      let row = try OpLogRow(
        timestamp: Timestamp(packed: index), serverUser: nil,
        entry: IndexEntry(tag: 1, key: nil, value: nil)
      ).chained(.seed(of: peer(index + 2)))
      if case .wrong = audit.judge(row, peer: peer(1), index: index, follows: true) { wrong += 1 }
      #expect(audit.heads.count <= 2)
    }
    #expect(wrong == 50)
  }

  /// The floors are read first, the walk begins later: what was trimmed in between is no hole.
  private final class Flag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .relaxed) }
    func set() { value.store(true, ordering: .relaxed) }
  }

  @Test func aLogThatIsWrittenMeanwhileHasNoFindings() async throws {
    try await withPlace { place in
      var settings = ProcessorSettings()
      settings.log = OpLogSettings(indexes: .all)
      try await place.withRegisters(settings: settings) { (log, store) async throws in
        let isDone = Flag()
        let rounds = Rounds()
        try await withThrowingTaskGroup(of: Void.self) { group in
          group.addTask {
            defer { isDone.set() }
            // On a busy machine until two looks were taken meanwhile.
            for number in UInt64(0)..<20_000
            where number < 400 || rounds.count.load(ordering: .relaxed) < 2 {
              try await log.exec(
                [MaxRegisterOp("a", number), MaxRegisterOp("b", number)],
                token: IdempotencyToken("\(number)"))
              _ = try await log.apply(
                peer: peer(1), index: number, entry: entry("c", number, at: number))
            }
          }
          group.addTask {
            while !isDone.isSet {
              let cursors = log.cursors()
              _ = try await log.tracker.trim(
                below: PeerCursors([me: cursors[me] / 2, peer(1): cursors[peer(1)] / 2]),
                forced: true)
              await Task.yield()
            }
          }
          group.addTask {
            while !isDone.isSet {
              for origin in [me, peer(1)] where log.cursor(of: origin) > 3 {
                do {
                  try await log.tracker.expunge(
                    peer: origin, index: log.cursor(of: origin) - 2, durability: .buffered)
                } catch let error as SpindleError
                  where error.kind == .notFound || error.kind == .conflict
                {
                  // It was trimmed meanwhile.
                }
              }
              await Task.yield()
            }
          }
          while !isDone.isSet {
            #expect(try await findings(store) == [])
            rounds.count.add(1, ordering: .relaxed)
          }
          #expect(rounds.count.load(ordering: .relaxed) > 1)
          try await group.waitForAll()
        }
        #expect(try await findings(store) == [])
      }
    }
  }

  @Test func aTrimBetweenTheFloorsAndTheWalkIsNoHole() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for peer in [peer(1), peer(2)] { try await addChained(store, tracker, peer, 0..<9) }
        _ = try await tracker.trim(below: PeerCursors([peer(2): 2]), forced: true)
        let floors = try OpLogVerifier(store: store, prefix: "app").storedFloors()
        _ = try await tracker.trim(
          below: PeerCursors([peer(1): 4, peer(2): 5]), forced: true)
        func audit(findsFloors: Bool) throws -> [String] {
          var audit = OpLogAudit(prefix: "app") { key in
            if !findsFloors, key[0] == OpLogKeys.floorSubspace { return nil }
            return try store.getBlocking(tracker.logFamily, key: key)
          }
          audit.readAhead(floors: floors)
          try store.scan(tracker.logFamily) { key, value in
            audit.add(key: key, value: value)
            return true
          }
          return audit.finish().findings
        }
        #expect(try audit(findsFloors: true) == [])
        #expect(
          try audit(findsFloors: false) == [
            "the log of peer \(peer(1)) has a hole: indices 0 to 3",
            "the log of peer \(peer(2)) has a hole: indices 2 to 4",
          ])
      }
    }
  }
}

/// How often a log was looked at.
private final class Rounds: Sendable {
  let count = Atomic(0)
}
