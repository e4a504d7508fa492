import Glibc
import SpindleFormats

/// A second decoder, written for obviousness: bytes in arrays, one at a time, no shared code.
struct ReferenceDecoder {
  var underscores = false
  let bytes: [UInt8]
  var events: [Collector.Event] = []

  private struct Fault: Error {
    var kind: LineProtocolError.Kind
    var offset: Int
    var quote: Int?
    init(_ kind: LineProtocolError.Kind, _ offset: Int, quote: Int? = nil) {
      (self.kind, self.offset, self.quote) = (kind, offset, quote)
    }
  }

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  static func events(_ bytes: [UInt8]) -> [Collector.Event] {
    var decoder = ReferenceDecoder(bytes)
    decoder.run()
    return decoder.events
  }

  private func isOne(_ offset: Int, _ set: String) -> Bool {
    offset < bytes.count && set.utf8.contains(bytes[offset])
  }

  private func place(_ offset: Int) -> (line: UInt64, column: UInt64) {
    var (line, column): (UInt64, UInt64) = (1, 1)
    for byte in bytes[..<offset] {
      if byte == 10 { (line, column) = (line + 1, 1) } else { column += 1 }
    }
    return (line, column)
  }

  private mutating func run() {
    var start = 0
    while start < bytes.count {
      let newline = lineEnd(start)
      var end = newline
      if end > start, bytes[end - 1] == 13 { end -= 1 }
      var first = start
      while first < end, isOne(first, " \t") { first += 1 }
      if first < end, bytes[first] != UInt8(ascii: "#") {
        do {
          events.append(.point(try point(first, end), line: place(start).line))
        } catch let fault as Fault {
          var kind = fault.kind
          if let quote = fault.quote {
            kind = .textAfterString(openedAtLine: place(quote).line, column: place(quote).column)
          }
          let (line, column) = place(fault.offset)
          events.append(.error(LineProtocolError(line: line, column: column, kind: kind)))
        } catch {}
      }
      start = newline + 1
    }
  }

  private func lineEnd(_ start: Int) -> Int {
    var index = start
    while isOne(index, " \t") { index += 1 }
    let isComment = isOne(index, "#")
    var inFields = false
    while index < bytes.count, bytes[index] != 10 {
      if !inFields, !isComment, bytes[index] == 32, bytes[index - 1] != 92 { inFields = true }
      if inFields, bytes[index] == 34, bytes[index - 1] == 61, bytes[index - 2] != 92 {
        var close = index + 1
        while close < bytes.count, bytes[close] != 34 { close += bytes[close] == 92 ? 2 : 1 }
        if close < bytes.count {
          index = close
        } else {
          return bytes[index...].firstIndex(of: 10) ?? bytes.count
        }
      }
      index += 1
    }
    return min(index, bytes.count)
  }

  /// The end of a name, its text, and its faults.
  private func name(
    _ start: Int, _ end: Int, _ stops: String
  ) throws -> (end: Int, text: [UInt8]) {
    var index = start
    var text: [UInt8] = []
    while index < end {
      let isEscape = bytes[index] == 92 && index + 1 < end && isOne(index + 1, stops)
      if !isEscape && isOne(index, stops) { break }
      if isEscape { index += 1 }
      text.append(bytes[index])
      index += 1
    }
    try checkText(start, index)
    return (index, text)
  }

  private func checkText(_ start: Int, _ end: Int) throws {
    if let nul = bytes[start..<end].firstIndex(of: 0) { throw Fault(.nulByte, nul) }
    // The standard library's validation finds the first prefix that is not text.
    if String(validating: bytes[start..<end], as: UTF8.self) != nil { return }
    var good = start
    next: while good < end {
      for length in 1...4 where good + length <= end {
        if String(validating: bytes[good..<(good + length)], as: UTF8.self) != nil {
          good += length
          continue next
        }
      }
      throw Fault(.invalidUTF8, good)
    }
  }

  private func checkKey(_ start: Int, _ text: [UInt8]) throws {
    if text.first == 95 || text == Array("time".utf8) { throw Fault(.reservedName, start) }
  }

