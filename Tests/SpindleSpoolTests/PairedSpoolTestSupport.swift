import SpindleCore
import SpindleSpool
import SpindleStore
import SpindleTestKit
import Testing

/// The kinds of halves that a pair is made of.
enum PairShape: String, CaseIterable, CustomTestStringConvertible {
  case oneStore, apart
  var testDescription: String { rawValue }
}

/// A pair on a store, with the spools below it.
struct PairFixture {
  let place: TestPlace
  let store: Store
  let metaSpool: RocksSpool
  let dataSpool: RocksSpool
  /// The halves as the pair sees them where it is apart.
  let meta: FaultySpool
  let data: FaultySpool
  let pair: PairedSpool

  /// The ids of the bodies.
  func bodies() async throws -> [SpoolID] { try await dataSpool.allIDs() }
  func metas() async throws -> [SpoolID] { try await metaSpool.allIDs() }

  func put(_ number: Int, bytes: Int = 64, forceSync: Bool = false) async throws {
    try await pair.store(
      numberedID(number), meta: numberedMeta(number), data: numberedValue(number, bytes: bytes),
      forceSync: forceSync, deadline: nil)
  }

  /// Checks that these messages are there, whole, and no others.
  func expect(_ numbers: some Sequence<Int>, location: SourceLocation = #_sourceLocation)
    async throws
  {
    let ids = numbers.map { numberedID($0) }
    #expect(try await metas() == ids, sourceLocation: location)
    #expect(try await bodies() == ids, sourceLocation: location)
    for number in numbers {
      let (meta, data) = try await pair.load(numberedID(number))
      #expect(meta == numberedMeta(number), sourceLocation: location)
      #expect(data == numberedValue(number, bytes: data.count), sourceLocation: location)
    }
  }
}

extension TestPlace {
  /// Opens the store and a pair in it, runs the body, closes the store.
  func withPair(
    _ shape: PairShape, _ body: (PairFixture) async throws -> Void
  ) async throws {
    let store = try await open()
    let metaSpool = try await RocksSpool(store: store, name: "meta")
    let dataSpool = try await RocksSpool(store: store, name: "data")
    let (meta, data) = (FaultySpool(metaSpool), FaultySpool(dataSpool))
    let pair =
      shape == .oneStore
      ? try PairedSpool(meta: metaSpool, data: dataSpool, clock: wall)
      : try PairedSpool(meta: meta, data: data, clock: wall)
    do {
      try await body(
        PairFixture(
          place: self, store: store, metaSpool: metaSpool, dataSpool: dataSpool, meta: meta,
          data: data, pair: pair))
      try await store.close()
    } catch {
      try? await store.close()
      throw error
    }
  }
}

func withNewPair(
  _ shape: PairShape, _ body: (PairFixture) async throws -> Void
) async throws {
  try await withPlace { place in try await place.withPair(shape, body) }
}
