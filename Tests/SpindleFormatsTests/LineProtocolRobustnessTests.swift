import Glibc
import SpindleFormats
import Testing

/// The events with the excerpts left out, which the reference does not make.
private func bare(_ events: [Collector.Event]) -> [Collector.Event] {
  events.map {
    guard case .error(let error) = $0 else { return $0 }
    return .error(LineProtocolError(line: error.line, column: error.column, kind: error.kind))
  }
}

/// Decodes in a fresh decoder and in a used one, with and without room behind, and compares all
/// with the reference.
private final class Comparison {
  var decoder = LineProtocolDecoder()

  func agrees(on text: [UInt8]) -> Bool {
    let expected = ReferenceDecoder.events(text)
    var plain = Collector()
    let summary = decoder.decode(text.span, into: &plain)
    let lines = UInt64(text.count { $0 == 10 }) + (text.isEmpty || text.last == 10 ? 0 : 1)
    guard bare(plain.events) == expected, summary.physicalLines == lines,
      summary.bytesConsumed == text.count,
      summary.points == UInt64(plain.points.count),
      summary.rejected == UInt64(plain.errors.count),
      plain.errors.allSatisfy({ $0.line >= 1 && $0.line <= lines && $0.column >= 1 })
    else { return false }
    for (key, point) in zip(plain.seriesKeys, plain.points) {
      var expected: [UInt8] = []
      LineProtocolSeries(measurement: point.measurement, tags: point.tags)?
        .appendKey(to: &expected)
      guard key == expected else { return false }
    }
    // Room behind lets more lines take the fast path. It may close an open string, so it has none.
    var padded = Collector()
    _ = decoder.decode((text + padding).span, into: &padded)
    return padded.events == plain.events || text.last == 13
  }
}

@Suite struct LineProtocolRobustnessTests {
  @Test func theRichSampleIsDecodedAsTheReferenceDoes() {
    let comparison = Comparison()
    for _ in 0..<3 { #expect(comparison.agrees(on: Array(richSample.utf8))) }
    let result = decode(Array(richSample.utf8)).collector
    #expect(result.points.count == 6)
    // The string opened in line 10 ends at the next quote, in line 12, where the error shows.
    #expect(result.errors.map(\.line) == [8, 9, 12])
    #expect(result.errors.last?.kind == .textAfterString(openedAtLine: 10, column: 7))
  }

  @Test func truncationAtEveryByteIsHarmless() {
    let sample = Array(richSample.utf8)
    let comparison = Comparison()
    for count in 0...sample.count {
      #expect(comparison.agrees(on: Array(sample[..<count])), "cut to \(count) bytes")
    }
  }

  @Test func everyBitFlipIsHarmless() {
    let sample = Array(richSample.utf8)
    let comparison = Comparison()
    for index in sample.indices {
      // From the start of its line, with some lines after it.
      let start = sample[..<index].lastIndex(of: 10).map { $0 + 1 } ?? 0
      let end = min(index + 300, sample.count)
      for bit in 0..<8 {
        var flipped = Array(sample[start..<end])
        flipped[index - start] ^= 1 << UInt8(bit)
        #expect(comparison.agrees(on: flipped), "bit \(bit) of byte \(index)")
      }
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func mutatedInputsAreDecodedAsTheReferenceDoes(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let sample = Array(richSample.utf8)
    let pieces =
      [
        "\"", "\\", ",", "=", " ", "\n", "\r\n", "\\\"", "=\"", "\0", "i", "u", "e", ".", "-", "#",
        "\t", "\u{FC}", "\u{1F600}", "_", "time", "true", "F", "1", "123456789", "\\\\", "9e99",
        ",a=b",
      ].map { Array($0.utf8) } + [[0xC3], [0xFF]]
    let comparison = Comparison()
    for round in 0..<400 {
      let start = Int.random(in: 0..<sample.count, using: &random)
      var text = Array(sample[start..<min(start + 200, sample.count)])
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let index = Int.random(in: 0...text.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: text.insert(contentsOf: pieces.randomElement(using: &random) ?? [], at: index)
        case 1: text.removeSubrange(index..<min(index + 3, text.count))
        default: if index < text.count { text[index] = UInt8.random(in: 0...255, using: &random) }
        }
      }
      #expect(
        comparison.agrees(on: text),
        "seed \(seed), round \(round): \(String(decoding: text, as: UTF8.self).debugDescription)")
    }
  }

  @Test(arguments: [4, 5] as [UInt64])
  func noiseOfSpecialBytesIsDecodedAsTheReferenceDoes(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    let alphabet = Array("mf\"\\,= \n=1ti.-".utf8)
    let comparison = Comparison()
    for round in 0..<3_000 {
      var text = Array("m f".utf8)
      for _ in 0..<Int.random(in: 0..<40, using: &random) {
        text.append(alphabet.randomElement(using: &random) ?? 0)
      }
      #expect(
        comparison.agrees(on: text),
        "seed \(seed), round \(round): \(String(decoding: text, as: UTF8.self).debugDescription)")
    }
  }

