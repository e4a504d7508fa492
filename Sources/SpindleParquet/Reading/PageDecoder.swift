internal import SpindleCore

/// Decodes the pages of one column chunk, and keeps their rows until they are taken.
///
/// Pages end where their writer ended them, batches where the caller wants: whole pages are decoded
/// behind each other, and rows are taken from the front. When all rows there are are taken at once,
/// nothing is copied.
struct PageDecoder {
  private let column: ParquetColumn
  private let codec: ParquetCodec
  private let limits: ParquetLimits
  /// Whether byte strings stay indices where their pages have such.
  private let keepsDictionary: Bool
  /// The values of the dictionary page, once it was read.
  private(set) var dictionary: ColumnSlots?

  private var slots: ColumnSlots
  /// Of all slots; nil as long as none is null.
  private var validity: Validity?
  /// Slots at the front that were taken.
  private var taken = 0
  /// Bytes that may be taken besides ``memory``, as all columns of a batch share them.
  var room = 0

  // Memory that pages use one after the other.
  private var levels = Validity()
  private var indices: [UInt32] = []

  init(
    _ column: ParquetColumn, codec: ParquetCodec, limits: ParquetLimits, keepsDictionary: Bool
  ) {
    self.column = column
    self.codec = codec
    self.limits = limits
    self.keepsDictionary = keepsDictionary
    slots = ColumnSlots(column.physicalType)
  }

  // MARK: Rows

  /// Rows that can be taken.
  var rowCount: Int { slots.count - taken }

  /// Reserves memory for rows, of which more pages will come.
  mutating func reserve(_ rows: Int) {
    guard slots.count == 0 else { return }
    // More would be refused before it is full.
    slots.reserve(min(rows, limits.batchRows, byteLimit / slotBytes))
  }

  /// Bytes of memory that are held, with what arrays have reserved.
  var memory: Int {
    slots.memory + (dictionary?.memory ?? 0) + indices.capacity * 4
      + ((validity?.words.capacity ?? 0) + levels.words.capacity) * 8
  }

  /// Drops rows from the front.
  mutating func drop(_ rows: Int) {
    taken += rows
    if taken == slots.count {
      slots.removeAll()
      slots.kind = ColumnSlots(column.physicalType).kind
      validity = nil
      taken = 0
    } else if taken > slots.count / 2 {
      // So each row is moved at most once on average, and memory stays in proportion.
      let rest = part(taken..<slots.count)
      (slots, validity) = rest
      taken = 0
    }
  }

  /// Takes rows from the front; as many must be there.
  ///
  /// - Parameter keeping: The last of them that can be taken once more.
  mutating func take(_ rows: Int, keeping: Int = 0) -> ColumnArray {
    let strings = dictionary?.strings ?? ByteStrings()
    if taken == 0, rows == slots.count, keeping == 0 {
      let column = ColumnArray(slots.values(strings), validity: validity)
      slots = ColumnSlots(self.column.physicalType)
      validity = nil
      return column
    }
    let (slots, validity) = part(taken..<taken + rows)
    drop(max(rows - keeping, 0))
    return ColumnArray(slots.values(strings), validity: validity)
  }

  private func part(_ range: Range<Int>) -> (ColumnSlots, Validity?) {
    var part = ColumnSlots(column.physicalType)
    part.kind = slots.kind
    part.append(slots, range)
    guard let validity else { return (part, nil) }
    var partValidity = Validity()
    partValidity.append(validity, rows: range)
    return (part, partValidity)
  }

  // MARK: Pages

  /// Reads the dictionary page.
  mutating func decodeDictionary(
    _ page: DictionaryPageHeader, uncompressedSize: Int, _ bytes: Span<UInt8>
  ) throws(ParquetFailure) {
    guard dictionary == nil else { throw .damaged("a second dictionary page") }
    guard page.encoding == .plain || page.encoding == .plainDictionary else {
      throw .unsupported("a dictionary page in \(page.encoding)")
    }
    var values = ColumnSlots(column.physicalType)
    try codec.withDecompressed(bytes, byteCount: uncompressedSize) {
      (plain) throws(ParquetFailure) in
      try Self.decodePlain(plain, count: page.valueCount, column.physicalType, &values)
    }
    dictionary = values
  }

  /// Reads a data page of version 1.
  mutating func decode(
    _ page: DataPageHeader, uncompressedSize: Int, _ bytes: Span<UInt8>
  ) throws(ParquetFailure) {
    try codec.withDecompressed(bytes, byteCount: uncompressedSize) {
      (plain) throws(ParquetFailure) in try decodeVersion1(page, plain)
    }
  }

  private mutating func decodeVersion1(
    _ page: DataPageHeader, _ bytes: Span<UInt8>
  ) throws(ParquetFailure) {
    var values = bytes
    beginLevels()
    if column.isOptional {
      switch page.definitionLevelEncoding {
      case .rle:
        let runs = try HybridEncoding.prefixed(bytes)
        try HybridEncoding.decode(runs, count: page.valueCount, appendingTo: &levels)
        values = bytes.extracting((4 + runs.count)...)
      case .bitPacked:
        let count = try BitPackedLevels.decode(
          bytes, count: page.valueCount, appendingTo: &levels)
        values = bytes.extracting(count...)
      case let other: throw .damaged("definition levels in \(other)")
      }
    }
    try append(values, page.encoding, rows: page.valueCount)
  }

