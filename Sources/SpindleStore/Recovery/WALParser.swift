internal import SpindleCore

/// Takes a log block by block and finds the records in it.
///
/// Three states: between records, inside a record (`partial` is set), and resynchronising behind
/// damage, when continuations are passed over until a record starts. Damage costs the rest of its
/// block, as in RocksDB: a length that cannot be trusted leads nowhere. Only in the last block
/// with content the parser looks on byte by byte, because there the question is whether this is
/// the torn end of the log.
struct WALParser {
  private(set) var scan: WALFileScan
  private(set) var chain: WALSequenceChain
  /// Set when the end of the log was found before the end of the file.
  private(set) var isFinished = false

  private struct Partial {
    var offset: UInt64
    var byteCount: Int
  }

  private let contentEnd: UInt64
  private let settings: WALScanner
  private let visit: ((borrowing WALRecord) -> Void)?
  private var partial: Partial?
  /// The bytes of the record in `partial`, or its first twelve when no more are needed.
  private var body: [UInt8] = []
  private var isResynchronising = false
  /// The end of the last intact record, behind damage too.
  private var lastRecordEnd: UInt64 = 0

  init(
    fileNumber: UInt64, byteCount: UInt64, contentEnd: UInt64, settings: WALScanner,
    chain: WALSequenceChain, visit: ((borrowing WALRecord) -> Void)?
  ) {
    scan = WALFileScan(fileNumber: fileNumber, byteCount: byteCount)
    self.contentEnd = contentEnd
    self.settings = settings
    self.chain = chain
    self.visit = visit
  }

  /// Takes the block at `offset`, a multiple of the block size.
  mutating func consume(_ block: UnsafeRawBufferPointer, at offset: UInt64) {
    var position = 0
    while !isFinished, let header = unsafe WALFragmentHeader(block, at: position) {
      let start = offset + UInt64(position)
      if header.isZero {
        guard start < contentEnd else { return endInZeros() }
        position = unsafe damage(.zeroHole, block, header, at: position, of: offset)
        continue
      }
      guard header.byteCount <= block.count - position else {
        position = unsafe damage(.lengthBeyondBlock, block, header, at: position, of: offset)
        continue
      }
      guard unsafe isIntact(header, block, at: position) else {
        position = unsafe damage(.checksumMismatch, block, header, at: position, of: offset)
        continue
      }
      let payload = unsafe UnsafeRawBufferPointer(
        rebasing: block[(position + header.headerByteCount)..<(position + header.byteCount)])
      if header.isRecyclable {
        let number = unsafe UInt32(
          littleEndian: block.loadUnaligned(fromByteOffset: position + 7, as: UInt32.self))
        guard number == UInt32(truncatingIfNeeded: scan.fileNumber) else {
          add(.staleLogNumber, at: start, byteCount: scan.byteCount - start)
          partial = nil
          isFinished = true
          return
        }
      }
      unsafe take(header, payload, at: start)
      position += header.byteCount
    }
    if !isFinished { unsafe takeTrailer(block, from: position, of: offset) }
  }

  /// Closes what is open at the end of the file.
  mutating func finish() {
    if let partial, scan.tornTail == nil {
      tear(.unfinishedRecord, at: partial.offset)
    }
    if isResynchronising, let last = scan.findings.indices.last {
      scan.findings[last].byteCount = scan.byteCount - scan.findings[last].offset
      isResynchronising = false
    }
  }
}

// MARK: Records

extension WALParser {
  private func isIntact(
    _ header: WALFragmentHeader, _ block: UnsafeRawBufferPointer, at position: Int
  ) -> Bool {
    let covered = unsafe UnsafeRawBufferPointer(
      rebasing: block[(position + 6)..<(position + header.byteCount)])
    return unsafe CRC32C.checksum(covered) == CRC32C.unmask(header.storedChecksum)
  }

  private mutating func take(
    _ header: WALFragmentHeader, _ payload: UnsafeRawBufferPointer, at start: UInt64
  ) {
    let end = start + UInt64(header.byteCount)
    switch header.role {
    case .full:
      begin(at: start)
      partial = nil
      unsafe takeRecord(payload, byteCount: payload.count, from: start, to: end)
    case .first:
      begin(at: start)
      body.removeAll(keepingCapacity: true)
      unsafe append(payload)
    case .middle, .last:
      guard partial != nil else {
        // Behind damage this is the rest of the damaged record.
        if !isResynchronising { startDamage(.missingStart, at: start) }
        return
      }
      unsafe append(payload)
      guard header.role == .last, let record = partial else { return }
      partial = nil
      guard record.byteCount <= settings.recordByteLimit else {
        return startDamage(.recordSize(record.byteCount), at: record.offset)
      }
      unsafe body.withUnsafeBytes { bytes in
        unsafe takeRecord(bytes, byteCount: record.byteCount, from: record.offset, to: end)
      }
    case nil:
      partial = nil
      if header.type == WALFragmentHeader.setCompressionType {
        add(.compressedRecords, at: start)
        isFinished = true
      } else {
        startDamage(.unknownType(header.type), at: start)
      }
    }
  }

  /// A record starts here: whatever was open is lost.
  private mutating func begin(at start: UInt64) {
    if let partial {
      add(.missingEnd, at: partial.offset, byteCount: start - partial.offset)
      chain.isBroken = true
    }
    if isResynchronising {
      if let last = scan.findings.indices.last, scan.unlistedFindingCount == 0 {
        scan.findings[last].byteCount = start - scan.findings[last].offset
      }
      isResynchronising = false
    }
    partial = Partial(offset: start, byteCount: 0)
  }

