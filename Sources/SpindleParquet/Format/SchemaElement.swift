/// A node of the schema's tree, which a footer lists depth first.
struct SchemaElement: ThriftStructure, Sendable, Hashable {
  enum Repetition: Int32, Sendable, Hashable {
    case required = 0
    case optional = 1
    case repeated = 2
  }

  /// The format's number of the physical type; none for a group.
  var type: Int32?
  /// Bytes of a value of fixed length.
  var typeLength: Int32?
  /// None for the root.
  var repetition: Repetition?
  var name: String
  /// Children of a group, which follow.
  var childCount: Int?
  /// The format's number of the older form of logical types.
  var convertedType: Int32?
  var scale: Int32?
  var precision: Int32?
  var fieldID: Int32?
  var logicalType: ParquetLogicalType?

  init(name: String) { self.name = name }

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var name: String?
    while let field = try reader.nextField() {
      switch field.id {
      case 1: type = try reader.int32(field)
      case 2: typeLength = try reader.int32(field)
      case 3:
        let number = try reader.int32(field)
        guard let known = Repetition(rawValue: number) else {
          throw .damaged("a schema element of repetition \(number)")
        }
        repetition = known
      case 4: name = try reader.string(field)
      case 5: childCount = try natural(reader.int32(field), "a number of children")
      case 6: convertedType = try reader.int32(field)
      case 7: scale = try reader.int32(field)
      case 8: precision = try reader.int32(field)
      case 9: fieldID = try reader.int32(field)
      case 10:
        logicalType = try reader.structure(field) { (reader) throws(ParquetFailure) in
          try ParquetLogicalType.read(&reader)
        }
      default: break
      }
    }
    self.name = try required(name, "a schema element", "name")
  }

  func write(to writer: inout ThriftWriter) {
    writer.int32(1, type)
    writer.int32(2, typeLength)
    writer.int32(3, repetition?.rawValue)
    writer.string(4, name)
    writer.int32(5, childCount.map { Int32($0) })
    writer.int32(6, convertedType)
    writer.int32(7, scale)
    writer.int32(8, precision)
    writer.int32(9, fieldID)
    writer.structure(10, logicalType)
  }
}