  /// Reads a data page of version 2.
  mutating func decode(
    _ page: DataPageHeaderV2, uncompressedSize: Int, _ bytes: Span<UInt8>
  ) throws(ParquetFailure) {
    guard page.valueCount == page.rowCount else {
      throw .damaged("a page of \(page.rowCount) rows and \(page.valueCount) values")
    }
    guard page.repetitionLevelBytes == 0, column.isOptional || page.definitionLevelBytes == 0 else {
      throw .damaged("a page with levels that its column does not have")
    }
    let levelBytes = page.definitionLevelBytes
    guard levelBytes <= bytes.count, levelBytes <= uncompressedSize else {
      throw .damaged("levels of \(levelBytes) bytes in a page of \(bytes.count)")
    }
    beginLevels()
    if column.isOptional {
      let used = try HybridEncoding.decode(
        bytes.extracting(..<levelBytes), count: page.rowCount, appendingTo: &levels)
      guard used == levelBytes || page.rowCount == 0 else {
        throw .damaged("levels of \(levelBytes) bytes, of which the rows take \(used)")
      }
    }
    guard levels.nullCount == page.nullCount else {
      throw .damaged("\(page.nullCount) nulls are claimed, the levels have \(levels.nullCount)")
    }
    let rest = bytes.extracting(levelBytes...)
    let byteCount = uncompressedSize - levelBytes
    let codec = page.isCompressed ? self.codec : .uncompressed
    try codec.withDecompressed(rest, byteCount: byteCount) {
      (plain) throws(ParquetFailure) in
      try append(plain, page.encoding, rows: page.rowCount)
    }
  }

  // MARK: Values

  private mutating func beginLevels() {
    levels.words.removeAll(keepingCapacity: true)
    levels.count = 0
    levels.nullCount = 0
  }

  /// Appends a page's rows, whose levels were read.
  private mutating func append(
    _ bytes: Span<UInt8>, _ encoding: ParquetEncoding, rows: Int
  ) throws(ParquetFailure) {
    // Null rows take no bytes of the page, and have slots all the same.
    guard rows <= byteLimit / slotBytes else { throw batchTooLarge }
    let start = slots.count
    let nullCount = levels.nullCount
    try appendValues(bytes, encoding, count: rows - nullCount)
    if nullCount > 0 {
      slots.spread(levels, from: start)
      if validity == nil { validity = Validity(repeating: true, count: start) }
    }
    if validity != nil {
      if column.isOptional {
        validity?.append(levels)
      } else {
        validity?.append(repeating: true, count: rows)
      }
    }
    guard slots.byteCount <= limits.batchColumnBytes else { throw batchTooLarge }
  }

  private var batchTooLarge: ParquetFailure {
    if sharedLimit < limits.batchColumnBytes - slots.byteCount {
      return .limit("all columns of a batch take more than \(limits.batchBytes) bytes")
    }
    return .limit(
      "the values of a batch take more than \(limits.batchColumnBytes) bytes; smaller batches "
        + "or a higher limit may do")
  }

  private mutating func appendValues(
    _ bytes: Span<UInt8>, _ encoding: ParquetEncoding, count: Int
  ) throws(ParquetFailure) {
    let type = column.physicalType
    let byteLimit = byteLimit
    switch encoding {
    case .plainDictionary, .rleDictionary:
      try appendIndices(bytes, count: count)
      return
    default: break
    }
    // Indices that wait to be taken are not mixed with strings.
    if slots.kind == .indices { try expandIndices() }
    switch (encoding, type) {
    case (.plain, _): try Self.decodePlain(bytes, count: count, type, &slots)
    case (.rle, .boolean):
      if count == 0 { return }
      try HybridEncoding.decode(
        HybridEncoding.prefixed(bytes), count: count, appendingTo: &slots.booleans)
    // Some writers leave out the header of no values.
    case (.deltaBinaryPacked, _) where count == 0 && bytes.isEmpty,
      (.deltaLengthByteArray, _) where count == 0 && bytes.isEmpty,
      (.deltaByteArray, _) where count == 0 && bytes.isEmpty:
      return
    case (.deltaBinaryPacked, .int32):
      try DeltaBinaryPacked.decode(bytes, count: count, appendingTo: &slots.int32s)
    case (.deltaBinaryPacked, .int64):
      try DeltaBinaryPacked.decode(bytes, count: count, appendingTo: &slots.int64s)
    case (.deltaLengthByteArray, .byteArray):
      try DeltaLengthByteArray.decode(bytes, count: count, appendingTo: &slots.strings)
    case (.deltaByteArray, .byteArray):
      try DeltaByteArray.decode(
        bytes, count: count, byteLimit: byteLimit, appendingTo: &slots.strings)
    case (.deltaByteArray, .fixedLengthByteArray):
      try DeltaByteArray.decode(
        bytes, count: count, byteLimit: byteLimit, appendingTo: &slots.fixed)
    case (.byteStreamSplit, .int32):
      try ByteStreamSplit.decode(bytes, count: count, appendingTo: &slots.int32s)
    case (.byteStreamSplit, .int64):
      try ByteStreamSplit.decode(bytes, count: count, appendingTo: &slots.int64s)
    case (.byteStreamSplit, .float):
      try ByteStreamSplit.decode(bytes, count: count, appendingTo: &slots.floats)
    case (.byteStreamSplit, .double):
      try ByteStreamSplit.decode(bytes, count: count, appendingTo: &slots.doubles)
    case (.byteStreamSplit, .fixedLengthByteArray):
      try ByteStreamSplit.decode(bytes, count: count, appendingTo: &slots.fixed)
    default: throw .damaged("\(encoding) does not fit \(type)")
    }
  }

