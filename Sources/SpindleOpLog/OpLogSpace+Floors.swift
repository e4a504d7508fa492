internal import SpindleCore
internal import SpindleRocks
internal import SpindleStore

/// Where the logs of trimmed peers begin. `Documentation/Formats/oplog-row.md`, Floors.
extension OpLogSpace {
  /// A floor's record: the first index that is there, the chain's head before it, and whether that
  /// chain began at index 0.
  static func encode(_ floor: LogPosition) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.appendBigEndian(floor.next)
    guard let head = floor.head else { return bytes }
    head.hash.append(to: &bytes)
    if floor.startsLate { bytes.append(lateMark) }
    return bytes
  }

  /// Reads a floor's record; nil for bytes that none encodes to.
  static func decodeFloor(_ bytes: Span<UInt8>) -> LogPosition? {
    var reader = ByteReader(bytes)
    guard let next = try? reader.readBigEndian(UInt64.self), next > 0 else { return nil }
    if reader.remaining == 0 { return LogPosition(next: next) }
    let rest = reader.rest
    guard rest.count <= 33, let hash = EntryHash(bytes: rest.extracting(0..<min(rest.count, 32)))
    else { return nil }
    var floor = LogPosition(next: next, head: ChainHead(hash))
    if rest.count == 33 {
      guard rest[32] == lateMark else { return nil }
      floor.startsLate = true
    }
    return floor
  }

  private static var lateMark: UInt8 { 1 }

  /// One peer's floor; ``LogPosition/start`` for a log that was never trimmed. May wait for the
  /// disk where the store is not owned.
  func floor(of peer: PeerID) throws -> LogPosition {
    if store.view == .owned { return memory.floor(of: peer) }
    return try judgeFloor(try store.getBlocking(log, key: OpLogKeys.floor(peer)), of: peer)
  }

  /// The same for a caller that must not wait: the next index alone.
  func cachedFloor(of peer: PeerID) async throws -> UInt64 {
    if store.view == .owned { return memory.floor(of: peer).next }
    return try judgeFloor(try await store.get(log, key: OpLogKeys.floor(peer)), of: peer).next
  }

  private func judgeFloor(_ bytes: [UInt8]?, of peer: PeerID) throws -> LogPosition {
    guard let bytes else { return .start }
    guard let floor = Self.decodeFloor(bytes.span) else { throw damagedFloor(of: peer) }
    return floor
  }

  /// The floor of every peer that has one.
  func floors() throws -> [PeerID: LogPosition] {
    store.view == .owned ? memory.floors : try storedFloors()
  }

  func storedFloors(in snapshot: Snapshot? = nil) throws -> [PeerID: LogPosition] {
    var floors: [PeerID: LogPosition] = [:]
    let subspace = OpLogKeys.floorSubspace
    var options = IterationOptions(lowerBound: [subspace], upperBound: [subspace + 1])
    options.snapshot = snapshot
    try store.scan(log, options) { key, value in
      guard let peer = UUIDValue(bytes: key.extracting(1..<key.count)).map(PeerID.init) else {
        throw LogTrackerError.damagedMeta(
          prefix: prefix, "the key of a floor has \(key.count) bytes; expected 17"
        ).spindleError
      }
      floors[peer] = try judgeFloor(copyBytes(value), of: peer)
      return true
    }
    return floors
  }

  private func damagedFloor(of peer: PeerID) -> SpindleError {
    LogTrackerError.damagedMeta(prefix: prefix, "the floor of peer \(peer) cannot be read")
      .spindleError
  }
}

extension LogPosition {
  /// Of a floor: whether the rows above it are in a chain that another replica's began before.
  var hasLateChain: Bool { startsLate || next > 0 && head == nil }
}
