internal import Crypto
public import SpindleCore
public import SpindleFormats
internal import SpindleIO
internal import SpindleStore
internal import Synchronization

/// Ingests a whole input, and goes on where an earlier run stopped.
///
/// Each batch carries the SHA-256 of all input bytes up to its end. A rerun hashes the input up to
/// the recorded position: where the hashes agree the input is the same up to there, and ingesting
/// goes on behind it, with whatever batch size; an input that has grown continues at its old end.
/// A changed, shorter or different input is refused, and nothing is stored.
public struct FileIngest: Sendable {
  public struct Options: Sendable {
    public var durability = Durability.buffered
    public var precision = TimestampPrecision.nanoseconds
    public var badLines = BadLinePolicy.stop
    /// Physical lines a batch. The default is 5,000: one commit costs little more than one line
    /// then, and a batch still is under a megabyte.
    public var batchLines: UInt64 = 5_000

    public init() {}
  }

  /// How far a run is.
  public struct Progress: Sendable {
    /// Physical lines of the input that were read, those of earlier runs too.
    public var linesRead: UInt64 = 0
    /// Bytes of the input that were read, inflated.
    public var bytes: UInt64 = 0
    /// Whether the run still compares the input with what was applied before.
    public var isComparing = false
  }

  /// What a run did.
  public struct Summary: Sendable, Equatable {
    /// Physical lines of the input, those of earlier runs too.
    public var linesRead: UInt64 = 0
    /// Points applied by this run, what earlier runs left in the spool included.
    public var linesApplied: UInt64 = 0
    /// Points of the input that were applied before this run.
    public var linesAlreadyApplied: UInt64 = 0
    /// Lines of the input that were rejected, by this run and earlier ones.
    public var linesRejected: UInt64 = 0
    /// Bytes of the input, inflated, those of earlier runs too.
    public var bytes: UInt64 = 0
    /// The first rejected lines of this run, at most ``IngestReceipt/reportedErrorLimit``.
    public var errors: [LineProtocolError] = []
    /// Lines that this run rejected.
    public var linesRejectedNow: UInt64 = 0
  }

  private let ingest: Ingest
  private let store: Store
  private let options: Options

  public init(_ ingest: Ingest, in pipeline: IngestPipeline, options: Options) {
    self.ingest = ingest
    store = pipeline.store
    self.options = options
  }

  /// Runs to the end of the input, and until all of it is applied.
  ///
  /// - Parameters:
  ///   - path: A file, or "-" for standard input; gzip is inflated.
  ///   - progress: Called after each batch.
  /// - Throws: ``SpindleError``; with `conflict` for an input that is not the one applied before.
  ///   What was acknowledged before the error is kept; the summary of it comes with
  ///   ``partialSummary()``.
  public func run(
    path: String, progress: @escaping @Sendable (Progress) -> Void = { _ in }
  ) async throws -> Summary {
    let input = try await store.blocking { try InputBox(path: path) }
    let start = await ingest.position
    let continuesLine = try await skipApplied(start, input, progress)
    let errors: [LineProtocolError]
    do {
      errors = try await storeAll(input, path, continuesLine: continuesLine, progress)
    } catch {
      // What was stored before is acknowledged, so it is applied too, where the store still takes
      // writes; else the next run does so. The first error is the one to tell.
      try? await ingest.drained()
      throw error
    }
    try await ingest.drained()
    if options.durability == .synced { try await store.synchronize() }
    var summary = await partialSummary()
    summary.errors = errors
    summary.linesRejectedNow = summary.linesRejected - start.rejectedCount
    return summary
  }

  /// Stores batch after batch up to the end of the input.
  ///
  /// - Returns: The first rejected lines.
  private func storeAll(
    _ input: InputBox, _ path: String, continuesLine: Bool,
    _ progress: @Sendable (Progress) -> Void
  ) async throws -> [LineProtocolError] {
    var errors: [LineProtocolError] = []
    var continuesLine = continuesLine
    let batchLines = options.batchLines
    while let batch = try await store.blocking({ try input.nextBatch(lines: batchLines) }) {
      let receipt: IngestReceipt
      do {
        receipt = try await ingest.store(
          batch.bytes, durability: options.durability, precision: options.precision,
          badLines: options.badLines, digest: batch.digest, deadline: nil,
          continuesLine: continuesLine)
      } catch let error as SpindleError where error.reason == "bad_line" {
        throw SpindleError(
          .invalidArgument, "\(input.name): \(error.message)", path: path, reason: "bad_line")
      }
      continuesLine = false
      errors += receipt.errors.prefix(IngestReceipt.reportedErrorLimit - errors.count)
      let position = await ingest.position
      progress(Progress(linesRead: position.lineCount, bytes: position.byteCount))
    }
    return errors
  }

  /// What is stored so far, for a run that ended with an error.
  public func partialSummary() async -> Summary {
    let position = await ingest.position
    return Summary(
      linesRead: position.lineCount, linesApplied: position.pointCount - ingest.pointsBefore,
      linesAlreadyApplied: ingest.pointsBefore, linesRejected: position.rejectedCount,
      bytes: position.byteCount)
  }

