internal import Glibc

/// A log opened for reading. It is never written, and holes or changes cannot trap: it is read
/// with `pread`, because a mapped file that shrinks kills the process.
struct WALFile: ~Copyable {
  let path: String
  let byteCount: UInt64
  private let descriptor: Int32

  init(path: String) throws(WALScanError) {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .system(.open, path: path, code: errno) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      let code = errno
      close(descriptor)
      throw .system(.inspect, path: path, code: code)
    }
    self.path = path
    self.descriptor = descriptor
    byteCount = UInt64(max(0, status.st_size))
    _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
  }

  deinit { close(descriptor) }

  /// Fills the buffer from `offset`, as far as the file's size at opening allows.
  func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALScanError) -> UnsafeRawBufferPointer {
    guard offset < byteCount else { return unsafe UnsafeRawBufferPointer(rebasing: buffer[0..<0]) }
    let wanted = Int(min(UInt64(buffer.count), byteCount - offset))
    var done = 0
    while done < wanted {
      let got = unsafe pread(
        descriptor, buffer.baseAddress! + done, wanted - done, off_t(offset) + off_t(done))
      if got < 0 && errno == EINTR { continue }
      guard got >= 0 else { throw .system(.read, path: path, code: errno) }
      guard got > 0 else { throw .changedWhileRead(path: path) }
      done += got
    }
    return unsafe UnsafeRawBufferPointer(rebasing: buffer[0..<wanted])
  }

  /// The offset behind the last byte that is not zero.
  func contentEnd(using buffer: UnsafeMutableRawBufferPointer) throws(WALScanError) -> UInt64 {
    var end = byteCount
    // A log rarely ends in zeros: look at little first.
    var window: UInt64 = 4_096
    while end > 0 {
      let start = end > window ? end - window : 0
      let piece = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[0..<Int(end - start)])
      let bytes = try unsafe read(into: piece, at: start)
      if let last = unsafe bytes.lastIndex(where: { $0 != 0 }) { return start + UInt64(last) + 1 }
      end = start
      window = UInt64(buffer.count)
    }
    return 0
  }

  /// The numbers of the logs in a directory, rising.
  static func numbers(inDirectory path: String) throws(WALScanError) -> [UInt64] {
    guard let directory = unsafe opendir(path) else {
      throw .system(.list, path: path, code: errno)
    }
    defer { unsafe closedir(directory) }
    var numbers: [UInt64] = []
    while true {
      errno = 0
      guard let entry = unsafe readdir(directory) else {
        guard errno == 0 else { throw .system(.list, path: path, code: errno) }
        return numbers.sorted()
      }
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
      }
      if let number = WALFormat.fileNumber(name) { numbers.append(number) }
    }
  }
}
