internal import SpindleCore

/// The RLE/bit-packing hybrid: runs of one repeated number, and runs of packed ones. Levels,
/// dictionary indices and booleans are stored so.
enum HybridEncoding {
  /// The widest numbers of the format.
  static let widthLimit = 32

  /// Appends `count` numbers of `width` bits.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, width: Int, count: Int, appendingTo output: inout [UInt32]
  ) throws(ParquetFailure) -> Int {
    var runs = try HybridRuns(bytes, width: width)
    output.makeRoom(count)
    var left = count
    while left > 0 {
      switch try runs.next(wanted: left) {
      case .repeated(let number, let count):
        unsafe output.appendWritten(count) { unsafe $0.initialize(repeating: number, count: count) }
        left -= count
      case .packed(let start, let count):
        unsafe bytes.withMemory { source, byteCount in
          unsafe output.appendWritten(count) { target in
            unsafe BitPacking.unpack(
              source + start, byteCount: byteCount - start, width: width, count: count
            ) { unsafe target[$0] = UInt32(truncatingIfNeeded: $1) }
          }
        }
        left -= count
      }
    }
    return runs.offset
  }

  /// Appends `count` definition levels of a column that is not nested: 1 where there is a value.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo validity: inout Validity
  ) throws(ParquetFailure) -> Int {
    var runs = try HybridRuns(bytes, width: 1)
    var left = count
    while left > 0 {
      switch try runs.next(wanted: left) {
      case .repeated(let level, let count):
        guard level <= 1 else {
          throw .damaged("a definition level of \(level) where 1 is the most", at: runs.offset)
        }
        validity.append(repeating: level == 1, count: count)
        left -= count
      case .packed(let start, let count):
        unsafe bytes.withMemory { source, byteCount in
          for first in stride(from: 0, to: count, by: 64) {
            let offset = start + first / 8
            let bits =
              unsafe byteCount - offset >= 8
              ? source.word(at: offset)
              : source.partialWord(at: offset, byteCount: byteCount - offset)
            validity.append(bits: bits, count: min(64, count - first))
          }
        }
        left -= count
      }
    }
    return runs.offset
  }

  /// Appends `count` booleans.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout [Bool]
  ) throws(ParquetFailure) -> Int {
    var runs = try HybridRuns(bytes, width: 1)
    output.makeRoom(count)
    var left = count
    while left > 0 {
      switch try runs.next(wanted: left) {
      case .repeated(let number, let count):
        guard number <= 1 else { throw .damaged("a boolean of \(number)", at: runs.offset) }
        output.append(contentsOf: repeatElement(number == 1, count: count))
        left -= count
      case .packed(let start, let count):
        try PlainEncoding.decode(
          bytes.extracting(start..<bytes.count), count: count, appendingTo: &output)
        left -= count
      }
    }
    return runs.offset
  }

  /// The bytes behind a length of 4 bytes, as levels in data pages v1 and booleans have it.
  @_lifetime(copy bytes)
  static func prefixed(_ bytes: Span<UInt8>) throws(ParquetFailure) -> Span<UInt8> {
    guard bytes.count >= 4 else {
      throw .damaged("\(bytes.count) bytes where a length of 4 bytes is expected", at: 0)
    }
    let length = unsafe bytes.withMemory { source, _ in
      unsafe Int(source.loadUnaligned(as: UInt32.self).littleEndian)
    }
    guard length <= bytes.count - 4 else {
      throw .damaged("\(length) bytes of runs are claimed, \(bytes.count - 4) are there", at: 0)
    }
    return bytes.extracting(4..<4 + length)
  }

  // MARK: Encoding

  /// Appends numbers of at most `width` bits.
  static func encode(_ numbers: Span<UInt32>, width: Int, appendingTo output: inout [UInt8]) {
    if width == 0 {
      appendRun(of: 0, count: numbers.count, width: 0, to: &output)
      return
    }
    // A repeated run ends the packed one before it and begins another behind it: it must save
    // more than their headers.
    let leastRun = max(8, (8 * (4 + (width + 7) / 8) + width - 1) / width)
    unsafe numbers.withUnsafeBufferPointer { numbers in
      let count = numbers.count
      var packedStart = 0
      var next = 0
      while next < count {
        let number = unsafe numbers[next]
        var end = next &+ 1
        while end < count, unsafe numbers[end] == number { end &+= 1 }
        // Packed runs hold a multiple of 8 numbers; those missing are taken from the repeated.
        let borrowed = (8 - (next - packedStart) & 7) & 7
        if end - next - borrowed >= leastRun {
          unsafe appendPacked(
            numbers, packedStart..<next + borrowed, width: width, to: &output)
          appendRun(of: number, count: end - next - borrowed, width: width, to: &output)
          packedStart = end
        }
        next = end
      }
      unsafe appendPacked(numbers, packedStart..<count, width: width, to: &output)
    }
  }

  /// Appends the definition levels of some rows: 1 where there is a value.
  static func encode(
    _ validity: Validity, rows: Range<Int>, appendingTo output: inout [UInt8]
  ) {
    // Eight levels are a byte; a repeated run pays from the fourth equal byte on.
    let leastBytes = 4
    var bytes: [UInt8] = []
    bytes.reserveCapacity(rows.count / 8 + 8)
    for row in stride(from: rows.lowerBound, to: rows.upperBound, by: 64) {
      var bits = validity.bits(from: row)
      let left = rows.upperBound - row
      if left < 64 { bits &= (1 << UInt64(left)) - 1 }
      for _ in 0..<(min(left, 64) + 7) / 8 {
        bytes.append(UInt8(truncatingIfNeeded: bits))
        bits >>= 8
      }
    }
    let wholeBytes = rows.count / 8
    var packedStart = 0
    var next = 0
    while next < wholeBytes {
      let byte = bytes[next]
      var end = next + 1
      while end < wholeBytes, bytes[end] == byte { end += 1 }
      if byte == 0 || byte == 0xFF, end - next >= leastBytes {
        appendPacked(bytes[packedStart..<next], to: &output)
        // The last rows, fewer than eight, go with the run if they are like it.
        let rest = rows.count - wholeBytes * 8
        let ones: UInt8 = byte == 0 ? 0 : (1 << UInt8(rest)) - 1
        if end == wholeBytes, rest > 0, bytes[end] == ones {
          appendRun(of: UInt32(byte & 1), count: rows.count - next * 8, width: 1, to: &output)
          return
        }
        appendRun(of: UInt32(byte & 1), count: (end - next) * 8, width: 1, to: &output)
        packedStart = end
      }
      next = end
    }
    appendPacked(bytes[packedStart...], to: &output)
  }

  /// Appends one repeated run, or nothing when it is empty.
  static func appendRun(of number: UInt32, count: Int, width: Int, to output: inout [UInt8]) {
    guard count > 0 else { return }
    output.appendVarint(UInt64(count) << 1)
    var rest = number
    for _ in 0..<(width + 7) / 8 {
      output.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  private static func appendPacked(_ bytes: ArraySlice<UInt8>, to output: inout [UInt8]) {
    guard !bytes.isEmpty else { return }
    output.appendVarint(UInt64(bytes.count) << 1 | 1)
    output.append(contentsOf: bytes)
  }

  @unsafe private static func appendPacked(
    _ numbers: UnsafeBufferPointer<UInt32>, _ range: Range<Int>, width: Int,
    to output: inout [UInt8]
  ) {
    guard !range.isEmpty else { return }
    let groups = (range.count + 7) / 8
    output.appendVarint(UInt64(groups) << 1 | 1)
    unsafe BitPacking.pack(
      numbers.baseAddress! + range.lowerBound, count: range.count, padded: groups * 8,
      width: width, appendingTo: &output)
  }
}

/// The runs of hybrid-encoded bytes, each checked before it is given out.
struct HybridRuns: ~Escapable {
  enum Run {
    case repeated(UInt32, count: Int)
    /// Numbers packed from byte `start` on; all bytes they need are there.
    case packed(start: Int, count: Int)
  }

  private let bytes: Span<UInt8>
  private let width: Int
  /// Bytes read so far.
  private(set) var offset = 0

  @_lifetime(copy bytes)
  init(_ bytes: Span<UInt8>, width: Int) throws(ParquetFailure) {
    guard 0...HybridEncoding.widthLimit ~= width else {
      throw .damaged("numbers of \(width) bits where 32 are the most", at: 0)
    }
    self.bytes = bytes
    self.width = width
  }

  /// The next run, cut to at most `wanted` numbers: the last packed run is filled up to a multiple
  /// of eight, and some writers fill repeated ones up as well.
  @_lifetime(self: copy self)
  mutating func next(wanted: Int) throws(ParquetFailure) -> Run {
    let start = offset
    let header = try bytes.readVarint(at: &offset, bitLimit: 32)
    let length = Int(header >> 1)
    if header & 1 == 0 {
      let byteCount = (width + 7) / 8
      guard bytes.count - offset >= byteCount else {
        throw .damaged("a run's number of \(byteCount) bytes is cut off", at: start)
      }
      var number: UInt32 = 0
      for index in 0..<byteCount { number |= UInt32(bytes[offset + index]) << UInt32(8 * index) }
      offset += byteCount
      guard width == 32 || number >> UInt32(width) == 0 else {
        throw .damaged("a repeated number has more than \(width) bits", at: start)
      }
      return .repeated(number, count: min(length, wanted))
    }
    let packed = offset
    let count = min(length * 8, wanted)
    guard BitPacking.byteCount(count, width: width) <= bytes.count - offset else {
      throw .damaged("a packed run of \(length) groups is cut off", at: start)
    }
    // Some writers leave out the filling behind the last number they mean.
    offset += min(length * width, bytes.count - offset)
    return .packed(start: packed, count: count)
  }
}

extension Span<UInt8> {
  /// Reads an unsigned LEB128 number.
  func readVarint(at offset: inout Int, bitLimit: Int = 64) throws(ParquetFailure) -> UInt64 {
    var number: UInt64 = 0
    var shift = 0
    let start = offset
    while true {
      guard offset < count else { throw .damaged("a number is cut off", at: start) }
      let byte = self[offset]
      offset += 1
      let bits = UInt64(byte & 0x7F)
      guard shift < bitLimit, shift + 64 - bits.leadingZeroBitCount <= bitLimit || bits == 0 else {
        throw .damaged("a number has more than \(bitLimit) bits", at: start)
      }
      number |= bits << UInt64(shift)
      if byte & 0x80 == 0 { return number }
      shift += 7
    }
  }

  /// Reads a zigzag number: 0, -1, 1, -2, ...
  func readZigzag(at offset: inout Int) throws(ParquetFailure) -> Int64 {
    let number = try readVarint(at: &offset)
    return Int64(bitPattern: number >> 1) ^ -Int64(bitPattern: number & 1)
  }
}

extension [UInt8] {
  /// Appends a zigzag number: 0, -1, 1, -2, ...
  mutating func appendZigzag(_ number: Int64) {
    appendVarint(UInt64(bitPattern: number << 1 ^ number >> 63))
  }
}
