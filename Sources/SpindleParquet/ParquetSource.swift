public import SpindleCore
internal import SpindleIO

/// Bytes that can be read by range: a file, memory, or an object far away.
///
/// A reader asks only for the ranges it needs, some 1 MiB at a time, from the thread that calls
/// it.
public protocol ParquetSource: Sendable {
  /// The name that errors give.
  var name: String { get }
  /// Bytes of the whole; must not change while the source is in use.
  var size: UInt64 { get }
  /// Appends the bytes of a range to others. May wait for a disk or a network.
  ///
  /// - Parameter range: Within `0..<size`.
  /// - Throws: When not all bytes of the range can be had.
  func read(_ range: Range<UInt64>, into bytes: inout [UInt8]) throws(SpindleError)
}

/// A file that is read by offset; several readers may share it.
///
/// The file must not be written to meanwhile. One that becomes shorter is an error, no trap.
public final class FileSource: ParquetSource {
  private let file: FileReader
  public let name: String
  public let size: UInt64

  /// Opens a regular file, or a link to one.
  public init(_ path: String) throws(SpindleError) {
    do throws(IOFailure) {
      file = try FileReader(path, followingLinks: true)
    } catch {
      throw error.spindleError
    }
    name = path
    size = file.size
  }

  public func read(_ range: Range<UInt64>, into bytes: inout [UInt8]) throws(SpindleError) {
    let before = bytes.count
    do throws(IOFailure) {
      try file.read(range.count, at: range.lowerBound, appendingTo: &bytes)
    } catch {
      throw error.spindleError
    }
    guard bytes.count - before == range.count else {
      throw SpindleError(
        .corruption, "\(name) ends before its byte \(range.upperBound)", path: name)
    }
  }
}

/// Bytes in memory.
public struct MemorySource: ParquetSource {
  public let name: String
  private let contents: [UInt8]

  public init(_ contents: [UInt8], name: String = "memory") {
    self.contents = contents
    self.name = name
  }

  public var size: UInt64 { UInt64(contents.count) }

  public func read(_ range: Range<UInt64>, into bytes: inout [UInt8]) throws(SpindleError) {
    guard range.upperBound <= size else {
      throw SpindleError(.corruption, "\(name) ends before its byte \(range.upperBound)")
    }
    bytes.append(contentsOf: contents[Int(range.lowerBound)..<Int(range.upperBound)])
  }
}