  private mutating func append(_ payload: UnsafeRawBufferPointer) {
    partial?.byteCount += payload.count
    let needsAll = visit != nil || settings.depth == .operations
    let wanted = needsAll ? settings.recordByteLimit : WALFormat.batchHeaderByteCount
    unsafe body.append(contentsOf: payload.prefix(max(0, wanted - body.count)))
  }

  /// `bytes` are the whole record, or at least the batch's header when no more was asked for.
  private mutating func takeRecord(
    _ bytes: UnsafeRawBufferPointer, byteCount: Int, from start: UInt64, to end: UInt64
  ) {
    guard byteCount >= WALFormat.batchHeaderByteCount else {
      return startDamage(.recordSize(byteCount), at: start)
    }
    let sequence = unsafe UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
    let count = unsafe UInt32(
      littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self))
    guard sequence <= WALFormat.greatestSequence - UInt64(count) else {
      return startDamage(.sequenceTooLarge(sequence), at: start)
    }
    let span = unsafe Span<UInt8>(_unsafeBytes: bytes)
    if settings.depth == .operations {
      do throws(WriteBatchFault) {
        var reader = try WriteBatchReader(span)
        try reader.validate()
      } catch {
        return startDamage(.malformedBatch(error), at: start)
      }
    }
    follow(sequence, count: count, at: start)
    lastRecordEnd = end
    record(sequence, count: count, end: end)
    if let visit {
      visit(
        WALRecord(
          fileNumber: scan.fileNumber, offset: start, sequence: sequence, count: count,
          isBehindDamage: !scan.findings.isEmpty, bytes: span))
    }
  }

  private mutating func follow(_ sequence: UInt64, count: UInt32, at start: UInt64) {
    if let expected = chain.expected, !chain.isBroken, sequence != expected {
      add(
        sequence > expected
          ? .sequenceGap(expected: expected, found: sequence)
          : .sequenceStepsBack(expected: expected, found: sequence), at: start)
    }
    chain.isBroken = false
    chain.expected = sequence + UInt64(count)
  }

  private mutating func record(_ sequence: UInt64, count: UInt32, end: UInt64) {
    // An empty batch takes no number; its last is the one before.
    let last = sequence + UInt64(count) - (sequence + UInt64(count) > 0 ? 1 : 0)
    guard let damage = scan.findings.indices.last else {
      scan.recordCount += 1
      scan.firstSequence = scan.firstSequence ?? sequence
      scan.lastSequence = last
      scan.endOffset = end
      return
    }
    var readable =
      scan.findings[damage].readableAfter
      ?? .init(recordCount: 0, firstSequence: sequence, lastSequence: last)
    readable.recordCount += 1
    readable.lastSequence = last
    scan.findings[damage].readableAfter = readable
  }
}

// MARK: Damage and the torn end

extension WALParser {
  private mutating func add(_ kind: WALFinding.Kind, at offset: UInt64, byteCount: UInt64 = 0) {
    guard scan.findings.count < WALFileScan.findingLimit else {
      scan.unlistedFindingCount += 1
      return
    }
    scan.findings.append(
      WALFinding(
        kind: kind, fileNumber: scan.fileNumber, offset: offset, byteCount: byteCount,
        readableAfter: nil))
  }

  private mutating func startDamage(_ kind: WALFinding.Kind, at offset: UInt64) {
    add(kind, at: offset)
    partial = nil
    isResynchronising = true
    chain.isBroken = true
  }

  private mutating func tear(_ cause: WALTornTail.Cause, at offset: UInt64) {
    scan.tornTail = WALTornTail(
      cause: cause, fileNumber: scan.fileNumber, offset: offset,
      byteCount: scan.byteCount - offset)
    partial = nil
    isFinished = true
  }

  private mutating func endInZeros() {
    if let partial {
      tear(.unfinishedRecord, at: partial.offset)
    } else {
      tear(.trailingZeros, at: isResynchronising ? contentEnd : lastRecordEnd)
    }
  }

  private mutating func takeTrailer(
    _ block: UnsafeRawBufferPointer, from position: Int, of offset: UInt64
  ) {
    guard position < block.count else { return }
    let trailer = unsafe block[position...]
    let isZero = unsafe trailer.allSatisfy { $0 == 0 }
    if block.count == WALFormat.blockByteCount {
      if !isZero { add(.trailerNotZero, at: offset + UInt64(position)) }
    } else if !isResynchronising {
      if isZero { endInZeros() } else { tear(.partialHeader, at: partial?.offset ?? lastRecordEnd) }
    }
  }

  /// Records damage at `position`, or the torn end, and returns where in the block to go on.
  private mutating func damage(
    _ kind: WALFinding.Kind, _ block: UnsafeRawBufferPointer, _ header: WALFragmentHeader,
    at position: Int, of offset: UInt64
  ) -> Int {
    let start = offset + UInt64(position)
    let blockEnd = offset + UInt64(block.count)
    guard blockEnd >= contentEnd else {
      if !isResynchronising || partial != nil { startDamage(kind, at: start) }
      return block.count
    }
    let tail = unsafe WALTailJudge(
      rest: UnsafeRawBufferPointer(rebasing: block[position...]), offset: start,
      contentEnd: contentEnd, fileNumber: scan.fileNumber, expectedSequence: chain.expected,
      mayContinue: partial != nil, mayBegin: partial == nil)
    switch tail.judge(header, blockPosition: position) {
    case .torn(let cause):
      if isResynchronising {
        isFinished = true
      } else {
        tear(cause, at: partial?.offset ?? lastRecordEnd)
      }
      return block.count
    case .damaged(let exact, let next):
      if !isResynchronising || partial != nil { startDamage(exact ?? kind, at: start) }
      guard let next else {
        isFinished = true
        return block.count
      }
      return position + next
    }
  }
}