  private static func decodePlain(
    _ bytes: Span<UInt8>, count: Int, _ type: ParquetPhysicalType, _ slots: inout ColumnSlots
  ) throws(ParquetFailure) {
    switch type {
    case .boolean: try PlainEncoding.decode(bytes, count: count, appendingTo: &slots.booleans)
    case .int32: try PlainEncoding.decode(bytes, count: count, appendingTo: &slots.int32s)
    case .int64: try PlainEncoding.decode(bytes, count: count, appendingTo: &slots.int64s)
    case .int96: try PlainEncoding.decodeINT96(bytes, count: count, appendingTo: &slots.int64s)
    case .float: try PlainEncoding.decode(bytes, count: count, appendingTo: &slots.floats)
    case .double: try PlainEncoding.decode(bytes, count: count, appendingTo: &slots.doubles)
    case .byteArray: try PlainEncoding.decode(bytes, count: count, appendingTo: &slots.strings)
    case .fixedLengthByteArray:
      try PlainEncoding.decode(bytes, count: count, appendingTo: &slots.fixed)
    }
  }

  /// Appends values by their indices into the dictionary.
  private mutating func appendIndices(
    _ bytes: Span<UInt8>, count: Int
  ) throws(ParquetFailure) {
    guard let dictionary else {
      // A page without values needs no dictionary.
      if count == 0 { return }
      throw .damaged("a page of dictionary indices without a dictionary")
    }
    if column.physicalType == .byteArray, keepsDictionary,
      slots.kind == .indices || slots.count == 0
    {
      slots.kind = .indices
      try DictionaryEncoding.decodeIndices(
        bytes, count: count, dictionaryCount: dictionary.count, appendingTo: &slots.indices)
      return
    }
    indices.removeAll(keepingCapacity: true)
    try DictionaryEncoding.decodeIndices(
      bytes, count: count, dictionaryCount: dictionary.count, appendingTo: &indices)
    // Copies of the reference: the array may not be borrowed from what is being written to.
    let indices = indices
    let byteLimit = byteLimit
    switch dictionary.kind {
    case .boolean: Self.gather(indices, dictionary.booleans, &slots.booleans)
    case .int32: Self.gather(indices, dictionary.int32s, &slots.int32s)
    case .int64: Self.gather(indices, dictionary.int64s, &slots.int64s)
    case .float: Self.gather(indices, dictionary.floats, &slots.floats)
    case .double: Self.gather(indices, dictionary.doubles, &slots.doubles)
    case .bytes, .indices:
      try DictionaryEncoding.gather(
        indices.span, from: dictionary.strings, byteLimit: byteLimit,
        appendingTo: &slots.strings)
    case .fixed:
      try DictionaryEncoding.gather(
        indices.span, from: dictionary.fixed, byteLimit: byteLimit, appendingTo: &slots.fixed)
    }
  }

  private static func gather<Value: BitwiseCopyable>(
    _ indices: [UInt32], _ values: [Value], _ output: inout [Value]
  ) {
    DictionaryEncoding.gather(indices.span, from: values.span, appendingTo: &output)
  }

  private mutating func expandIndices() throws(ParquetFailure) {
    let byteLimit = byteLimit
    try slots.expandIndices(
      of: dictionary?.strings ?? ByteStrings(), validity: validity, byteLimit: byteLimit)
  }

  /// Bytes that slots may take besides those that are there.
  private var byteLimit: Int {
    max(min(limits.batchColumnBytes - slots.byteCount, sharedLimit), 0)
  }

  /// What was reserved counts as taken, and can be used.
  private var sharedLimit: Int { room + slots.memory - slots.byteCount }

  /// Bytes that the slot of a row takes at least.
  private var slotBytes: Int {
    switch column.physicalType {
    case .boolean: 1
    case .int32, .float: 4
    case .int64, .int96, .double: 8
    // An index; without a dictionary an offset of twice the size.
    case .byteArray: 4
    case .fixedLengthByteArray(let width): width
    }
  }
}