  private func point(_ start: Int, _ end: Int) throws -> LineProtocolPoint {
    if bytes[start] == 44 { throw Fault(.missingMeasurement, start) }
    var (index, measurement) = try name(start, end, ", ")
    if measurement.first == 95 { throw Fault(.reservedName, start) }
    var tags: [(tag: LineProtocolSeries.Tag, offset: Int)] = []
    while index < end, isOne(index, ",") {
      let keyStart = index + 1
      let (keyEnd, key) = try name(keyStart, end, ",= ")
      if key.isEmpty { throw Fault(.missingTagKey, keyStart) }
      try checkKey(keyStart, key)
      guard keyEnd < end, isOne(keyEnd, "=") else { throw Fault(.missingTagValue, keyEnd) }
      let (valueEnd, value) = try name(keyEnd + 1, end, ",= ")
      if valueEnd < end, isOne(valueEnd, "=") { throw Fault(.unescapedEquals, valueEnd) }
      if value.isEmpty { throw Fault(.missingTagValue, keyEnd + 1) }
      tags.append((.init(key: key, value: value), keyStart))
      index = valueEnd
    }
    for (place, tag) in tags.enumerated()
    where tags[..<place].contains(where: { $0.tag.key == tag.tag.key }) {
      throw Fault(.duplicateTagKey, tag.offset)
    }
    while index < end, isOne(index, " \t") { index += 1 }
    if index == end { throw Fault(.missingFields, index) }

    var fields: [(field: LineProtocolPoint.Field, offset: Int)] = []
    var more = true
    while more {
      let (keyEnd, key) = try name(index, end, ",= ")
      if key.isEmpty { throw Fault(.missingFieldKey, index) }
      try checkKey(index, key)
      guard keyEnd < end, isOne(keyEnd, "=") else { throw Fault(.missingFieldValue, keyEnd) }
      let (valueEnd, value) = try fieldValue(keyEnd + 1, end)
      fields.append((.init(key: key, value: value), index))
      more = valueEnd < end && isOne(valueEnd, ",")
      index = more ? valueEnd + 1 : valueEnd
    }
    var merged: [LineProtocolPoint.Field] = []
    for (field, offset) in fields {
      if let old = merged.firstIndex(where: { $0.key == field.key }) {
        if typeName(merged[old].value) != typeName(field.value) {
          throw Fault(.conflictingFieldTypes, offset)
        }
        merged[old] = field
      } else {
        merged.append(field)
      }
    }
    while index < end, isOne(index, " \t") { index += 1 }
    var timestamp: Int64?
    if index < end {
      var stop = index
      while stop < end, !isOne(stop, " \t") { stop += 1 }
      let text = String(decoding: bytes[index..<stop], as: UTF8.self)
      guard text.wholeMatch(of: /-?[0-9]+/) != nil else { throw Fault(.invalidTimestamp, index) }
      guard let value = Int64(text) else { throw Fault(.timestampOutOfRange, index) }
      timestamp = value
      while stop < end, isOne(stop, " \t") { stop += 1 }
      if stop < end { throw Fault(.textAfterTimestamp, stop) }
    }
    return LineProtocolPoint(
      measurement: measurement, tags: tags.map(\.tag), fields: merged, timestamp: timestamp)
  }

  private func typeName(_ value: LineProtocolPoint.Value) -> String {
    switch value {
    case .float: "float"
    case .integer: "integer"
    case .unsigned: "unsigned"
    case .boolean: "boolean"
    case .string: "string"
    }
  }

  private func fieldValue(
    _ start: Int, _ end: Int
  ) throws -> (end: Int, value: LineProtocolPoint.Value) {
    if start < end, bytes[start] == 34 {
      var text: [UInt8] = []
      var index = start + 1
      while index < end, bytes[index] != 34 {
        if bytes[index] == 92, index + 1 < end, isOne(index + 1, "\"\\") { index += 1 }
        text.append(bytes[index])
        index += 1
      }
      if index >= end { throw Fault(.unterminatedString, start) }
      try checkText(start + 1, index)
      if index + 1 < end, !isOne(index + 1, ", ") {
        throw Fault(.textAfterString(openedAtLine: 0, column: 0), index + 1, quote: start)
      }
      return (index + 1, .string(text))
    }
    var stop = start
    while stop < end, !isOne(stop, ", ") { stop += 1 }
    if stop == start { throw Fault(.missingFieldValue, start) }
    let text = String(decoding: bytes[start..<stop], as: UTF8.self)
    if ["t", "T", "true", "True", "TRUE"].contains(text) { return (stop, .boolean(true)) }
    if ["f", "F", "false", "False", "FALSE"].contains(text) { return (stop, .boolean(false)) }
    if text.wholeMatch(of: /-?[0-9]+i/) != nil {
      guard let value = Int64(text.dropLast()) else { throw Fault(.numberOutOfRange, start) }
      return (stop, .integer(value))
    }
    if text.wholeMatch(of: /[0-9]+u/) != nil {
      guard let value = UInt64(text.dropLast()) else { throw Fault(.numberOutOfRange, start) }
      return (stop, .unsigned(value))
    }
    guard text.wholeMatch(of: /-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+\-]?[0-9]+)?/) != nil else {
      throw Fault(.invalidFieldValue, start)
    }
    let value = unsafe strtod(text, nil)
    guard value.isFinite else { throw Fault(.numberOutOfRange, start) }
    return (stop, .float(value))
  }
}
