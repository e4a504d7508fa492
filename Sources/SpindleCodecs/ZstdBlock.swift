internal import CZstd
public import SpindleCore
internal import Synchronization

/// One Zstandard frame that states its size: smaller than LZ4, and slower.
public enum ZstdBlock {
  /// The largest input. Zstandard has no such limit; records have.
  public static let inputByteLimit = 1 << 30
  /// The fastest of the ordinary levels.
  public static let defaultLevel: Int32 = 1

  // RFC 8878: a block gives at most 128 KiB and takes at least 4 bytes, header and one byte to
  // repeat, so no frame can stand for more than 32,768 times its size.
  private static let blockByteLimit = 128 << 10
  private static let leastBlockBytes = 4

  /// Compresses into a new array that begins with a prefix.
  ///
  /// - Parameters:
  ///   - prefix: Bytes that stand before the frame.
  ///   - byteLimit: The most bytes of the result, the prefix included.
  ///   - level: 1, the default, to 19.
  /// - Returns: nil when the result would be larger than the limit.
  /// - Complexity: O(bytes), about 200 to 500 MB/s at level 1.
  public static func compress(
    _ input: Span<UInt8>, after prefix: [UInt8], byteLimit: Int, level: Int32 = defaultLevel
  ) -> [UInt8]? {
    guard input.count > 0, input.count <= inputByteLimit, byteLimit > prefix.count,
      let context = compressors.take(orMake: Compressor.init)
    else { return nil }
    defer { compressors.give(context) }
    let output = unsafe [UInt8](unsafeUninitializedCapacity: byteLimit) { target, count in
      _ = unsafe target.initialize(fromContentsOf: prefix)
      let written = unsafe input.withUnsafeBufferPointer { source in
        unsafe ZSTD_compressCCtx(
          context.pointer, target.baseAddress! + prefix.count, byteLimit - prefix.count,
          source.baseAddress!, source.count, level)
      }
      // An error is mostly that the result does not fit.
      count = ZSTD_isError(written) == 0 ? prefix.count + written : 0
    }
    return output.isEmpty ? nil : output
  }

  /// Decompresses a frame whose size is known.
  ///
  /// - Parameter byteCount: The size of the result; checked by the caller against its own bound,
  ///   and here against what the frame can hold, before anything is allocated.
  /// - Throws: ``DecodingFailure`` when the frame is damaged, is followed by other bytes or gives
  ///   another size.
  public static func decompress(
    _ block: Span<UInt8>, byteCount: Int
  ) throws(DecodingFailure) -> [UInt8] {
    guard byteCount > 0, byteCount <= inputByteLimit,
      (byteCount - 1) / blockByteLimit < block.count / leastBlockBytes,
      unsafe block.withUnsafeBytes({ source in
        unsafe ZSTD_getFrameContentSize(source.baseAddress!, source.count) == UInt64(byteCount)
          && ZSTD_findFrameCompressedSize(source.baseAddress!, source.count) == source.count
      })
    else { throw .invalid("a zstd frame of \(block.count) bytes claims \(byteCount) bytes") }
    return try decompressAny(block, byteCount: byteCount)
  }

  /// Decompresses one or several frames, with or without their size in them, that together give a
  /// known size, as other writers make them.
  ///
  /// - Parameter byteCount: The size of the result, 1 or more; checked by the caller against its
  ///   own bound, and here against what the frames can hold, before anything is allocated.
  /// - Throws: ``DecodingFailure`` when a frame is damaged, other bytes follow, or they give
  ///   another size.
  public static func decompressFrames(
    _ frames: Span<UInt8>, byteCount: Int
  ) throws(DecodingFailure) -> [UInt8] {
    guard byteCount > 0, (byteCount - 1) / blockByteLimit < frames.count / leastBlockBytes else {
      throw .invalid("zstd frames of \(frames.count) bytes claim \(byteCount) bytes")
    }
    return try decompressAny(frames, byteCount: byteCount)
  }

  private static func decompressAny(
    _ block: Span<UInt8>, byteCount: Int
  ) throws(DecodingFailure) -> [UInt8] {
    guard let context = decompressors.take(orMake: Decompressor.init) else {
      throw .invalid("zstd has no memory to work with")
    }
    defer { decompressors.give(context) }
    let result = unsafe [UInt8](unsafeUninitializedCapacity: byteCount) { target, count in
      let written = unsafe block.withUnsafeBytes { source in
        unsafe ZSTD_decompressDCtx(
          context.pointer, target.baseAddress!, byteCount, source.baseAddress!, source.count)
      }
      count = ZSTD_isError(written) == 0 ? written : 0
    }
    guard result.count == byteCount else {
      throw .invalid("a zstd frame does not give the \(byteCount) bytes it claims")
    }
    return result
  }

  // MARK: Contexts

  private static let compressors = IdlePool<Compressor>()
  private static let decompressors = IdlePool<Decompressor>()
}

/// Contexts that nobody uses now. Making one costs more than compressing a small message; keeping
/// one costs up to about 1 MB.
private final class IdlePool<Context: AnyObject & Sendable>: Sendable {
  /// As many as threads compress at once; what is more is freed at once.
  private static var limit: Int { 8 }
  private let idle = Mutex<[Context]>([])

  func take(orMake make: () -> Context?) -> Context? {
    idle.withLock { $0.popLast() } ?? make()
  }

  func give(_ context: Context) {
    idle.withLock { if $0.count < Self.limit { $0.append(context) } }
  }
}

/// A context of the compressor, owned.
@safe private final class Compressor: @unchecked Sendable {
  // Proof of sendability: the pointer never changes, and whoever takes the context from the pool
  // has it alone.
  let pointer: OpaquePointer

  init?() {
    guard let pointer = unsafe ZSTD_createCCtx() else { return nil }
    unsafe self.pointer = pointer
  }

  deinit { unsafe ZSTD_freeCCtx(pointer) }
}

/// A context of the decompressor, owned.
@safe private final class Decompressor: @unchecked Sendable {
  // Proof of sendability: as for the compressor.
  let pointer: OpaquePointer

  init?() {
    guard let pointer = unsafe ZSTD_createDCtx() else { return nil }
    unsafe self.pointer = pointer
  }

  deinit { unsafe ZSTD_freeDCtx(pointer) }
}
