internal import SpindleCore

/// Named registers, each of which keeps the greatest value ever written to it.
///
/// The state depends on the set of ops only: not on their order, their peers or their times, and an
/// op that is applied twice changes nothing. Read it by ``ReducerView/register(_:)``.
public struct MaxRegister: IdempotentReducer {
  public typealias Op = MaxRegisterOp
  public typealias ReadState = RegisterRaised?
  public typealias ApplyState = RegisterRaised?
  public typealias Event = RegisterRaised

  // Part of the format; must not be changed.
  public static var stateName: String? { "max-register" }

  public init() {}

  public func prepare(
    _ op: MaxRegisterOp, _ context: OpContext, _ view: ReducerView
  ) async throws -> PrepareOutcome<RegisterRaised?> {
    let old = try await view.register(op.name)
    if let old, old >= op.value { return .proceed(nil) }
    return .proceed(RegisterRaised(name: op.name, old: old, new: op.value))
  }

  public func apply(
    _ op: MaxRegisterOp, _ context: OpContext, _ state: RegisterRaised?,
    into batch: inout ReducerBatch
  ) throws -> RegisterRaised? {
    if let state { batch.put(Self.key(state.name), state.new.encoded) }
    return state
  }

  public func postApply(_ state: RegisterRaised?) throws -> RegisterRaised? { state }

  // Part of the format; must not be changed.
  private static let keySpace: UInt8 = 0x01

  static func key(_ name: [UInt8]) -> [UInt8] { [keySpace] + name }
  static let end: [UInt8] = [keySpace + 1]
}

/// Writes a value to a register, which keeps it if it is greater than what it has.
public struct MaxRegisterOp: IndexableOp, Hashable {
  // Part of the format; must not be changed.
  private static let tag: UInt8 = 1

  public var name: [UInt8]
  public var value: RegisterValue

  public init(name: [UInt8], value: RegisterValue) {
    self.name = name
    self.value = value
  }

  public init(_ name: String, _ value: UInt64) {
    self.init(name: Array(name.utf8), value: .unsigned(value))
  }

  public func toIndexEntry() throws(CodecError) -> IndexEntry {
    IndexEntry(tag: Self.tag, key: name, value: value.encoded)
  }

  public static func fromIndexParts(
    tag: UInt8, key: [UInt8]?, value: [UInt8]?
  ) throws(CodecError) -> MaxRegisterOp {
    guard tag == Self.tag else { throw .unknownTag(tag) }
    guard let key, let value else { throw .unexpectedEnd }
    do throws(DecodingFailure) {
      return MaxRegisterOp(name: key, value: try RegisterValue(decoding: value.span))
    } catch {
      throw CodecError(error)
    }
  }
}

/// A register got a greater value.
public struct RegisterRaised: RoutableEvent, Hashable {
  public var name: [UInt8]
  /// Nil for a register that was never written.
  public var old: RegisterValue?
  public var new: RegisterValue

  public init(name: [UInt8], old: RegisterValue?, new: RegisterValue) {
    self.name = name
    self.old = old
    self.new = new
  }

  /// The register's name.
  public var targets: Set<[UInt8]> { [name] }
}

extension ReducerView {
  /// The value of a register of a ``MaxRegister``; nil for one that was never written.
  ///
  /// - Throws: ``SpindleError`` with `corruption`, `io` or `closed`.
  public func register(_ name: [UInt8]) async throws -> RegisterValue? {
    try await withValue(MaxRegister.key(name)) { bytes in
      guard let bytes else { return nil }
      return try stateErrors { () throws(DecodingFailure) in try RegisterValue(decoding: bytes) }
    }
  }

  public func register(_ name: String) async throws -> RegisterValue? {
    try await register(Array(name.utf8))
  }

  /// Up to `limit` registers in the order of their names, from a name on.
  public func registers(
    from name: [UInt8] = [], limit: Int
  ) async throws -> [(name: [UInt8], value: RegisterValue)] {
    try await scan(from: MaxRegister.key(name), to: MaxRegister.end, limit: limit).map { pair in
      let value = try stateErrors { () throws(DecodingFailure) in
        try RegisterValue(decoding: pair.value.span)
      }
      return (name: Array(pair.key.dropFirst()), value: value)
    }
  }

  /// Runs a decoder of stored state.
  func stateErrors<Value>(
    _ body: () throws(DecodingFailure) -> Value
  ) throws(SpindleError) -> Value {
    do throws(DecodingFailure) {
      return try body()
    } catch {
      throw SpindleError(
        .corruption, "a value of \(familyName) is damaged: \(error)", reason: "corrupt_state")
    }
  }
}
