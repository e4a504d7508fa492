import SpindleCore
import SpindleOpLog
import SpindleStore
import Testing

@Suite struct TokenTests {
  private let token = IdempotencyToken("order 17")!
  private let receipt = TokenReceipt(index: 3, count: 2, timestamp: Timestamp(packed: 9))

  private func store(
    _ receipt: TokenReceipt, _ token: IdempotencyToken, in tracker: Tracker, _ store: Store,
    at now: UInt64
  ) async throws {
    var batch = Batch()
    try await tracker.stage(token, receipt, lifetimeMilliseconds: 1_000, now: now, into: &batch)
    try await store.commit(batch, durability: .buffered)
  }

  @Test func aTokenIsKnownUntilItExpires() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.receipt(of: token, now: 0) == nil)
        try await self.store(receipt, token, in: tracker, store, at: 5_000)
        await expectError(.uniqueViolation, reason: "token") {
          try await self.store(receipt, token, in: tracker, store, at: 5_500)
        }
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.receipt(of: token, now: 5_999) == receipt)
        #expect(try await tracker.receipt(of: token, now: 6_000) == nil)
        // An expired token may be used again before anybody swept it.
        let second = TokenReceipt(index: 8, count: 1, timestamp: Timestamp(packed: 99))
        try await self.store(second, token, in: tracker, store, at: 6_000)
        #expect(try await tracker.receipt(of: token, now: 6_001) == second)
        // There are no entries here; the token's own records agree.
        #expect(
          try await findings(store) == [
            "no peer's log holds the entries of the idempotency token of index 8: the newest "
              + "entries are lost"
          ])
        #expect(try await tracker.sweepTokens(now: 6_999) == 0)
        #expect(try await tracker.sweepTokens(now: 7_000) == 1)
        #expect(try await tracker.receipt(of: token, now: 0) == nil)
      }
    }
  }

  @Test func sweepsAreBoundedAndLeaveNothing() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        for number in 0..<20 {
          let token = try #require(IdempotencyToken("\(number)"))
          try await self.store(receipt, token, in: tracker, store, at: UInt64(number))
        }
        #expect(try await tracker.sweepTokens(now: 1_014, limit: 10) == 10)
        #expect(try await tracker.sweepTokens(now: 1_014, limit: 10) == 5)
        #expect(try await tracker.sweepTokens(now: .max) == 5)
        var keys = 0
        try store.scan(tracker.logFamily) { key, _ in
          if key[0] == OpLogKeys.tokenSubspace || key[0] == OpLogKeys.tokenExpirySubspace {
            keys += 1
          }
          return true
        }
        #expect(keys == 0)
      }
    }
  }

  @Test func tokensHaveBounds() {
    #expect(IdempotencyToken([]) == nil)
    #expect(IdempotencyToken(Array(repeating: 1, count: 128)) != nil)
    #expect(IdempotencyToken(Array(repeating: 1, count: 129)) == nil)
  }

  @Test func aFenceOnlyRises() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.fence(of: peer(1)) == 0)
        try await tracker.raiseFence(of: peer(1), to: 5)
        try await tracker.raiseFence(of: peer(1), to: 3)
      }
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.fence(of: peer(1)) == 5)
        #expect(try await tracker.fence(of: peer(2)) == 0)
        #expect(try await findings(store) == [])
        try await damage(store, "app", key: OpLogKeys.fenceKey, value: [1])
        await expectError(.corruption) { _ = try await tracker.fence(of: peer(1)) }
        #expect(
          try await findings(store) == ["a fence has a key of 6 bytes and a value of 1"])
        try await damage(store, "app", key: OpLogKeys.fenceKey, value: nil)
        try await damage(store, "app", key: OpLogKeys.fence(peer(1)), value: [1])
        await expectError(.corruption) { _ = try await tracker.fence(of: peer(1)) }
        await expectError(.corruption) { _ = try await tracker.fences() }
        #expect(
          try await findings(store) == ["a fence has a key of 22 bytes and a value of 1"])
      }
    }
  }

  @Test func eachPeerHasAFenceOfItsOwn() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        // As it was stored when there was one for all.
        let former = peer(1).uuid.bytes + [0, 0, 0, 0, 0, 0, 0, 10]
        try await damage(store, "app", key: OpLogKeys.fenceKey, value: former)
        #expect(try await tracker.fence(of: peer(1)) == 10)
        try await tracker.raiseFence(of: peer(2), to: 7)
        #expect(try await tracker.fences() == PeerCursors([peer(1): 10, peer(2): 7]))
        try await tracker.raiseFence(of: peer(1), to: 9)
        #expect(try await tracker.fence(of: peer(1)) == 10)
        try await tracker.raiseFence(of: peer(1), to: 12)
        try await tracker.resetFence(of: peer(2))
        #expect(try await tracker.fences() == PeerCursors([peer(1): 12]))
        #expect(try await store.get(tracker.logFamily, key: OpLogKeys.fenceKey) == nil)
        try await damage(store, "app", key: OpLogKeys.fenceKey, value: former)
        #expect(try await tracker.fence(of: peer(1)) == 12)
        try await tracker.resetFence(of: peer(1))
        #expect(try await tracker.fences() == PeerCursors())
        #expect(try await findings(store) == [])
      }
    }
  }

  @Test func theLastWordOfAReplicaCountsAndTheLeastIsPerPeer() async throws {
    try await withPlace { place in
      try await place.withStore { store in
        let tracker = try await Tracker(store: store, prefix: "app")
        #expect(try await tracker.leastAcknowledged().isEmpty)
        for (peer, count) in [(peer(1), 9), (peer(2), 1), (peer(8), 4)] {
          for index in 0..<UInt64(count) { try await tracker.add(store, peer, index, at: 0) }
        }
        try await tracker.acknowledge(
          replica: peer(8), cursors: PeerCursors([peer(1): 7, peer(2): 1, peer(8): 4]))
        try await tracker.acknowledge(
          replica: peer(9), cursors: PeerCursors([peer(1): 12, peer(8): 2]))
        // No more than is here.
        #expect(try await tracker.acknowledgements()[peer(9)]?[peer(1)] == 9)
        // Of the others it says nothing.
        try await tracker.acknowledge(
          replica: peer(8), cursors: PeerCursors([peer(1): 3]), except: [peer(2), peer(8)])
        let last = PeerCursors([peer(1): 3, peer(2): 1, peer(8): 4])
        #expect(try await tracker.acknowledgements()[peer(8)] == last)
        let least = PeerCursors([peer(1): 3, peer(8): 2])
        #expect(try await tracker.leastAcknowledged() == least)
        #expect(try await findings(store) == [])
      }
    }
  }
}
