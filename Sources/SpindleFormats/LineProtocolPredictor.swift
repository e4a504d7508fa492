/// A key of an earlier line, with the byte that follows it, ready to be compared in three words.
struct PredictedKey {
  /// Keys of up to 23 bytes and the equals sign.
  static let byteLimit = 24

  private var first: UInt64 = 1  // With the mask 0 this matches nothing.
  private var mask: UInt64 = 0
  private var second: UInt64 = 0
  private var third: UInt64 = 0
  private(set) var count = 0
  private var secondOffset = 0
  private var thirdOffset = 0

  /// Matches nothing.
  init() {}

  /// Matches the `count` bytes at `start`; matches nothing if there are more than ``byteLimit``.
  ///
  /// The caller guarantees that ``byteLimit`` bytes can be read at `start`.
  init(_ start: UnsafePointer<UInt8>, count: Int) {
    guard count >= 1, count <= Self.byteLimit else { return }
    self.count = count
    mask = count >= 8 ? .max : (1 &<< UInt64(count &* 8)) &- 1
    unsafe first = Word.load(start) & mask
    // Words overlap instead of being cut, so that no other mask is needed: 9 to 16 bytes are the
    // first and the last word, 17 to 24 the first, the second and the last. All end before byte 24.
    guard count > 8 else { return }
    thirdOffset = count - 8
    secondOffset = min(8, thirdOffset)
    unsafe second = Word.load(start + secondOffset)
    unsafe third = Word.load(start + thirdOffset)
  }

  /// Whether the key is at `start`. The caller guarantees ``byteLimit`` readable bytes there.
  @inline(__always)
  func matches(_ start: UnsafePointer<UInt8>) -> Bool {
    guard unsafe Word.load(start) & mask == first else { return false }
    guard count > 8 else { return true }
    return unsafe Word.load(start + secondOffset) == second
      && Word.load(start + thirdOffset) == third
  }
}

/// What the lines of one measurement have looked like.
struct PredictedShape {
  var measurement = PredictedKey()
  var tagCount = 0
  var fieldCount = 0
}

/// The keys of recent lines. Senders repeat themselves, so the next key is nearly always known, and
/// recognising it costs a few word comparisons instead of a scan and a check for duplicates.
///
/// Keys of one shape were on one line, so they differ; a line whose keys match keys of a shape at
/// rising places therefore has no duplicate either, whatever it leaves out.
@safe struct KeyPredictor: ~Copyable {
  static let shapeCount = 16  // A power of two. Agents send about a dozen measurements in turn.
  static let tagLimit = 32
  static let fieldLimit = 64
  /// How many keys a line may leave out in one place and still be recognised.
  static let skipLimit = 8

  // One more shape than is ever learned: the last one stays empty, for measurements too long.
  let shapes: UnsafeMutablePointer<PredictedShape>
  let tagKeys: UnsafeMutablePointer<PredictedKey>
  let fieldKeys: UnsafeMutablePointer<PredictedKey>
  /// Per shape, the tags' places in the order of their keys.
  let tagOrders: UnsafeMutablePointer<UInt16>
  /// The shape of the last line.
  var current = KeyPredictor.shapeCount

  init() {
    let count = Self.shapeCount + 1
    unsafe shapes = .allocate(capacity: count)
    unsafe shapes.initialize(repeating: PredictedShape(), count: count)
    unsafe tagKeys = .allocate(capacity: count * Self.tagLimit)
    unsafe tagKeys.initialize(repeating: PredictedKey(), count: count * Self.tagLimit)
    unsafe fieldKeys = .allocate(capacity: count * Self.fieldLimit)
    unsafe fieldKeys.initialize(repeating: PredictedKey(), count: count * Self.fieldLimit)
    unsafe tagOrders = .allocate(capacity: count * Self.tagLimit)
    unsafe tagOrders.initialize(repeating: 0, count: count * Self.tagLimit)
  }

  // The elements are trivial, so they need no deinitialization.
  deinit {
    unsafe shapes.deallocate()
    unsafe tagKeys.deallocate()
    unsafe fieldKeys.deallocate()
    unsafe tagOrders.deallocate()
  }

  /// Selects the shape of a measurement, emptying it when it belonged to another one.
  ///
  /// The caller guarantees ``PredictedKey/byteLimit`` readable bytes at `measurement`.
  mutating func select(_ measurement: UnsafePointer<UInt8>, count: Int) {
    guard count <= PredictedKey.byteLimit else {
      current = Self.shapeCount
      return
    }
    let mask: UInt64 = count >= 8 ? .max : (1 &<< UInt64(count &* 8)) &- 1
    let last = unsafe count > 8 ? Word.load(measurement + (count - 8)) : 0
    let word = unsafe (Word.load(measurement) & mask) ^ (last &* 31) ^ UInt64(count)
    current = Int(truncatingIfNeeded: (word &* 0x9E37_79B9_7F4A_7C15) &>> 60)
    let shape = unsafe shapes + current
    if unsafe shape.pointee.measurement.count != count
      || !shape.pointee.measurement.matches(measurement)
    {
      unsafe shape.pointee = PredictedShape()
      unsafe shape.pointee.measurement = PredictedKey(measurement, count: count)
    }
  }

  /// Remembers the keys of a decoded line of the current shape, which are known to be unique.
  ///
  /// The caller guarantees ``PredictedKey/byteLimit`` readable bytes at every key.
  mutating func learn(_ line: borrowing LineProtocolLine, at base: UnsafePointer<UInt8>) {
    guard current < Self.shapeCount else { return }
    let shape = unsafe shapes + current
    let tags = line.tags
    let tagCount = min(tags.count, Self.tagLimit)
    for index in 0..<tagCount {
      let key = tags[index].key
      unsafe tagKeys[current * Self.tagLimit + index] = PredictedKey(
        base + key.start, count: key.byteCount + 1)
    }
    let fields = line.fields
    let fieldCount = min(fields.count, Self.fieldLimit)
    for index in 0..<fieldCount {
      let key = fields[index].key
      unsafe fieldKeys[current * Self.fieldLimit + index] = PredictedKey(
        base + key.start, count: key.byteCount + 1)
    }
    // The order is used for lines with exactly these tags, so it may be incomplete only when such
    // lines cannot be recognised, which `tagCount` 0 ensures.
    unsafe shape.pointee.tagCount = tags.count <= Self.tagLimit ? tagCount : 0
    unsafe shape.pointee.fieldCount = fieldCount
    if tags.count <= Self.tagLimit {
      unsafe line.sortTags(into: tagOrders + current * Self.tagLimit)
    }
  }
}
