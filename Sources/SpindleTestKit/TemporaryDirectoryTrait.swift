internal import Glibc
internal import SpindleIO
internal import Synchronization
public import Testing

/// The folder of the running test case.
public struct TestDirectory: Sendable {
  public let path: String

  @TaskLocal static var current: TestDirectory?

  /// The folder that ``Trait/temporaryDirectory`` made for the case that runs now.
  public static func path(_ name: String = "") throws -> String {
    guard let current else {
      throw TestKitError("the test needs the trait .temporaryDirectory")
    }
    return name.isEmpty ? current.path : current.path + "/" + name
  }
}

/// A mistake in how a test is set up, or a machine that cannot run it.
public struct TestKitError: Error, CustomStringConvertible {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// Gives each case of a test a folder of its own, removed at the end unless the case failed.
public struct TemporaryDirectoryTrait: TestTrait, SuiteTrait, TestScoping {
  public var isRecursive: Bool { true }

  @concurrent public func provideScope(
    for test: Test, testCase: Test.Case?,
    performing function: @concurrent @Sendable () async throws -> Void
  ) async throws {
    let directory = TestDirectory(path: TemporaryDirectory.make(prefix: "spindle-test"))
    let failed = Flag()
    // Expectations that fail are no errors; they are seen as issues passing by.
    let watch = IssueHandlingTrait.compactMapIssues { issue in
      failed.set()
      return issue
    }
    do {
      try await watch.provideScope(for: test, testCase: testCase) {
        try await TestDirectory.$current.withValue(directory) { try await function() }
      }
    } catch {
      failed.set()
      print("kept \(directory.path) of \(test.name)")
      throw error
    }
    if failed.isSet {
      print("kept \(directory.path) of \(test.name)")
    } else {
      TemporaryDirectory.remove(directory.path)
    }
  }
}

extension Trait where Self == TemporaryDirectoryTrait {
  public static var temporaryDirectory: Self { Self() }
}

final class Flag: Sendable {
  private let value = Atomic<Bool>(false)
  var isSet: Bool { value.load(ordering: .acquiring) }
  func clear() { value.store(false, ordering: .releasing) }
  func set() { value.store(true, ordering: .releasing) }
}
