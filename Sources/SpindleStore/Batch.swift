internal import SpindleCore
package import SpindleRocks

/// Changes to any column families that are committed together: all of them or none.
///
/// Parts of the store add to a batch and never commit; whoever owns the work calls
/// ``Store/commit(_:durability:deadline:)``. Preconditions are checked at the commit, under the
/// lock that orders commits; when one fails the batch writes nothing.
public struct Batch: Sendable {
  /// What must hold at the commit.
  struct Precondition: Sendable {
    enum Demand: Sendable {
      /// The key must be new. The owner names whose key it is, for the error.
      case absent(owner: String)
      /// The value must be these bytes.
      case equal([UInt8])
      /// The value must start with these bytes.
      case prefix([UInt8])
    }
    var family: StoreFamily
    var key: [UInt8]
    var demand: Demand
  }

  /// A value that takes its place at the commit unless a greater one is there.
  struct Raise: Sendable {
    var family: StoreFamily
    var key: [UInt8]
    var value: [UInt8]
  }

  package internal(set) var record: WriteRecord
  var preconditions: [Precondition] = []
  private(set) var raises: [Raise] = []
  private(set) var touchesGuardedFamily = false
  /// Every family written, each once: few, so a list beats a set. The first one stands apart,
  /// because most batches have no other and need no list then.
  private var firstFamily: StoreFamily?
  private var otherFamilies: [StoreFamily] = []

  public init(reservingBytes capacity: Int = 0) {
    record = WriteRecord(reservingBytes: capacity)
  }

  /// Whether nothing was added, no change and no precondition.
  public var isEmpty: Bool { record.isEmpty && preconditions.isEmpty && raises.isEmpty }
  /// How many changes were added.
  public var count: Int { Int(record.count) }
  /// Bytes that the batch takes in the log.
  public var byteCount: Int { record.byteCount }

  /// Bytes of the values put so far, without their keys.
  package private(set) var valueByteCount = 0

  /// Puts an unconditional batch in order with the conditional ones, for keys that another
  /// batch's precondition may be looking at.
  public var joinsGroupLane = false

  /// Says that the values are in the store already and only change their place. Such a batch may
  /// be larger than a value may be, so that whatever came in can be moved.
  package var movesStoredValues = false

  /// The guarded family whose memory follows this batch.
  private(set) var rememberedFamily: StoreFamily?
  private(set) var reliesOnMemory = false

  /// Lets the commit take the demands on absent keys of a family as met, and its raised value as
  /// known, as long as the family's memory is current. The caller has read that those keys are
  /// absent since it began the memory; what this batch or its group adds is looked at all the same.
  package mutating func rely(on family: StoreFamily) {
    rememberedFamily = family
    reliesOnMemory = true
  }

  /// Says that the batch changes nothing that the holder of a family's memory relies on.
  package mutating func keepMemory(of family: StoreFamily) { rememberedFamily = family }

  /// The family that need not be asked for absent keys; nil when all must be.
  var knownFamily: StoreFamily? {
    guard reliesOnMemory, let rememberedFamily, rememberedFamily.memory.isCurrent else {
      return nil
    }
    return rememberedFamily
  }

  /// Only a batch without conditions on unguarded families may pass the other commits by.
  var needsGroupLane: Bool {
    joinsGroupLane || touchesGuardedFamily || !preconditions.isEmpty || !raises.isEmpty
  }

  /// A family of which a range was to be deleted that holds no range deletions.
  private(set) var familyWithoutRanges: StoreFamily?

  private mutating func touch(_ family: StoreFamily) {
    if firstFamily === family { return }
    if firstFamily == nil {
      firstFamily = family
    } else {
      if otherFamilies.last === family || otherFamilies.contains(where: { $0 === family }) {
        return
      }
      otherFamilies.append(family)
    }
    if family.isGuarded { touchesGuardedFamily = true }
  }

  func forEachFamily(_ body: (StoreFamily) throws -> Void) rethrows {
    guard let firstFamily else { return }
    try body(firstFamily)
    for family in otherFamilies { try body(family) }
  }

  /// Whether the batch deletes and does nothing else.
  var onlyRemoves: Bool { raises.isEmpty && record.onlyRemoves }

  /// The refusal of the first part written whose gate is shut; nil while all are open.
  var gateRefusal: SpindleError? {
    if let refusal = firstFamily?.gateRefusal { return refusal }
    for family in otherFamilies { if let refusal = family.gateRefusal { return refusal } }
    return nil
  }

