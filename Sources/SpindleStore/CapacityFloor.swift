package import SpindleIO

extension StoreSettings.CapacityFloor {
  /// What of a file system is below the floor. Whoever is shut for it stays so until there is one
  /// percent of the whole more, so that a gate does not flap.
  ///
  /// - Returns: A sentence for people; nil while there is enough.
  package func shortage(in space: DiskSpace, isShut: Bool) -> String? {
    let byteFloor = min(bytes, space.totalBytes / 100 * percent)
    let inodeFloor =
      space.totalInodes == 0 ? 0 : min(inodes, space.totalInodes / 100 * inodePercent)
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
}
