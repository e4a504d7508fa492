internal import SpindleIO
internal import SpindleRocks
package import SpindleStore

extension Store {
  /// The table files of a family, the oldest first.
  package func tablePaths(of family: StoreFamily) throws -> [String] {
    let folder = path + "/rocks"
    let names = try Files.names(in: folder)
    return try database.tableFiles(of: family.columnFamily).map(\.number).sorted().map { number in
      guard
        let name = names.first(where: { name in
          name.hasSuffix(".sst") && UInt64(String(name.dropLast(4))) == number
        })
      else { throw TestKitError("no table \(number) in \(folder)") }
      return folder + "/" + name
    }
  }
}

/// A table file cut short in place. An open database sees that, since it has the file open; it
/// would not see a deletion.
public struct TableDamage: Sendable {
  public let path: String
  private let bytes: [UInt8]

  public init(truncating path: String) throws {
    self.path = path
    bytes = try Files.read(path, limit: .max)
    try writeFile(Array(bytes.prefix(10)), to: path)
  }

  /// Puts back what was cut off.
  public func mend() throws { try writeFile(bytes, to: path) }
}

/// What can befall a table file on the disk.
public enum TableFault: CaseIterable, Sendable {
  case flippedBit, noFooter, cutShort, missing

  /// Damages a table in place: a running store sees it.
  public func strike(_ path: String) throws {
    var bytes = try Files.read(path, limit: .max)
    switch self {
    case .flippedBit: bytes[bytes.count / 2] ^= 1
    case .noFooter: bytes[bytes.count - 2] ^= 0xFF
    case .cutShort: bytes.removeLast(bytes.count / 2)
    case .missing: return try Files.remove(path)
    }
    try writeFile(bytes, to: path)
  }
}
