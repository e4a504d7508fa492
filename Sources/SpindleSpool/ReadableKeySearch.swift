/// Finds the first key behind damage that can be read again.
///
/// Steps double from the place of the damage until a key can be read, and halve again between the
/// last unreadable and the first readable one: at most 256 reads. Damage of one block so costs
/// about one block of messages, and not all that the table file holds behind it.
struct ReadableKeySearch {
  /// The first key that could not be read.
  let start: [UInt8]
  /// The last key that the damage can reach; nil is the end of the keys.
  let limit: [UInt8]?

  init(from start: [UInt8], limit: [UInt8]?) {
    self.start = start
    self.limit = limit
  }

  /// - Returns: `start` itself when it can be read after all; nil when nothing can be read up to
  ///   the end of the keys. With a limit the key behind that is taken without a look.
  func run(isReadable: ([UInt8]) throws -> Bool) rethrows -> [UInt8]? {
    if try isReadable(start) { return start }
    let behind = limit.map { $0 + [0] }
    var unreadable = Self.number(start)
    let last = limit.map { Self.number($0) } ?? .max
    var step: UInt128 = 1
    var readable: UInt128?
    while readable == nil {
      let (probe, overflows) = Self.number(start).addingReportingOverflow(step)
      if overflows || probe > last { break }
      if try isReadable(Self.key(probe)) {
        readable = probe
      } else {
        unreadable = probe
        step = step &<< 1
        if step == 0 { break }
      }
    }
    var next = readable
    if next == nil {
      guard behind != nil else { return nil }
      // The limit's own number may stand for a key in front of it, so the first that is certainly
      // behind is one more.
      next = last == .max ? nil : last + 1
    }
    guard var good = next else { return behind }
    while good - unreadable > 1 {
      let middle = unreadable + (good - unreadable) / 2
      if try isReadable(Self.key(middle)) { good = middle } else { unreadable = middle }
    }
    let key = Self.key(good)
    guard let behind, behind.lexicographicallyPrecedes(key) else { return key }
    return behind
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
