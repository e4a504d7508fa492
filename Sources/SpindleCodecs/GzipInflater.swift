internal import CZlib

/// Inflates a gzip stream piece by piece, with several members one after the other as `gzip` and
/// `cat` make them. Checks each member's CRC32 and length.
///
/// Behind the last member, zero bytes are padding and are passed over, as `gunzip` does. Any other
/// bytes there are an error: `gunzip` warns of them and drops them, but what follows may as well be
/// a member whose first bytes are damaged.
///
/// An inflater that threw, or whose sink threw, is of no further use.
@safe public struct GzipInflater: ~Copyable {
  /// Why a stream could not be inflated.
  public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    public let description: String
  }

  /// The first two bytes of every gzip member.
  public static let magic: [UInt8] = [0x1F, 0x8B]

  private enum Place {
    case start, member, betweenMembers, padding
  }

  private static let pieceBytes = 256 << 10
  private let stream: UnsafeMutablePointer<z_stream>
  private var place = Place.start
  /// Compressed bytes taken so far.
  private var consumed = 0

  public init() {
    unsafe stream = .allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    // Without memory the stream stays unusable, and the first inflate says so.
    _ = unsafe spindle_inflate_init(stream)
  }

  deinit {
    unsafe inflateEnd(stream)
    unsafe stream.deinitialize(count: 1)
    unsafe stream.deallocate()
  }

  /// Whether the stream may end here: all members begun are complete. True before the first byte.
  public var isComplete: Bool { place != .member }

  /// Inflates one piece of the stream, of any size.
  ///
  /// - Parameter sink: Gets the inflated bytes in pieces of at most 256 KiB, however much one
  ///   compressed byte stands for. They are checked only when their member is complete.
  /// - Throws: ``Failure``, or what the sink throws.
  public mutating func inflate(
    _ input: Span<UInt8>, into sink: (Span<UInt8>) throws -> Void
  ) throws {
    let piece = UnsafeMutablePointer<UInt8>.allocate(capacity: Self.pieceBytes)
    defer { unsafe piece.deallocate() }
    var offset = 0
    while offset < input.count {
      if place == .padding || place == .betweenMembers && input[offset] == 0 {
        guard input[offset] == 0 else { throw trailingBytes() }
        place = .padding
        offset += 1
        consumed += 1
        continue
      }
      if place != .member {
        if place == .betweenMembers, input[offset] != Self.magic[0] { throw trailingBytes() }
        unsafe inflateReset(stream)
        place = .member
      }
      let (taken, _) = try unsafe step(input.extracting(offset..<input.count), piece, into: sink)
      offset += taken
    }
    // What zlib still holds after the input is used up.
    while place == .member {
      let (_, made) = try unsafe step(Span(), piece, into: sink)
      if made == 0 { return }
    }
  }

  private func trailingBytes() -> Failure {
    Failure(description: "bytes that are not gzip follow the gzip data at its byte \(consumed)")
  }

  /// Lets zlib take and make what it can in one call.
  private mutating func step(
    _ input: Span<UInt8>, _ piece: UnsafeMutablePointer<UInt8>,
    into sink: (Span<UInt8>) throws -> Void
  ) throws -> (taken: Int, made: Int) {
    let available = min(input.count, 1 << 30)
    let status = unsafe input.withUnsafeBufferPointer { buffer in
      unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: buffer.baseAddress)
      unsafe stream.pointee.avail_in = UInt32(available)
      unsafe stream.pointee.next_out = piece
      unsafe stream.pointee.avail_out = UInt32(Self.pieceBytes)
      return unsafe CZlib.inflate(stream, Z_NO_FLUSH)
    }
    let taken = unsafe available - Int(stream.pointee.avail_in)
    let made = unsafe Self.pieceBytes - Int(stream.pointee.avail_out)
    consumed += taken
    if made > 0 { try unsafe sink(Span(_unsafeStart: UnsafePointer(piece), count: made)) }
    switch status {
    case Z_STREAM_END: place = .betweenMembers
    case Z_OK: break
    // Nothing to do with the little that is there; an error only if there was input.
    case Z_BUF_ERROR where taken > 0 || made > 0 || input.isEmpty: break
    default: throw Failure(description: "the gzip data is damaged near its byte \(consumed)")
    }
    return (taken, made)
  }
}
