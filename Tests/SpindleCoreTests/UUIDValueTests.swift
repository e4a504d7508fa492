import SpindleCore
import Testing

@Suite("Ids and their text forms")
struct UUIDValueTests {
  static let example = "d7ef132b5d7711eea8c8000c29c33806"
  static let hyphenated = "d7ef132b-5d77-11ee-a8c8-000c29c33806"

  @Test("A-ID-1: the text is 32 lower-case hexadecimal digits and reads back as the same id")
  func textRoundTrips() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<10_000 {
      let uuid = UUIDValue(high: random.next(), low: random.next())
      let text = uuid.description
      #expect(text.utf8.count == 32)
      #expect(text.utf8.allSatisfy { "0123456789abcdef".utf8.contains($0) })
      #expect(UUIDValue(text: text) == uuid)
    }
  }

  @Test(
    "A-ID-2: every text form reads as the same id",
    arguments: [
      example, example.uppercased(), hyphenated, hyphenated.uppercased(), "{\(hyphenated)}",
      "urn:uuid:\(hyphenated)",
    ])
  func textFormsAreEqual(text: String) {
    #expect(UUIDValue(text: text)?.description == Self.example)
    #expect(SpoolID(text: text)?.description == Self.example)
  }

  static let noIDs: [String] = [
    "", "d", "d7ef132b5d7711eea8c8000c29c3380", "d7ef132b5d7711eea8c8000c29c338066",
    "g7ef132b5d7711eea8c8000c29c33806", "\0007ef132b5d7711eea8c8000c29c33806",
    "d7ef132b5d7711eea8c8000c29c3380\0", "{d7ef132b5d7711eea8c8000c29c33806}",
    "{d7ef132b-5d77-11ee-a8c8-000c29c33806", "d7ef132b-5d77-11ee-a8c8-000c29c33806}",
    "urn:uuid:d7ef132b5d7711eea8c8000c29c33806", "urn:uuid:",
    "URN:UUID:d7ef132b-5d77-11ee-a8c8-000c29c33806",
    "d7ef132b5-d77-11ee-a8c8-000c29c33806", "d7ef132b-5d77-11ee-a8c8-000c29c3380-",
    "--------------------------------", " d7ef132b5d7711eea8c8000c29c33806",
    "d7ef132b5d7711eea8c8000c29c33806\n", "\u{FF10}f132b5d7711eea8c8000c29c33806",
    "d7ef132b-5d77-11ee-a8c8-000c29c338\u{E9}",
  ]

  @Test("A-ID-2: anything else is refused without a trap", arguments: noIDs)
  func otherTextIsRefused(text: String) {
    #expect(UUIDValue(text: text) == nil)
    #expect(SpoolID(text: text) == nil)
    #expect(PeerID(text: text) == nil)
  }

  @Test("R-ID-6: exactly sixteen bytes are an id")
  func onlySixteenBytesAreRead() {
    let bytes = Array(UUIDValue(high: 0x0102_0304_0506_7708, low: 0x890A_0B0C_0D0E_0F10).bytes)
    #expect(bytes.count == 16)
    for count in 0...17 {
      let some = Array((bytes + [0]).prefix(count))
      #expect((UUIDValue(bytes: some) == nil) == (count != 16))
      let id = SpoolID(bytes: some.span)
      #expect((id == nil) == (count != 16))
    }
    #expect(UUIDValue(bytes: bytes)?.bytes == bytes)
  }

  @Test func appendedBytesAreMostSignificantFirst() {
    var bytes: [UInt8] = [9]
    UUIDValue(high: 0x0001_0203_0405_0607, low: 0x0809_0A0B_0C0D_0E0F).append(to: &bytes)
    #expect(bytes == [9] + Array(0...15))
  }

  @Test func peersAndUsersShowTheirDigits() {
    let uuid = UUIDValue(high: 1, low: 2)
    #expect(PeerID(uuid).description == "00000000000000010000000000000002")
    #expect(UserID(uuid).description == PeerID(uuid).description)
    #expect(PeerID(text: Self.hyphenated)?.description == Self.example)
  }
}

