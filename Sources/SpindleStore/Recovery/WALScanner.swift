/// Reads the write-ahead logs of a shut store and says whether RocksDB may be let at them.
///
/// The store runs with `paranoid_checks` off, and then RocksDB 7.8.3 skips damaged records and
/// keeps later ones. So an open after an unclean stop needs to know beforehand that the logs
/// hold an unbroken run of records. The scan checks every fragment's CRC, every record's header
/// and that each sequence number follows from the one before. It writes nothing.
///
/// It is stricter than opening twice with both settings of `paranoid_checks`, which misses what
/// both ways skip alike: damage in the newest log's last block, a missing log, a log cut at a
/// record's end.
///
/// - Complexity: O(bytes of the logs), one buffer, and with ``Depth/operations`` or a visitor one
///   record more.
package struct WALScanner: Sendable {
  package enum Depth: Sendable {
    /// Checksums, record headers, the chain of sequence numbers.
    case headers
    /// Also that every batch's operations are well-formed and as many as its header states.
    case operations
  }

  package var depth: Depth
  /// Bytes read at a time, rounded to whole blocks. The default is 1 MiB.
  package var bufferByteCount: Int
  /// A longer record is a finding, so that a damaged log cannot claim all memory. The default is
  /// 4 GiB, RocksDB's own limit of a write batch.
  package var recordByteLimit: Int

  package init(
    depth: Depth = .operations, bufferByteCount: Int = 1 << 20, recordByteLimit: Int = 1 << 32
  ) {
    self.depth = depth
    self.bufferByteCount = bufferByteCount
    self.recordByteLimit = recordByteLimit
  }

  /// Scans one log by itself.
  ///
  /// - Parameter visit: Called with each intact record in file order, those behind damage too.
  package func scanFile(
    at path: String, number: UInt64, visit: ((borrowing WALRecord) -> Void)? = nil
  ) throws(WALScanError) -> WALFileScan {
    var chain = WALSequenceChain()
    return try scanFile(at: path, number: number, chain: &chain, visit: visit)
  }

  /// Scans every log of a RocksDB directory in order.
  ///
  /// - Parameters:
  ///   - manifest: What the manifest says about the logs. Without it obsolete logs are scanned
  ///     too, a missing newest log goes unnoticed, and the decision is never better than `probe`.
  ///   - visit: Called with each intact record in order, those behind damage too.
  package func scanDirectory(
    at path: String, manifest: WALNumbersInManifest? = nil,
    visit: ((borrowing WALRecord) -> Void)? = nil
  ) throws(WALScanError) -> WALDirectoryScan {
    var chain = WALSequenceChain()
    var files: [WALFileScan] = []
    let numbers = try WALFile.numbers(inDirectory: path)
    for number in numbers {
      if let manifest, number < manifest.oldestNeeded { continue }
      let file = path + "/" + WALFormat.fileName(number)
      files.append(try scanFile(at: file, number: number, chain: &chain, visit: visit))
    }
    return WALDirectoryScan(files: files, newestPresent: numbers.last, manifest: manifest)
  }

  private func scanFile(
    at path: String, number: UInt64, chain: inout WALSequenceChain,
    visit: ((borrowing WALRecord) -> Void)?
  ) throws(WALScanError) -> WALFileScan {
    let file = try WALFile(path: path)
    let block = WALFormat.blockByteCount
    let capacity = max(block, bufferByteCount / block * block)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 64)
    defer { unsafe buffer.deallocate() }

    var parser = WALParser(
      fileNumber: number, byteCount: file.byteCount,
      contentEnd: try unsafe file.contentEnd(using: buffer),
      settings: self, chain: chain, visit: visit)
    var offset: UInt64 = 0
    while offset < file.byteCount, !parser.isFinished {
      let bytes = try unsafe file.read(into: buffer, at: offset)
      var start = 0
      while start < bytes.count, !parser.isFinished {
        let end = min(start + block, bytes.count)
        unsafe parser.consume(
          UnsafeRawBufferPointer(rebasing: bytes[start..<end]), at: offset + UInt64(start))
        start = end
      }
      offset += UInt64(bytes.count)
    }
    parser.finish()
    chain = parser.chain
    return parser.scan
  }
}

/// What the manifest says about the logs.
package struct WALNumbersInManifest: Sendable, Hashable {
  /// One column family that has tables.
  package struct Flushed: Sendable, Hashable {
    /// The family's tables hold what older logs than this one held for it.
    package var logNumber: UInt64
    /// The greatest sequence number in them.
    package var lastSequence: UInt64

    package init(logNumber: UInt64, lastSequence: UInt64) {
      self.logNumber = logNumber
      self.lastSequence = lastSequence
    }
  }

  /// Older logs hold nothing that is not in tables; RocksDB skips them.
  package var oldestNeeded: UInt64
  /// The greatest log number any column family names. Its log was made before it was named.
  package var newestNamed: UInt64
  package var flushed: [Flushed]

  package init(oldestNeeded: UInt64, newestNamed: UInt64, flushed: [Flushed] = []) {
    self.oldestNeeded = oldestNeeded
    self.newestNamed = newestNamed
    self.flushed = flushed
  }
}

/// What is due next. It runs through all logs of a directory.
struct WALSequenceChain {
  /// The next record's sequence number; nil before the first record.
  var expected: UInt64?
  /// Damage swallowed an unknown number of records, so the next one starts the chain anew.
  var isBroken = false
}

/// An intact record: one write batch, whose bytes are borrowed for the time of the visit.
package struct WALRecord: ~Escapable {
  package let fileNumber: UInt64
  /// Where its first fragment stands in the file.
  package let offset: UInt64
  package let sequence: UInt64
  package let count: UInt32
  /// Whether damage or a gap comes before it in its file.
  package let isBehindDamage: Bool
  /// The whole batch; read it with ``WriteBatchReader``.
  package let bytes: Span<UInt8>

  @_lifetime(copy bytes)
  init(
    fileNumber: UInt64, offset: UInt64, sequence: UInt64, count: UInt32, isBehindDamage: Bool,
    bytes: Span<UInt8>
  ) {
    self.fileNumber = fileNumber
    self.offset = offset
    self.sequence = sequence
    self.count = count
    self.isBehindDamage = isBehindDamage
    self.bytes = bytes
  }
}

/// What one log holds.
package struct WALFileScan: Sendable, Hashable {
  package let fileNumber: UInt64
  package let byteCount: UInt64
  /// Intact records before the first damage.
  package internal(set) var recordCount = 0
  package internal(set) var firstSequence: UInt64?
  package internal(set) var lastSequence: UInt64?
  /// The end of the last intact record before the first damage.
  package internal(set) var endOffset: UInt64 = 0
  package internal(set) var tornTail: WALTornTail?
  /// In file order, at most ``findingLimit``.
  package internal(set) var findings: [WALFinding] = []
  /// Findings beyond the limit, which are only counted.
  package internal(set) var unlistedFindingCount = 0

  package static let findingLimit = 1_000

  /// The greatest sequence number in any intact record, behind damage too.
  package var greatestSequence: UInt64? {
    let behind = findings.compactMap { $0.readableAfter?.lastSequence }
    return ([lastSequence].compactMap { $0 } + behind).max()
  }
}
