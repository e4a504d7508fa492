public import SpindleCore
internal import SpindleIO

/// Where a written file goes, from its first byte to its last.
public protocol ParquetSink: AnyObject {
  /// The name that errors give.
  var name: String { get }
  /// Takes the next bytes. May wait for a disk or a network.
  func write(_ bytes: [UInt8]) throws(SpindleError)
  /// Called once, behind the last byte: makes the file whole under its name.
  func finish() throws(SpindleError)
}

/// A new file, which appears under its name as a whole or not at all.
///
/// The bytes go to a file beside it, `path.<random>.tmp`, which is synced and gets the name at the
/// end. A sink that goes out of scope before leaves nothing; a file that is there is not replaced.
///
/// A crash before the end leaves the file beside, which nobody takes for the whole one and which
/// may be removed. One between the steps of ``finish()`` leaves the file under both names, whole
/// and durable; one before the directory is synced may lose both names to a power loss, never half
/// of the file.
public final class FileSink: ParquetSink {
  public let name: String
  private var file: NewFile?

  /// Starts a file.
  ///
  /// - Throws: ``SpindleError`` with `io`: something has the name already, or the directory cannot
  ///   be written to.
  public init(_ path: String) throws(SpindleError) {
    name = path
    do throws(IOFailure) {
      file = try NewFile(path)
    } catch {
      throw error.spindleError
    }
  }

  public func write(_ bytes: [UInt8]) throws(SpindleError) {
    do throws(IOFailure) {
      try file?.write(bytes)
    } catch {
      throw error.spindleError
    }
  }

  /// Syncs the file and gives it its name.
  ///
  /// - Throws: ``SpindleError`` with `io`, also when something took the name meanwhile.
  public func finish() throws(SpindleError) {
    do throws(IOFailure) {
      try file?.finish()
    } catch {
      throw error.spindleError
    }
    file = nil
  }
}

/// Memory that a file is written to.
public final class MemorySink: ParquetSink {
  public let name: String
  /// What was written so far; a file once the writer finished.
  public private(set) var bytes: [UInt8] = []

  public init(name: String = "memory") { self.name = name }

  public func write(_ bytes: [UInt8]) throws(SpindleError) { self.bytes.append(contentsOf: bytes) }

  public func finish() throws(SpindleError) {}
}
