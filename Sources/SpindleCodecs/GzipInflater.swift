internal import CZlib

/// Inflates a gzip stream piece by piece, with several members one after the other as `gzip` and
/// `cat` make them. Checks each member's CRC32 and length.
@safe public struct GzipInflater: ~Copyable {
  /// Why a stream could not be inflated.
  public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
  }

  /// The first two bytes of every gzip member.
  public static let magic: [UInt8] = [0x1F, 0x8B]

  private let stream: UnsafeMutablePointer<z_stream>
  private var isBetweenMembers = true
  /// Compressed bytes taken so far.
  private var consumed = 0

  public init() {
    unsafe stream = .allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    _ = unsafe spindle_inflate_init(stream)
  }

  deinit {
    unsafe inflateEnd(stream)
    unsafe stream.deinitialize(count: 1)
    unsafe stream.deallocate()
  }

  /// Whether the stream may end here: all members begun are complete.
  public var isComplete: Bool { isBetweenMembers }

  /// Inflates one piece of the stream.
  ///
  /// - Parameter sink: Gets the inflated bytes in pieces of at most 256 KiB, however much one
  ///   compressed byte stands for.
  public mutating func inflate(
    _ input: Span<UInt8>, into sink: (Span<UInt8>) throws -> Void
  ) throws {
    let pieceBytes = 256 << 10
    let piece = UnsafeMutablePointer<UInt8>.allocate(capacity: pieceBytes)
    defer { unsafe piece.deallocate() }
    var offset = 0
    while offset < input.count {
      if isBetweenMembers {
        unsafe inflateReset(stream)
        isBetweenMembers = false
      }
      let (status, taken, made) = unsafe input.withUnsafeBufferPointer { buffer in
        unsafe stream.pointee.next_in = UnsafeMutablePointer(
          mutating: buffer.baseAddress! + offset)
        let available = min(input.count - offset, 1 << 30)
        unsafe stream.pointee.avail_in = UInt32(available)
        unsafe stream.pointee.next_out = piece
        unsafe stream.pointee.avail_out = UInt32(pieceBytes)
        let status = unsafe CZlib.inflate(stream, Z_NO_FLUSH)
        return unsafe (
          status, available - Int(stream.pointee.avail_in),
          pieceBytes - Int(stream.pointee.avail_out)
        )
      }
      offset += taken
      consumed += taken
      if made > 0 {
        try unsafe sink(Span(_unsafeStart: UnsafePointer(piece), count: made))
      }
      switch status {
      case Z_STREAM_END: isBetweenMembers = true
      case Z_OK: break
      case Z_BUF_ERROR where taken > 0 || made > 0: break
      default:
        throw Failure(description: "the gzip data is damaged near its byte \(consumed)")
      }
    }
    try unsafe drain(piece, pieceBytes, into: sink)
  }

  /// Gets what zlib still holds after the input is used up.
  private mutating func drain(
    _ piece: UnsafeMutablePointer<UInt8>, _ pieceBytes: Int,
    into sink: (Span<UInt8>) throws -> Void
  ) throws {
    while !isBetweenMembers {
      unsafe stream.pointee.avail_in = 0
      unsafe stream.pointee.next_out = piece
      unsafe stream.pointee.avail_out = UInt32(pieceBytes)
      let status = unsafe CZlib.inflate(stream, Z_NO_FLUSH)
      let made = unsafe pieceBytes - Int(stream.pointee.avail_out)
      if made > 0 { try unsafe sink(Span(_unsafeStart: UnsafePointer(piece), count: made)) }
      if status == Z_STREAM_END { isBetweenMembers = true }
      if made == 0 || status != Z_OK { return }
    }
  }
}
