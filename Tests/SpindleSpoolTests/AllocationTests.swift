import Foundation
import SpindleTestKit
import Testing

/// What is asked for on every message must cost no allocation.
@Suite(.temporaryDirectory) struct AllocationTests {
  /// The sanitizers bring allocators of their own.
  static let isSanitized = ["__asan_init", "__tsan_init"].contains { (name: String) in
    unsafe dlsym(nil, name) != nil
  }

  @Test(
    "A-G-12: asking for the health allocates nothing, while it is good and while it is not",
    .disabled(if: isSanitized))
  func healthAllocatesNothing() async throws {
    let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Support/allocations.cc").path
    let library = try TestDirectory.path("allocations.so")
    let compiler = try ChildProcess(
      "/usr/bin/env", ["g++", "-shared", "-fPIC", "-O1", source, "-o", library])
    #expect(try await compiler.ending() == .exit(0), "the counter needs g++")
    let child = try ChildProcess(
      "/usr/bin/env",
      [
        "LD_PRELOAD=" + library, try ChildProcess.builtProgram("CrashWorker"), "health",
        try TestDirectory.path("store"),
      ])
    #expect(try await child.ending() == .exit(0))
    // The count of what does allocate first: the counter counts.
    #expect(child.lines == ["counts 1000", "good 0", "shut 0"])
  }
}
