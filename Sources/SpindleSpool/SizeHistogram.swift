/// Counts sizes in a fixed number of buckets.
///
/// Below 128 a bucket holds one size; above, each power of two is cut into 64 buckets, so that a
/// percentile is at most 1/64 (1.6 %) above the true size, and never below it. Powers of two are
/// borders of buckets, so counts below one are exact.
struct SizeHistogram {
  private static let linear = 128
  private static let parts = 64
  /// For sizes up to 2^40 - 1; larger ones count as the largest.
  private static let bucketCount = linear + (40 - 7) * parts

  private var buckets = [UInt64](repeating: 0, count: bucketCount)
  private(set) var count: UInt64 = 0
  private(set) var sum: UInt64 = 0
  private(set) var minimum: UInt64?
  private(set) var maximum: UInt64?

  mutating func add(_ size: UInt64) {
    buckets[Self.bucket(of: size)] += 1
    count += 1
    sum += size
    minimum = min(minimum ?? size, size)
    maximum = max(maximum ?? size, size)
  }

  private static func bucket(of size: UInt64) -> Int {
    if size < UInt64(linear) { return Int(size) }
    let exponent = 63 - size.leadingZeroBitCount
    guard exponent < 40 else { return bucketCount - 1 }
    let part = Int(size >> UInt64(exponent - 6)) - parts
    return linear + (exponent - 7) * parts + part
  }

  /// The greatest size of a bucket.
  private static func largest(in bucket: Int) -> UInt64 {
    if bucket < linear { return UInt64(bucket) }
    let exponent = UInt64((bucket - linear) / parts + 7)
    let part = UInt64((bucket - linear) % parts + parts)
    return (part + 1) << (exponent - 6) - 1
  }

  /// A size that this share of all sizes does not exceed; nil when there are none.
  func percentile(_ share: Double) -> UInt64? {
    guard let minimum, let maximum else { return nil }
    let rank = max(UInt64((Double(count) * share).rounded(.up)), 1)
    var seen: UInt64 = 0
    for (bucket, number) in buckets.enumerated() {
      seen += number
      if seen >= rank { return max(min(Self.largest(in: bucket), maximum), minimum) }
    }
    return maximum
  }

  /// How many sizes are below a power of two from 128 on.
  func count(below limit: UInt64) -> UInt64 {
    buckets[..<Self.bucket(of: limit)].reduce(0, +)
  }
}
