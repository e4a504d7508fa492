public import SpindleCore

/// A run of steps that a child process takes one after the other. From the count of those it
/// acknowledged, the parent knows what must be stored.
public enum SpoolScript: String, Sendable, CaseIterable {
  /// Stores and nothing else.
  case store
  /// Two stores for each remove.
  case churn
  /// Each message is stored, set aside, brought back, and set aside again or removed.
  case quarantine

  public enum Step: Sendable, Equatable {
    case store(Int)
    case remove(Int)
    case quarantine(Int)
    case restore(Int)
  }

  /// The step at an index from 0 on.
  public func step(_ index: Int) -> Step {
    switch self {
    case .store: .store(index)
    case .churn: index % 3 == 2 ? .remove(index / 3) : .store(index - index / 3)
    case .quarantine:
      switch index % 4 {
      case 0: .store(index / 4)
      case 1: .quarantine(index / 4)
      case 2: .restore(index / 4)
      default: index % 8 == 3 ? .quarantine(index / 4) : .remove(index / 4)
      }
    }
  }

  /// Which messages are where.
  public struct Contents: Sendable, Equatable {
    public var stored: Set<Int> = []
    public var quarantined: Set<Int> = []
    public init() {}
  }

  /// What is stored when this many steps were taken.
  public func contents(after count: Int) -> Contents {
    var contents = Contents()
    for index in 0..<count {
      switch step(index) {
      case .store(let number): contents.stored.insert(number)
      case .remove(let number): contents.stored.remove(number)
      case .quarantine(let number):
        contents.stored.remove(number)
        contents.quarantined.insert(number)
      case .restore(let number):
        contents.quarantined.remove(number)
        contents.stored.insert(number)
      }
    }
    return contents
  }
}

/// The id of a number, in the order of the numbers; made in the year 2020.
public func numberedID(_ number: Int) -> SpoolID {
  let milliseconds = 1_600_000_000_000 + UInt64(number)
  let uuid = UUIDValue(high: milliseconds << 16 | 0x7000, low: 1 << 63 | UInt64(number))
  // Version and variant are set above, so the id is valid.
  guard let id = SpoolID(uuid) else { preconditionFailure("version 7") }
  return id
}

/// The number of an id that ``numberedID(_:)`` made.
public func number(ofID id: SpoolID) -> Int { Int(id.uuid.low & 0xFFFF_FFFF) }

/// The meta of a number, which differs from its body.
public func numberedMeta(_ number: Int) -> [UInt8] { [0x4D] + numberedValue(number) }
