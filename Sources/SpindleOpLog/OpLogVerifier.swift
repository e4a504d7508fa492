internal import SpindleCore
internal import SpindleRocks
public import SpindleStore

/// What a walk over one prefix's op-log found.
public struct OpLogReport: Sendable, Equatable {
  /// The most findings that are told one by one; the rest is counted.
  public static let findingLimit = 1_000

  public internal(set) var peers: UInt64 = 0
  /// Real entries that could be read.
  public internal(set) var entries: UInt64 = 0
  /// Expunged markers that could be read.
  public internal(set) var markers: UInt64 = 0
  /// One sentence each, in the order of the keys; empty for a sound log.
  public internal(set) var findings: [String] = []

  var untold: UInt64 = 0

  mutating func add(_ finding: String) {
    if findings.count < Self.findingLimit { findings.append(finding) } else { untold += 1 }
  }
}

/// Checks everything about an op-log that can be checked without knowing its ops. Repairs nothing.
///
/// Every row decodes; the indices of each peer follow each other from 0; the clock register is not
/// below the greatest timestamp; the meta keys are right; no key lies outside the format. Works on
/// an owned store, a shut one, and one that is running elsewhere.
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
  /// - Complexity: O(bytes of the log), on a thread of the store.
  public func verify() async throws -> OpLogReport {
    try await store.blocking { try verifyBlocking() }
  }

  package func verifyBlocking() throws -> OpLogReport {
    var audit = OpLogAudit(prefix: prefix)
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
}

/// Judges the keys and values of an op-log as they come, in order. No I/O.
struct OpLogAudit {
  let prefix: String
  private var report = OpLogReport()
  private var meta: [[UInt8]: [UInt8]] = [:]
  private var peer: PeerID?
  /// The index that the current peer's next row must have; nil after 2^64 - 1.
  private var expected: UInt64? = 0
  private var greatest: (timestamp: Timestamp, peer: PeerID, index: UInt64)?
  private var register: Timestamp?
  private var isRegisterDamaged = false
  /// Whether a part of the log could not be read, so that absence proves nothing.
  private var isPartial = false
  private var hasProgress = false

  init(prefix: String) { self.prefix = prefix }

  mutating func add(key: Span<UInt8>, value: Span<UInt8>) {
    hasProgress = true
    switch key.count > 0 ? key[0] : nil {
    case OpLogKeys.metaSubspace: meta[copyBytes(key)] = copyBytes(value)
    case OpLogKeys.entrySubspace: addEntry(key: key, value: value)
    case OpLogKeys.clockSubspace: addClock(key: key, value: value)
    case .some(let subspace) where OpLogKeys.reservedSubspaces.contains(subspace): break
    case .some(let subspace):
      report.add("a key lies in the unknown subspace 0x\(hexString(CollectionOfOne(subspace)))")
    case nil: report.add("a key is empty")
    }
  }

  private mutating func addEntry(key: Span<UInt8>, value: Span<UInt8>) {
    guard let (rowPeer, index) = OpLogKeys.decodeEntry(key) else {
      report.add(
        "a key among the entries has \(key.count) bytes; expected \(OpLogKeys.entryByteCount)")
      return
    }
    if rowPeer != peer {
      peer = rowPeer
      expected = 0
      report.peers += 1
    }
    if let wanted = expected, wanted < index {
      report.add("the log of peer \(rowPeer) has a hole: indices \(wanted) to \(index - 1)")
    }
    expected = index == .max ? nil : index + 1
    if index == .max { report.add("peer \(rowPeer) has a row at index \(index), which is refused") }
    do throws(DecodingFailure) {
      let row = try OpLogRow(decoding: value)
      if row.isExpunged { report.markers += 1 } else { report.entries += 1 }
      if row.timestamp > greatest?.timestamp ?? .zero {
        greatest = (row.timestamp, rowPeer, index)
      }
    } catch {
      report.add("the row at index \(index) of peer \(rowPeer) is damaged: \(error)")
    }
  }

  private mutating func addClock(key: Span<UInt8>, value: Span<UInt8>) {
    guard key.count == 1 else {
      report.add("a key beside the clock register has \(key.count) bytes; expected 1")
      return
    }
    register = ClockService.decode(value)
    if register == nil {
      isRegisterDamaged = true
      report.add("the clock register has \(value.count) bytes; expected 8")
    }
  }

  /// Notes that the walk failed.
  ///
  /// - Returns: Where it may go on: behind the peer whose rows cannot be read. Nil when that is
  ///   unknown, or nothing was read since the last failure.
  mutating func skip(_ message: String) -> [UInt8]? {
    isPartial = true
    guard hasProgress, let peer else {
      report.add("the rest of the log cannot be read: \(message)")
      return nil
    }
    hasProgress = false
    report.add(
      "the rows of peer \(peer) from index \(expected.map(String.init) ?? "?") on cannot be read: "
        + message)
    return OpLogKeys.upperBound(of: peer)
  }

  mutating func finish() -> OpLogReport {
    checkClock()
    checkMeta()
    if report.untold > 0 {
      report.findings.append("\(report.untold) more findings are not listed")
      report.untold = 0
    }
    return report
  }

  private mutating func checkClock() {
    guard let greatest, !isRegisterDamaged else { return }
    let place = "that of index \(greatest.index) of peer \(greatest.peer)"
    if let register {
      if register < greatest.timestamp {
        report.add(
          "the clock register \(register) is below the greatest timestamp \(greatest.timestamp), "
            + place)
      }
    } else if !isPartial {
      report.add(
        "the clock register is absent, the greatest timestamp is \(greatest.timestamp), \(place)")
    }
  }

  private mutating func checkMeta() {
    if isPartial, meta.isEmpty { return }
    guard let format = meta[OpLogKeys.formatKey] else {
      report.add("the format key is absent")
      return
    }
    do throws(LogTrackerError) {
      try OpLogSpace.judge(
        prefix: prefix, format: format, storedPrefix: meta[OpLogKeys.prefixKey])
    } catch {
      report.add(error.spindleError.message)
    }
    if meta[OpLogKeys.createdKey].flatMap(OpLogSpace.decimal) == nil {
      report.add("the created key is absent or holds no number")
    }
  }
}
