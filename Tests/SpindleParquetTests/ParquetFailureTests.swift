import Testing

@testable import SpindleParquet

@Suite struct ParquetFailureTests {
  @Test func aFailureSaysWhatAndWhere() {
    let failure = ParquetFailure.damaged("a page of 3 bytes", at: 7)
    #expect(failure.kind == .damaged && failure.offset == 7)
  }
}
