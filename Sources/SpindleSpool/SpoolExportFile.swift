internal import SpindleCore
internal import SpindleIO

/// The file of an export. `Documentation/Formats/spool-export.md` describes the layout.
enum SpoolExportFile {
  // Part of the format; must not be changed.
  /// Bytes that are no text, so that a transfer as text is noticed.
  static let magic: [UInt8] = [0x89, 0x53, 0x50, 0x58, 0x50, 0x0D, 0x0A, 0x1A]
  static let version: UInt8 = 1
  static let headerBytes = 16
  static let recordHeaderBytes = 28
  static let messageType: UInt8 = 1
  static let endType: UInt8 = 2

  static var header: [UInt8] {
    var header = magic + [version, 0, 0, 0]
    header.appendBigEndian(CRC32C.mask(CRC32C.checksum(header)))
    return header
  }

  /// The header of a message; the payload follows it.
  static func recordHeader(_ id: SpoolID, _ payload: [UInt8]) -> [UInt8] {
    var header: [UInt8] = [messageType, 0, 0, 0]
    header.appendBigEndian(UInt32(payload.count))
    header += id.bytes
    return header + checksum(header, payload)
  }

  /// What ends every export.
  static func end(messages: UInt64, unreadable: UInt64) -> [UInt8] {
    var end: [UInt8] = [endType, 0, 0, 0, 0, 0, 0, 0]
    end.appendBigEndian(messages)
    end.appendBigEndian(unreadable)
    return end + checksum(end, [])
  }

  private static func checksum(_ fields: [UInt8], _ payload: [UInt8]) -> [UInt8] {
    var checksum = CRC32C()
    checksum.update(fields)
    checksum.update(payload)
    var bytes: [UInt8] = []
    bytes.appendBigEndian(checksum.masked)
    return bytes
  }

  /// Messages of a file, and where the next begin.
  struct Page: Sendable {
    var messages: [(id: SpoolID, payload: [UInt8])] = []
    var next: UInt64
    /// Whether the end was met; nothing follows it.
    var isLast = false
  }

  /// Payload bytes of a page: bounds the memory, one message aside.
  static let pageBytes = 4 << 20

  /// Reads and checks the messages from an offset on; 0 is the beginning.
  ///
  /// - Parameter count: Messages before the offset, which the end must agree with.
  /// - Throws: ``SpindleError``: `corruption` with the offset of what is damaged, or `io`.
  static func page(_ path: String, from offset: UInt64, after count: UInt64) throws -> Page {
    do {
      var file = try FileReader(path)
      var page = Page(next: offset)
      var bytes = 0
      if offset == 0 {
        guard try file.read(headerBytes) == header else {
          throw damaged(path, 0, "it does not begin as an export of version \(version) does")
        }
        page.next = UInt64(headerBytes)
      } else {
        try file.seek(to: offset)
      }
      while bytes < pageBytes {
        let known = count + UInt64(page.messages.count)
        let record = try record(&file, path, at: page.next, messages: known)
        guard let (id, payload) = record else {
          page.isLast = true
          break
        }
        page.messages.append((id, payload))
        page.next += UInt64(recordHeaderBytes + payload.count)
        bytes += recordHeaderBytes + payload.count
      }
      return page
    } catch let error as IOFailure {
      throw error.spindleError
    }
  }

  /// - Returns: nil at the end.
  private static func record(
    _ file: inout FileReader, _ path: String, at offset: UInt64, messages: UInt64
  ) throws -> (SpoolID, [UInt8])? {
    let header = try file.read(recordHeaderBytes)
    guard header.count == recordHeaderBytes else { throw damaged(path, offset, "it is cut short") }
    do {
      var reader = ByteReader(header.span)
      let type = try reader.readUInt8()
      guard type == messageType || type == endType, try reader.readBytes(3) == [0, 0, 0] else {
        throw damaged(path, offset, "no message begins there")
      }
      let length = Int(try reader.readBigEndian(UInt32.self))
      // Before the memory is asked for.
      guard length <= RocksSpool.payloadByteLimit,
        UInt64(length) <= file.size - min(file.size, offset + UInt64(recordHeaderBytes))
      else { throw damaged(path, offset, "it is cut short") }
      let name = try reader.readBytes(16)
      let stored = try reader.readBytes(4)
      let payload = try file.read(length)
      guard checksum(Array(header.prefix(24)), payload) == stored else {
        throw damaged(path, offset, "a checksum does not match")
      }
      if type == messageType {
        guard let id = SpoolID(bytes: name.span) else {
          throw damaged(path, offset, "the id is no spool id")
        }
        return (id, payload)
      }
      var counts = ByteReader(name.span)
      guard length == 0, try counts.readBigEndian(UInt64.self) == messages,
        offset + UInt64(recordHeaderBytes) == file.size
      else { throw damaged(path, offset, "its end does not agree with what stands before it") }
      return nil
    } catch let error as DecodingFailure {
      throw damaged(path, offset, "\(error)")
    }
  }

  private static func damaged(_ path: String, _ offset: UInt64, _ what: String) -> SpindleError {
    SpindleError(
      .corruption, "the export \(path) is damaged at byte \(offset): \(what)", path: path)
  }
}
