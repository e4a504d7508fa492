internal import Glibc
internal import SpindleCore
internal import SpindleIO

/// Writes records into a new log, in RocksDB's own format.
final class LogRewriter {
  private let path: String
  private let file: Int32
  private var buffer: [UInt8] = []
  private var length = 0
  private(set) var failure: IOFailure?

  /// - Parameter path: Must not exist.
  init(path: String) throws(IOFailure) {
    self.path = path
    file = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o640)
    guard file >= 0 else { throw IOFailure("create", path: path, errno: errno) }
  }

  deinit { close(file) }

  /// Appends a record. A failure is kept for ``finish()``.
  func append(_ record: Span<UInt8>) {
    var start = 0
    repeat {
      let room = WALFormat.blockByteCount - length % WALFormat.blockByteCount
      if room < WALFormat.headerByteCount {
        add(repeatElement(0, count: room))
        continue
      }
      let end = min(record.count, start + room - WALFormat.headerByteCount)
      let type: UInt8 =
        switch (start == 0, end == record.count) {
        case (true, true): 1
        case (true, false): 2
        case (false, false): 3
        case (false, true): 4
        }
      appendFragment(type, record.extracting(start..<end))
      start = end
    } while start < record.count
    if buffer.count >= 1 << 20 { flush() }
  }

  /// Writes what is left and syncs the file.
  func finish() throws(IOFailure) {
    flush()
    if let failure { throw failure }
    guard fsync(file) == 0 else { throw IOFailure("sync", path: path, errno: errno) }
  }

  private func appendFragment(_ type: UInt8, _ payload: Span<UInt8>) {
    let covered = [type] + copyBytes(payload)
    let checksum = CRC32C.mask(CRC32C.checksum(covered))
    add((0..<4).map { UInt8(truncatingIfNeeded: checksum >> (8 * UInt32($0))) })
    add([UInt8(truncatingIfNeeded: payload.count), UInt8(payload.count >> 8)])
    add(covered)
  }

  private func add(_ bytes: some Sequence<UInt8>) {
    let before = buffer.count
    buffer.append(contentsOf: bytes)
    length += buffer.count - before
  }

  private func flush() {
    guard failure == nil else { return }
    do throws(IOFailure) {
      try Files.write(buffer, to: file, path: path)
    } catch {
      failure = error
    }
    buffer.removeAll(keepingCapacity: true)
  }
}
