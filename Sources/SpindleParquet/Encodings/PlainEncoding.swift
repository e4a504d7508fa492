internal import SpindleCore

/// PLAIN: values one behind the other, as they lie in memory.
enum PlainEncoding {
  // MARK: Decoding

  /// Appends `count` numbers.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode<Number: PlainNumber>(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout [Number]
  ) throws(ParquetFailure) -> Int {
    let byteCount = try bytes.need(count, width: MemoryLayout<Number>.size)
    unsafe bytes.withMemory { source, _ in
      unsafe output.appendWritten(count) { target in
        // Both sides are little-endian: Spindle runs on x86-64 and arm64.
        unsafe UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: byteCount)
      }
    }
    return byteCount
  }

  /// Appends `count` booleans, eight in a byte.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout [Bool]
  ) throws(ParquetFailure) -> Int {
    let byteCount = (count + 7) / 8
    guard byteCount <= bytes.count else { throw bytes.missing(count, byteCount) }
    unsafe bytes.withMemory { source, _ in
      unsafe output.appendWritten(count) { target in
        let target = UnsafeMutableRawPointer(target)
        for offset in 0..<count / 8 {
          // Each bit goes to its own byte, and from there to the byte's lowest bit.
          let byte = unsafe UInt64(source.load(fromByteOffset: offset, as: UInt8.self))
          let spread = byte &* 0x0101_0101_0101_0101 & 0x8040_2010_0804_0201
          let ones = (spread &+ 0x7F7F_7F7F_7F7F_7F7F) >> 7 & 0x0101_0101_0101_0101
          unsafe target.storeBytes(
            of: ones.littleEndian, toByteOffset: offset * 8, as: UInt64.self)
        }
        for index in count / 8 * 8..<count {
          let byte = unsafe source.load(fromByteOffset: index / 8, as: UInt8.self)
          unsafe target.storeBytes(
            of: byte >> UInt8(index & 7) & 1, toByteOffset: index, as: UInt8.self)
        }
      }
    }
    return byteCount
  }

  /// Appends `count` byte strings, each behind its length of 4 bytes.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout ByteStrings
  ) throws(ParquetFailure) -> Int {
    let lengthBytes = try bytes.need(count, width: 4)
    var end = 0
    let first = output.bytes.count
    // No more bytes than these can be in strings. The ones on top let a short string be copied as
    // one piece of a fixed size.
    let room = bytes.count - lengthBytes
    output.bytes.makeRoom(room + shortLength)
    try unsafe bytes.withMemory { (source, byteCount) throws(ParquetFailure) in
      // First the lengths, which may not lead out of the bytes; then the copies.
      var at = 0
      var total = first
      let stringCount = output.offsets.count
      try unsafe output.offsets.appendWritten(count) { (target) throws(ParquetFailure) in
        for index in 0..<count {
          guard byteCount - at >= 4 else {
            throw .damaged("\(count) strings are claimed, \(index) are there", at: at)
          }
          let length = unsafe Int(
            source.loadUnaligned(fromByteOffset: at, as: UInt32.self).littleEndian)
          guard length <= byteCount - at - 4 else {
            throw .damaged(
              "a string of \(length) bytes where \(byteCount - at - 4) are left", at: at)
          }
          at += 4 + length
          total += length
          unsafe target[index] = total
        }
      }
      end = at
      let offsets = output.offsets
      output.bytes.append(addingCapacity: room + shortLength) { rest in
        unsafe rest.withUnsafeMutableBufferPointer { buffer, written in
          let target = UnsafeMutableRawPointer(buffer.baseAddress!)
          var from = 0
          var to = 0
          for index in stringCount..<stringCount + count {
            let length = offsets[index] - first - to
            from &+= 4
            if length <= shortLength, from + shortLength <= byteCount {
              unsafe (target + to).copyMemory(from: source + from, byteCount: shortLength)
            } else {
              unsafe (target + to).copyMemory(from: source + from, byteCount: length)
            }
            from &+= length
            to &+= length
          }
          written = to
        }
      }
    }
    return end
  }

  private static var shortLength: Int { 16 }

  /// Appends `count` byte strings of the output's width.
  ///
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decode(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout FixedBytes
  ) throws(ParquetFailure) -> Int {
    let byteCount = try bytes.need(count, width: output.width)
    output.bytes.append(borrowing: bytes.extracting(0..<byteCount))
    return byteCount
  }

  /// Appends `count` INT96 timestamps as nanoseconds since 1970.
  ///
  /// - Throws: Also for a time that has no such number: before 1677 or after 2262.
  /// - Returns: The bytes that were read.
  @discardableResult
  static func decodeINT96(
    _ bytes: Span<UInt8>, count: Int, appendingTo output: inout [Int64]
  ) throws(ParquetFailure) -> Int {
    let byteCount = try bytes.need(count, width: int96Width)
    try unsafe bytes.withMemory { (source, _) throws(ParquetFailure) in
      try unsafe output.appendWritten(count) { (target) throws(ParquetFailure) in
        for index in 0..<count {
          let offset = index * int96Width
          let nanoseconds = unsafe Int64(bitPattern: source.word(at: offset))
          let day = unsafe UInt32(
            littleEndian: source.loadUnaligned(fromByteOffset: offset + 8, as: UInt32.self))
          // The first day that 64 bits reach begins before them: only the sum has to fit.
          let days = Int128(Int64(day) - julianDayOf1970)
          guard let since = Int64(exactly: days * nanosecondsPerDay + Int128(nanoseconds)) else {
            throw .unsupported(
              "an INT96 time of Julian day \(day) does not fit 64-bit nanoseconds", at: offset)
          }
          unsafe target[index] = since
        }
      }
    }
    return byteCount
  }

  private static let int96Width = 12
  private static let julianDayOf1970: Int64 = 2_440_588
  private static let nanosecondsPerDay: Int128 = 86_400_000_000_000

  // MARK: Encoding

  static func encode<Number: PlainNumber>(
    _ numbers: Span<Number>, appendingTo output: inout [UInt8]
  ) {
    unsafe numbers.withUnsafeBytes { unsafe output.append(contentsOf: $0) }
  }

  static func encode(_ booleans: Span<Bool>, appendingTo output: inout [UInt8]) {
    let count = booleans.count
    unsafe booleans.withMemory { source, _ in
      unsafe output.appendWritten((count + 7) / 8) { target in
        for offset in 0..<count / 8 {
          // The factor brings the lowest bit of each byte to its place in the highest byte.
          let ones = unsafe source.word(at: offset * 8)
          unsafe target[offset] = UInt8((ones &* 0x0102_0408_1020_4080) >> 56)
        }
        if count & 7 != 0 {
          let ones = unsafe source.partialWord(at: count / 8 * 8, byteCount: count & 7)
          unsafe target[count / 8] = UInt8((ones &* 0x0102_0408_1020_4080) >> 56)
        }
      }
    }
  }

  /// Appends strings, each behind its length of 4 bytes; each must be shorter than 2 GiB.
  static func encode(
    _ strings: borrowing ByteStrings, _ range: Range<Int>, appendingTo output: inout [UInt8]
  ) {
    guard !range.isEmpty else { return }
    let from = strings.offsets[range.lowerBound]
    let total = strings.offsets[range.upperBound] - from
    let offsets = strings.offsets.span
    unsafe strings.bytes.span.withMemory { source, byteCount in
      unsafe output.appendWritten(total + 4 * range.count) { target in
        var target = UnsafeMutableRawPointer(target)
        let end = unsafe target + (total + 4 * range.count)
        for index in range {
          let start = offsets[index]
          let length = offsets[index + 1] - start
          unsafe target.storeBytes(of: UInt32(length).littleEndian, as: UInt32.self)
          unsafe target += 4
          if length <= shortLength, start + shortLength <= byteCount,
            unsafe end - target >= shortLength
          {
            unsafe target.copyMemory(from: source + start, byteCount: shortLength)
          } else {
            unsafe target.copyMemory(from: source + start, byteCount: length)
          }
          unsafe target += length
        }
      }
    }
  }
}

/// Numbers that PLAIN stores as they lie in memory: `Int32`, `Int64`, `Float` and `Double`.
protocol PlainNumber: BitwiseCopyable, Sendable {
  /// The bits that PLAIN stores.
  var bits: UInt64 { get }
}

extension Int32: PlainNumber {
  var bits: UInt64 { UInt64(UInt32(bitPattern: self)) }
}

extension Int64: PlainNumber {
  var bits: UInt64 { UInt64(bitPattern: self) }
}

extension Float: PlainNumber {
  var bits: UInt64 { UInt64(bitPattern) }
}

extension Double: PlainNumber {
  var bits: UInt64 { bitPattern }
}

extension Span<UInt8> {
  /// Checks that `count` values of a width are there.
  ///
  /// - Returns: Their bytes together.
  func need(_ count: Int, width: Int) throws(ParquetFailure) -> Int {
    let (byteCount, isOver) = count.multipliedReportingOverflow(by: width)
    guard !isOver, byteCount <= self.count else { throw missing(count, isOver ? .max : byteCount) }
    return byteCount
  }

  func missing(_ count: Int, _ byteCount: Int) -> ParquetFailure {
    .damaged("\(count) values need \(byteCount) bytes or more, \(self.count) are there", at: 0)
  }
}
