import Foundation
import SpindleCore
import Testing

/// An id of version 1 or 6 with these 60 bits of time.
private func id(version: UInt64, ticks: UInt64, low: UInt64) throws -> SpoolID {
  let high =
    version == 1
    ? (ticks & 0xFFFF_FFFF) << 32 | (ticks >> 32 & 0xFFFF) << 16 | 0x1000 | ticks >> 48
    : (ticks >> 12) << 16 | 0x6000 | ticks & 0xFFF
  return try #require(SpoolID(UUIDValue(high: high, low: 0b10 << 62 | low >> 2)))
}

/// 10,000 ids of all versions, the same in every run.
private func manyIDs() throws -> [SpoolID] {
  var random = SeededGenerator(seed: 11)
  return try (0..<10_000).map { number in
    if number % 3 == 0 {
      let high = (random.next() >> 16) << 16 | 0x7000 | random.next() >> 52
      return try #require(SpoolID(UUIDValue(high: high, low: 0b10 << 62 | random.next() >> 2)))
    }
    return try id(
      version: number % 3 == 1 ? 1 : 6, ticks: random.next() >> 4, low: random.next())
  }
}

@Suite("Spool ids: paths, ages and derivation")
struct SpoolIDPathTests {
  private let example = "d7ef132b5d7711eea8c8000c29c33806"

  @Test("A-ID-3: the path of an id, and back, under any root")
  func pathsRoundTrip() throws {
    let id = try #require(SpoolID(text: example))
    let tail = "d7/ef/13/2b/5d7711eea8c8000c29c33806"
    #expect(id.path(under: "/spool/data") == "/spool/data/" + tail)
    #expect(id.path(under: "/spool/data/") == "/spool/data/" + tail)
    #expect(id.path(under: "/") == "/" + tail)
    #expect(id.directory(under: "/") == "/d7/ef/13/2b")
    #expect(SpoolID(path: tail) == id)
    let roots = ["/", "/a", "/a/b/", ".", "relative", "/d7/ef/13/2b", "/na me"]
    for id in try [id] + manyIDs().prefix(300) {
      for root in roots {
        let path = id.path(under: root)
        #expect(SpoolID(path: path) == id)
        #expect(SpoolID(path: Array(path.utf8)) == id)
      }
    }
  }

  @Test(
    "A-ID-4: a path that is not of an id gives nil",
    arguments: [
      "", "/", "ef/13/2b/5d7711eea8c8000c29c33806", "/ef/13/2b/5d7711eea8c8000c29c33806",
      "d7e/f/13/2b/5d7711eea8c8000c29c33806", "d7ef/1/3/2b/5d7711eea8c8000c29c33806",
      "d7/ef/13/2b5d/7711eea8c8000c29c33806", "d7/ef/13/2b/5d7711eea8c8000c29c3380",
      "d7/ef/13/2b/5d7711eea8c8000c29c338066", "d7/ef/13/2g/5d7711eea8c8000c29c33806",
      "d7/ef/13/2b/5d7711eea8c8000c29c33806/more", "d7/ef/13/2b/00000000000000000000000\u{E9}",
      // Of version 4.
      "d7/ef/13/2b/5d7741eea8c8000c29c33806",
    ])
  func badPaths(path: String) {
    #expect(SpoolID(path: path) == nil)
    #expect(SpoolID(path: Array(path.utf8)) == nil)
  }

  @Test("A-ID-4: a path that is not UTF-8 gives nil")
  func pathsThatAreNotText() {
    let tail = Array("/d7/ef/13/2b/5d7711eea8c8000c29c33806".utf8)
    #expect(SpoolID(path: Array("/root".utf8) + tail) != nil)
    #expect(SpoolID(path: Array("/r".utf8) + [0xFF] + tail) == nil)
    #expect(SpoolID(path: Array(tail.dropLast()) + [0x80]) == nil)
  }

