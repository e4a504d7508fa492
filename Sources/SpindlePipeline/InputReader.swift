internal import Glibc
internal import SpindleCodecs
internal import SpindleCore
internal import SpindleIO

/// Reads an input from its start: a file or standard input, plain or gzip by its magic.
///
/// Blocking; used on threads that may.
struct InputReader: ~Copyable {
  /// Bytes read at a time.
  static let chunkBytes = 1 << 20

  let name: String
  private let file: Int32
  private var inflater: Inflation = .undecided
  private var chunk = [UInt8](repeating: 0, count: InputReader.chunkBytes)
  private var isAtEnd = false
  /// Bytes of the chunk that are not inflated yet.
  private var waiting = 0..<0

  private enum Inflation {
    case undecided, plain, gzip
  }
  private var gzip = GzipInflater()

  /// Opens a file, or standard input for "-".
  init(path: String) throws {
    (name, file) = try Self.openInput(path)
  }

  private static func openInput(_ path: String) throws -> (String, Int32) {
    if path == "-" {
      let copy = dup(STDIN_FILENO)
      guard copy >= 0 else {
        throw IOFailure("read", path: "standard input", errno: errno).spindleError
      }
      return ("standard input", copy)
    }
    if Files.isDirectory(path) {
      throw SpindleError(
        .invalidArgument, "\(path) is a directory; expected a file of line protocol", path: path)
    }
    let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw IOFailure("open", path: path, errno: errno).spindleError }
    return (path, file)
  }

  deinit { close(file) }

  /// Refuses a path that cannot be opened for reading. A pipe is not opened: its writer would see
  /// the reader go.
  static func checkReadable(_ path: String) throws {
    var status = stat()
    if unsafe stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFIFO {
      guard unsafe access(path, R_OK) == 0 else {
        throw IOFailure("open", path: path, errno: errno).spindleError
      }
      return
    }
    _ = try InputReader(path: path)
  }

  /// Appends the next bytes of the input to a buffer.
  ///
  /// - Returns: false at the end of the input.
  mutating func read(into buffer: inout [UInt8]) throws -> Bool {
    while !isAtEnd {
      let start = buffer.count
      if !waiting.isEmpty {
        try inflateSome(into: &buffer)
        if buffer.count > start { return true }
      }
      let count = try readChunk()
      if inflater == .undecided {
        // The magic is the first two bytes; a shorter input is plain.
        inflater = Array(chunk.prefix(min(count, 2))) == GzipInflater.magic ? .gzip : .plain
      }
      if count == 0 {
        isAtEnd = true
        if inflater == .gzip, !gzip.isComplete {
          throw SpindleError(.invalidArgument, "\(name): the gzip data ends too early")
        }
        return false
      }
      if inflater == .plain {
        buffer.append(contentsOf: chunk[0..<count])
      } else {
        waiting = 0..<count
        try inflateSome(into: &buffer)
      }
      if buffer.count > start { return true }
    }
    return false
  }

  /// Inflates what was read, a piece at a time, until there is enough to go on with. A piece of
  /// 16 KiB gives 16 MiB at the most, since deflate shrinks at most 1,032 times.
  private mutating func inflateSome(into buffer: inout [UInt8]) throws {
    let start = buffer.count
    while !waiting.isEmpty, buffer.count - start < Self.chunkBytes {
      let piece = Array(chunk[waiting.prefix(16 << 10)])
      waiting = (waiting.lowerBound + piece.count)..<waiting.upperBound
      do {
        try gzip.inflate(piece.span) { buffer.append(borrowing: $0) }
      } catch {
        throw SpindleError(.invalidArgument, "\(name): \(error)")
      }
    }
  }

  /// Fills the chunk as far as the input allows.
  private mutating func readChunk() throws -> Int {
    var filled = 0
    while filled < Self.chunkBytes {
      let descriptor = file
      let count = unsafe chunk.withUnsafeMutableBytes { bytes in
        unsafe Glibc.read(
          descriptor, bytes.baseAddress?.advanced(by: filled), Self.chunkBytes - filled)
      }
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw IOFailure("read", path: name, errno: errno).spindleError }
      if count == 0 { break }
      filled += count
      // A pipe gives little at a time; do not hold back much of it to fill the chunk.
      if filled >= 64 << 10 { break }
    }
    return filled
  }
}
