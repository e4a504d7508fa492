package import SpindleCore
internal import SpindleRocks
public import SpindleStore

/// What a walk over one prefix's op-log found.
public struct OpLogReport: Sendable, Equatable {
  /// The most findings that are told one by one; the rest is counted.
  public static let findingLimit = 1_000

  /// Peers that have rows, and those whose rows were all trimmed away.
  public internal(set) var peers: UInt64 = 0
  /// Real entries that could be read.
  public internal(set) var entries: UInt64 = 0
  /// Expunged markers that could be read.
  public internal(set) var markers: UInt64 = 0
  /// Rows whose chain was computed anew and found right.
  public internal(set) var links: UInt64 = 0
  /// Keys of the optional indexes.
  public internal(set) var indexRows: UInt64 = 0
  /// Rows below a floor, left by a trim that was interrupted. Not read by anybody; the next trim
  /// removes them.
  public internal(set) var leftovers: UInt64 = 0
  /// One sentence each, in the order of the keys; empty for a sound log.
  public internal(set) var findings: [String] = []

  /// What is no damage for certain and may hint at a loss, and a state that is not whole: one
  /// sentence each.
  public internal(set) var notes: [String] = []

  var untold: UInt64 = 0

  public init() {}

  mutating func add(_ finding: String) {
    if findings.count < Self.findingLimit { findings.append(finding) } else { untold += 1 }
  }
}

/// Checks everything about an op-log that can be checked without knowing its ops. Repairs nothing.
///
/// Every row decodes; the indices of each peer follow each other from its floor; the chain of each
/// peer, computed anew, is the one stored; each entry is in every index and each index key has its
/// entry; the clock register is not below the greatest timestamp; floors, tokens, acknowledgements
/// and meta keys are well formed; no key lies outside the format. A chain finds also what no
/// checksum can: a row that was replaced by another one through the store itself.
///
/// That the newest rows of a peer, or all of them, are gone shows only where something else tells
/// of them: what a replica has acknowledged, the receipt of an idempotency token, a key of an
/// optional index, a floor, an entry that is to be removed from files. The fence and a clock
/// register above every timestamp are notes, since both have other causes. Without any of these a
/// log that lost its end is a sound, shorter log; only another replica, or the peer's files, can
/// tell.
///
/// Works on an owned store, also while it is written to, on a shut one, and on one that is running
/// elsewhere.
public struct OpLogVerifier: Sendable {
  private let store: Store
  private let prefix: String
  private let family: StoreFamily

  /// - Throws: ``SpindleError`` with `notFound` when the store has no such prefix.
  public init(store: Store, prefix: String) throws {
    guard let family = store.existingFamily("oplog:\(prefix)") else {
      throw LogTrackerError.missingPrefix(prefix).spindleError
    }
    self.store = store
    self.prefix = prefix
    self.family = family
  }

  /// Walks the whole log.
  ///
  /// - Throws: ``SpindleError`` with `closed`, or another reason why nothing can be read. Damage is
  ///   a finding, not an error.
  /// - Complexity: O(bytes of the log), and a point read for each key of an optional index and each
  ///   entry that must have one; on a thread of the store.
  public func verify() async throws -> OpLogReport {
    let report = try await store.blocking { try verifyBlocking() }
    VerifyMetrics.finished(report, log: prefix)
    return report
  }

  package func verifyBlocking() throws -> OpLogReport {
    var audit = OpLogAudit(prefix: prefix) { [store, family] key in
      try store.getBlocking(family, key: key)
    }
    try audit.readAhead(floors: storedFloors())
    var options = IterationOptions()
    options.fillsCache = false
    var iterator = try store.iterator(family, options)
    iterator.seekToFirst()
    while true {
      while iterator.isValid {
        audit.add(key: iterator.key, value: iterator.value)
        iterator.next()
      }
      do throws(RocksError) {
        try iterator.checkStatus()
        break
      } catch {
        let failure = store.failure(error, reading: family)
        guard error.kind == .corruption || error.kind == .ioError else { throw failure }
        guard let resumption = audit.skip(failure.message) else { break }
        iterator.seek(resumption.span)
      }
    }
    return audit.finish()
  }

  /// The floors come behind the rows that they explain, so they are read first. What cannot be read
  /// is told when the walk comes by.
  package func storedFloors() throws -> [PeerID: LogPosition] {
    var floors: [PeerID: LogPosition] = [:]
    let subspace = OpLogKeys.floorSubspace
    do {
      try store.scan(
        family, IterationOptions(lowerBound: [subspace], upperBound: [subspace + 1])
      ) { key, value in
        if let peer = UUIDValue(bytes: key.extracting(1..<key.count)) {
          floors[PeerID(peer)] = OpLogSpace.decodeFloor(value)
        }
        return true
      }
    } catch let error as SpindleError where error.kind == .corruption || error.kind == .io {
      return floors
    }
    return floors
  }
}
