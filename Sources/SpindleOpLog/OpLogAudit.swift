package import SpindleCore

/// Judges the keys and values of an op-log as they come, in order. Reads nothing but what it has to
/// look up beside them.
///
/// The walk is one view, a look-up is the newest one. So what a look-up does not bear out is looked
/// up the other way round before it is a finding: the row may have been trimmed or expunged
/// meanwhile.
package struct OpLogAudit {
  package typealias Lookup = (_ key: [UInt8]) throws -> [UInt8]?

  let prefix: String
  let lookup: Lookup
  var report = OpLogReport()
  private var meta: [[UInt8]: [UInt8]] = [:]
  private var fences = PeerCursors()
  private var indexes: OpLogIndexes = []
  private var floors: [PeerID: LogPosition] = [:]
  /// Where each peer's log ends: behind its last row, or at its floor.
  private var ends: [PeerID: UInt64] = [:]
  /// The peer whose entries the last token was for; all are of the few that wrote here.
  private var tokenPeer: PeerID?
  /// The peers with a floor whose rows came by.
  private var seen: Set<PeerID> = []
  private var peer: PeerID?
  /// The index that the current peer's next row must have; nil after 2^64 - 1.
  private var expected: UInt64? = 0
  private var chain = ChainAudit(floor: .start)
  private var greatest: (timestamp: Timestamp, peer: PeerID, index: UInt64)?
  private var register: Timestamp?
  private var isRegisterDamaged = false
  /// Whether a part of the log could not be read, so that absence proves nothing.
  private var isPartial = false
  private var hasProgress = false
  private var lastSubspace: UInt8 = 0

  package init(prefix: String, lookup: @escaping Lookup) {
    self.prefix = prefix
    self.lookup = lookup
  }

  package mutating func readAhead(floors: [PeerID: LogPosition]) {
    self.floors = floors
    for (peer, floor) in floors { extend(peer, to: floor.next) }
  }

  private mutating func extend(_ peer: PeerID, to next: UInt64) {
    ends[peer] = max(ends[peer] ?? 0, next)
  }

  package mutating func add(key: Span<UInt8>, value: Span<UInt8>) {
    hasProgress = true
    if key.isEmpty {
      report.add("a key is empty")
      return
    }
    lastSubspace = key[0]
    switch key[0] {
    case OpLogKeys.metaSubspace: addMeta(key: copyBytes(key), value: copyBytes(value))
    case OpLogKeys.entrySubspace: addEntry(key: key, value: value)
    case OpLogKeys.clockSubspace: addClock(key: key, value: value)
    case OpLogKeys.reservedSubspace: break
    case OpLogKeys.floorSubspace: addFloor(key: key, value: value)
    case OpLogKeys.tokenSubspace: addToken(key: key, value: value)
    case OpLogKeys.tokenExpirySubspace: addTokenExpiry(key: key, value: value)
    case OpLogKeys.acknowledgementSubspace, OpLogKeys.forgottenSubspace:
      addAcknowledgement(key: key, value: value)
    case OpLogKeys.rewriteSubspace: addRewrite(key: key, value: value)
    case OpLogIndexKey.timeSubspace, OpLogIndexKey.userSubspace, OpLogIndexKey.keySubspace:
      addIndexRow(key: key, value: value)
    case let subspace:
      report.add("a key lies in the unknown subspace 0x\(hexString(CollectionOfOne(subspace)))")
    }
  }

  // MARK: Entries

  private mutating func addEntry(key: Span<UInt8>, value: Span<UInt8>) {
    guard let (rowPeer, index) = OpLogKeys.decodeEntry(key) else {
      report.add(
        "a key among the entries has \(key.count) bytes; expected \(OpLogKeys.entryByteCount)")
      return
    }
    if rowPeer != peer {
      peer = rowPeer
      let floor = floors[rowPeer] ?? .start
      if floor.next > 0 { seen.insert(rowPeer) }
      expected = floor.next
      chain = ChainAudit(floor: floor)
      report.peers += 1
    }
    if let floor = floors[rowPeer], index < floor.next {
      report.leftovers += 1
      return
    }
    let follows = expected == index
    if let wanted = expected, wanted < index {
      judge("the log of peer \(rowPeer) has a hole: indices \(wanted) to \(index - 1)") { lookup in
        // The log may have been trimmed after the floors were read and before the walk began.
        let floor = try lookup(OpLogKeys.floor(rowPeer)).flatMap { OpLogSpace.decodeFloor($0.span) }
        return floor.map { $0.next >= index } ?? false
      }
    }
    expected = index == .max ? nil : index + 1
    extend(rowPeer, to: expected ?? .max)
    if index == .max { report.add("peer \(rowPeer) has a row at index \(index), which is refused") }
    do throws(DecodingFailure) {
      let row = try OpLogRow(decoding: value)
      if row.isExpunged { report.markers += 1 } else { report.entries += 1 }
      if row.timestamp > greatest?.timestamp ?? .zero {
        greatest = (row.timestamp, rowPeer, index)
      }
      switch chain.judge(row, peer: rowPeer, index: index, follows: follows) {
      case .right: report.links += 1
      case .unchained: break
      case .wrong(let what): report.add("the row at index \(index) of peer \(rowPeer) \(what)")
      }
      checkIndexes(row, peer: rowPeer, index: index)
    } catch {
      chain.lose()
      report.add("the row at index \(index) of peer \(rowPeer) is damaged: \(error)")
    }
  }

  private mutating func checkIndexes(_ row: OpLogRow, peer: PeerID, index: UInt64) {
    for kind in [OpLogIndexes.byTime, .byUser, .byKey] where indexes.contains(kind) {
      for key in OpLogIndexKey.keys(of: row, peer: peer, index: index, in: kind) {
        let name = "the index by \(kind) has no key for index \(index) of peer \(peer)"
        judge(name) { lookup in
          if try lookup(key) != nil { return true }
          let bytes = try lookup(OpLogKeys.entry(peer, index))
          return bytes.flatMap { try? OpLogRow(decoding: $0.span) } != row
        }
      }
    }
  }

  /// Adds a finding unless the check holds; one that cannot be made is a finding, too.
  private mutating func judge(_ finding: String, _ holds: (Lookup) throws -> Bool) {
    do {
      if try !holds(lookup) { report.add(finding) }
    } catch {
      report.add("\(finding), or it cannot be read: \(error)")
    }
  }

  // MARK: Indexes

  private mutating func addIndexRow(key: Span<UInt8>, value: Span<UInt8>) {
    report.indexRows += 1
    guard value.isEmpty, let found = OpLogIndexKey(decoding: key) else {
      report.add(
        "a key of \(key.count) bytes among the indexes, with \(value.count) bytes of value, is none"
      )
      return
    }
    // What an interrupted trim left goes together with the rows.
    if let floor = floors[found.peer], found.index < floor.next { return }
    let bytes = copyBytes(key)
    let name =
      "the index by \(found.kind) has a key for index \(found.index) of peer \(found.peer), which "
      + "holds no such entry"
    judge(name) { lookup in
      let row = try lookup(OpLogKeys.entry(found.peer, found.index))
      if let row, let row = try? OpLogRow(decoding: row.span), found.matches(row) { return true }
      return try lookup(bytes) == nil
    }
  }

  // MARK: Clock, floors, tokens, acknowledgements

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

  private mutating func addFloor(key: Span<UInt8>, value: Span<UInt8>) {
    guard let peer = UUIDValue(bytes: key.extracting(1..<key.count)).map(PeerID.init) else {
      report.add("the key of a floor has \(key.count) bytes; expected 17")
      return
    }
    guard let floor = OpLogSpace.decodeFloor(value) else {
      report.add("the floor of peer \(peer) has \(value.count) bytes or is 0; expected 8, 40 or 41")
      return
    }
    extend(peer, to: floor.next)
    if !seen.contains(peer) { report.peers += 1 }
  }

  private mutating func addToken(key: Span<UInt8>, value: Span<UInt8>) {
    guard let token = IdempotencyToken(copyBytes(key.extracting(1..<key.count))) else {
      report.add("an idempotency token has \(key.count - 1) bytes; expected 1 to 128")
      return
    }
    guard let record = TokenRecord(decoding: value) else {
      report.add("the record of an idempotency token has \(value.count) bytes or counts no entry")
      return
    }
    checkReceipt(record.receipt)
    let place = "the idempotency token of index \(record.receipt.index)"
    let bytes = copyBytes(value)
    judge("\(place) never expires: it is not among the expiries") { lookup in
      try lookup(OpLogKeys.tokenExpiry(record.expiry, token)) != nil
        || lookup(OpLogKeys.token(token)) != bytes
    }
  }

  private mutating func addTokenExpiry(key: Span<UInt8>, value: Span<UInt8>) {
    guard let (expiry, token) = OpLogKeys.decodeTokenExpiry(key), value.isEmpty else {
      report.add("a key of \(key.count) bytes among the expiries of tokens is none")
      return
    }
    let bytes = copyBytes(key)
    judge("an expiry at \(expiry) ms belongs to no idempotency token") { lookup in
      let record = try lookup(OpLogKeys.token(token)).flatMap { TokenRecord(decoding: $0.span) }
      return try record?.expiry == expiry || lookup(bytes) == nil
    }
  }

  private mutating func addAcknowledgement(key: Span<UInt8>, value: Span<UInt8>) {
    guard key.count == 33 else {
      report.add("the key of an acknowledgement has \(key.count) bytes; expected 33")
      return
    }
    var reader = ByteReader(key.extracting(1..<key.count))
    var cursor = ByteReader(value)
    guard value.count == 8, let replica = try? PeerID(reader.readUUID()),
      let peer = try? PeerID(reader.readUUID()), let next = try? cursor.readBigEndian(UInt64.self)
    else {
      report.add("an acknowledgement has \(value.count) bytes; expected 8")
      return
    }
    // A forgotten replica may have had more than was ever here.
    if key[0] == OpLogKeys.forgottenSubspace { return }
    // What is noted of a replica was here when it was noted.
    let end = ends[peer] ?? 0
    if next > end, !isPartial {
      report.add(
        "replica \(replica) has acknowledged the log of peer \(peer) up to index \(next), and it "
          + "ends at \(end): the newest entries are lost")
    }
  }

  /// Looks for the last entry that a token's call recorded, in whatever peer's log: the receipt
  /// does not name it.
  private mutating func checkReceipt(_ receipt: TokenReceipt) {
    let (next, overflow) = receipt.index.addingReportingOverflow(UInt64(receipt.count))
    if isPartial { return }
    if !overflow {
      let known = tokenPeer.map { [$0] } ?? []
      for peer in known + ends.keys where ends[peer] ?? 0 >= next {
        // Entries of one call share a timestamp, but one whose receipt was written apart from them
        // may tell that of its first.
        if holds(receipt, peer, index: next - 1) || holds(receipt, peer, index: receipt.index) {
          tokenPeer = peer
          return
        }
      }
    }
    report.add(
      "no peer's log holds the entries of the idempotency token of index \(receipt.index): the "
        + "newest entries are lost")
  }

  /// Whether an entry may be the one; a row that is gone or cannot be read is told elsewhere.
  private func holds(_ receipt: TokenReceipt, _ peer: PeerID, index: UInt64) -> Bool {
    guard let bytes = try? lookup(OpLogKeys.entry(peer, index)),
      let row = try? OpLogRow(decoding: bytes.span)
    else { return true }
    return row.isExpunged || row.timestamp == receipt.timestamp
  }

  private mutating func addRewrite(key: Span<UInt8>, value: Span<UInt8>) {
    guard let (peer, index) = OpLogKeys.decodeRewrite(key),
      let hash = EntryHash(bytes: copyBytes(value))
    else {
      report.add(
        "a key of \(key.count) bytes among the entries to be removed from files, with "
          + "\(value.count) bytes of value, is none")
      return
    }
    if index < ends[peer] ?? 0 || isPartial {
      judge("the entry at index \(index) of peer \(peer) is to be removed from files and is none") {
        lookup in
        // Nil: it was trimmed.
        let bytes = try lookup(OpLogKeys.entry(peer, index))
        guard let bytes, let row = try? OpLogRow(decoding: bytes.span) else { return true }
        return row.expungedHash == hash
      }
    } else {
      report.add(
        "the entry at index \(index) of peer \(peer) is to be removed from files, and its log ends "
          + "at \(ends[peer] ?? 0): the newest entries are lost")
    }
  }

  // MARK: Meta

  private mutating func addMeta(key: [UInt8], value: [UInt8]) {
    meta[key] = value
    if key == OpLogKeys.indexesKey {
      if let kept = OpLogIndexes(name: String(decoding: value, as: UTF8.self)) {
        indexes = kept
      } else {
        report.add("the key that lists the indexes cannot be read")
      }
    }
    if OpLogFence.isKey(key) {
      if let fence = OpLogFence(key: key, value: value) {
        fences.advance(fence.peer, to: fence.cursor)
      } else {
        report.add("a fence has a key of \(key.count) bytes and a value of \(value.count)")
      }
    }
    if key.starts(with: OpLogKeys.refusedKey),
      key.count != OpLogKeys.refusedKey.count + 16 || RefusedWords.decode(value) == nil
    {
      report.add("the words of a forgotten replica have a key of \(key.count) bytes or are damaged")
    }
    if key == OpLogKeys.installingKey {
      report.add("an import was interrupted; import the same file again")
    }
    if key == OpLogKeys.rebuildingKey {
      report.notes.append(
        "the state is being made anew and is not whole; the program that writes the log completes "
          + "that when it opens it")
    }
  }

  // MARK: Ends

  /// Notes that the walk failed.
  ///
  /// - Returns: Where it may go on: behind the peer whose rows cannot be read, or behind the rest
  ///   of a subspace. Nil when that is unknown, or nothing was read since the last failure.
  mutating func skip(_ message: String) -> [UInt8]? {
    isPartial = true
    guard hasProgress, lastSubspace < .max, lastSubspace != OpLogKeys.entrySubspace || peer != nil
    else {
      report.add("the rest of the log cannot be read: \(message)")
      return nil
    }
    hasProgress = false
    guard lastSubspace == OpLogKeys.entrySubspace, let peer else {
      let subspace = hexString(CollectionOfOne(lastSubspace))
      report.add("the rest of the subspace 0x\(subspace) cannot be read: \(message)")
      return [lastSubspace + 1]
    }
    report.add(
      "the rows of peer \(peer) from index \(expected.map(String.init) ?? "?") on cannot be read: "
        + message)
    return OpLogKeys.upperBound(of: peer)
  }

  package mutating func finish() -> OpLogReport {
    checkClock()
    checkMeta()
    addNotes()
    if report.untold > 0 {
      report.findings.append("\(report.untold) more findings are not listed")
      report.untold = 0
    }
    return report
  }

  /// Says what may be a loss and has other causes, too.
  private mutating func addNotes() {
    if isPartial { return }
    for (peer, cursor) in fences.sorted where cursor > ends[peer] ?? 0 {
      report.notes.append(
        "the log of peer \(peer) is known up to index \(cursor) elsewhere and ends at "
          + "\(ends[peer] ?? 0) here: this store is a restored backup, or has lost entries")
    }
    if let register, register > greatest?.timestamp ?? .zero, report.markers == 0, floors.isEmpty {
      report.notes.append(
        "the clock register \(register) is above the greatest timestamp "
          + "\(greatest?.timestamp ?? .zero): a call that failed had taken it, or the newest "
          + "entries are lost")
    }
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
