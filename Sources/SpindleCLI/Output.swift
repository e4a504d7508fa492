import ArgumentParser
import Foundation
import SpindleCore
import Synchronization

/// Lets writes to a closed pipe fail with an error instead of a signal.
func ignoreBrokenPipes() { signal(SIGPIPE, SIG_IGN) }

/// Writes to the standard streams.
enum Output {
  /// Writes a line to standard output. A reader that went away ends the command quietly.
  static func line(_ text: String) { write(Array((text + "\n").utf8)) }

  /// The first error of a write to standard output, other than a reader that went away.
  private static let failure = Atomic<Int32>(0)

  private static let isClosed = Atomic<Bool>(false)

  /// Whether anybody still reads standard output, as far as the last write has shown.
  static var hasReader: Bool { !isClosed.load(ordering: .relaxed) }

  /// Throws when standard output did not take everything, such as on a full disk.
  static func checkWritten() throws {
    let code = failure.load(ordering: .relaxed)
    guard code != 0 else { return }
    throw SpindleError(
      .io, "cannot write to standard output: \(unsafe String(cString: strerror(code)))")
  }

  /// Writes bytes to standard output.
  static func write(_ bytes: [UInt8]) {
    var written = 0
    while written < bytes.count {
      let count = unsafe bytes.withUnsafeBytes { buffer in
        unsafe Glibc.write(
          STDOUT_FILENO, buffer.baseAddress?.advanced(by: written), buffer.count - written)
      }
      if count < 0, errno == EINTR { continue }
      if count <= 0 {
        let code = errno
        isClosed.store(true, ordering: .relaxed)
        if count < 0, code != EPIPE {
          _ = failure.compareExchange(expected: 0, desired: code, ordering: .relaxed)
        }
        return
      }
      written += count
    }
  }

  /// Foreign text for a terminal: one line, without what a terminal obeys.
  static func plain(_ text: String) -> String {
    String(
      String.UnicodeScalarView(
        text.unicodeScalars.map { scalar in
          switch scalar.properties.generalCategory {
          case .control, .format, .lineSeparator, .paragraphSeparator: "?"
          default: scalar
          }
        }))
  }

  /// Writes one sentence to standard error.
  static func problem(_ text: String) {
    let bytes = Array("spindle: \(text)\n".utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// Prints a value as one JSON document with sorted keys.
  static func json(_ value: some Encodable) throws { line(try jsonText(value)) }

  static func jsonText(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
  }

  /// Replaces the line on a terminal that shows how far a run is; an empty text clears it.
  static func progress(_ text: String) {
    let bytes = Array("\r\u{1B}[K\(text)".utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  static var isTerminal: Bool { isatty(STDERR_FILENO) == 1 }

  /// A number with a comma between groups of three digits.
  static func grouped(_ number: some BinaryInteger) -> String {
    let digits = Array(String(number))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index) % 3 == 0, digits[index - 1] != "-" { text += "," }
      text.append(digit)
    }
    return text
  }

  /// Text at the right end of a column.
  static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(width - text.count, 0)) + text
  }

  /// Columns padded to their widest cell; numbers belong in the first columns or the last.
  static func table(_ header: [String], _ rows: [[String]]) {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    for row in all {
      let cells = row.enumerated().map { index, cell in
        index == row.count - 1
          ? cell
          : cell.padding(
            toLength: max(widths[index], 1), withPad: " ", startingAt: 0)
      }
      line(cells.joined(separator: "  "))
    }
  }
}

/// Runs a command's work; an error becomes one sentence on standard error and exit code 1.
func reportingErrors(_ body: () async throws -> Void) async throws {
  do {
    try await body()
    try Output.checkWritten()
  } catch let code as ExitCode {
    throw code
  } catch let error as SpindleError where error.kind == .unavailable {
    // The text of a refusal is for strangers, too; the operator is to know why.
    Output.problem("\(error)" + (error.reason.map { " (\($0))" } ?? ""))
    throw ExitCode(1)
  } catch {
    Output.problem("\(error)")
    throw ExitCode(1)
  }
}

/// Prints values as one JSON array, each as it comes, so that none are held.
struct JSONArrayOutput {
  private var isEmpty = true

  mutating func add(_ value: some Encodable) throws {
    let text = try Output.jsonText(value)
    Output.write(Array(((isEmpty ? "[" : ",\n") + text).utf8))
    isEmpty = false
  }

  /// Ends the array.
  func finish() { Output.line(isEmpty ? "[]" : "]") }
}

/// Reads one of an enumeration's raw values.
func choice<Value: RawRepresentable & CaseIterable>(
  _ text: String
) throws -> Value where Value.RawValue == String {
  if let value = Value(rawValue: text) { return value }
  let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
  throw ValidationError("\"\(text)\" is not one of \(known)")
}

/// The option that every command on a store has.
struct StoreOptions: ParsableArguments {
  @Option(name: .long, help: "The directory of the store.")
  var store: String

  func validate() throws {
    guard !store.isEmpty else { throw ValidationError("--store must name a directory") }
  }
}
