internal import SpindleRocks

/// What a program that opens stores may want of the whole process.
public enum ProcessMemory {
  /// Keeps blocks of 512 KiB and more out of the C library's arenas, for the whole process:
  /// memtables are made of blocks of 1 MiB. After the first of them was freed the C library would
  /// put the next into an arena, beside small allocations that live on, and could not give them
  /// back: two million stores of 1 KiB take 560 MiB then, where they take half of it so. Call it
  /// when a program begins, before other threads; large blocks cost a call of the system each from
  /// then on. A library does not call it by itself, as it changes how everything else in the
  /// process allocates.
  public static func returnLargeBlocks() { EngineMemory.returnLargeBlocks() }
}
