internal import SpindleCore
internal import SpindleOpLog
internal import SpindlePipeline
internal import SpindleRocks
internal import SpindleSpool
public import SpindleStore

/// What checking a store found.
public struct StoreCheckReport: Sendable, Equatable {
  /// One sentence each; empty for a sound store.
  public var findings: [String] = []
  /// Findings beyond ``findingLimit``, which are only counted.
  public var untoldFindings = 0
  /// Messages in all spools.
  public var spooledMessages = 0
  /// Entries in all op-logs.
  public var logEntries: UInt64 = 0
  public var seriesCount = 0
  /// Points over all series.
  public var pointCount: UInt64 = 0
  /// SHA-256 over the states of all series: equal for two stores with the same contents.
  public var digest: [UInt8] = []

  public init() {}

  /// The most findings that are told one by one.
  public static let findingLimit = 1_000

  mutating func add(_ finding: String) {
    if findings.count < Self.findingLimit { findings.append(finding) } else { untoldFindings += 1 }
  }
}

/// Checks every checksum and every invariant of a store. Changes nothing.
///
/// The write-ahead log was checked when the store was opened. This reads all table files, every
/// spooled message, every row of every op-log, every ingest op, and the state derived from them,
/// and compares what must agree.
public struct StoreCheck: Sendable {
  private let store: Store

  public init(_ store: Store) { self.store = store }

  /// - Throws: ``SpindleError`` when the store cannot be read at all; damage is a finding.
  /// - Complexity: reads everything.
  public func run() async throws -> StoreCheckReport {
    try await store.blocking {
      var report = StoreCheckReport()
      checkTables(&report)
      for name in store.familyNames {
        if name.hasPrefix("spool:") { checkSpool(name, &report) }
        if name.hasPrefix("oplog:") { checkLog(String(name.dropFirst(6)), &report) }
      }
      checkIngest(&report)
      return report
    }
  }

  private func checkTables(_ report: inout StoreCheckReport) {
    // A secondary may find files that its owner deletes meanwhile; the owner checks its own.
    if case .following = store.view { return }
    do {
      try store.database.verifyTableChecksums()
    } catch {
      report.add("the table files of \(store.path): \(error)")
    }
  }

  private func checkSpool(_ name: String, _ report: inout StoreCheckReport) {
    guard let family = store.existingFamily(name) else { return }
    let isQuarantine = name.hasSuffix(".quarantine")
    do {
      try store.scan(family) { key, record in
        let probeKey = StoreFamily.probeKey
        if bytesEqual(key, probeKey.span) { return true }
        guard let id = SpoolID(bytes: key) else {
          report.add("\(name): the key \(hexString(copyBytes(key).prefix(20))) is no spool id")
          return true
        }
        report.spooledMessages += 1
        do throws(DecodingFailure) {
          if isQuarantine {
            // The records inside may be damaged; the envelope's checksum says that they are kept as
            // they were found.
            _ = try QuarantineEnvelope(decoding: record)
          } else {
            _ = try SpoolRecord.payload(of: record)
          }
        } catch {
          let what = isQuarantine ? "the envelope of the message" : "the message"
          report.add("\(name): \(what) \(id) is damaged: \(error)")
        }
        return true
      }
    } catch {
      report.add("\(name): \(error)")
    }
  }

  private func checkLog(_ prefix: String, _ report: inout StoreCheckReport) {
    do {
      let found = try OpLogVerifier(store: store, prefix: prefix).verifyBlocking()
      report.logEntries += found.entries + found.markers
      for finding in found.findings { report.add(finding) }
    } catch {
      report.add("oplog:\(prefix): \(error)")
    }
  }

  private func checkIngest(_ report: inout StoreCheckReport) {
    do {
      guard let audit = try IngestAudit(store: store)?.runBlocking() else { return }
      report.seriesCount = audit.summary.seriesCount
      report.pointCount = audit.summary.pointCount
      report.digest = audit.summary.digest
      for finding in audit.findings { report.add(finding) }
    } catch {
      report.add("\(error)")
    }
  }
}
