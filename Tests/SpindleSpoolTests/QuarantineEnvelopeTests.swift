import SpindleCore
import SpindleSpool
import Testing

@Suite("The quarantine's record")
struct QuarantineEnvelopeTests {
  static let hello: [UInt8] = [1, 0, 0, 0, 0, 0, 0, 5, 0xBB, 0xAF, 7, 0x76] + Array("hello".utf8)

  static func value(
    _ record: [UInt8] = hello, reason: String = "no body", since: UInt64 = 1_700_000_000_000
  ) -> [UInt8] {
    QuarantineEnvelope.header(reason: reason, since: since, record: record.span) + record
  }

  /// The parts of a stored value; nil for a record without an envelope.
  static func parts(
    _ value: [UInt8]
  ) throws(DecodingFailure) -> (reason: String, since: UInt64, record: [UInt8])? {
    guard let envelope = try QuarantineEnvelope(decoding: value.span) else { return nil }
    return (envelope.reason, envelope.since, Array(value[envelope.recordStart...]))
  }

  // The bytes of the format's page; a change here is a change of the format.
  @Test("Golden bytes")
  func bytesAreThoseOfTheFormat() throws {
    let expected =
      "8b53505101000007" + "0000018bcfe56800" + "ac9adfc6" + "6e6f20626f6479"
      + "0100000000000005bbaf077668656c6c6f"
    #expect(hexString(Self.value()) == expected)
  }

  @Test(arguments: [0, 1, 12, 17, 100_000])
  func partsComeBack(count: Int) throws {
    let record = [UInt8](repeating: 0x8B, count: count)
    for reason in ["", "a reason", "\u{1F4EE} \u{E9}"] {
      let value = Self.value(record, reason: reason, since: .max)
      let parts = try #require(try Self.parts(value))
      #expect(parts.reason == reason)
      #expect(parts.since == .max)
      #expect(parts.record == record)
    }
  }

  @Test("A reason is cut at the end of a character")
  func longReasonsAreCut() throws {
    let reason = String(repeating: "\u{E9}", count: 600)
    let parts = try #require(try Self.parts(Self.value(reason: "x" + reason)))
    // One byte and 511 characters of two; another would not fit in 1,024.
    #expect(parts.reason == "x" + reason.prefix(511))
    #expect(parts.record == Self.hello)
    let whole = try #require(try Self.parts(Self.value(reason: String(reason.prefix(512)))))
    #expect(whole.reason == reason.prefix(512))
  }

  @Test("A record of an earlier version stands alone")
  func plainRecordsHaveNoEnvelope() throws {
    #expect(try Self.parts(Self.hello) == nil)
    #expect(try Self.parts([]) == nil)
    #expect(try Self.parts([0x8B, 0x53, 0x50]) == nil)
  }

  @Test func truncationIsAnErrorAtEveryByte() {
    let value = Self.value()
    for length in 4..<value.count {
      #expect(throws: DecodingFailure.self, "\(length) bytes") {
        _ = try Self.parts(Array(value.prefix(length)))
      }
    }
  }

  @Test func everyFlippedBitIsSeen() throws {
    let value = Self.value()
    for bit in 0..<(value.count * 8) {
      var damaged = value
      damaged[bit / 8] ^= 1 << (bit % 8)
      if bit < 32 {
        // Without its mark the value is a record; one that its own checks refuse.
        #expect(try Self.parts(damaged) == nil)
        #expect(throws: DecodingFailure.self) { try SpoolRecord.payload(of: damaged.span) }
      } else {
        #expect(throws: DecodingFailure.self, "bit \(bit)") { _ = try Self.parts(damaged) }
      }
    }
  }

  @Test func randomBytesBehindTheMarkAreErrors() {
    var random = SeededGenerator(seed: 11)
    for _ in 0..<5_000 {
      var bytes: [UInt8] = [0x8B, 0x53, 0x50, 0x51]
      if Bool.random(using: &random) { bytes += [1, 0] }
      for _ in 0..<Int.random(in: 0..<60, using: &random) {
        bytes.append(UInt8.random(in: 0...255, using: &random))
      }
      #expect(throws: DecodingFailure.self) { _ = try Self.parts(bytes) }
    }
  }

  @Test func errorsSayWhatIsWrong() {
    func failure(_ change: (inout [UInt8]) -> Void) -> DecodingFailure? {
      var changed = Self.value()
      change(&changed)
      do throws(DecodingFailure) {
        _ = try Self.parts(changed)
        return nil
      } catch {
        return error
      }
    }
    #expect(failure { $0[4] = 2 } == .unknownVersion(2))
    #expect(failure { $0[5] = 1 } == .invalid("the reserved byte is not zero"))
    #expect(failure { $0 = Array($0.prefix(22)) } == .truncated(needed: 7, available: 2))
    guard case .checksumMismatch? = failure({ $0.removeLast() }) else {
      Issue.record("a shorter record must not meet the checksum")
      return
    }
  }
}
