internal import Synchronization

/// Why a subscription gives no more events.
public enum SubscriptionEnd: Sendable, Hashable {
  /// More events came than it holds unread; some were lost. Read the state anew, then subscribe
  /// again.
  case lagged
  /// The bus was closed.
  case closed
  /// The reading task was cancelled, or ``Subscription/cancel()`` was called.
  case cancelled
}

/// Events of one target. One task reads them; dropping the subscription ends it.
public final class Subscription<Event: Sendable>: AsyncSequence, Sendable {
  public typealias Element = Event
  public typealias Failure = Never

  let state: State
  private let onEnd: @Sendable (State) -> Void

  init(_ state: State, onEnd: @escaping @Sendable (State) -> Void) {
    self.state = state
    self.onEnd = onEnd
  }

  deinit { cancel() }

  /// Why there are no more events; nil while there may be. Unread events are still given.
  public var endReason: SubscriptionEnd? { state.endReason }

  /// Ends the subscription; what was not read is dropped.
  public func cancel() {
    state.cancel()
    onEnd(state)
  }

  public func makeAsyncIterator() -> Iterator { Iterator(subscription: self) }

  public struct Iterator: AsyncIteratorProtocol {
    let subscription: Subscription

    /// The next event; nil at the end, whose reason is ``Subscription/endReason``.
    public mutating func next() async -> Event? {
      let subscription = subscription
      return await withTaskCancellationHandler {
        while true {
          if let outcome = subscription.state.take() { return outcome.event }
          await subscription.state.waitForChange()
        }
      } onCancel: {
        subscription.cancel()
      }
    }
  }

  final class State: Sendable {
    private struct Content {
      /// Those before `head` were read.
      var events: [Event] = []
      var head = 0
      var end: SubscriptionEnd?
      var waiter: CheckedContinuation<Void, Never>?
    }
    private let content = Mutex(Content())

    struct Outcome { var event: Event? }

    var endReason: SubscriptionEnd? { content.withLock { $0.end } }

    /// What the reader gets now; nil when it must wait.
    func take() -> Outcome? {
      content.withLock { content in
        guard content.head < content.events.count else {
          return content.end == nil ? nil : Outcome(event: nil)
        }
        let event = content.events[content.head]
        content.head += 1
        if content.head == content.events.count {
          content.events.removeAll(keepingCapacity: true)
          content.head = 0
        }
        return Outcome(event: event)
      }
    }

    func waitForChange() async {
      await withCheckedContinuation { continuation in
        let isReady = content.withLock { content in
          if content.head < content.events.count || content.end != nil { return true }
          content.waiter = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
    }

    /// Adds an event, or ends the subscription when there is no room.
    ///
    /// - Returns: Whether more events are of use.
    func offer(_ event: Event, limit: Int) -> Bool {
      let (waiter, isOpen) = content.withLock { content in
        if content.end == nil {
          if content.events.count - content.head < limit {
            if content.head >= limit {
              content.events.removeFirst(content.head)
              content.head = 0
            }
            content.events.append(event)
          } else {
            content.end = .lagged
          }
        }
        return (content.waiter.take(), content.end == nil)
      }
      waiter?.resume()
      return isOpen
    }

    /// Ends the subscription; what was not read yet is still given.
    func end(_ reason: SubscriptionEnd) {
      content.withLock { content in
        content.end = content.end ?? reason
        return content.waiter.take()
      }?.resume()
    }

    func cancel() {
      content.withLock { content in
        content.end = content.end ?? .cancelled
        content.events = []
        content.head = 0
        return content.waiter.take()
      }?.resume()
    }
  }
}
