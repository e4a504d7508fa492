import SpindleIO
import SpindleStore
import SpindleTestKit
import Testing

@Suite(.temporaryDirectory) struct KilledProbeTests {
  @Test("What a probe that was killed left keeps no store shut, and goes")
  func leftoversOfProbes() async throws {
    let path = try TestDirectory.path("store")
    try Files.createDirectory(path)
    for _ in 0..<2 {
      let leftover = path + "/" + DirectoryProbe.prefix + "1-a"
      try writeFile([], to: leftover)
      try await Store.small(at: path).close()
      #expect(!Files.exists(leftover))
    }
    // Anything else is still no place for a store.
    let other = try TestDirectory.path("other")
    try Files.createDirectory(other)
    try writeFile([1], to: other + "/letter.txt")
    await #expect(throws: (any Error).self) { _ = try await Store.small(at: other) }
  }
}
