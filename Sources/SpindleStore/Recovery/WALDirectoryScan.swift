/// What all logs of a store hold together.
package struct WALDirectoryScan: Sendable, Hashable {
  package enum Verdict: Sendable, Hashable {
    /// Every record is intact and follows from the one before.
    case clean
    /// The same, and the newest log ends inside an append that was never acknowledged as durable.
    case tornTail(WALTornTail)
    /// Anything else; at least one finding.
    case suspicious([WALFinding])
  }

  /// What an open should do.
  package enum Decision: Sendable, Hashable {
    /// RocksDB will recover exactly the intact records, whichever way it is opened.
    case open
    /// Open read-only with `paranoid_checks` on and off, and compare status and sequence.
    case probe
    /// Acknowledged records are missing or damaged. The probe must not overrule this: it cannot
    /// see what RocksDB skips in both ways.
    case refuse
  }

  /// The logs that were scanned, oldest first. Obsolete ones are not among them.
  package let files: [WALFileScan]
  /// In log order, the manifest's last.
  package let findings: [WALFinding]
  package let verdict: Verdict
  package let decision: Decision

  init(files: [WALFileScan], newestPresent: UInt64?, manifest: WALNumbersInManifest?) {
    self.files = files
    var findings: [WALFinding] = []
    for (index, file) in files.enumerated() {
      findings += file.findings
      if let tail = file.tornTail, index < files.count - 1 {
        findings.append(
          WALFinding(
            kind: .tornBeforeLater(tail.cause), fileNumber: file.fileNumber, offset: tail.offset,
            byteCount: tail.byteCount, readableAfter: nil))
      }
    }
    if let manifest {
      findings += Self.contradictions(of: manifest, to: files, newestPresent: newestPresent)
    }
    self.findings = findings

    if !findings.isEmpty {
      verdict = .suspicious(findings)
      decision = findings.contains { $0.judgement == .refuse } ? .refuse : .probe
      return
    }
    decision = manifest == nil ? .probe : .open
    if let tail = files.last?.tornTail { verdict = .tornTail(tail) } else { verdict = .clean }
  }

  /// Where the manifest knows of records or logs that are not there.
  private static func contradictions(
    of manifest: WALNumbersInManifest, to files: [WALFileScan], newestPresent: UInt64?
  ) -> [WALFinding] {
    var findings: [WALFinding] = []
    if manifest.newestNamed > newestPresent ?? 0 {
      findings.append(
        WALFinding(
          kind: .newestLogMissing(named: manifest.newestNamed),
          fileNumber: manifest.newestNamed, offset: 0, byteCount: 0, readableAfter: nil))
    }
    // A flush names a new log for its family, and the older logs are synced before it counts. So
    // an older log that is still needed, for another family, must reach what the tables hold. A
    // cut at a record's end shows nowhere else.
    var worst: WALFinding?
    for family in manifest.flushed {
      let older = files.filter { $0.fileNumber < family.logNumber }
      guard let last = older.last else { continue }
      // Each open begins a log, and so does a close that flushes; one that stayed empty says
      // nothing about tables that were filled from the logs before it.
      guard let reached = older.compactMap(\.greatestSequence).max(),
        reached < family.lastSequence
      else { continue }
      let finding = WALFinding(
        kind: .behindTables(reached: reached, flushed: family.lastSequence),
        fileNumber: last.fileNumber, offset: last.endOffset, byteCount: 0, readableAfter: nil)
      if case .behindTables(_, let flushed)? = worst?.kind, flushed >= family.lastSequence {
        continue
      }
      worst = finding
    }
    if let worst { findings.append(worst) }
    return findings
  }
}
