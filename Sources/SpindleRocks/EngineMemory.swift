internal import CRocksDBShim

/// What the whole process does with the engine's memory.
public enum EngineMemory {
  /// Keeps blocks of 512 KiB and more out of the C library's arenas, for the whole process: the
  /// memtables are made of blocks of 1 MiB. After the first of them was freed the C library would
  /// put the next into an arena, beside small allocations that live on, and could not give them
  /// back: two million stores of 1 KiB took 560 MiB in place of 310. Call it when a program begins;
  /// large blocks cost a call of the system each from then on.
  public static func returnLargeBlocks() { spindle_rocks_return_large_blocks(512 << 10) }
}
