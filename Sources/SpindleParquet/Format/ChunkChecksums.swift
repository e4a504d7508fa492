internal import SpindleCodecs
internal import SpindleCore

/// Checksums of what the format has none for: the headers of a column chunk's pages, its indexes
/// and its bloom filter.
///
/// They are kept as an entry of the column chunk's key-value metadata, which other readers pass
/// over: `NAME=CRC` for each thing that is there, with spaces between them. A CRC is eight
/// hexadecimal digits; `pages` has as many for each data page, in the order of the pages.
struct ChunkChecksums: Sendable, Hashable {
  /// Of the entry.
  static let key = "spindle.crc32"

  var dictionaryHeader: UInt32?
  /// By data page.
  var pageHeaders: [UInt32] = []
  var columnIndex: UInt32?
  var offsetIndex: UInt32?
  /// With its header.
  var bloomFilter: UInt32?

  init() {}

  /// - Parameter text: As ``text`` says it; names of later versions are passed over.
  init(_ text: String) throws(ParquetFailure) {
    for part in text.utf8.split(separator: UInt8(ascii: " ")) {
      guard let sign = part.firstIndex(of: UInt8(ascii: "=")) else { throw Self.malformed }
      let digits = part[part.index(after: sign)...]
      switch String(Substring(part[..<sign])) {
      case "dictionary": dictionaryHeader = try Self.number(digits)
      case "column_index": columnIndex = try Self.number(digits)
      case "offset_index": offsetIndex = try Self.number(digits)
      case "bloom_filter": bloomFilter = try Self.number(digits)
      case "pages":
        var rest = digits
        pageHeaders.reserveCapacity(rest.count / 8)
        while !rest.isEmpty {
          pageHeaders.append(try Self.number(rest.prefix(8)))
          rest = rest.dropFirst(8)
        }
      default: continue
      }
    }
  }

  /// The entry's value.
  var text: String {
    let parts: [(String, [UInt32])] = [
      ("dictionary", dictionaryHeader.map { [$0] } ?? []), ("pages", pageHeaders),
      ("column_index", columnIndex.map { [$0] } ?? []),
      ("offset_index", offsetIndex.map { [$0] } ?? []),
      ("bloom_filter", bloomFilter.map { [$0] } ?? []),
    ]
    return parts.filter { !$0.1.isEmpty }
      .map { "\($0.0)=\($0.1.map(Self.digits).joined())" }.joined(separator: " ")
  }

  private static func digits(_ number: UInt32) -> String {
    let digits = String(number, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }

  private static func number(_ digits: Substring.UTF8View) throws(ParquetFailure) -> UInt32 {
    var number: UInt32 = 0
    guard digits.count == 8 else { throw malformed }
    for digit in digits {
      guard let value = Character(Unicode.Scalar(digit)).hexDigitValue else { throw malformed }
      number = number << 4 | UInt32(value)
    }
    return number
  }

  private static var malformed: ParquetFailure {
    .damaged("the entry \(key) of a column chunk is not a list of checksums")
  }
}

/// Compares bytes with their checksum, where they have one.
func check(_ bytes: Span<UInt8>, _ stored: UInt32?) throws(ParquetFailure) {
  guard let stored else { return }
  let computed = CRC32.checksum(bytes)
  guard stored == computed else {
    throw .damaged(DecodingFailure.checksumMismatch(stored: stored, computed: computed).description)
  }
}
