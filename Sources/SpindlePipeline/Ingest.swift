internal import Crypto
public import SpindleCore
public import SpindleFormats
internal import SpindleSpool
internal import SpindleStore

/// One producer's way into the store.
///
/// Batches are stored in the order of the calls. When a call of `store` returns, the batch is kept
/// at the asked durability; it is applied soon after, exactly once, also through a crash. After a
/// crash ``position`` says how much of the input is in the store: go on from its `byteCount`.
public actor Ingest {
  public nonisolated let producer: String
  public nonisolated let peer: PeerID
  /// Points that were applied before this run began, and so before its leftovers were applied.
  public nonisolated let pointsBefore: UInt64
  private let pipeline: IngestPipeline
  /// What is stored so far, applied or about to be.
  public private(set) var position: ProducerPosition
  private var decoder = DecoderBox()
  private var isClosed = false
  private var doubt: Doubt?
  private var isStoring = false
  private var queue: [CheckedContinuation<Void, Never>] = []

  init(
    pipeline: IngestPipeline, producer: String, peer: PeerID, applied: ProducerPosition,
    pointsBefore: UInt64
  ) {
    self.pipeline = pipeline
    self.producer = producer
    self.peer = peer
    position = applied
    self.pointsBefore = pointsBefore
  }

  /// Stores a batch of line protocol.
  ///
  /// Calls are taken one after the other. When 64 batches wait to be applied, the call first waits
  /// for room, holding no thread.
  ///
  /// - Parameters:
  ///   - lines: Whole lines, at most 256 MiB; the last may lack its newline.
  ///   - durability: What the acknowledgement means.
  ///   - precision: The unit of the timestamps. The default is nanoseconds.
  ///   - badLines: What becomes of the batch when a line is none. The default is to store nothing.
  ///   - digest: SHA-256 of the input up to the end of this batch, for inputs that can be read
  ///     again; ``FileIngest`` sets it.
  ///   - deadline: Until when the spool may wait for room in RocksDB.
  /// - Throws: ``SpindleError``: `invalidArgument` with line and column for a bad line, what the
  ///   spool refuses with, or what stopped the applying. Nothing of the batch was stored then,
  ///   unless ``position`` has moved: a write-ahead log that failed in a sync may keep a batch that
  ///   it could not promise.
  @discardableResult
  public func store(
    _ lines: Bytes, durability: Durability, precision: TimestampPrecision = .nanoseconds,
    badLines: BadLinePolicy = .stop, digest: [UInt8]? = nil,
    deadline: ContinuousClock.Instant? = nil
  ) async throws -> IngestReceipt {
    try await store(
      lines, durability: durability, precision: precision, badLines: badLines, digest: digest,
      deadline: deadline, continuesLine: false)
  }

  /// - Parameter continuesLine: The batch before ended without a newline, and `lines` begins with
  ///   it: that is no further line.
  func store(
    _ lines: Bytes, durability: Durability, precision: TimestampPrecision,
    badLines: BadLinePolicy, digest: [UInt8]?, deadline: ContinuousClock.Instant?,
    continuesLine: Bool
  ) async throws -> IngestReceipt {
    await enter()
    defer { leave() }
    guard !isClosed else {
      throw SpindleError(.closed, "the producer \(producer) is closed")
    }
    if let doubt { try await settle(doubt) }
    guard lines.count <= IngestOp.rawByteLimit else {
      throw SpindleError(
        .invalidArgument,
        "a batch has \(lines.count) bytes; the limit is \(IngestOp.rawByteLimit)")
    }
    var validation = LineValidation(policy: badLines)
    decoder.decoder.precision = precision
    let continued: UInt64 = continuesLine && position.lineCount > 0 ? 1 : 0
    let summary = decoder.decoder.decode(
      lines.span, firstLine: position.lineCount + 1 - continued, into: &validation)
    let lineCount = summary.physicalLines - min(continued, summary.physicalLines)
    if badLines == .stop, let first = validation.errors.first {
      throw SpindleError(.invalidArgument, first.description, reason: "bad_line")
    }
    let source = SourceSpan(
      byteOffset: position.byteCount, byteCount: UInt64(lines.count),
      firstLine: position.lineCount + 1, lineCount: lineCount, digest: digest)
    let kept = validation.kept(of: lines)
    let milliseconds = Int64(clamping: pipeline.store.clock.wallMilliseconds)
    let op = IngestOp(
      producer: producer, source: source, precision: precision,
      defaultTimestamp: milliseconds.multipliedReportingOverflow(by: 1_000_000).partialValue,
      pointCount: summary.points, rejectedCount: validation.rejectedCount, lines: kept.span)
    let index = position.nextIndex
    guard let next = position.advanced(by: op, at: index) else {
      throw SpindleError(.conflict, "the batch does not follow the one before")
    }
    try await spool(IngestMessage(peer: peer, index: index, op: op), durability, deadline, next)
    position = next
    return IngestReceipt(
      index: index, pointCount: op.pointCount, lineCount: lineCount,
      rejectedCount: validation.rejectedCount, errors: validation.errors)
  }

  private func spool(
    _ message: IngestMessage, _ durability: Durability, _ deadline: ContinuousClock.Instant?,
    _ next: ProducerPosition
  ) async throws {
    pipeline.restartIfPossible()
    try await pipeline.worker.waitForRoom()
    let payload = message.encoded()
    let id = pipeline.spool.makeID()
    do {
      let header = try await pipeline.spool.storeClaimed(
        id, payload, forceSync: durability == .synced, deadline: deadline)
      pipeline.worker.push(DrainWorker.Item(id: id, header: header, payload: payload))
    } catch {
      // A commit that failed may be there all the same: written, and its sync refused.
      let doubt = Doubt(id: id, index: message.index, next: next, payload: payload)
      self.doubt = doubt
      try? await settle(doubt)
      throw error
    }
  }

  /// A batch whose store failed, and of which nobody knows whether it is there.
  private struct Doubt {
    var id: SpoolID
    var index: UInt64
    var next: ProducerPosition
    var payload: [UInt8]
  }

  /// Finds out whether the batch in doubt is there, and takes it in if so. The next batch must not
  /// take its index.
  private func settle(_ doubt: Doubt) async throws {
    let spool = pipeline.spool
    if let record = try await spool.claimStored(doubt.id) {
      if let header = record {
        pipeline.worker.push(DrainWorker.Item(id: doubt.id, header: header, payload: doubt.payload))
      }
      position = doubt.next
    } else if pipeline.worker.position(of: peer)?.nextIndex ?? 0 > doubt.index {
      position = doubt.next
    }
    self.doubt = nil
  }

  /// Waits until everything stored so far is applied.
  ///
  /// - Throws: what stopped the applying; or ``SpindleError`` with `conflict` when batches of this
  ///   producer were not applied although nothing stopped: they wait for one that is lost, or lie
  ///   in quarantine.
  public func drained() async throws {
    let expected = position.nextIndex
    try await pipeline.drain()
    let applied = pipeline.worker.position(of: peer)?.nextIndex ?? 0
    guard applied >= expected else {
      throw SpindleError(
        .conflict,
        "\(expected - applied) batches of producer \(producer) were not applied; see the spool "
          + "\(IngestPipeline.name) and its quarantine")
    }
  }

  /// Lets go of the producer once running calls have ended. What is stored is applied all the same.
  public func close() async {
    // A batch that is on its way to the spool takes an index that the next handle must see.
    await enter()
    defer { leave() }
    guard !isClosed else { return }
    isClosed = true
    pipeline.release(peer)
  }

  deinit { if !isClosed { pipeline.release(peer) } }

  // MARK: One call at a time

  private func enter() async {
    if isStoring {
      await withCheckedContinuation { queue.append($0) }
    } else {
      isStoring = true
    }
  }

  private func leave() {
    if queue.isEmpty { isStoring = false } else { queue.removeFirst().resume() }
  }
}

/// Keeps the decoder, which cannot be copied, in an actor.
private final class DecoderBox {
  var decoder = LineProtocolDecoder()
}
