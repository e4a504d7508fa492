internal import CRocksDBShim

/// What the whole process does with the engine's memory.
public enum EngineMemory {
  /// Keeps blocks of 512 KiB and more out of the C library's arenas, for the whole process; see
  /// `ProcessMemory` of SpindleStore.
  public static func returnLargeBlocks() { spindle_rocks_return_large_blocks(512 << 10) }
}