@Suite("Spool ids")
struct SpoolIDTests {
  @Test("R-ID-2: the time of a version 1 id is put together from its three parts")
  func versionOneHasItsTime() throws {
    // 2023-09-27T20:53:00.0324907Z, as another implementation reads it.
    let id = try #require(SpoolID(text: UUIDValueTests.example))
    #expect(id.uuid.version == 1)
    #expect(id.created.ticks == 16_958_479_800_324_907)
    // RFC 9562, appendix A.1: 2022-02-22T14:22:22-05:00.
    let standard = try #require(SpoolID(text: "C232AB00-9414-11EC-B3C8-9F6BDECED846"))
    #expect(standard.created.ticks == 1_645_557_742 * 10_000_000)
  }

  @Test func versionSixAndSevenHaveTheirTimes() throws {
    // RFC 9562, appendices A.5 and A.6: the same moment.
    let six = try #require(SpoolID(text: "1EC9414C-232A-6B00-B3C8-9F6BDECED846"))
    let seven = try #require(SpoolID(text: "017F22E2-79B0-7CC3-98C4-DC0C0C07398F"))
    #expect(six.uuid.version == 6)
    #expect(seven.uuid.version == 7)
    #expect(six.created.ticks == 1_645_557_742 * 10_000_000)
    #expect(seven.created.ticks == 1_645_557_742 * 10_000_000)
  }

  @Test("R-ID-3, R-ID-1: ids are ordered by time, which is not the order of version 1's bytes")
  func orderIsThatOfTime() throws {
    let early = try #require(SpoolID(text: "ffffffff-0000-11ee-a8c8-000c29c33806"))
    let late = try #require(SpoolID(text: "00000000-0001-11ee-a8c8-000c29c33806"))
    #expect(early < late)
    #expect(!(late < early))
    #expect(!early.bytes.lexicographicallyPrecedes(late.bytes))
    // The same moment: by bytes.
    let six = try #require(SpoolID(text: "1EC9414C-232A-6B00-B3C8-9F6BDECED846"))
    let one = try #require(SpoolID(text: "C232AB00-9414-11EC-B3C8-9F6BDECED846"))
    #expect(six.created == one.created)
    #expect(six < one)
  }

  @Test("A-ID-6, R-ID-7: ids without a time are no spool ids, and nothing traps")
  func otherVersionsAreRefused() {
    #expect(SpoolID(UUIDValue(high: 0, low: 0)) == nil)
    #expect(SpoolID(UUIDValue(high: .max, low: .max)) == nil)
    for version in UInt64(0)...15 {
      let uuid = UUIDValue(high: version << 12, low: 1 << 63)
      #expect((SpoolID(uuid) != nil) == [1, 6, 7].contains(version))
    }
    for variant in UInt64(0)...3 {
      #expect((SpoolID(UUIDValue(high: 0x7000, low: variant << 62)) != nil) == (variant == 2))
    }
  }

  @Test("A-ID-5: ages may be negative, and the extremes of time do not trap", arguments: [1, 6, 7])
  func extremesHaveATime(version: UInt64) throws {
    for fill in [UInt64.zero, .max] {
      let high = fill & ~0xF000 | version << 12
      let id = try #require(SpoolID(UUIDValue(high: high, low: 1 << 63)))
      let greatest: Int64 =
        version == 7 ? (1 << 48 - 1) * 10_000 : 1 << 60 - 1 - 0x01B2_1DD2_1381_4000
      let least: Int64 = version == 7 ? 0 : -0x01B2_1DD2_1381_4000
      #expect(id.created.ticks == (fill == 0 ? least : greatest))
    }
  }

  @Test func instantsAreClampedAndOrdered() {
    #expect(SpoolInstant(unixMilliseconds: 5).ticks == 50_000)
    #expect(SpoolInstant(unixMilliseconds: .max).ticks == Int64.max / 10_000 * 10_000)
    #expect(SpoolInstant(ticks: -1) < SpoolInstant(ticks: 0))
    #expect(!(SpoolInstant(ticks: 0) < SpoolInstant(ticks: 0)))
  }
}
