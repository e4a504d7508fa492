/// The 64-bit xxHash with seed 0, as the public xxHash specification has it: the hash of bloom
/// filters.
enum XXH64 {
  private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
  private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
  private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
  private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
  private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

  static func hash(_ bytes: Span<UInt8>) -> UInt64 {
    unsafe bytes.withMemory { source, count in
      var offset = 0
      var hash: UInt64
      if count >= 32 {
        var (one, two) = (prime1 &+ prime2, prime2)
        var (three, four) = (UInt64(0), 0 &- prime1)
        while offset + 32 <= count {
          one = unsafe round(one, source.word(at: offset))
          two = unsafe round(two, source.word(at: offset + 8))
          three = unsafe round(three, source.word(at: offset + 16))
          four = unsafe round(four, source.word(at: offset + 24))
          offset += 32
        }
        hash = rotated(one, 1) &+ rotated(two, 7) &+ rotated(three, 12) &+ rotated(four, 18)
        for lane in [one, two, three, four] {
          hash = (hash ^ round(0, lane)) &* prime1 &+ prime4
        }
      } else {
        hash = prime5
      }
      hash &+= UInt64(count)
      while offset + 8 <= count {
        hash ^= unsafe round(0, source.word(at: offset))
        hash = rotated(hash, 27) &* prime1 &+ prime4
        offset += 8
      }
      if offset + 4 <= count {
        hash ^= unsafe source.partialWord(at: offset, byteCount: 4) &* prime1
        hash = rotated(hash, 23) &* prime2 &+ prime3
        offset += 4
      }
      while offset < count {
        hash ^= unsafe UInt64(source.load(fromByteOffset: offset, as: UInt8.self)) &* prime5
        hash = rotated(hash, 11) &* prime1
        offset += 1
      }
      return avalanche(hash)
    }
  }

  /// The hash of the 8 bytes of a number, least significant first.
  static func hash(_ number: UInt64) -> UInt64 {
    let hash = prime5 &+ 8 ^ round(0, number)
    return avalanche(rotated(hash, 27) &* prime1 &+ prime4)
  }

  /// The hash of the 4 bytes of a number, least significant first.
  static func hash(_ number: UInt32) -> UInt64 {
    let hash = prime5 &+ 4 ^ UInt64(number) &* prime1
    return avalanche(rotated(hash, 23) &* prime2 &+ prime3)
  }

  @inline(__always)
  private static func round(_ lane: UInt64, _ word: UInt64) -> UInt64 {
    rotated(lane &+ word &* prime2, 31) &* prime1
  }

  @inline(__always)
  private static func rotated(_ word: UInt64, _ count: UInt64) -> UInt64 {
    word &<< count | word &>> (64 - count)
  }

  @inline(__always)
  private static func avalanche(_ word: UInt64) -> UInt64 {
    var hash = word
    hash = (hash ^ hash >> 33) &* prime2
    hash = (hash ^ hash >> 29) &* prime3
    return hash ^ hash >> 32
  }
}
