package import SpindleCore
internal import Synchronization

/// A change of a log's cursors.
public enum CursorEvent: Sendable, Equatable {
  /// Every cursor; always the first event.
  case snapshot(PeerCursors)
  /// Peers that moved, with their next index.
  case advanced(PeerCursors)
}

/// The cursors now, then each advance, until the log closes. One task reads it.
///
/// Advances that were not read yet are merged: per peer the greatest position stays. So nothing
/// that matters is lost, and an unread watch holds one position per peer at most.
public struct CursorWatch: AsyncSequence, Sendable {
  public typealias Element = CursorEvent
  public typealias Failure = Never

  let state: State

  public func makeAsyncIterator() -> Iterator { Iterator(state: state) }

  public struct Iterator: AsyncIteratorProtocol {
    let state: State

    /// The next event; nil when the log was closed, or the task was cancelled.
    public mutating func next() async -> CursorEvent? {
      let state = state
      return await withTaskCancellationHandler {
        while true {
          if let outcome = state.take() { return outcome.event }
          await state.waitForChange()
        }
      } onCancel: {
        state.cancel()
      }
    }
  }

  final class State: Sendable {
    private struct Content {
      var snapshot: PeerCursors?
      var advances = PeerCursors()
      var isFinished = false
      /// Whether the time of the present wait is over.
      var isOver = false
      var waiter: CheckedContinuation<Void, Never>?
    }
    private let content: Mutex<Content>

    init(snapshot: PeerCursors) { content = Mutex(Content(snapshot: snapshot)) }

    struct Outcome { var event: CursorEvent? }

    /// What the reader gets now; nil when it must wait.
    func take() -> Outcome? {
      content.withLock { content in
        if let snapshot = content.snapshot.take() { return Outcome(event: .snapshot(snapshot)) }
        if !content.advances.isEmpty {
          defer { content.advances = PeerCursors() }
          return Outcome(event: .advanced(content.advances))
        }
        return content.isFinished ? Outcome(event: nil) : nil
      }
    }

    func waitForChange() async {
      await withCheckedContinuation { continuation in
        let isReady = content.withLock { content in
          if content.snapshot != nil || !content.advances.isEmpty || content.isFinished
            || content.isOver
          {
            return true
          }
          content.waiter = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    }

    /// The same, but no longer than until an instant; ends the watch when the task is cancelled.
    func waitForChange(until instant: ContinuousClock.Instant, _ clock: any StoreClock) async {
      await withTaskCancellationHandler {
        await withTaskGroup(of: Void.self) { group in
          group.addTask {
            if (try? await clock.sleep(until: instant)) != nil { self.endWait() }
          }
          await self.waitForChange()
          group.cancelAll()
        }
      } onCancel: {
        cancel()
      }
      // The group has waited for the sleeper, so nobody ends the next wait by mistake.
      content.withLock { $0.isOver = false }
    }

    private func endWait() {
      content.withLock { content in
        content.isOver = true
        return content.waiter.take()
      }?.resume()
    }

    func advance(_ peer: PeerID, to next: UInt64) {
      content.withLock { content in
        content.advances.advance(peer, to: next)
        return content.waiter.take()
      }?.resume()
    }

    /// Ends the watch; what was not read yet is still given.
    func finish() {
      content.withLock { content in
        content.isFinished = true
        return content.waiter.take()
      }?.resume()
    }

    func cancel() {
      content.withLock { content in
        content.isFinished = true
        content.snapshot = nil
        content.advances = PeerCursors()
        return content.waiter.take()
      }?.resume()
    }

    var isFinished: Bool { content.withLock { $0.isFinished } }
  }
}

/// The cursors of one log in memory, and those who watch them. They only rise.
package final class CursorBoard: Sendable {
  private struct Watcher {
    weak var state: CursorWatch.State?
  }
  private struct Content {
    var cursors: PeerCursors
    var watchers: [Watcher] = []
    var isFinished = false
  }
  private let content: Mutex<Content>

  package init(_ cursors: PeerCursors) { content = Mutex(Content(cursors: cursors)) }

  package var cursors: PeerCursors { content.withLock { $0.cursors } }

  package subscript(peer: PeerID) -> UInt64 { content.withLock { $0.cursors[peer] } }

  /// Snapshot and registration are one step, so no advance falls between them.
  package func watch() -> CursorWatch {
    content.withLock { content in
      let state = CursorWatch.State(snapshot: content.cursors)
      if content.isFinished { state.finish() }
      content.watchers.removeAll { $0.state?.isFinished ?? true }
      content.watchers.append(Watcher(state: state))
      return CursorWatch(state: state)
    }
  }

  /// How many watches somebody still holds, for tests.
  package var watcherCount: Int {
    content.withLock { $0.watchers.count { !($0.state?.isFinished ?? true) } }
  }

  package func advance(_ peer: PeerID, to next: UInt64) {
    content.withLock { content in
      guard content.cursors.raise(peer, to: next) else { return }
      if content.watchers.isEmpty { return }
      content.watchers.removeAll { $0.state?.isFinished ?? true }
      for watcher in content.watchers { watcher.state?.advance(peer, to: next) }
    }
  }

  /// The same for several peers at once.
  func advance(_ peers: [(peer: PeerID, next: UInt64)]) {
    content.withLock { content in
      for (peer, next) in peers { content.cursors.advance(peer, to: next) }
      if content.watchers.isEmpty { return }
      content.watchers.removeAll { $0.state?.isFinished ?? true }
      for watcher in content.watchers {
        for (peer, next) in peers { watcher.state?.advance(peer, to: next) }
      }
    }
  }

  /// Ends every watch.
  package func finish() {
    content.withLock { content in
      content.isFinished = true
      for watcher in content.watchers { watcher.state?.finish() }
      content.watchers = []
    }
  }
}
