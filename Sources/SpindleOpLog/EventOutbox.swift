internal import Synchronization

/// Takes what happened to others. Called in the order of the commits, by one thread at a time and
/// outside every lock. Must not wait for the processor: its callers may.
public protocol EventPublisher<Event>: Sendable {
  associatedtype Event: Sendable

  func publish(_ event: Event)

  /// Says that events were lost between the last one published and the next. The default does
  /// nothing.
  func lostEvents()
}

extension EventPublisher {
  public func lostEvents() {}
}

/// Discards every event.
public struct NoopPublisher<Event: Sendable>: EventPublisher {
  public init() {}
  public func publish(_ event: Event) {}
}

/// Events on their way to the publisher, in the order of their commits.
///
/// The leader of the log adds under its own turn; whoever is free delivers, one at a time. So no
/// publisher runs under a lock, and no two writers deliver in each other's order.
package final class EventOutbox<Event: Sendable>: Sendable {
  /// Events that may wait for a slow publisher; beyond it the newest are dropped and the publisher
  /// is told.
  static var limit: Int { 65_536 }

  private struct Content {
    var events: [Event] = []
    var isDelivering = false
    var hasLost = false
    /// Those who wait until everything is delivered.
    var onIdle: [CheckedContinuation<Void, Never>] = []
  }

  private let content = Mutex(Content())
  private let publisher: any EventPublisher<Event>

  package init(_ publisher: any EventPublisher<Event>) { self.publisher = publisher }

  /// Adds events behind those that wait.
  ///
  /// - Returns: How many found no room.
  package func add(_ events: [Event]) -> Int {
    content.withLock { content in
      let room = content.hasLost ? 0 : Self.limit - content.events.count
      content.events += events.prefix(room)
      if room < events.count { content.hasLost = true }
      return max(events.count - room, 0)
    }
  }

  /// Delivers what waits, unless somebody does already. What comes meanwhile is left to a task, so
  /// that no caller works for others for ever.
  package func deliver() {
    guard deliverRound(isFirst: true) else { return }
    Task {
      while deliverRound(isFirst: false) { await Task.yield() }
    }
  }

  /// Delivers what waits now, at most ``limit`` events.
  ///
  /// - Returns: Whether more came meanwhile; who called delivers it then.
  private func deliverRound(isFirst: Bool) -> Bool {
    let (events, hasLost) = content.withLock { content -> ([Event], Bool) in
      if isFirst, content.isDelivering || content.events.isEmpty { return ([], false) }
      defer {
        content.events = []
        content.hasLost = false
      }
      content.isDelivering = true
      return (content.events, content.hasLost)
    }
    if events.isEmpty, isFirst { return false }
    for event in events { publisher.publish(event) }
    if hasLost { publisher.lostEvents() }
    let idle = content.withLock { content -> [CheckedContinuation<Void, Never>]? in
      content.isDelivering = !content.events.isEmpty
      if content.isDelivering { return nil }
      defer { content.onIdle = [] }
      return content.onIdle
    }
    for continuation in idle ?? [] { continuation.resume() }
    return idle == nil
  }

  /// Waits until everything added before the call is delivered.
  package func drained() async {
    deliver()
    await withCheckedContinuation { continuation in
      let isIdle = content.withLock { content in
        if content.isDelivering { content.onIdle.append(continuation) }
        return !content.isDelivering
      }
      if isIdle { continuation.resume() }
    }
  }
}
