internal import SpindleCore
package import SpindleRocks
internal import Synchronization

/// A column family of the store, as the registry hands it out.
///
/// Names are `default`, or a kind and a name: `spool:main`, `oplog:ingest`, `data:ingest`. The
/// name after the colon has 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
public final class StoreFamily: Sendable {
  public let name: String
  /// Whether the family takes commits through the group lane only, so that conditions on its keys
  /// hold.
  public let isGuarded: Bool
  package let columnFamily: ColumnFamily
  /// What a gate's probe writes in a spool, and a crash may leave there: too short for an id.
  package static let probeKey: [UInt8] = [0]
  /// Ends the name of a family that holds what was set aside of a spool. Such a family does not
  /// count towards ``StoreSettings/familyLimit``: its spool does.
  package static let quarantineSuffix = ".quarantine"

  static func isQuarantine(_ name: String) -> Bool {
    name.hasPrefix("spool:") && name.hasSuffix(quarantineSuffix)
  }
  /// The database that the family is part of.
  let origin: ObjectIdentifier
  package var id: UInt32 { columnFamily.id }
  /// Whether ``Batch/deleteRange(_:from:to:)`` may write to the family. Walks of one that may are
  /// dearer, so only kinds that need it may.
  public let holdsRangeDeletions: Bool
  /// The family's own gate.
  public let health: PartHealth
  let isSpool: Bool
  /// For the one that writes a guarded family.
  package let memory = FamilyMemory()
  let largeValues: LargeValues

  init(
    _ columnFamily: ColumnFamily, of database: Database, largeValues: LargeValues,
    events: EventBroadcaster, clock: any StoreClock
  ) {
    self.largeValues = largeValues
    health = PartHealth(name: columnFamily.name, events: events, clock: clock)
    isSpool = columnFamily.name.hasPrefix("spool:")
    origin = ObjectIdentifier(database)
    name = columnFamily.name
    let kind = Self.kind(of: columnFamily.name)
    isGuarded = kind?.isGuarded ?? false
    holdsRangeDeletions = kind?.holdsRangeDeletions ?? false
    self.columnFamily = columnFamily
  }

  private let companionSlot = Mutex<(any AnyObject & Sendable)?>(nil)

  /// What the layer that owns the family's keys keeps in memory beside them: one object, the same
  /// for everybody who asks, made by the first.
  package func companion<Companion: AnyObject & Sendable>(_ make: () -> Companion) -> Companion {
    companionSlot.withLock { slot in
      if let companion = slot as? Companion { return companion }
      let companion = make()
      slot = companion
      return companion
    }
  }

  struct Kind: Sendable {
    var isGuarded = true
    var holdsRangeDeletions = false
  }

  /// The kinds of families that carry a name after a colon.
  static let kinds: [String: Kind] = [
    "spool": Kind(isGuarded: false), "oplog": Kind(), "data": Kind(),
    // Groups of rows are dropped together once they are in files of their own.
    "region": Kind(holdsRangeDeletions: true), "table": Kind(),
  ]

  /// nil for `default` and for names of other programs.
  static func kind(of name: String) -> Kind? { kinds[String(name.prefix { $0 != ":" })] }

  /// Refuses a name before the store is touched.
  package static func validate(_ name: String) throws {
    let parts = name.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let allowed = { (byte: UInt8) -> Bool in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "-"):
        true
      default: false
      }
    }
    guard parts.count == 2, kinds[String(parts[0])] != nil else {
      throw SpindleError(
        .invalidArgument,
        "the family \"\(printable(name))\" is not valid: expected one of "
          + kinds.keys.sorted().joined(separator: ", ") + ", a colon and a name")
    }
    guard (1...64).contains(parts[1].utf8.count), parts[1].utf8.allSatisfy(allowed) else {
      throw SpindleError(
        .invalidArgument,
        "the name \"\(printable(String(parts[1])))\" is not valid: expected 1 to 64 characters of "
          + "A-Z a-z 0-9 . _ -")
    }
  }

  /// The error that a refused write gets; nil while the part's gate is open. What a spool says goes
  /// out to strangers: no path and no engine text.
  var gateRefusal: SpindleError? {
    guard let cause = health.refusal else { return nil }
    var refusal = SpindleError(
      .unavailable,
      isSpool
        ? "the spool is not accepting writes"
        : "the part \(name) is not accepting writes: \(cause.detail)",
      reason: cause.reason)
    refusal.isGateRefusal = true
    return refusal
  }
}

/// Foreign text for an error: at most 40 characters, everything outside printable ASCII replaced.
package func printable(_ text: String) -> String {
  let safe = text.unicodeScalars.prefix(40).map { scalar in
    (0x20..<0x7F).contains(scalar.value) ? Character(scalar) : "?"
  }
  return String(safe)
}
