import SpindleCore
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct FamilyMemoryTests {
  private struct Fixture {
    let held: HeldStore
    let family: StoreFamily
    var store: Store { held.store }

    init() async throws {
      held = try await HeldStore(at: TestDirectory.path("store"), settings: .small)
      family = try await held.store.family("oplog:a")
      family.memory.begin()
    }

    /// A batch of the memory's holder.
    func own(_ key: String, _ durability: Durability = .buffered) async throws {
      var batch = Batch()
      batch.requireAbsent(family, key: bytes(key), owner: "test")
      batch.put(family, key: bytes(key), value: bytes("own"))
      batch.rely(on: family)
      try await store.commit(batch, durability: durability)
    }

    /// A batch of somebody else.
    func foreign(_ key: String) async throws {
      var batch = Batch()
      batch.put(family, key: bytes(key), value: bytes("foreign"))
      try await store.commit(batch, durability: .buffered)
    }

    /// Raises the register in a batch of the memory's holder.
    func raise(_ value: String, relies: Bool = true) async throws {
      var batch = Batch()
      batch.raise(family, key: bytes("register"), to: bytes(value))
      if relies { batch.rely(on: family) }
      try await store.commit(batch, durability: .buffered)
    }

    var register: Bytes? {
      get async throws { try await store.get(family, key: bytes("register")) }
    }
  }

  @Test func theMemoryFollowsOwnCommitsAndIsLeftBehindByOthers() async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    try await fixture.own("b", .synced)
    #expect(fixture.family.memory.isCurrent)
    var kept = Batch()
    kept.put(fixture.family, key: bytes("aside"), value: bytes("1"))
    kept.keepMemory(of: fixture.family)
    try await fixture.store.commit(kept, durability: .buffered)
    #expect(fixture.family.memory.isCurrent)
    try await fixture.foreign("c")
    #expect(!fixture.family.memory.isCurrent)
    try await fixture.own("d")
    #expect(!fixture.family.memory.isCurrent, "it is not found again by chance")
    fixture.family.memory.begin()
    #expect(fixture.family.memory.isCurrent)
    try await fixture.held.store.close()
  }

  @Test func aKeyThatSomebodyElseTookIsRefused() async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    try await fixture.foreign("b")
    for durability in Durability.allCases {
      let error = await refusal { try await fixture.own("b", durability) }
      #expect(error?.kind == .uniqueViolation)
    }
    #expect(try await fixture.store.get(fixture.family, key: bytes("b")) == bytes("foreign"))
    try await fixture.held.store.close()
  }

  @Test func aKeyDemandedTwiceInABatchIsRefusedAndMovesNothing() async throws {
    let fixture = try await Fixture()
    var batch = Batch()
    for key in ["b", "a", "b"] {
      batch.requireAbsent(fixture.family, key: bytes(key), owner: "test")
      batch.put(fixture.family, key: bytes(key), value: bytes("own"))
    }
    batch.rely(on: fixture.family)
    let twice = batch
    let error = await refusal { try await fixture.store.commit(twice, durability: .buffered) }
    #expect(error?.kind == .uniqueViolation)
    #expect(fixture.family.memory.isCurrent)
    #expect(try await fixture.store.get(fixture.family, key: bytes("a")) == nil)
    try await fixture.held.store.close()
  }

  @Test func aRegisterThatSomebodyElseRaisedIsNotLowered() async throws {
    let fixture = try await Fixture()
    try await fixture.raise("3")
    try await fixture.raise("5")
    try await fixture.raise("4")
    #expect(try await fixture.register == bytes("5"))
    try await fixture.raise("8", relies: false)
    try await fixture.raise("6")
    #expect(try await fixture.register == bytes("8"))
    fixture.family.memory.begin()
    try await fixture.raise("7")
    #expect(try await fixture.register == bytes("8"))
    try await fixture.raise("9")
    #expect(try await fixture.register == bytes("9"))
    try await fixture.held.store.close()
  }

  @Test func aStoreThatIsOpenedAgainKnowsNothing() async throws {
    let fixture = try await Fixture()
    try await fixture.own("a")
    try await fixture.held.store.close()
    let again = try await Fixture()
    again.family.memory.begin()
    try await again.foreign("b")
    let error = await refusal { try await again.own("a") }
    #expect(error?.kind == .uniqueViolation)
    try await again.held.store.close()
  }
}
