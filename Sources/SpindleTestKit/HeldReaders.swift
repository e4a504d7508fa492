internal import SpindleStore
internal import Testing

extension Store {
  /// Runs a body while every thread for reads is held, as by a disk that hangs.
  package func withReadersHeld<Value>(_ body: () async throws -> Value) async throws -> Value {
    let (held, gate) = (Shared(0), SyncGate())
    gate.shut()
    let holders = (0..<settings.blockingThreads).map { _ in
      Task {
        try await blocking {
          held.update { $0 += 1 }
          gate.wait()
        }
      }
    }
    let result: Result<Value, any Error>
    do {
      try await eventually { held.value == holders.count }
      result = .success(try await body())
    } catch {
      result = .failure(error)
    }
    gate.open()
    for holder in holders { try await holder.value }
    return try result.get()
  }
}
