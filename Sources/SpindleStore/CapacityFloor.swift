internal import SpindleCore
package import SpindleIO

extension StoreSettings.CapacityFloor {
  /// Refuses shares of more than the whole, before anything is touched.
  package func validate() throws {
    for (name, value) in [("percent", percent), ("inodePercent", inodePercent)] where value > 100 {
      throw SpindleError(
        .invalidArgument, "the setting capacityFloor.\(name) is \(value); expected 0 to 100")
    }
  }

  /// What of a file system is below the floor. Whoever is shut for it stays so until there is one
  /// percent of the whole more, so that a gate does not flap.
  ///
  /// - Returns: A sentence for people; nil while there is enough.
  package func shortage(in space: DiskSpace, isShut: Bool) -> String? {
    let (byteFloor, inodeFloor) = floors(in: space)
    let byteMargin = isShut ? space.totalBytes / 100 : 0
    let inodeMargin = isShut ? space.totalInodes / 100 : 0
    if byteFloor > 0, space.freeBytes < byteFloor + byteMargin {
      return "the disk is full: \(space.freeBytes) bytes are free, the floor is \(byteFloor)"
    }
    if inodeFloor > 0, space.freeInodes < inodeFloor + inodeMargin {
      return "the disk is full: \(space.freeInodes) inodes are free, the floor is \(inodeFloor)"
    }
    return nil
  }

  /// Whether removals may go on below the floor: while a tenth of it is free.
  ///
  /// They are what frees space, but they write first: some 50 bytes each into the log, then a
  /// flush, and the compaction that drops what they hide. Nine tenths are for that. In the last
  /// tenth the disk may refuse an append at any moment, and that costs more than a removal that
  /// waits: it stops the store until the log is replaced, for which there must be room again.
  package func hasRoomForRemovals(in space: DiskSpace) -> Bool {
    let (byteFloor, inodeFloor) = floors(in: space)
    return space.freeBytes >= byteFloor / 10 && space.freeInodes >= inodeFloor / 10
  }

  private func floors(in space: DiskSpace) -> (bytes: UInt64, inodes: UInt64) {
    (
      min(bytes, space.totalBytes / 100 * percent),
      space.totalInodes == 0 ? 0 : min(inodes, space.totalInodes / 100 * inodePercent)
    )
  }
}
