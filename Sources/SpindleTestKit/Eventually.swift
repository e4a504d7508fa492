public import Testing

/// Waits for something that is about to happen, at most 30 seconds: long enough for a test that
/// shares two processors with a thousand others.
///
/// - Throws: What the condition throws; ``TestKitError`` when it never held, which is an issue too.
public func eventually(
  _ location: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async throws {
  for _ in 0..<30_000 {
    if try await condition() { return }
    try await Task.sleep(for: .milliseconds(1))
  }
  Issue.record("it did not happen within 30 s", sourceLocation: location)
  throw TestKitError("timed out")
}
