internal import SpindleCore

/// Tells the torn end of a log from damage, in the last block that has content.
///
/// A crash in the middle of an append leaves a true header with too few bytes behind it, and
/// nothing after them; or, after a power loss, zeros where sectors were never written. Everything
/// else is damage: bytes that were written and are not the same now.
@safe struct WALTailJudge {
  enum Verdict {
    case torn(WALTornTail.Cause)
    /// What it is, if more is known than before; and where the next record starts, counted from
    /// the damaged fragment.
    case damaged(WALFinding.Kind?, next: Int?)
  }

  /// The block from the fragment that cannot be read.
  let rest: UnsafeRawBufferPointer
  /// Where `rest` stands in the file.
  let offset: UInt64
  let contentEnd: UInt64
  let fileNumber: UInt64
  let expectedSequence: UInt64?
  /// Whether a middle or last fragment is due.
  let mayContinue: Bool
  /// Whether a full or first fragment is due.
  let mayBegin: Bool

  func judge(_ header: WALFragmentHeader, blockPosition: Int) -> Verdict {
    if let next = nextRecord() { return .damaged(nil, next: next) }
    if header.isZero { return .damaged(nil, next: nil) }
    if isIntactUpToTheEnd(header) { return .damaged(.lengthFieldDamaged, next: nil) }
    guard isDue(header) else { return .damaged(.lastRecordDamaged, next: nil) }
    guard unsafe header.byteCount > rest.count else {
      return endsInUnwrittenSectors(header)
        ? .torn(.unwrittenSectors) : .damaged(.lastRecordDamaged, next: nil)
    }
    // No writer makes a fragment that crosses its block.
    guard blockPosition + header.byteCount <= WALFormat.blockByteCount else {
      return .damaged(nil, next: nil)
    }
    return .torn(.partialPayload)
  }

  private func isDue(_ header: WALFragmentHeader) -> Bool {
    // The checksum covers the type, and a torn payload leaves it unchecked: at least the log's
    // number, which only recycled types carry, has to agree.
    if header.isRecyclable, unsafe rest.count >= WALFormat.recyclableHeaderByteCount {
      let number = unsafe UInt32(
        littleEndian: rest.loadUnaligned(fromByteOffset: 7, as: UInt32.self))
      guard number == UInt32(truncatingIfNeeded: fileNumber) else { return false }
    }
    return switch header.role {
    case .full, .first: mayBegin
    case .middle, .last: mayContinue
    case nil: false
    }
  }

  /// The length is not under the checksum: with the right one the record may still be whole.
  private func isIntactUpToTheEnd(_ header: WALFragmentHeader) -> Bool {
    guard header.role != nil else { return false }
    let covered = unsafe UnsafeRawBufferPointer(rebasing: rest[6...])
    return unsafe CRC32C.checksum(covered) == CRC32C.unmask(header.storedChecksum)
  }

  /// Whether at least the last sector of the fragment, and all behind it, is zeros.
  private func endsInUnwrittenSectors(_ header: WALFragmentHeader) -> Bool {
    let sector: UInt64 = 512
    let zerosFrom = (contentEnd + sector - 1) / sector * sector
    return zerosFrom > offset && zerosFrom < offset + UInt64(header.byteCount)
  }

  /// The next start of a record whose checksum is right. Its sequence number must be possible,
  /// because a stored value may itself contain pieces of a log.
  private func nextRecord() -> Int? {
    var position = 1
    while let header = unsafe WALFragmentHeader(rest, at: position) {
      if isRecord(header, at: position) { return position }
      position += 1
    }
    return nil
  }

  private func isRecord(_ header: WALFragmentHeader, at position: Int) -> Bool {
    guard header.role == .full || header.role == .first,
      header.payloadByteCount >= WALFormat.batchHeaderByteCount,
      unsafe header.byteCount <= rest.count - position
    else { return false }
    let sequence = unsafe UInt64(
      littleEndian: rest.loadUnaligned(
        fromByteOffset: position + header.headerByteCount, as: UInt64.self))
    // The lost record takes at least one number, and a batch holds less than 2^32.
    let least = expectedSequence ?? 0
    guard sequence >= least, sequence - least <= 1 << 32 else { return false }
    let covered = unsafe UnsafeRawBufferPointer(
      rebasing: rest[(position + 6)..<(position + header.byteCount)])
    return unsafe CRC32C.checksum(covered) == CRC32C.unmask(header.storedChecksum)
  }
}
