/// A file's schema with the places of its flat columns among all leaves, by which row groups list
/// their column chunks.
struct SchemaLayout: Sendable, Hashable {
  var schema: ParquetSchema
  /// For each leaf the name of the root's column that it belongs to.
  var leafNames: [String]
  /// The leaf of each flat column.
  var leaves: [Int]

  var leafCount: Int { leafNames.count }

  /// Reads the tree that a footer lists depth first.
  ///
  /// - Throws: The tree does not use up the list, or a flat column's type is damaged.
  init(_ elements: [SchemaElement], limits: ParquetLimits) throws(ParquetFailure) {
    guard let root = elements.first, let childCount = root.childCount, root.type == nil else {
      throw .damaged("a schema without a root")
    }
    schema = ParquetSchema(columns: [], nestedNames: [])
    leafNames = []
    leaves = []
    var next = 1
    // A list of two for each child is the least; more children than elements end in an error.
    for _ in 0..<childCount {
      guard next < elements.count else { throw .damaged("a schema lacks columns of its root") }
      let element = elements[next]
      if element.childCount == nil || element.type != nil, element.repetition != .repeated {
        next += 1
        leaves.append(leafCount)
        leafNames.append(element.name)
        schema.columns.append(try Self.column(element))
      } else {
        let leafCount = try Self.countLeaves(elements, from: &next)
        leafNames.append(contentsOf: repeatElement(element.name, count: leafCount))
        schema.nestedNames.append(element.name)
      }
    }
    guard next == elements.count else {
      throw .damaged("\(elements.count - next) schema elements belong to no column")
    }
    guard leafCount <= limits.columnCount else {
      throw .limit("a schema of \(leafCount) leaves, more than \(limits.columnCount)")
    }
  }

  /// Counts the leaves of the element at `next` and goes behind it. Iterative, as a hostile tree
  /// is as deep as its list is long.
  private static func countLeaves(
    _ elements: [SchemaElement], from next: inout Int
  ) throws(ParquetFailure) -> Int {
    var leafCount = 0
    // Elements still to come; cannot overflow, as it falls by one for each of at most 2^31 added.
    var open = 1
    while open > 0 {
      guard next < elements.count else { throw .damaged("a schema lacks nested columns") }
      let element = elements[next]
      next += 1
      open -= 1
      if element.type == nil, let childCount = element.childCount {
        open += childCount
      } else {
        leafCount += 1
      }
    }
    return leafCount
  }

  private static func column(_ element: SchemaElement) throws(ParquetFailure) -> ParquetColumn {
    let physicalType: ParquetPhysicalType
    switch element.type {
    case 0: physicalType = .boolean
    case 1: physicalType = .int32
    case 2: physicalType = .int64
    case 3: physicalType = .int96
    case 4: physicalType = .float
    case 5: physicalType = .double
    case 6: physicalType = .byteArray
    case 7:
      guard let width = element.typeLength, width > 0 else {
        throw .damaged("column \(element.name) has values of \(element.typeLength ?? 0) bytes")
      }
      physicalType = .fixedLengthByteArray(Int(width))
    case let number:
      throw .damaged("column \(element.name) has the unknown type \(number ?? -1)")
    }
    guard let repetition = element.repetition else {
      throw .damaged("column \(element.name) is neither required nor optional")
    }
    var logicalType = element.logicalType ?? .converted(from: element)
    if physicalType == .int96, logicalType == nil {
      logicalType = .timestamp(.nanoseconds, isAdjustedToUTC: true)
    }
    if let logicalType, !logicalType.fits(physicalType) {
      throw .damaged("column \(element.name): \(logicalType) does not fit \(physicalType)")
    }
    return ParquetColumn(
      name: element.name, physicalType: physicalType, logicalType: logicalType,
      isOptional: repetition == .optional)
  }
}

extension ParquetSchema {
  /// The schema as a footer lists it: a root and its columns, with the logical types in both
  /// forms.
  var elements: [SchemaElement] {
    var root = SchemaElement(name: "schema")
    root.childCount = columns.count
    return [root]
      + columns.map { column in
        var element = SchemaElement(name: column.name)
        element.type = column.physicalType.number
        if case .fixedLengthByteArray(let width) = column.physicalType {
          element.typeLength = Int32(width)
        }
        element.repetition = column.isOptional ? .optional : .required
        element.convertedType = column.logicalType?.convertedType
        element.logicalType = column.logicalType
        return element
      }
  }
}