  @Test(arguments: [8, 9, 10] as [UInt64])
  func linesOfManyShapesAreDecodedAsTheReferenceDoes(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    // Keys that are the beginnings of others, of every length around whole words.
    let long = "usage_guest_nice_abcdefghijklmnopqrstuvwxyz"
    let keys = (1...30).map { String(long.prefix($0)) } + ["host", "region", "zone", "usage_guesu"]
    let values = [
      "1", "-2.5", "300i", "4u", "t", "\"x y\"", "123456789012", "1e5", "0.1234567890123",
    ]
    // Shapes repeat, in blocks and in turn; more measurements than are remembered.
    let shapes = (0..<40).map { shape in
      let shuffled = keys.shuffled(using: &random)
      let measurement = shape % 3 == 0 ? String(long.prefix(shape + 1)) : "m\(shape)"
      return (measurement, Array(shuffled.prefix(shape % 7)), Array(shuffled.suffix(shape % 9 + 1)))
    }
    let comparison = Comparison()
    for round in 0..<60 {
      var text = ""
      for _ in 0..<20 {
        let (measurement, tags, fields) = shapes[
          Int.random(in: 0..<(round % 2 == 0 ? 4 : shapes.count), using: &random)]
        let change = Int.random(in: 0..<8, using: &random)
        var lineTags = tags.filter { _ in change > 1 || Bool.random(using: &random) }
        var lineFields = fields.filter { _ in change > 2 || Bool.random(using: &random) }
        if change == 3 { lineTags.shuffle(using: &random) }
        if change == 4 { lineFields.shuffle(using: &random) }
        if change == 5, let key = keys.randomElement(using: &random) { lineTags.append(key) }
        if change == 6, let key = keys.randomElement(using: &random) { lineFields.append(key) }
        text += measurement + lineTags.map { ",\($0)=v" }.joined() + " "
        text += lineFields.map { "\($0)=\(values.randomElement(using: &random) ?? "1")" }
          .joined(separator: ",")
        text += Bool.random(using: &random) ? "\n" : " \(random.next() >> 2)\r\n"
      }
      #expect(comparison.agrees(on: Array(text.utf8)), "seed \(seed), round \(round): \(text)")
    }
  }

  @Test(arguments: [6, 7] as [UInt64])
  func encodedPointsDecodeToEqualPoints(seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    var points: [LineProtocolPoint] = []
    var bytes: [UInt8] = []
    let encoder = LineProtocolEncoder()
    while points.count < 1_000 {
      let point = randomPoint(&random)
      do {
        try encoder.append(point, to: &bytes)
        points.append(point)
      } catch {
        #expect([.notRepresentable, .duplicateTagKey, .duplicateFieldKey].contains(error))
      }
    }
    let result = decode(bytes)
    #expect(result.collector.errors == [])
    #expect(result.collector.points == points)
    for (key, point) in zip(result.collector.seriesKeys, points) {
      let series = try LineProtocolSeries(key: key.span)
      #expect(series == LineProtocolSeries(measurement: point.measurement, tags: point.tags))
    }
    #expect(bare(result.collector.events) == ReferenceDecoder.events(bytes))
  }

  @Test func nothingIsReadBeyondTheEndOrBeforeTheStart() throws {
    // The text lies directly before a page that cannot be read, then directly behind one.
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    let flags = MAP_PRIVATE | MAP_ANONYMOUS
    let mapped = unsafe mmap(nil, page * 3, PROT_READ | PROT_WRITE, flags, -1, 0)
    let memory = unsafe try #require(mapped)
    defer { unsafe munmap(memory, page * 3) }
    unsafe #expect(mprotect(memory, page, PROT_NONE) == 0)
    unsafe #expect(mprotect(memory + page * 2, page, PROT_NONE) == 0)
    let sample = Array(richSample.utf8)
    #expect(sample.count <= page)
    var decoder = LineProtocolDecoder()
    for count in 0...sample.count {
      let text = Array(sample[..<count])
      var expected = Collector()
      let summary = decoder.decode(text.span, into: &expected)
      for offset in [page * 2 - count, page] {
        let start = unsafe memory + offset
        unsafe start.copyMemory(from: text, byteCount: count)
        let span = unsafe Span(
          _unsafeStart: UnsafePointer(start.assumingMemoryBound(to: UInt8.self)), count: count)
        var guarded = Collector()
        #expect(decoder.decode(span, into: &guarded) == summary)
        #expect(guarded.events == expected.events)
      }
    }
  }

  private func randomPoint(_ random: inout SeededGenerator) -> LineProtocolPoint {
    func text(_ most: Int) -> [UInt8] {
      let pieces = [
        "a", "b", "host", ",", "=", " ", "\\", "\"", "\u{FC}", "\u{65E5}\u{672C}", "\t", "#", "x1",
        "-",
      ]
      let count = Int.random(in: 1...most, using: &random)
      return (0..<count).flatMap { _ in Array((pieces.randomElement(using: &random) ?? "").utf8) }
    }
    func value() -> LineProtocolPoint.Value {
      switch Int.random(in: 0..<8, using: &random) {
      case 0: .integer(Int64.random(in: .min ... .max, using: &random))
      case 1: .unsigned(UInt64.random(in: 0 ... .max, using: &random))
      case 2: .boolean(Bool.random(using: &random))
      case 3: .string(text(6))
      case 4: .string(Array("line\nbreak \\\" ".utf8) + text(3))
      case 5: .float(Double(Int64.random(in: -99_999...99_999, using: &random)) / 100)
      case 6: .float(Double.random(in: -1...1, using: &random))
      default:
        .float(finite(Double(bitPattern: UInt64.random(in: 0 ... .max, using: &random))))
      }
    }
    func finite(_ value: Double) -> Double { value.isFinite ? value : 0 }
    return LineProtocolPoint(
      measurement: text(2),
      tags: (0..<Int.random(in: 0..<4, using: &random)).map { _ in
        LineProtocolSeries.Tag(key: text(3), value: text(3))
      },
      fields: (0..<Int.random(in: 1..<5, using: &random)).map { _ in
        LineProtocolPoint.Field(key: text(3), value: value())
      },
      timestamp: Bool.random(using: &random)
        ? Int64.random(in: .min ... .max, using: &random) : nil)
  }
}
