/// Something in a write-ahead log that a killed process does not leave behind.
package struct WALFinding: Sendable, Hashable {
  package enum Kind: Sendable, Hashable {
    /// A fragment does not match its checksum.
    case checksumMismatch
    /// A fragment claims more bytes than its block has left.
    case lengthBeyondBlock
    /// The last record of the log is complete and does not match its checksum. A torn write
    /// leaves missing or zeroed bytes; other bytes mean damage after the write.
    case lastRecordDamaged
    /// The payload is intact; only its length field is wrong.
    case lengthFieldDamaged
    /// Zeros with more of the log behind them.
    case zeroHole
    /// The unused bytes at a block's end are not zeros. No record is touched.
    case trailerNotZero
    /// A middle or last fragment whose record has no start.
    case missingStart
    /// A record was begun and another one follows before its end.
    case missingEnd
    /// An intact fragment of a type this version does not know.
    case unknownType(UInt8)
    /// The log is compressed, so the batches in it cannot be checked here.
    case compressedRecords
    /// A recycled fragment that belongs to an earlier log. RocksDB ends the log here.
    case staleLogNumber
    /// An intact record too short to be a write batch, or longer than the limit.
    case recordSize(Int)
    /// An intact record whose sequence number exceeds 56 bits.
    case sequenceTooLarge(UInt64)
    /// An intact record that is not a well-formed write batch.
    case malformedBatch(WriteBatchFault)
    /// Records are missing before this one: its sequence number is too high.
    case sequenceGap(expected: UInt64, found: UInt64)
    /// A sequence number came again. RocksDB built with assertions aborts on such a log, even
    /// when it opens it read-only.
    case sequenceStepsBack(expected: UInt64, found: UInt64)
    /// The log ends inside a record although a later log exists.
    case tornBeforeLater(WALTornTail.Cause)
    /// The manifest names a log newer than any that is there.
    case newestLogMissing(named: UInt64)
    /// A column family's tables hold newer records than the logs before its flush: those logs
    /// have lost their end.
    case behindTables(reached: UInt64, flushed: UInt64)
  }

  /// Who may judge the finding.
  package enum Judgement: Sendable, Hashable {
    /// Acknowledged records are missing or damaged. RocksDB's own recovery may not notice.
    case refuse
    /// The scan cannot tell; opening read-only with both settings of `paranoid_checks` can.
    case probe
  }

  /// Records that can be read again behind the damage.
  package struct ReadableRecords: Sendable, Hashable {
    package var recordCount: Int
    package var firstSequence: UInt64
    package var lastSequence: UInt64

    package init(recordCount: Int, firstSequence: UInt64, lastSequence: UInt64) {
      self.recordCount = recordCount
      self.firstSequence = firstSequence
      self.lastSequence = lastSequence
    }
  }

  package var kind: Kind
  package var fileNumber: UInt64
  /// Where in the file it begins.
  package var offset: UInt64
  /// Bytes from there to where reading went on, or to the end of the file. Zero if none is lost.
  package var byteCount: UInt64
  /// What the same file holds behind it, up to the next finding.
  package var readableAfter: ReadableRecords?

  package var judgement: Judgement {
    switch kind {
    case .tornBeforeLater, .compressedRecords, .unknownType, .staleLogNumber, .trailerNotZero:
      .probe
    case .sequenceGap(let expected, let found):
      // The marker that makes RocksDB start a new log after a failed append takes one sequence
      // number and stands in no log. Whether it is here, only the opened store knows.
      found == expected + 1 ? .probe : .refuse
    case .behindTables(let reached, let flushed):
      flushed == reached + 1 ? .probe : .refuse
    default:
      .refuse
    }
  }
}

extension WALFinding: CustomStringConvertible {
  /// One sentence: which file, where, what.
  package var description: String {
    var text = "\(WALFormat.fileName(fileNumber)) at offset \(offset): \(what)"
    if byteCount > 0 { text += "; \(byteCount) bytes are unreadable" }
    if let after = readableAfter {
      text += "; \(after.recordCount) later records are readable, "
      text += "sequence \(after.firstSequence) to \(after.lastSequence)"
    }
    return text + "."
  }

  private var what: String {
    switch kind {
    case .checksumMismatch: "a fragment does not match its checksum"
    case .lengthBeyondBlock: "a fragment claims more bytes than its block has left"
    case .lastRecordDamaged: "the last record is complete but does not match its checksum"
    case .lengthFieldDamaged: "the length of a record is wrong, its bytes are intact"
    case .zeroHole: "zeros with more of the log behind them"
    case .trailerNotZero: "the unused bytes at the end of a block are not zeros"
    case .missingStart: "a record's continuation without its start"
    case .missingEnd: "a record that is never finished, with another behind it"
    case .unknownType(let type): "a fragment of unknown type \(type)"
    case .compressedRecords: "the log is compressed and its batches cannot be checked"
    case .staleLogNumber: "a fragment left over from an earlier use of the file"
    case .recordSize(let count): "a record of \(count) bytes, which no write batch has"
    case .sequenceTooLarge(let sequence): "the impossible sequence number \(sequence)"
    case .malformedBatch(let fault): "a malformed write batch (\(fault))"
    case .sequenceGap(let expected, let found):
      "sequence \(found) where \(expected) was due, \(found - expected) are missing"
    case .sequenceStepsBack(let expected, let found):
      "sequence \(found) where \(expected) was due"
    case .tornBeforeLater(let cause): "the log is torn (\(cause)) and a later log exists"
    case .behindTables(let reached, let flushed):
      "the log ends at sequence \(reached), but tables hold sequence \(flushed)"
    case .newestLogMissing(let named): "the manifest names log \(named), which is missing"
    }
  }
}

/// The unfinished end of the newest log: what a crash in the middle of an append leaves.
package struct WALTornTail: Sendable, Hashable {
  package enum Cause: Sendable, Hashable {
    /// Fewer bytes than a fragment's header.
    case partialHeader
    /// A header with fewer bytes behind it than it claims.
    case partialPayload
    /// A record whose last fragment was not written.
    case unfinishedRecord
    /// Nothing but zeros: space reserved and never written.
    case trailingZeros
    /// A record whose last sectors are zeros, with nothing behind it.
    case unwrittenSectors
  }

  package var cause: Cause
  package var fileNumber: UInt64
  /// The end of the last good record: where a repair would cut.
  package var offset: UInt64
  /// Bytes from there to the end of the file.
  package var byteCount: UInt64
}
