/// The unit of the timestamps in an input; the decoders always hand out nanoseconds.
///
/// Raw values are the spellings of InfluxDB's `precision` parameter.
public enum TimestampPrecision: String, Sendable, CaseIterable {
  case nanoseconds = "ns"
  case microseconds = "us"
  case milliseconds = "ms"
  case seconds = "s"

  /// How many nanoseconds one unit is: 1 to 1,000,000,000.
  public var nanosecondsPerUnit: Int64 {
    switch self {
    case .nanoseconds: 1
    case .microseconds: 1_000
    case .milliseconds: 1_000_000
    case .seconds: 1_000_000_000
    }
  }

  /// Scales a timestamp of this unit to nanoseconds since 1970.
  ///
  /// - Returns: `nil` when the result does not fit 64 bits, that is outside the years 1677 to 2262.
  public func nanoseconds(from timestamp: Int64) -> Int64? {
    let (scaled, overflow) = timestamp.multipliedReportingOverflow(by: nanosecondsPerUnit)
    return overflow ? nil : scaled
  }
}
