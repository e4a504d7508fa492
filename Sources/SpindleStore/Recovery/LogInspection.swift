internal import SpindleCore
internal import SpindleIO
package import SpindleRocks

/// What can be learnt of a shut store's logs without replaying one and without writing anything.
struct LogInspection {
  let directory: StoreDirectory
  /// Nil where the manifest could not be read; `numbersError` says why.
  let numbers: LogNumbers?
  let numbersError: RocksError?
  /// What the cure of a failed log left in the tables.
  let marker: LogMarker?
  let scan: WALDirectoryScan

  init(_ directory: StoreDirectory) throws(SpindleError) {
    self.directory = directory
    var numbers: LogNumbers?
    var failure: RocksError?
    let key = LogCure.markerKey
    do throws(RocksError) {
      numbers = try Database.logNumbers(at: directory.database, valueOf: key.span)
    } catch {
      failure = error
    }
    self.numbers = numbers
    numbersError = failure
    marker = numbers?.value.flatMap(LogMarker.decode)
    scan = try Self.scan(directory, numbers)
  }

  static func scan(
    _ directory: StoreDirectory, _ numbers: LogNumbers?,
    visit: ((borrowing WALRecord) -> Void)? = nil
  ) throws(SpindleError) -> WALDirectoryScan {
    do throws(WALScanError) {
      return try WALScanner().scanDirectory(
        at: directory.database, manifest: numbers?.inManifest, visit: visit)
    } catch {
      throw SpindleError(.io, error.sentence, path: directory.database)
    }
  }

  /// Whether the finding is nothing but the sequence number of the cure's marker.
  func isMarker(_ finding: WALFinding) -> Bool {
    guard let marker else { return false }
    return switch finding.kind {
    case .sequenceGap(let expected, let found):
      found == expected + 1 && marker.sequence == expected
    case .behindTables(let reached, let flushed):
      flushed == reached + 1 && marker.sequence == flushed
    default: false
    }
  }

  /// The findings that the marker does not explain. A torn log before the marker's is the one
  /// whose append failed: nothing in it was acknowledged behind its last whole record.
  var unexplained: [WALFinding] {
    let rest = scan.findings.filter { !isMarker($0) }
    guard rest.count < scan.findings.count else { return rest }
    return rest.filter {
      if case .tornBeforeLater = $0.kind { false } else { true }
    }
  }

  /// The newest sequence number that the logs prove to be there.
  ///
  /// Where a needed log holds a record, the newest number is in a log: only empty logs leave the
  /// manifest's own number, which flushes write and which may be ahead of a log that lost its end.
  var reachedSequence: UInt64? {
    if let scanned = scan.files.compactMap(\.greatestSequence).max() {
      let hasMarker = scan.findings.contains { isMarker($0) }
      return hasMarker ? max(scanned, marker?.sequence ?? 0) : scanned
    }
    return numbers?.latestSequence
  }
}

extension LogNumbers {
  /// The same as the scan takes it.
  package var inManifest: WALNumbersInManifest {
    WALNumbersInManifest(
      oldestNeeded: oldestNeeded, newestNamed: families.map(\.logNumber).max() ?? 0,
      flushed: families.map {
        .init(logNumber: $0.logNumber, lastSequence: $0.largestSequence)
      })
  }
}

extension WALScanError {
  /// The error as one sentence.
  var sentence: String {
    switch self {
    case .system(let operation, let path, let code):
      IOFailure(operation.rawValue, path: path, errno: code).description
    case .changedWhileRead(let path):
      "\(path) became shorter while it was read, so another process is writing to the store"
    }
  }
}
