internal import SpindleCore

/// The dictionary of a column chunk, and which of its values the first rows have.
struct ChunkDictionary {
  /// Different values.
  var count: Int
  /// They in the plain encoding.
  var page: [UInt8]
  /// Of the first values of the chunk; of all of them, if the dictionary had room.
  var indices: [UInt32]
  /// The different values of a column of byte strings.
  var strings: ByteStrings?

  /// - Parameter byteLimit: Most bytes of the plain encoding.
  /// - Returns: nil where a dictionary is of no use: for booleans, and without values.
  init?(_ values: ColumnArray.Values, byteLimit: Int) {
    switch values {
    case .boolean: return nil
    case .int32(let slots): self.init(slots.span, byteLimit)
    case .int64(let slots): self.init(slots.span, byteLimit)
    case .float(let slots): self.init(slots.span, byteLimit)
    case .double(let slots): self.init(slots.span, byteLimit)
    case .bytes(let strings):
      var dictionary = StringDictionary(byteLimit: byteLimit)
      var indices: [UInt32] = []
      indices.reserveCapacity(strings.count)
      for position in 0..<strings.count {
        guard let index = dictionary.index(of: strings[position]) else { break }
        indices.append(index)
      }
      self.init(indices, dictionary.strings)
    case .fixed(let fixed):
      var dictionary = StringDictionary(byteLimit: byteLimit)
      var indices: [UInt32] = []
      for position in 0..<fixed.count {
        guard let index = dictionary.index(of: fixed[position]) else { break }
        indices.append(index)
      }
      self.init(dictionary.strings.count, page: dictionary.strings.bytes, indices)
    case .dictionary(let indices, let strings):
      // The strings are in the order in which they come: the first are those of the first rows.
      var fitting = strings.count
      while fitting > 0, strings.offsets[fitting] + 4 * fitting > byteLimit { fitting -= 1 }
      if fitting == strings.count {
        self.init(indices, strings)
      } else {
        var first = ByteStrings()
        first.append(strings, 0..<fitting)
        self.init(Array(indices.prefix { $0 < fitting }), first)
      }
    }
    if indices.isEmpty { return nil }
  }

  private init<Number: PlainNumber>(_ numbers: Span<Number>, _ byteLimit: Int) {
    let dictionary = NumberDictionary(numbers, byteLimit: byteLimit)
    var page: [UInt8] = []
    PlainEncoding.encode(dictionary.values.span, appendingTo: &page)
    self.init(dictionary.values.count, page: page, dictionary.indices)
  }

  private init(_ indices: [UInt32], _ strings: ByteStrings) {
    var page: [UInt8] = []
    PlainEncoding.encode(strings, 0..<strings.count, appendingTo: &page)
    self.init(strings.count, page: page, indices)
    self.strings = strings
  }

  private init(_ count: Int, page: [UInt8], _ indices: [UInt32]) {
    self.count = count
    self.page = page
    self.indices = indices
  }
}