  @Test("A-ID-5: the age of an id has a sign, and never traps")
  func ageIsSigned() throws {
    let made = try #require(SpoolID(text: "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"))
    let moment = SpoolInstant(unixMilliseconds: 0x017F_22E2_79B0)
    #expect(made.created == moment)
    #expect(made.age(at: moment) == .zero)
    #expect(made.age(at: SpoolInstant(ticks: moment.ticks + 15)) == .nanoseconds(1_500))
    #expect(
      made.age(at: SpoolInstant(ticks: moment.ticks - 10_000_001)) == .nanoseconds(-1_000_000_100))
    // The first and the last moment of each version against the ends of time.
    let ends = try [
      id(version: 1, ticks: 0, low: 0), id(version: 1, ticks: 1 << 60 - 1, low: 0),
      id(version: 6, ticks: 0, low: 0), id(version: 6, ticks: 1 << 60 - 1, low: 0),
      #require(SpoolID(UUIDValue(high: 0x7000, low: 0b10 << 62))),
      #require(SpoolID(UUIDValue(high: (1 << 48 - 1) << 16 | 0x7FFF, low: 0b10 << 62))),
    ]
    for id in ends {
      #expect(id.age(at: SpoolInstant(ticks: .max)) > .zero)
      #expect(id.age(at: SpoolInstant(ticks: .min)) < .zero)
    }
  }

  @Test("A-ID-7: a derived id keeps the time exactly and has the node of its origin")
  func derivationKeepsTheTime() throws {
    let origin = SpoolIDOrigin(node: 0xFFFF_0102_0304_0506, seed: 4)
    #expect(origin.node == 0x0102_0304_0506)
    for foreign in try manyIDs() {
      let derived = foreign.deriveNewWithClonedTimestamp(from: origin)
      #expect(derived != foreign)
      #expect(derived.created == foreign.created)
      // All bits of time, the counter of version 7 among them, and the version.
      #expect(derived.uuid.high == foreign.uuid.high)
      #expect(derived.uuid.hasStandardVariant)
      if derived.uuid.version != 7 { #expect(derived.uuid.low & (1 << 48 - 1) == origin.node) }
    }
  }

  @Test("A-ID-7: an id that this process made or derived gives another one")
  func derivationFromAnOwnID() throws {
    let foreign = try #require(SpoolID(text: example))
    var seen: Set<SpoolID> = [foreign]
    var last = foreign
    // Fewer than there are clock sequences, 16,384.
    for _ in 0..<10_000 {
      let next = last.deriveNewWithClonedTimestamp()
      #expect(next.created == foreign.created)
      #expect(next.uuid.low & (1 << 48 - 1) == SpoolIDOrigin.local.node)
      #expect(seen.insert(next).inserted)
      last = next
    }
    // A source that the next clock sequence would give again.
    let equal = SpoolIDOrigin(node: 1, seed: 5)
    let twin = SpoolIDOrigin(node: 1, seed: 5)
    let first = foreign.deriveNewWithClonedTimestamp(from: equal)
    #expect(first.deriveNewWithClonedTimestamp(from: twin) != first)
  }

  @Test func theLocalNodeIsRandomAndNoNetworkCard() {
    #expect(SpoolIDOrigin.local.node == SpoolIDOrigin.local.node)
    #expect(SpoolIDOrigin.local.node >> 40 & 1 == 1)
    #expect(SpoolIDOrigin.local.node >> 48 == 0)
    #expect(SpoolIDOrigin().node != SpoolIDOrigin().node)
  }

  @Test func idsAreCodedAsText() throws {
    let id = try #require(SpoolID(text: example))
    #expect(try JSONEncoder().encode(id) == Data("\"\(example)\"".utf8))
    let braced = Data("\"{D7EF132B-5D77-11EE-A8C8-000C29C33806}\"".utf8)
    #expect(try JSONDecoder().decode(SpoolID.self, from: braced) == id)
    let other = Data("\"919108f7-52d1-4320-9bac-f847db4148a8\"".utf8)
    #expect(throws: DecodingError.self) {
      try JSONDecoder().decode(SpoolID.self, from: other)
    }
  }
}
