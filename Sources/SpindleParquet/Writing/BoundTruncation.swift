/// Bounds that are cut to a length, so that long values do not swell statistics.
extension [UInt8] {
  /// A beginning of the bytes of at most `limit` bytes: nothing that these bytes bound from below
  /// is below it.
  ///
  /// - Parameter isText: Whether to cut between characters of UTF-8.
  func cutBelow(limit: Int, isText: Bool) -> [UInt8] {
    count <= limit ? self : Array(self[..<place(ofCut: limit, isText: isText)])
  }

  /// Bytes of at most `limit` bytes that come behind these, so that they bound from above what these
  /// bound; the bytes themselves where there are none such.
  ///
  /// - Parameter isText: Whether the result is to be UTF-8 as the bytes are.
  func cutAbove(limit: Int, isText: Bool) -> [UInt8] {
    if count <= limit { return self }
    if isText, let text = raisedText(limit: limit) { return text }
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

  /// The same for UTF-8: the last character that has one behind it gives way to that.
  ///
  /// - Returns: nil when the bytes are no UTF-8, or no character can grow.
  private func raisedText(limit: Int) -> [UInt8]? {
    let cut = self[..<place(ofCut: limit, isText: true)]
    guard let text = String(validating: cut, as: UTF8.self) else { return nil }
    var scalars = Array<Unicode.Scalar>(text.unicodeScalars)
    while let last = scalars.popLast() {
      // Surrogates are no characters.
      let next = last.value + 1 == 0xD800 ? 0xE000 : last.value + 1
      guard let raised = Unicode.Scalar(next) else { continue }
      // One more byte may not fit.
      let output = scalars.flatMap { Array(UTF8.encode($0)!) } + Array(UTF8.encode(raised)!)
      if output.count <= limit { return output }
    }
    return nil
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
