private import Glibc

// Comparing keys as written finds exactly the equal texts: every text has one written form, since
// each byte that may be escaped in a name must be. Their order needs the texts.

extension LineProtocolLine {
  /// Up to this many keys every pair is compared; beyond, the keys are sorted first.
  private static var pairwiseLimit: Int { 24 }

  private func isSameKey(_ left: LineProtocolToken, _ right: LineProtocolToken) -> Bool {
    guard left.byteCount == right.byteCount, let base = unsafe buffer.baseAddress else {
      return false
    }
    // The decoder made both tokens, inside the buffer.
    return unsafe memcmp(base + left.start, base + right.start, left.byteCount) == 0
  }

  /// Whether no tag key and no field key occurs twice.
  var hasUniqueKeys: Bool {
    firstRepeatedTag == nil && firstRepeatedField == nil
  }

  /// The first tag whose key an earlier tag has.
  var firstRepeatedTag: Int? {
    let tags = self.tags
    return firstRepeat(count: tags.count) { tags[$0].key }
  }

  /// The first field whose key an earlier field has.
  var firstRepeatedField: Int? {
    let fields = self.fields
    return firstRepeat(count: fields.count) { fields[$0].key }
  }

  private func firstRepeat(count: Int, key: (Int) -> LineProtocolToken) -> Int? {
    if count <= Self.pairwiseLimit {
      for later in 0..<count {
        for earlier in 0..<later where isSameKey(key(earlier), key(later)) { return later }
      }
      return nil
    }
    // By bytes, then by place, so that of equal keys the later follows the earlier.
    let order = (0..<count).sorted {
      let comparison = compareWritten(key($0), key($1))
      return comparison == 0 ? $0 < $1 : comparison < 0
    }
    var first: Int?
    for index in 1..<count where isSameKey(key(order[index - 1]), key(order[index])) {
      first = min(first ?? count, order[index])
    }
    return first
  }

  private func compareWritten(_ left: LineProtocolToken, _ right: LineProtocolToken) -> Int {
    guard let base = unsafe buffer.baseAddress else { return 0 }
    let common = min(left.byteCount, right.byteCount)
    // The decoder made both tokens, inside the buffer.
    let difference = unsafe Int(memcmp(base + left.start, base + right.start, common))
    return difference != 0 ? difference : left.byteCount - right.byteCount
  }

  /// Whether the text of one tag key is before the text of another.
  private func isOrdered(_ left: LineProtocolToken, before right: LineProtocolToken) -> Bool {
    guard left.hasEscapes || right.hasEscapes else { return compareWritten(left, right) < 0 }
    var leftText: [UInt8] = []
    var rightText: [UInt8] = []
    append(left, as: .name, to: &leftText)
    append(right, as: .name, to: &rightText)
    return leftText.lexicographicallyPrecedes(rightText)
  }

  /// Writes the tags' indexes in the order of their keys.
  ///
  /// - Complexity: O(tags) when they are in order, O(tags * log tags) comparisons otherwise.
  func sortTags(into order: UnsafeMutablePointer<UInt16>) {
    let tags = self.tags
    if tags.count > Self.pairwiseLimit {
      let sorted = (0..<tags.count).sorted { isOrdered(tags[$0].key, before: tags[$1].key) }
      for place in 0..<tags.count {
        unsafe order[place] = UInt16(truncatingIfNeeded: sorted[place])
      }
      return
    }
    for index in 0..<tags.count {
      var place = index
      while place > 0,
        unsafe isOrdered(tags[index].key, before: tags[Int(order[place - 1])].key)
      {
        unsafe order[place] = order[place - 1]
        place -= 1
      }
      unsafe order[place] = UInt16(truncatingIfNeeded: index)
    }
  }
}

extension LineProtocolDecoder {
  func checkTagsAreUnique(_ bytes: Span<UInt8>) throws(LineFailure) {
    guard let index = line.firstRepeatedTag else { return }
    let key = line.tags[index].key
    throw LineFailure(.duplicateTagKey, at: key.start, found: key.range)
  }

  /// Of fields with the same key keeps the first place and the last value.
  mutating func mergeRepeatedFields(_ bytes: Span<UInt8>) throws(LineFailure) {
    guard line.firstRepeatedField != nil else { return }
    let fields = unsafe line.fieldStorage
    var places: [[UInt8]: Int] = [:]
    var kept = 0
    for index in 0..<line.storedFieldCount {
      let field = unsafe fields[index]
      let key = unsafe bytes.extracting(field.key.range).withUnsafeBufferPointer {
        unsafe Array($0)
      }
      if let place = places[key] {
        guard unsafe fields[place].value.hasSameType(as: field.value) else {
          throw LineFailure(
            .conflictingFieldTypes, at: field.key.start, found: field.key.range)
        }
        unsafe fields[place] = LineProtocolField(key: field.key, value: field.value)
      } else {
        places[key] = kept
        unsafe fields[kept] = field
        kept += 1
      }
    }
    line.storedFieldCount = kept
  }
}

extension LineProtocolValue {
  func hasSameType(as other: LineProtocolValue) -> Bool {
    switch (self, other) {
    case (.float, .float), (.integer, .integer), (.unsigned, .unsigned), (.boolean, .boolean),
      (.string, .string):
      true
    default: false
    }
  }
}
