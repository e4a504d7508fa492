import SpindleCore
import SpindleSpool
import SpindleStore
import Synchronization
import Testing

/// A message taken by a drain worker is removed on the condition that it is the one that was read.
@Suite("Claims")
struct ClaimTests {
  @Test func aClaimIsHeldByOne() async throws {
    try await withNewSpool { (spool) async throws in
      let (id, other) = (spool.makeID(), spool.makeID())
      #expect(spool.claim(id))
      #expect(!spool.claim(id))
      #expect(spool.claim(other))
      spool.release(id)
      #expect(spool.claim(id))
      spool.release(other)
      spool.release(other)
    }
  }

  @Test func aRemovalOfWhatWasReadIsCommitted() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      let header = try await spool.storeClaimed(id, [1, 2], forceSync: false, deadline: nil)
      #expect(!spool.claim(id))
      let read = try #require(try spool.loadRecordBlocking(id))
      #expect(read.header == header)
      #expect(try read.payload.get() == [1, 2])
      var batch = Batch()
      spool.stageRemoval(id, header: header, into: &batch)
      try await spool.storage.commit(batch, durability: .buffered)
      spool.release(id)
      #expect(try await spool.loadIfPresent(id) == nil)
      #expect(try spool.loadRecordBlocking(id) == nil)
    }
  }

  @Test(
    "A store or remove of a claimed message meets the drain's condition",
    arguments: [
      true, false,
    ])
  func aChangedMessageIsNotRemoved(isRemoved: Bool) async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      let header = try await spool.storeClaimed(id, [1], forceSync: false, deadline: nil)
      if isRemoved { try await spool.remove(id) } else { try await spool.put(id, [2]) }
      var batch = Batch()
      spool.stageRemoval(id, header: header, into: &batch)
      do {
        try await spool.storage.commit(batch, durability: .buffered)
        Issue.record("a removal of another message was committed")
      } catch let error as SpindleError {
        #expect(error.kind == .conflict)
        #expect(error.reason == (isRemoved ? "absent" : "changed"))
      }
      spool.release(id)
      #expect(try await spool.loadIfPresent(id) == (isRemoved ? nil : [2]))
    }
  }

  @Test func aFailedStoreLetsItsClaimGo() async throws {
    try await withNewSpool { (spool) async throws in
      let id = spool.makeID()
      #expect(spool.claim(id))
      await expectError(.conflict) {
        _ = try await spool.storeClaimed(id, [1], forceSync: false, deadline: nil)
      }
      // The claim of the first is untouched.
      #expect(!spool.claim(id))
      #expect(try await spool.loadIfPresent(id) == nil)
    }
  }

  /// A store that raced with a drain was lost when it came between the drain's check and its
  /// removal. Either the drain saw the stored message, or the message is still there.
  @Test("No store is lost to a racing drain")
  func racingStoresAreNeverLost() async throws {
    try await withNewSpool { (spool) async throws in
      let ids = (0..<8).map { _ in spool.makeID() }
      let stop = Flag()
      let drains = Task {
        // What the drain removed, by id: the greatest round that it saw.
        var seen: [SpoolID: UInt64] = [:]
        while true {
          let isLast = stop.isSet
          for id in ids where spool.claim(id) {
            defer { spool.release(id) }
            let record = try await spool.storage.blocking { try spool.loadRecordBlocking(id) }
            guard let record else { continue }
            let round = try decodeRound(try record.payload.get())
            await Task.yield()
            var batch = Batch()
            spool.stageRemoval(id, header: record.header, into: &batch)
            do {
              try await spool.storage.commit(batch, durability: .buffered)
              #expect(round > seen[id] ?? 0)
              seen[id] = round
            } catch let error as SpindleError where error.kind == .conflict {
              // A newer one was stored; the next turn sees it.
              continue
            }
          }
          if isLast { return seen }
        }
      }
      let rounds: UInt64 = 400
      try await withThrowingTaskGroup(of: Void.self) { group in
        for id in ids {
          group.addTask {
            for round in 1...rounds { try await spool.put(id, encodeRound(round)) }
          }
        }
        try await group.waitForAll()
      }
      stop.set()
      let seen = try await drains.value
      for id in ids {
        let left = try await spool.loadIfPresent(id).map { try decodeRound($0) }
        // The last acknowledged store was drained, or is still there.
        #expect(left == rounds || left == nil && seen[id] == rounds)
      }
    }
  }
}

private final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func set() { value.store(true, ordering: .releasing) }
}

private func encodeRound(_ round: UInt64) -> Bytes {
  var bytes: Bytes = []
  bytes.appendBigEndian(round)
  return bytes
}

private func decodeRound(_ bytes: Bytes) throws -> UInt64 {
  var reader = ByteReader(bytes.span)
  return try reader.readBigEndian(UInt64.self)
}
