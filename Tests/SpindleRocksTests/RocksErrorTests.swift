import SpindleRocks
import Testing

@Suite struct RocksErrorTests {
  /// The texts of RocksDB 7.8.3.
  static let table: [(text: String, kind: RocksError.Kind)] = [
    ("Corruption: block checksum mismatch: stored = 1, computed = 2", .corruption),
    ("Corruption: Corruption: IO error: No such file or directory: x.sst", .corruption),
    ("IO error: No space left on device: While appending to file: /s/000004.log", .ioError),
    ("Result incomplete: Write stall", .incomplete),
    ("Shutdown in progress: ", .shutdown),
    ("Resource busy: ", .busy),
    ("Operation timed out: ", .timedOut),
    ("Operation aborted: ", .aborted),
    ("Operation failed. Try again.: ", .tryAgain),
    ("Invalid argument: Column families not opened: a", .invalidArgument),
    ("Not implemented: Not supported operation in read only mode.", .notSupported),
    ("NotFound: ", .notFound),
    ("Merge in progress: ", .other),
    ("", .other),
    ("something else: Corruption: ", .other),
  ]

  @Test(arguments: table)
  func kindsFollowTheFirstPrefix(text: String, kind: RocksError.Kind) {
    let error = RocksError(message: text)
    #expect(error.kind == kind)
    #expect(error.message == text)
    #expect(error.description == text)
  }

  @Test func everyKindHasAText() {
    let covered = Set(Self.table.map(\.kind)).union([.closed])
    #expect(covered == Set(RocksError.Kind.allCases))
  }

  @Test func fullDisksAndQuotasAreTold() {
    #expect(RocksError(message: "IO error: No space left on device: x").isNoSpace)
    #expect(RocksError(message: "IO error: x: Disk quota exceeded").isNoSpace)
    #expect(RocksError(message: "IO error: Space limit reached").isNoSpace)
    #expect(!RocksError(message: "IO error: Input/output error").isNoSpace)
  }

  @Test func locksAreTold() {
    #expect(RocksError(message: "IO error: While lock file: /s/LOCK: Resource busy").isLocked)
    #expect(RocksError(message: "IO error: lock hold by current process").isLocked)
    #expect(!RocksError(message: "Invalid argument: While lock file").isLocked)
    #expect(!RocksError(message: "IO error: Input/output error").isLocked)
  }
}
