internal import SpindleCore

/// How the values of one column chunk are encoded.
struct ChunkPlan {
  /// Of the first values, as many as it has indices.
  var dictionary: ChunkDictionary?
  /// Of the values that the dictionary does not have.
  var encoding: ParquetEncoding

  /// The plan that the settings ask for, or the one that makes the smallest chunk.
  init(
    _ values: ColumnArray.Values, settings: ParquetColumnSettings, dictionaryBytes: Int,
    dataPageVersion: ParquetWriterSettings.DataPageVersion, compressor: PageCompressor
  ) {
    let count = values.slotCount
    switch settings.encoding {
    case .rleDictionary:
      encoding = .plain
      dictionary = ChunkDictionary(values, byteLimit: dictionaryBytes)
    case let chosen?: encoding = chosen
    case nil:
      let candidates = Self.candidates(values, dataPageVersion)
      encoding = candidates[0]
      if count == 0 { return }
      let dictionary =
        dictionaryBytes > 0 ? ChunkDictionary(values, byteLimit: dictionaryBytes) : nil
      if let dictionary, dictionary.isPlainlyBest(for: count) {
        self.dictionary = dictionary
        return
      }
      if dictionary == nil, candidates.count == 1 { return }
      let trial = EncodingTrial(values, compressor)
      var least = Double.infinity
      for candidate in candidates {
        let size = trial.size(candidate)
        // An encoding that takes longer to read must be worth it.
        if size < least * 0.98 { (encoding, least) = (candidate, size) }
      }
      if let dictionary, trial.size(dictionary, rest: least) <= least {
        self.dictionary = dictionary
      }
    }
  }

  /// The encodings to choose from, apart from a dictionary; the quickest to read first.
  private static func candidates(
    _ values: ColumnArray.Values, _ version: ParquetWriterSettings.DataPageVersion
  ) -> [ParquetEncoding] {
    switch values {
    case .boolean: version == .v1 ? [.plain] : [.rle]
    case .int32, .int64: [.plain, .deltaBinaryPacked]
    case .float, .double: [.plain, .byteStreamSplit]
    case .bytes, .fixed, .dictionary: [.plain]
    }
  }
}

extension ChunkDictionary {
  /// Whether nothing else needs to be tried: few different values that come often. Of strings there
  /// may be more, as comparing indices is cheaper for readers, too.
  fileprivate func isPlainlyBest(for valueCount: Int) -> Bool {
    indices.count == valueCount && count <= valueCount / 8 && (strings != nil || count <= 64)
  }
}

/// Measures what encodings make of samples of a column chunk.
private struct EncodingTrial {
  private let values: ColumnArray.Values
  private let compressor: PageCompressor
  private let windows: [Range<Int>]

  // Three windows show also columns that change along the way; together they are some hundredths of
  // a full row group.
  private static let windowCount = 3
  private static let windowValues = 16 << 10
  private static let windowBytes = 256 << 10

  init(_ values: ColumnArray.Values, _ compressor: PageCompressor) {
    self.values = values
    self.compressor = compressor
    let count = values.slotCount
    let most = max(1, Self.windowBytes * count / max(values.byteCount, 1))
    windows = Self.windows(of: count, most: min(Self.windowValues, most))
  }

  private static func windows(of count: Int, most: Int) -> [Range<Int>] {
    if count <= most * windowCount { return [0..<count] }
    return (0..<windowCount).map { window in
      let start = (count - most) / (windowCount - 1) * window
      return start..<start + most
    }
  }

  /// About how many bytes all values take.
  func size(_ encoding: ParquetEncoding) -> Double {
    var size = 0
    for window in windows {
      var output: [UInt8] = []
      values.encode(window, as: encoding, appendingTo: &output)
      size += compressor.size(output)
    }
    return Double(size) * Double(values.slotCount) / Double(sampled(windows))
  }

