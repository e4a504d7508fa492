import Foundation
import SpindleCore

/// What the system tells of this process and its files.
enum BenchMeters {
  /// Bytes that the kernel counted as written to the disk for this process.
  static func kernelBytesWritten() throws -> Int {
    try number("write_bytes:", in: "/proc/self/io")
  }

  /// The most bytes of memory that were resident at once since the start or ``resetPeak()``.
  static func peakResidentBytes() throws -> Int {
    try number("VmHWM:", in: "/proc/self/status") << 10
  }

  static func residentBytes() throws -> Int { try number("VmRSS:", in: "/proc/self/status") << 10 }

  /// Forgets the peak so far.
  static func resetPeak() throws {
    try Data("5".utf8).write(to: URL(fileURLWithPath: "/proc/self/clear_refs"))
  }

  /// Writes out and drops the system's page cache; only root may.
  static func dropPageCache() throws {
    sync()
    do {
      try Data("3".utf8).write(to: URL(fileURLWithPath: "/proc/sys/vm/drop_caches"))
    } catch {
      throw SpindleError(
        .invalidArgument, "cannot write /proc/sys/vm/drop_caches; --drop-caches needs root")
    }
  }

  /// Bytes of all files below a directory.
  static func diskBytes(_ directory: String) -> Int {
    let manager = FileManager.default
    return (manager.subpaths(atPath: directory) ?? []).reduce(0) { sum, name in
      let attributes = try? manager.attributesOfItem(atPath: directory + "/" + name)
      guard attributes?[.type] as? FileAttributeType == .typeRegular else { return sum }
      return sum + ((attributes?[.size] as? Int) ?? 0)
    }
  }

  private static func number(_ name: String, in file: String) throws -> Int {
    let text = try String(contentsOfFile: file, encoding: .utf8)
    let words = text.split(whereSeparator: \.isWhitespace)
    guard let at = words.firstIndex(where: { $0 == name }), at + 1 < words.count,
      let number = Int(words[at + 1])
    else { throw SpindleError(.io, "\(file) does not tell \(name)") }
    return number
  }
}
