internal import SpindleCore
public import SpindleOpLog
internal import Synchronization

/// An op of ``OpLogConformance``: a write to a register, or one that goes wrong.
public enum ConformanceOp: IndexableOp, Hashable {
  case register(MaxRegisterOp)
  /// Has the tag that is kept for markers.
  case reservedTag
  /// Cannot be taken apart.
  case unwritable
  /// Writes to the register `x` and fails in a phase of the reducer.
  case failing(Phase)

  /// A phase of a reducer.
  public enum Phase: UInt8, Sendable, CaseIterable { case prepare, apply, postApply }

  private static let failingTag: UInt8 = 2

  public init(_ name: String, _ value: UInt64) { self = .register(MaxRegisterOp(name, value)) }

  public func toIndexEntry() throws(CodecError) -> IndexEntry {
    switch self {
    case .register(let op): try op.toIndexEntry()
    case .reservedTag: IndexEntry(tag: IndexEntry.reservedTag, key: [], value: [])
    case .unwritable: throw .invalid("the op is unwritable")
    case .failing(let phase): IndexEntry(tag: Self.failingTag, key: nil, value: [phase.rawValue])
    }
  }

  public static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> ConformanceOp {
    guard tag == failingTag else {
      return .register(try MaxRegisterOp.fromIndexParts(tag: tag, key: key, value: value))
    }
    guard key == nil, value?.count == 1, let phase = value?.first.flatMap(Phase.init) else {
      throw .invalid("it names no phase")
    }
    return .failing(phase)
  }
}

/// A ``MaxRegister`` that fails where an op says so, each time after it did its work.
struct ConformanceRegister: IdempotentReducer {
  typealias Op = ConformanceOp
  typealias ReadState = RegisterRaised?
  typealias Event = RegisterRaised

  struct ApplyState {
    var raised: RegisterRaised?
    var fails: Bool
  }

  struct Failure: Error {}

  private static let base = MaxRegister()

  private static func phase(_ op: ConformanceOp) -> ConformanceOp.Phase? {
    if case .failing(let phase) = op { phase } else { nil }
  }

  /// What an op writes.
  private static func write(of op: ConformanceOp) -> MaxRegisterOp {
    if case .register(let op) = op { op } else { MaxRegisterOp("x", 1_000) }
  }

  func prepare(
    _ op: ConformanceOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<RegisterRaised?> {
    let outcome = try await Self.base.prepare(Self.write(of: op), context, view)
    if Self.phase(op) == .prepare { throw Failure() }
    return outcome
  }

  func apply(
    _ op: ConformanceOp, _ context: OpContext, _ state: RegisterRaised?,
    into batch: inout ReducerBatch
  ) throws -> ApplyState {
    let raised = try Self.base.apply(Self.write(of: op), context, state, into: &batch)
    if Self.phase(op) == .apply { throw Failure() }
    return ApplyState(raised: raised, fails: Self.phase(op) == .postApply)
  }

  func postApply(_ state: ApplyState) throws -> RegisterRaised? {
    if state.fails { throw Failure() }
    return try Self.base.postApply(state.raised)
  }
}

/// Counts the events that come.
final class EventCount: EventPublisher {
  private let events = Atomic<Int>(0)
  var value: Int { events.load(ordering: .relaxed) }
  func publish(_ event: RegisterRaised) { events.add(1, ordering: .relaxed) }
}