  /// About how many bytes all values take with a dictionary.
  ///
  /// - Parameter rest: The bytes that all values take without.
  func size(_ dictionary: ChunkDictionary, rest: Double) -> Double {
    let covered = dictionary.indices.count
    let windows = Self.windows(of: covered, most: Self.windowValues)
    var size = 0
    for window in windows {
      var output: [UInt8] = []
      DictionaryEncoding.encode(
        dictionary.indices.span.extracting(window), dictionaryCount: dictionary.count,
        appendingTo: &output)
      size += compressor.size(output)
    }
    let indices = Double(size) * Double(covered) / Double(sampled(windows))
    let left = Double(values.slotCount - covered) / Double(values.slotCount)
    return Double(compressor.size(dictionary.page)) + indices + left * rest
  }

  private func sampled(_ windows: [Range<Int>]) -> Int {
    max(windows.reduce(0) { $0 + $1.count }, 1)
  }
}

extension ColumnArray.Values {
  /// Slots, those of null rows included.
  var slotCount: Int { ColumnArray(self).count }

  /// About how many bytes the values have, each of them counted.
  var byteCount: Int { byteCount(0..<slotCount) }

  /// The same for some of the slots.
  func byteCount(_ range: Range<Int>) -> Int {
    switch self {
    case .boolean: range.count
    case .int32, .float: range.count * 4
    case .int64, .double: range.count * 8
    case .bytes(let strings):
      strings.offsets[range.upperBound] - strings.offsets[range.lowerBound] + 4 * range.count
    case .fixed(let fixed): range.count * fixed.width
    case .dictionary(let indices, let strings):
      indices[range].reduce(4 * range.count) {
        $0 + strings.offsets[Int($1) + 1] - strings.offsets[Int($1)]
      }
    }
  }

  /// Appends some of the values in an encoding that fits them, other than with a dictionary.
  func encode(_ range: Range<Int>, as encoding: ParquetEncoding, appendingTo output: inout [UInt8])
  {
    switch (self, encoding) {
    case (.boolean(let slots), .rle):
      let bits = slots[range].map { $0 ? UInt32(1) : 0 }
      let start = output.count
      output.appendLittleEndian(UInt32(0))
      HybridEncoding.encode(bits.span, width: 1, appendingTo: &output)
      // Their length stands before the runs.
      var length = UInt32(output.count - start - 4)
      for place in start..<start + 4 {
        output[place] = UInt8(truncatingIfNeeded: length)
        length >>= 8
      }
    case (.boolean(let slots), _):
      PlainEncoding.encode(slots.span.extracting(range), appendingTo: &output)
    case (.int32(let slots), .deltaBinaryPacked):
      DeltaBinaryPacked.encode(slots.span.extracting(range), appendingTo: &output)
    case (.int64(let slots), .deltaBinaryPacked):
      DeltaBinaryPacked.encode(slots.span.extracting(range), appendingTo: &output)
    case (.float(let slots), .byteStreamSplit):
      ByteStreamSplit.encode(slots.span.extracting(range), appendingTo: &output)
    case (.double(let slots), .byteStreamSplit):
      ByteStreamSplit.encode(slots.span.extracting(range), appendingTo: &output)
    case (.bytes(let strings), .deltaLengthByteArray):
      DeltaLengthByteArray.encode(strings, range, appendingTo: &output)
    case (.int32(let slots), _):
      PlainEncoding.encode(slots.span.extracting(range), appendingTo: &output)
    case (.int64(let slots), _):
      PlainEncoding.encode(slots.span.extracting(range), appendingTo: &output)
    case (.float(let slots), _):
      PlainEncoding.encode(slots.span.extracting(range), appendingTo: &output)
    case (.double(let slots), _):
      PlainEncoding.encode(slots.span.extracting(range), appendingTo: &output)
    case (.bytes(let strings), _): PlainEncoding.encode(strings, range, appendingTo: &output)
    case (.fixed(let fixed), _):
      let width = fixed.width
      output.append(
        borrowing: fixed.bytes.span.extracting(range.lowerBound * width..<range.upperBound * width))
    case (.dictionary(let indices, let strings), _):
      // A page of them at a time, as strings that come often may be long.
      var page = ByteStrings()
      for position in range { page.append(strings[Int(indices[position])]) }
      ColumnArray.Values.bytes(page).encode(0..<page.count, as: encoding, appendingTo: &output)
    }
  }
}
