/// The bounds and null counts of the pages of a column chunk.
struct ColumnIndex: ThriftStructure, Sendable, Hashable {
  enum BoundaryOrder: Int32, Sendable, Hashable {
    case unordered = 0
    case ascending = 1
    case descending = 2
  }

  /// Pages in which every row is null; their bounds are empty and mean nothing.
  var nullPages: [Bool] = []
  var minimums = ByteStrings()
  var maximums = ByteStrings()
  var boundaryOrder = BoundaryOrder.unordered
  var nullCounts: [Int64]?

  init() {}

  @_lifetime(reader: copy reader)
  init(_ reader: inout ThriftReader) throws(ParquetFailure) {
    var order: Int32?
    while let field = try reader.nextField() {
      switch field.id {
      case 1:
        for _ in 0..<(try reader.list(field, of: .boolTrue)) {
          nullPages.append(try reader.boolElement())
        }
      case 2:
        for _ in 0..<(try reader.list(field, of: .binary)) {
          try reader.binaryElement(to: &minimums)
        }
      case 3:
        for _ in 0..<(try reader.list(field, of: .binary)) {
          try reader.binaryElement(to: &maximums)
        }
      case 4: order = try reader.int32(field)
      case 5: nullCounts = try reader.int64s(field)
      default: break
      }
    }
    let number = try required(order, "a column index", "boundary order")
    guard let order = BoundaryOrder(rawValue: number) else {
      throw .damaged("a column index of boundary order \(number)")
    }
    boundaryOrder = order
    let count = nullPages.count
    guard minimums.count == count, maximums.count == count,
      nullCounts.map({ $0.count == count }) ?? true
    else { throw .damaged("the lists of a column index differ in length") }
  }

  func write(to writer: inout ThriftWriter) {
    writer.list(1, of: .boolTrue, count: nullPages.count)
    for page in nullPages { writer.boolElement(page) }
    writer.list(2, of: .binary, count: minimums.count)
    for index in 0..<minimums.count { writer.binaryElement(minimums[index]) }
    writer.list(3, of: .binary, count: maximums.count)
    for index in 0..<maximums.count { writer.binaryElement(maximums[index]) }
    writer.int32(4, boundaryOrder.rawValue)
    writer.int64s(5, nullCounts)
  }
}
