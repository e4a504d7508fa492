/// Bounds that are cut to a length, so that long values do not swell statistics.
extension [UInt8] {
  /// A beginning of the bytes of at most `limit` bytes: nothing that these bytes bound from below
  /// is below it.
  ///
  /// - Parameter isText: Whether to cut between characters of UTF-8.
  func cutBelow(limit: Int, isText: Bool) -> [UInt8] {
    count <= limit ? self : Array(self[..<place(ofCut: limit, isText: isText)])
  }

  /// Bytes of at most `limit` bytes that come behind these, so that they bound from above what
  /// these bound; the bytes themselves where there are none such.
  ///
  /// - Parameter isText: Whether the result is to be UTF-8 as the bytes are.
  func cutAbove(limit: Int, isText: Bool) -> [UInt8] {
    if count <= limit { return self }
    if isText, let text = String(validating: self, as: UTF8.self) {
      return text.raised(limit: limit).map { Array($0.utf8) } ?? self
    }
    // The last byte that can grow does so, and what follows it goes.
    var cut = Array(self[..<limit])
    while let last = cut.last {
      if last < .max {
        cut[cut.count - 1] = last + 1
        return cut
      }
      cut.removeLast()
    }
    return self
  }

  /// Where to cut: at the limit, or for text before the character that crosses it.
  private func place(ofCut limit: Int, isText: Bool) -> Int {
    guard isText else { return limit }
    // A character has at most three bytes behind its first.
    for place in stride(from: limit, through: Swift.max(limit - 3, 1), by: -1)
    where self[place] & 0xC0 != 0x80 {
      return place
    }
    return limit
  }
}

extension String {
  /// A text of at most `limit` bytes that comes behind this longer one: the last character that has
  /// room for one behind it gives way to that.
  ///
  /// - Returns: nil when no character can grow.
  fileprivate func raised(limit: Int) -> String? {
    var kept = String.UnicodeScalarView()
    var byteCount = 0
    for scalar in unicodeScalars {
      byteCount += UTF8.width(scalar)
      if byteCount > limit { break }
      kept.append(scalar)
    }
    while let last = kept.popLast() {
      // Surrogates are no characters.
      let next = last.value + 1 == 0xD800 ? 0xE000 : last.value + 1
      guard let raised = Unicode.Scalar(next) else { continue }
      // One more byte may not fit.
      let text = String(kept) + String(raised)
      if text.utf8.count <= limit { return text }
    }
    return nil
  }
}
