internal import SpindleCore

/// The different numbers of a column chunk, by their bits, numbered in the order in which they
/// came.
struct NumberDictionary<Number: PlainNumber> {
  var values: [Number] = []
  /// The numbers of the first values; of all of them, if there was room.
  var indices: [UInt32] = []

  /// - Parameter byteLimit: Most bytes of the different numbers in the plain encoding.
  init(_ numbers: Span<Number>, byteLimit: Int) {
    let valueLimit = min(byteLimit / MemoryLayout<Number>.size, Int(UInt32.max) - 1)
    // Nobody outside knows which numbers will meet in a place.
    let seed = SeededGenerator.systemSeed()
    var places = [UInt32](repeating: 0, count: 1024)
    var shift: UInt64 = 64 - 10
    var values: [Number] = []
    indices.reserveCapacity(numbers.count)
    var lastBits: UInt64 = 0
    var lastIndex = UInt32.max
    next: for position in numbers.indices {
      let number = numbers[position]
      let bits = number.bits
      if bits == lastBits, lastIndex != .max {
        indices.append(lastIndex)
        continue
      }
      let mask = places.count - 1
      var place = Self.place(bits, seed, shift)
      var found: UInt32?
      // Numbers that meet all the same may cost no more than this for each value.
      for _ in 0..<512 {
        let there = places[place]
        if there == 0 {
          guard values.count < valueLimit else { break next }
          values.append(number)
          places[place] = UInt32(values.count)
          found = UInt32(values.count - 1)
          break
        }
        if values[Int(there) - 1].bits == bits {
          found = there - 1
          break
        }
        place = (place &+ 1) & mask
      }
      guard let found else { break }
      indices.append(found)
      lastBits = bits
      lastIndex = found
      if values.count * 2 > places.count {
        shift -= 2
        places = Self.grown(values, seed, shift)
      }
    }
    self.values = values
  }

  private static func grown(_ values: [Number], _ seed: UInt64, _ shift: UInt64) -> [UInt32] {
    var places = [UInt32](repeating: 0, count: 1 << Int(64 - shift))
    let mask = places.count - 1
    for index in values.indices {
      var place = place(values[index].bits, seed, shift)
      while places[place] != 0 { place = (place &+ 1) & mask }
      places[place] = UInt32(index + 1)
    }
    return places
  }

  @inline(__always)
  private static func place(_ bits: UInt64, _ seed: UInt64, _ shift: UInt64) -> Int {
    let mixed = bits ^ seed
    return Int(truncatingIfNeeded: ((mixed ^ mixed >> 32) &* 0x9E37_79B9_7F4A_7C15) &>> shift)
  }
}
