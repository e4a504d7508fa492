/// Finds the first key behind damage that can be read again.
///
/// A damaged block meets every key of one stretch with the same error, which names the block by its
/// file and offset. So the end of the stretch is where anything else is met: steps double from its
/// beginning until that is so, and halve again, at most 260 reads. When what is met there is
/// another damaged block, the search goes on from it; what is intact between two of them is found,
/// however narrow it is.
struct ReadableKeySearch {
  /// Stretches that one search looks at: as many blocks of 4 KiB as a table of 256 MiB has. Bounds
  /// the search where errors of the same place differ.
  static let stretchLimit = 65_536

  /// The first key that could not be read.
  let start: [UInt8]
  /// The last key that the damage can reach; nil is the end of the keys.
  let limit: [UInt8]?

  init(from start: [UInt8], limit: [UInt8]?) {
    self.start = start
    self.limit = limit
  }

  /// - Parameters:
  ///   - through: Of which damage the end is searched for; where other is met counts as the end,
  ///     and so the start, where other is met there.
  ///   - damageAt: What a read that begins at a key meets; nil when it can be read.
  /// - Returns: `start` itself when it can be read after all; nil when nothing can be read up to
  ///   the end of the keys. With a limit the key behind that is taken without a look.
  func run<Damage: Equatable>(
    through: (Damage) -> Bool = { _ in true }, damageAt: ([UInt8]) throws -> Damage?
  ) rethrows -> [UInt8]? {
    guard var damage = try damageAt(start), through(damage) else { return start }
    var place = Self.number(start)
    for _ in 0..<Self.stretchLimit {
      guard let end = try end(of: damage, from: place, damageAt) else { break }
      guard let other = end.damage, through(other) else { return Self.key(end.place) }
      damage = other
      place = end.place
    }
    return limit.map { $0 + [0] }
  }

  /// The first place behind another at which its damage is not met, and what is met there; nil when
  /// it is met up to the limit.
  private func end<Damage: Equatable>(
    of damage: Damage, from place: UInt128, _ damageAt: ([UInt8]) throws -> Damage?
  ) rethrows -> (place: UInt128, damage: Damage?)? {
    let last = limit.map { Self.number($0) } ?? .max
    var inside = place
    var step: UInt128 = 1
    while inside < last {
      let (sum, overflows) = place.addingReportingOverflow(step)
      var outside = overflows ? last : min(sum, last)
      var met = try damageAt(Self.key(outside))
      guard met != damage else {
        inside = outside
        step = step > .max / 2 ? .max : step * 2
        continue
      }
      while outside - inside > 1 {
        let middle = inside + (outside - inside) / 2
        let found = try damageAt(Self.key(middle))
        if found == damage {
          inside = middle
        } else {
          outside = middle
          met = found
        }
      }
      return (outside, met)
    }
    return nil
  }

  /// The first 16 bytes of a key as a number, as if zeros followed a shorter one.
  static func number(_ key: [UInt8]) -> UInt128 {
    var number: UInt128 = 0
    for index in 0..<16 { number = number << 8 | UInt128(index < key.count ? key[index] : 0) }
    return number
  }

  static func key(_ number: UInt128) -> [UInt8] {
    (0..<16).map { UInt8(truncatingIfNeeded: number >> UInt128(8 * (15 - $0))) }
  }
}

/// Finds how far keys can be read in front of damage that lies ahead of them.
///
/// Steps double until one meets the damage, and halve again, at most 260 reads. Each begins where
/// the last one that met nothing ended, so that what is in front of the damage is read once.
struct ReadableStretchSearch {
  /// The first key to be read.
  let start: [UInt8]

  init(from start: [UInt8]) { self.start = start }

  /// - Parameter isReadable: Whether nothing is met by a read of the keys from the first up to the
  ///   second, itself excluded.
  /// - Returns: the last key up to which all can be read, and the next, up to which it cannot; nil
  ///   when there is no such one.
  func run(
    isReadable: ([UInt8], [UInt8]) throws -> Bool
  ) rethrows -> (readable: [UInt8], met: [UInt8])? {
    var from = start
    var inside = ReadableKeySearch.number(start)
    var outside = inside
    var step: UInt128 = 1
    while outside == inside {
      guard inside < .max else { return nil }
      let (sum, overflows) = inside.addingReportingOverflow(step)
      let end = overflows ? .max : sum
      let key = ReadableKeySearch.key(end)
      outside = end
      if try isReadable(from, key) {
        inside = end
        from = key
        step = step > .max / 2 ? .max : step * 2
      }
    }
    while outside - inside > 1 {
      let middle = inside + (outside - inside) / 2
      let key = ReadableKeySearch.key(middle)
      if try isReadable(from, key) {
        inside = middle
        from = key
      } else {
        outside = middle
      }
    }
    return (from, ReadableKeySearch.key(outside))
  }
}
