internal import Glibc
internal import SpindleCore

/// The different byte strings of a column chunk, numbered in the order in which they came.
struct StringDictionary {
  private(set) var strings = ByteStrings()
  /// Most bytes of the strings in the plain encoding.
  private let byteLimit: Int
  /// Hash places: the upper half of the string's hash, and its number plus one; 0 where none is.
  private var places = [UInt64](repeating: 0, count: 256)
  /// Nobody outside knows which strings will meet in a place.
  private let seed = SeededGenerator.systemSeed()
  private var plainBytes = 0

  /// Places that are looked at for a string. Strings that meet all the same may cost no more than
  /// that for each value.
  private let probeLimit: Int

  /// A dictionary that holds any strings, as many as memory does.
  init() {
    byteLimit = .max
    probeLimit = .max
  }

  /// - Parameter byteLimit: Most bytes of the strings in the plain encoding.
  init(byteLimit: Int) {
    self.byteLimit = byteLimit
    probeLimit = 512
  }

  /// The number of a string in a dictionary without limits.
  mutating func index(ofAny string: Span<UInt8>) -> UInt32 {
    guard let index = index(of: string) else {
      preconditionFailure("a dictionary without limits is full")
    }
    return index
  }

  /// The number of a string, which is added if it is new.
  ///
  /// - Returns: nil when there is no room for a new one.
  mutating func index(of string: Span<UInt8>) -> UInt32? {
    unsafe string.withMemory { address, count in unsafe index(of: address, count) }
  }

  /// The same for bytes at an address.
  @unsafe @inline(__always)
  mutating func index(of address: UnsafeRawPointer, _ count: Int) -> UInt32? {
    let hash = unsafe hash(address, count)
    let tag = hash & 0xFFFF_FFFF_0000_0000
    let mask = places.count - 1
    var place = Int(truncatingIfNeeded: hash) & mask
    for _ in 0..<probeLimit {
      let found = places[place]
      if found == 0 { return unsafe insert(address, count, tag, at: place) }
      if found & 0xFFFF_FFFF_0000_0000 == tag {
        let number = Int(truncatingIfNeeded: found & 0xFFFF_FFFF) - 1
        if unsafe isEqual(number, address, count) {
          return UInt32(truncatingIfNeeded: number)
        }
      }
      place = (place &+ 1) & mask
    }
    return nil
  }

  @unsafe @inline(__always)
  private func isEqual(_ number: Int, _ address: UnsafeRawPointer, _ count: Int) -> Bool {
    let start = strings.offsets[number]
    guard strings.offsets[number + 1] - start == count else { return false }
    return unsafe strings.bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return true }
      let there = unsafe base + start
      if count >= 8, count <= 16 {
        // Two words that may overlap cover all bytes.
        return unsafe there.word(at: 0) == address.word(at: 0)
          && there.word(at: count &- 8) == address.word(at: count &- 8)
      }
      return unsafe memcmp(there, address, count) == 0
    }
  }

  @unsafe
  private mutating func insert(
    _ address: UnsafeRawPointer, _ count: Int, _ tag: UInt64, at place: Int
  ) -> UInt32? {
    let number = strings.count
    guard count + 4 <= byteLimit - plainBytes, number < Int(UInt32.max) - 1 else { return nil }
    plainBytes += count + 4
    unsafe strings.append(
      Span(_unsafeStart: address.assumingMemoryBound(to: UInt8.self), count: count))
    places[place] = tag | UInt64(number + 1)
    if strings.count * 2 > places.count { grow() }
    return UInt32(number)
  }

  private mutating func grow() {
    let mask = places.count * 4 - 1
    var grown = [UInt64](repeating: 0, count: mask + 1)
    for number in 0..<strings.count {
      let hash = hash(strings[number])
      var place = Int(truncatingIfNeeded: hash) & mask
      while grown[place] != 0 { place = (place + 1) & mask }
      grown[place] = hash & 0xFFFF_FFFF_0000_0000 | UInt64(number + 1)
    }
    places = grown
  }

  private func hash(_ string: Span<UInt8>) -> UInt64 {
    unsafe string.withMemory { address, count in unsafe hash(address, count) }
  }

  @unsafe @inline(__always)
  private func hash(_ address: UnsafeRawPointer, _ count: Int) -> UInt64 {
    var hash = seed ^ UInt64(count)
    if count >= 8 {
      var offset = 0
      while offset &+ 8 < count {
        hash = unsafe Self.mixed(hash ^ address.word(at: offset))
        offset &+= 8
      }
      return unsafe Self.mixed(Self.mixed(hash ^ address.word(at: count &- 8)))
    }
    if count >= 4 {
      let low = unsafe address.loadUnaligned(as: UInt32.self)
      let high = unsafe address.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)
      return Self.mixed(Self.mixed(hash ^ (UInt64(high) << 32 | UInt64(low))))
    }
    return unsafe Self.mixed(Self.mixed(hash ^ address.partialWord(at: 0, byteCount: count)))
  }

  @inline(__always)
  private static func mixed(_ word: UInt64) -> UInt64 {
    let product = word.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
    return product.high ^ product.low
  }
}
