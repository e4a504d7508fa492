internal import SpindleCore

/// The different numbers of a column chunk, by their bits, numbered in the order in which they
/// came.
struct NumberDictionary<Number: PlainNumber> {
  private(set) var values: [Number] = []
  /// The numbers of the first values; of all of them, if there was room.
  private(set) var indices: [UInt32] = []
  /// Hash places: a number's index plus one; 0 where none is. At most half are taken.
  private var places = [UInt32](repeating: 0, count: 1024)
  private var shift: UInt64 = 64 - 10
  /// Nobody outside knows which numbers will meet in a place.
  private let seed = SeededGenerator.systemSeed()

  // Numbers that meet all the same may cost no more than this for each value.
  private static var probeLimit: Int { 512 }

  /// - Parameter byteLimit: Most bytes of the different numbers in the plain encoding.
  init(_ numbers: Span<Number>, byteLimit: Int) {
    let valueLimit = min(byteLimit / MemoryLayout<Number>.size, Int(UInt32.max) - 1)
    indices.reserveCapacity(numbers.count)
    unsafe numbers.withUnsafeBufferPointer { numbers in
      while unsafe take(numbers, valueLimit: valueLimit) { grow() }
    }
  }

  /// Takes numbers until all are taken, or the dictionary is full.
  ///
  /// - Returns: Whether more places are needed to go on.
  @unsafe
  private mutating func take(_ numbers: UnsafeBufferPointer<Number>, valueLimit: Int) -> Bool {
    let start = indices.count
    guard start < numbers.count else { return false }
    let room = min(places.count / 2, valueLimit)
    var used = values.count
    var taken = start
    unsafe values.append(contentsOf: repeatElement(numbers[start], count: room - used))
    let hash = NumberHash(seed: seed, shift: shift)
    indices.append(addingCapacity: numbers.count - start) { output in
      unsafe output.withUnsafeMutableBufferPointer { output, written in
        unsafe values.withUnsafeMutableBufferPointer { values in
          unsafe places.withUnsafeMutableBufferPointer { places in
            let mask = places.count - 1
            var last: (bits: UInt64, index: UInt32)?
            next: while taken < numbers.count {
              let number = unsafe numbers[taken]
              let bits = number.bits
              if let last, last.bits == bits {
                unsafe output[taken &- start] = last.index
                taken &+= 1
                continue
              }
              var place = hash.place(of: bits)
              var found: UInt32?
              for _ in 0..<Self.probeLimit {
                let there = unsafe places[place]
                if there == 0 {
                  guard used < room else { break next }
                  unsafe values[used] = number
                  found = UInt32(truncatingIfNeeded: used)
                  used &+= 1
                  unsafe places[place] = UInt32(truncatingIfNeeded: used)
                  break
                }
                if unsafe values[Int(there &- 1)].bits == bits {
                  found = there &- 1
                  break
                }
                place = (place &+ 1) & mask
              }
              guard let found else { break }
              unsafe output[taken &- start] = found
              taken &+= 1
              last = (bits, found)
            }
          }
        }
        written = taken - start
      }
    }
    values.removeLast(room - used)
    return taken < numbers.count && used == room && room < valueLimit
  }

  private mutating func grow() {
    shift -= 2
    places = Array(repeating: 0, count: places.count * 4)
    let mask = places.count - 1
    let hash = NumberHash(seed: seed, shift: shift)
    for index in values.indices {
      var place = hash.place(of: values[index].bits)
      while places[place] != 0 { place = (place &+ 1) & mask }
      places[place] = UInt32(index + 1)
    }
  }
}

/// Where a number is looked for.
private struct NumberHash {
  let seed: UInt64
  let shift: UInt64

  @inline(__always)
  func place(of bits: UInt64) -> Int {
    let mixed = bits ^ seed
    return Int(truncatingIfNeeded: ((mixed ^ mixed >> 32) &* 0x9E37_79B9_7F4A_7C15) &>> shift)
  }
}