  /// Reads up to the recorded position and compares hashes.
  ///
  /// - Returns: Whether what follows begins with the end of a line that was applied without it,
  ///   because the input ended there then.
  private func skipApplied(
    _ start: ProducerPosition, _ input: InputBox, _ progress: @Sendable (Progress) -> Void
  ) async throws -> Bool {
    guard start.byteCount > 0 else { return false }
    var skipped: UInt64 = 0
    while skipped < start.byteCount {
      let limit = start.byteCount - skipped
      let count = try await store.blocking { try input.skip(atMost: limit) }
      guard count > 0 else { break }
      skipped += count
      progress(Progress(linesRead: 0, bytes: skipped, isComparing: true))
    }
    guard skipped == start.byteCount, let digest = start.digest, input.digest == digest else {
      throw SpindleError(
        .conflict,
        "\(input.name): producer \(ingest.producer) applied \(start.lineCount) lines of another "
          + "input; use --producer NAME", reason: "other_input")
    }
    switch try await store.blocking({ try input.lineState() }) {
    case .atStart: return false
    case .beforeEnd: return true
    case .within:
      throw SpindleError(
        .conflict,
        "\(input.name): line \(start.lineCount) was applied when it was the last and had no "
          + "newline, and has grown since; use --producer NAME", reason: "other_input")
    }
  }
}

/// An input with the hash of all bytes taken from it. One caller at a time uses it, from whatever
/// thread its blocking calls run on.
private final class InputBox: Sendable {
  private struct State: ~Copyable {
    var reader: InputReader
    var buffer: [UInt8] = []
    var start = 0
    var hasher = SHA256()
    var isAtEnd = false
    var lastSkipped: UInt8?
  }

  /// Where in a line the input stands.
  enum LineState {
    case atStart
    /// A line's newline, or the end of the input, comes next.
    case beforeEnd
    case within
  }

  struct Batch: Sendable {
    var bytes: [UInt8]
    /// SHA-256 of the input up to the end of the batch.
    var digest: [UInt8]
  }

  let name: String
  private let state: Mutex<State>

  init(path: String) throws {
    let reader = try InputReader(path: path)
    name = reader.name
    state = Mutex(State(reader: reader))
  }

  var digest: [UInt8] { state.withLock { Array($0.hasher.finalize()) } }

  /// Takes bytes without giving them out.
  func skip(atMost limit: UInt64) throws -> UInt64 {
    try state.withLock { state in
      if state.start == state.buffer.count { try Self.fill(&state) }
      let count = Int(min(UInt64(state.buffer.count - state.start), limit))
      let end = state.start + count
      state.hasher.update(data: Array(state.buffer[state.start..<end]))
      if count > 0 { state.lastSkipped = state.buffer[end - 1] }
      state.start = end
      return UInt64(count)
    }
  }

  /// Judges the place behind the skipped bytes.
  func lineState() throws -> LineState {
    try state.withLock { state in
      let newline = UInt8(ascii: "\n")
      guard let last = state.lastSkipped, last != newline else { return .atStart }
      while state.buffer.count - state.start < 2, !state.isAtEnd { try Self.fill(&state) }
      let next = state.buffer[state.start...].prefix(2)
      let isEnd = next.isEmpty || next.first == newline || Array(next) == Array("\r\n".utf8)
      return isEnd ? .beforeEnd : .within
    }
  }

  /// The next lines; nil at the end. What stands behind a quote that is not closed within
  /// ``longestLine`` is given out in whole physical lines, so that the decoder says what is wrong.
  func nextBatch(lines: UInt64) throws -> Batch? {
    try state.withLock { state in
      while true {
        let available = state.buffer.count - state.start
        let prefix = Self.wholeLines(atMost: lines, in: state.buffer, from: state.start)
        var count = prefix.byteCount
        if prefix.physicalLines < lines, !state.isAtEnd, available < Self.longestLine {
          try Self.fill(&state)
          continue
        }
        if state.isAtEnd, prefix.physicalLines < lines {
          count = available
        } else if count == 0 {
          // Never half a line: its beginning might be a valid line by itself.
          let waiting = state.buffer[state.start...]
          guard let newline = waiting.lastIndex(of: UInt8(ascii: "\n")) else {
            throw SpindleError(
              .invalidArgument,
              "\(name): a line is longer than \(Self.longestLine >> 20) MiB; expected line "
                + "protocol",
              path: name)
          }
          count = newline + 1 - state.start
        }
        guard count > 0 else { return nil }
        let end = state.start + count
        let bytes = Array(state.buffer[state.start..<end])
        state.start = end
        state.hasher.update(data: bytes)
        return Batch(bytes: bytes, digest: Array(state.hasher.finalize()))
      }
    }
  }

  private static func wholeLines(
    atMost lines: UInt64, in buffer: [UInt8], from start: Int
  ) -> LineProtocolPrefix {
    LineProtocolPrefix.wholeLines(
      atMost: lines, in: buffer.span.extracting(start..<buffer.count))
  }

  /// Bytes that are read on in search of a line's end. Above the decoder's own limit, so that it
  /// finds the line too long; below what memory feels.
  private static let longestLine = 16 << 20

  private static func fill(_ state: inout State) throws {
    if state.start > 0 {
      state.buffer.removeFirst(state.start)
      state.start = 0
    }
    if try !state.reader.read(into: &state.buffer) { state.isAtEnd = true }
  }
}

extension FileIngest {
  /// Refuses a path that cannot be read, before anything else is done.
  ///
  /// - Throws: ``SpindleError`` with `notFound`, `invalidArgument` or `io`.
  public static func checkReadable(_ path: String) throws {
    try InputReader.checkReadable(path)
  }
}