  /// A state of a batch to come back to.
  package struct Savepoint: Sendable {
    fileprivate let mark: WriteRecord.Mark
    fileprivate let preconditionCount: Int
    fileprivate let raiseCount: Int
    fileprivate let valueByteCount: Int
    fileprivate let firstFamily: StoreFamily?
    fileprivate let otherFamilyCount: Int
    fileprivate let touchesGuardedFamily: Bool
  }

  /// The batch as it is now: changes, preconditions, and the families they concern.
  package var savepoint: Savepoint {
    Savepoint(
      mark: record.mark, preconditionCount: preconditions.count, raiseCount: raises.count,
      valueByteCount: valueByteCount,
      firstFamily: firstFamily, otherFamilyCount: otherFamilies.count,
      touchesGuardedFamily: touchesGuardedFamily)
  }

  /// Takes back everything added since a savepoint of this batch. Later savepoints are void.
  package mutating func rollBack(to savepoint: Savepoint) {
    record.rollBack(to: savepoint.mark)
    preconditions.removeLast(preconditions.count - savepoint.preconditionCount)
    raises.removeLast(raises.count - savepoint.raiseCount)
    valueByteCount = savepoint.valueByteCount
    firstFamily = savepoint.firstFamily
    otherFamilies.removeLast(otherFamilies.count - savepoint.otherFamilyCount)
    touchesGuardedFamily = savepoint.touchesGuardedFamily
  }

  /// Takes the changes out, for a writer that gives them back in ``record``.
  mutating func takeRecord() -> WriteRecord {
    let taken = record
    record = WriteRecord()
    return taken
  }

  /// Stores a value under a key, replacing what is there.
  public mutating func put(_ family: StoreFamily, key: Span<UInt8>, value: Span<UInt8>) {
    touch(family)
    valueByteCount += value.count
    record.put(family.id, key: key, value: value)
  }

  /// Stores a value under a key, replacing what is there.
  public mutating func put(_ family: StoreFamily, key: [UInt8], value: [UInt8]) {
    put(family, key: key.span, value: value.span)
  }

  /// Stores a value in two parts, so that a header needs no copy of the payload.
  public mutating func put(
    _ family: StoreFamily, key: Span<UInt8>, header: Span<UInt8>, payload: Span<UInt8>
  ) {
    touch(family)
    valueByteCount += header.count + payload.count
    record.put(family.id, key: key, header: header, payload: payload)
  }

  /// Stores a value under a key unless a greater one is there at the commit, by the order of their
  /// bytes. What is there and has another length is replaced. The batch changes the key in no other
  /// way, and its ``record`` does not hold it.
  package mutating func raise(_ family: StoreFamily, key: [UInt8], to value: [UInt8]) {
    touch(family)
    raises.append(Raise(family: family, key: key, value: value))
  }

  /// Removes a key; an absent one is no error.
  public mutating func delete(_ family: StoreFamily, key: Span<UInt8>) {
    touch(family)
    record.delete(family.id, key: key)
  }

  /// Removes a key; an absent one is no error.
  public mutating func delete(_ family: StoreFamily, key: [UInt8]) {
    delete(family, key: key.span)
  }

  /// Removes every key from `lower` up to but not including `upper`.
  ///
  /// The commit refuses the batch with `invalidArgument` where the family holds no range deletions
  /// (``StoreFamily/holdsRangeDeletions``); there every key is deleted by itself.
  public mutating func deleteRange(_ family: StoreFamily, from lower: [UInt8], to upper: [UInt8]) {
    touch(family)
    if !family.holdsRangeDeletions { familyWithoutRanges = family }
    record.deleteRange(family.id, lower: lower.span, upper: upper.span)
  }

  /// Demands that the key be absent at the commit, and not written twice by this batch under the
  /// same demand.
  ///
  /// - Parameter owner: Named in the `uniqueViolation` error's ``SpindleError/reason``.
  public mutating func requireAbsent(_ family: StoreFamily, key: [UInt8], owner: String) {
    preconditions.append(
      Precondition(family: family, key: key, demand: .absent(owner: owner)))
  }

  /// Demands that the stored value be exactly these bytes at the commit.
  public mutating func requireEqual(_ family: StoreFamily, key: [UInt8], bytes: [UInt8]) {
    preconditions.append(Precondition(family: family, key: key, demand: .equal(bytes)))
  }

  /// Demands that the stored value start with these bytes at the commit, such as the checksum
  /// header of a record that was read before.
  public mutating func requirePrefix(_ family: StoreFamily, key: [UInt8], bytes: [UInt8]) {
    preconditions.append(Precondition(family: family, key: key, demand: .prefix(bytes)))
  }
}
