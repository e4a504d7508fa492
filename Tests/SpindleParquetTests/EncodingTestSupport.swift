import SpindleCore

@testable import SpindleParquet

/// Values to encode: repeatable, and of the kinds that encodings treat apart.
enum Samples {
  static func bytes(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  /// Numbers of at most `width` bits: alone and in runs of all lengths about eight.
  static func numbers(_ count: Int, width: Int, seed: UInt64 = 1) -> [UInt32] {
    var random = SeededGenerator(seed: seed)
    let mask = UInt32(truncatingIfNeeded: width == 0 ? 0 : UInt64.max >> UInt64(64 - width))
    var numbers: [UInt32] = []
    while numbers.count < count {
      let number = UInt32(truncatingIfNeeded: random.next()) & mask
      let run = random.next() % 3 == 0 ? Int(random.next() % 40) : 1
      numbers.append(contentsOf: repeatElement(number, count: min(run, count - numbers.count)))
    }
    return numbers
  }

  static func validity(_ count: Int, seed: UInt64 = 1) -> Validity {
    var random = SeededGenerator(seed: seed)
    var validity = Validity()
    while validity.count < count {
      let run = random.next() % 4 == 0 ? Int(random.next() % 200) : 1
      validity.append(
        repeating: random.next() & 1 == 0, count: min(run, count - validity.count))
    }
    return validity
  }

  static func strings(_ count: Int, seed: UInt64 = 1, longest: Int = 40) -> ByteStrings {
    var random = SeededGenerator(seed: seed)
    var strings = ByteStrings()
    for index in 0..<count {
      strings.append(bytes(Int(random.next() % UInt64(longest + 1)), seed: UInt64(index)))
    }
    return strings
  }

  static let extremeInt64s: [Int64] = [
    0, .max, .min, .min, .max, -1, 1, .max, 0, .min, 1 << 31, -(1 << 31), 1 << 57, -(1 << 57),
  ]
  static let extremeInt32s: [Int32] = [0, .max, .min, .min, .max, -1, 1, .max, 0, .min]

  static func int64s(_ count: Int, seed: UInt64 = 1) -> [Int64] {
    var random = SeededGenerator(seed: seed)
    return (0..<count).map { index in
      switch index % 400 {
      case 0..<150: Int64(index) * 1000
      case 150..<300: Int64(bitPattern: random.next())
      case 300..<350: 7
      default: Int64(random.next() % 100) - 50
      }
    }
  }
}
