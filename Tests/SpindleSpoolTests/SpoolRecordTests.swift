import SpindleCore
import SpindleSpool
import Testing

@Suite("The spool's record")
struct SpoolRecordTests {
  static func record(_ payload: [UInt8]) -> [UInt8] {
    SpoolRecord.header(for: payload.span) + payload
  }

  static func payload(of record: [UInt8]) throws(DecodingFailure) -> [UInt8] {
    try SpoolRecord.payload(of: record.span)
  }

  // The bytes of the format's page; a change here is a change of the format.
  @Test(
    "Golden bytes",
    arguments: [
      ("", "010000000000000041de7501"),
      ("hello", "0100000000000005bbaf0776" + "68656c6c6f"),
    ])
  func bytesAreThoseOfTheFormat(payload: String, expected: String) throws {
    #expect(hexString(Self.record(Array(payload.utf8))) == expected)
  }

  @Test(arguments: [0, 1, 11, 12, 13, 255, 256, 100_000])
  func payloadsComeBack(count: Int) throws {
    let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
    let record = Self.record(payload)
    #expect(record.count == count + SpoolRecord.headerBytes)
    #expect(try Self.payload(of: record) == payload)
  }

  @Test(arguments: [0, 1, 40])
  func truncationIsAnErrorAtEveryByte(count: Int) {
    let record = Self.record([UInt8](repeating: 7, count: count))
    for length in record.indices {
      #expect(throws: DecodingFailure.self, "\(length) bytes") {
        try Self.payload(of: Array(record.prefix(length)))
      }
    }
  }

  @Test(arguments: [0, 1, 40])
  func everyFlippedBitIsAnError(count: Int) {
    let record = Self.record([UInt8](repeating: 7, count: count))
    for bit in 0..<(record.count * 8) {
      var damaged = record
      damaged[bit / 8] ^= 1 << (bit % 8)
      #expect(throws: DecodingFailure.self, "bit \(bit)") { try Self.payload(of: damaged) }
    }
  }

  @Test func errorsSayWhatIsWrong() {
    let record = Self.record([1, 2, 3])
    func failure(_ change: (inout [UInt8]) -> Void) -> DecodingFailure? {
      var changed = record
      change(&changed)
      do throws(DecodingFailure) {
        _ = try Self.payload(of: changed)
        return nil
      } catch {
        return error
      }
    }
    #expect(failure { $0[0] = 2 } == .unknownVersion(2))
    #expect(failure { $0[1] = 3 } == .invalid("payload codec 3 is unknown"))
    #expect(failure { $0[2] = 1 } == .invalid("the reserved bytes are not zero"))
    #expect(failure { $0.append(0) } == .trailingBytes(1))
    #expect(failure { $0.removeLast() } == .truncated(needed: 3, available: 2))
    guard case .checksumMismatch? = failure({ $0[12] = 9 }) else {
      Issue.record("a changed payload must not meet the checksum")
      return
    }
  }
}
