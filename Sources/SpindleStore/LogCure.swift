internal import Glibc
internal import SpindleCore
internal import SpindleRocks

/// Replaces a failed write-ahead log, so that the store may take writes again.
///
/// After a failed append the log may end in a torn record. RocksDB would go on appending behind it
/// and acknowledge writes, even synced ones, that the next open drops. `Flush` with empty memtables
/// is a silent no-op and `Resume` rotates nothing, so the log is forced to rotate by a marker that
/// the log itself does not carry.
///
/// Crash windows. The gate is shut from the failure to the last step, so no write is acknowledged
/// meanwhile. A crash before the rotation leaves the failed log as the newest, cut at its last
/// whole record: the next open recovers all of it. A crash after the rotation leaves it followed
/// by a log whose sequence continues (the marker's number is the only gap); everything in it is
/// recovered too. Once every family is flushed nothing needs the failed log any more.
struct LogCure {
  /// The steps, in order, as tests and events name them.
  enum Step: String, CaseIterable, Sendable {
    case quiesce
    case retire
    case resume
    case marker
    case flushDefault = "flush-default"
    case checkRotation = "check-rotation"
    case flushFamilies = "flush-families"
    case clear
  }

  /// The key of the marker, in `default`.
  static let markerKey: [UInt8] = Array("log-rotation".utf8)

  struct Failure: Error {
    var step: Step
    var detail: String
  }

  let database: Database
  let guardian: WALGuard
  let health: StoreHealth
  /// Called before each step; a test makes one fail by throwing.
  let beforeStep: @Sendable (Step) throws -> Void

  /// Runs every step. On failure the gate stays shut and the whole may be tried again.
  ///
  /// - Returns: The numbers of the old and the new log.
  func run() throws(Failure) -> (from: UInt64, to: UInt64) {
    try step(.quiesce) {
      // Writes that passed the gate before it shut end within RocksDB's own write queue. The gate
      // stays shut, so this count only falls.
      for _ in 0..<1000 where !health.isQuiet { usleep(1000) }
      guard health.isQuiet else { throw RocksError(message: "Resource busy: writes end first") }
    }
    let old = try step(.retire) {
      let current = try database.currentLog().number
      guard let failure = guardian.failure else { return (number: current, mustRotate: false) }
      try guardian.retireFailedLog()
      // An earlier attempt may have left the failed log already. RocksDB then has an empty log and
      // does not replace it, so a newer number than now must not be asked for.
      return (number: failure.logNumber, mustRotate: true)
    }
    try step(.resume) {
      // Resuming flushes, and a flush leaves the failed log; so that must be retired before.
      if database.listener.isInBackgroundError { try database.resume() }
    }
    try step(.marker) {
      // A second marker before any logged write would leave a gap of two; the first serves.
      guard try reusableMarker() == nil else { return }
      var record = WriteRecord()
      let sequence = try database.latestSequenceNumber() + 1
      let value = LogMarker(sequence: sequence, logNumber: old.number).encoded()
      record.put(0, key: Self.markerKey.span, value: value.span)
      try database.writeWithoutLog(&record)
    }
    let families = database.columnFamilies
    try step(.flushDefault) {
      if let family = families.first(where: { $0.id == 0 }) { try database.flush(family) }
    }
    let new = try step(.checkRotation) {
      let number = try database.currentLog().number
      guard number > old.number || !old.mustRotate else {
        throw RocksError(message: "Operation aborted: log \(old.number) is still the newest")
      }
      return number
    }
    try step(.flushFamilies) { try database.flush(families.filter { $0.id != 0 }) }
    try step(.clear) {
      if guardian.failure != nil, !guardian.clearFailure() {
        throw RocksError(message: "Operation aborted: the failed log is still the newest")
      }
    }
    return (old.number, new)
  }

  /// The marker of an attempt that failed behind it: nothing was written since, and the failed log
  /// is not newer than the one it leaves.
  private func reusableMarker() throws -> LogMarker? {
    guard let family = database.columnFamilies.first(where: { $0.id == 0 }),
      let value = try database.get(family, Self.markerKey.span),
      let marker = LogMarker.decode(copyBytes(value.bytes)),
      try database.latestSequenceNumber() == marker.sequence,
      guardian.failure.map({ $0.logNumber <= marker.logNumber }) ?? true
    else { return nil }
    return marker
  }

  private func step<Result>(
    _ step: Step, _ body: () throws -> Result
  ) throws(Failure) -> Result {
    do {
      try beforeStep(step)
      return try body()
    } catch {
      throw Failure(step: step, detail: "\(error)")
    }
  }
}
