public import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// An op-log with its state and its events: ops go in, state and events come out.
///
/// ```swift
/// let registers = try await OpLogStore { bus in
///   try await Processor<MaxRegister, LogIndexTracker<MaxRegisterOp>>(
///     reducer: MaxRegister(), store: store, prefix: "app", selfID: me, publisher: bus)
/// }
/// let changes = registers.watch(Array("x".utf8))
/// try await registers.exec(MaxRegisterOp("x", 5))
/// ```
public final class OpLogStore<R: Reducer, T: LogTracker<R.Op>>: Sendable
where R.Event: RoutableEvent {
  public let processor: Processor<R, T>
  private let bus: EventBus<R.Event>

  /// - Parameter open: Opens the processor, with the bus as its publisher.
  public init(
    _ open: (EventBus<R.Event>) async throws -> Processor<R, T>
  ) async throws {
    bus = EventBus()
    processor = try await open(bus)
  }

  /// Records a local op and applies it; see
  /// ``Processor/exec(_:serverUser:expectedCursor:durability:token:)``.
  @discardableResult
  public func exec(_ op: R.Op, serverUser: UserID? = nil) async throws -> Executed {
    try await processor.exec(op, serverUser: serverUser)
  }

  /// Events of a target, from now on.
  public func watch(_ target: R.Event.Target) -> Subscription<R.Event> {
    bus.subscribe(to: target)
  }

  /// How many targets somebody watches.
  public var watchedTargetCount: Int { bus.targetCount }

  /// The state as it is now; each read sees the newest.
  public var view: ReducerView { processor.view }

  /// The value of a key of the state; nil when it is absent.
  public func get(_ key: [UInt8]) async throws -> Bytes? { try await view.get(key) }

  /// Up to `limit` keys of the state from `lower` up to but not including `upper`, with their
  /// values.
  public func scan(
    from lower: [UInt8] = [], to upper: [UInt8]? = nil, limit: Int
  ) async throws -> [(key: Bytes, value: Bytes)] {
    try await view.scan(from: lower, to: upper, limit: limit)
  }

  /// Reads the state as it stands between two commits: however long the body takes, it sees one
  /// view, and the cursors that belong to it. Keeps old values on the disk meanwhile.
  public func snapshot<Value>(
    _ body: (ReducerView, PeerCursors) async throws -> Value
  ) async throws -> Value {
    let (view, cursors) = try await processor.snapshot()
    return try await body(view, cursors)
  }

  /// Ends the processor and every subscription.
  public func close() async {
    await processor.close()
    bus.close()
  }
}

extension Processor {
  /// The state and the cursors at one moment between two commits.
  ///
  /// - Throws: ``SpindleError`` with `unavailable`, reason `rebuild_unfinished`, for half a state;
  ///   see ``rebuildState()``; what the store throws.
  public func snapshot() async throws -> (state: ReducerView, cursors: PeerCursors) {
    try await exclusively { [self] in
      try requireWholeState()
      do throws(RocksError) {
        let snapshot = try store.database.snapshot()
        return (ReducerView(store, data, snapshot: snapshot), board.cursors)
      } catch {
        throw store.failure(error, reading: data)
      }
    }
  }
}
