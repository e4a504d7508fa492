internal import Synchronization

/// An event that says whom it concerns.
public protocol RoutableEvent: Sendable {
  associatedtype Target: Hashable & Sendable

  /// What the event concerns; a subscriber of any of them gets it.
  var targets: Set<Target> { get }
}

/// Hands events to those who subscribed to one of their targets.
///
/// Publishing never waits: a subscriber that does not keep up is ended, so a slow one costs
/// ``bufferLimit`` events of memory and nobody else's time. There is no replay; a subscriber sees
/// what is published after it subscribed, in the order in which it is published.
public final class EventBus<Event: RoutableEvent>: EventPublisher {
  /// Events that one subscriber may leave unread: seconds of a busy log, and little memory.
  public static var bufferLimit: Int { 256 }

  private struct Content {
    var subscribers: [Event.Target: [ObjectIdentifier: Subscription<Event>.State]] = [:]
    var isClosed = false

    mutating func remove(_ state: Subscription<Event>.State, from target: Event.Target) {
      subscribers[target]?[ObjectIdentifier(state)] = nil
      if subscribers[target]?.isEmpty == true { subscribers[target] = nil }
    }
  }

  private let content = Mutex(Content())

  public init() {}

  deinit { close() }

  /// Events of one target from now on, until the subscription is dropped.
  public func subscribe(to target: Event.Target) -> Subscription<Event> {
    let state = Subscription<Event>.State()
    let isClosed = content.withLock { content in
      if !content.isClosed {
        content.subscribers[target, default: [:]][ObjectIdentifier(state)] = state
      }
      return content.isClosed
    }
    if isClosed { state.end(.closed) }
    return Subscription(state) { [weak self] state in
      self?.content.withLock { $0.remove(state, from: target) }
    }
  }

  /// How many targets somebody is subscribed to.
  public var targetCount: Int { content.withLock { $0.subscribers.count } }

  /// Offers an event to each subscriber of each of its targets, once per target.
  public func publish(_ event: Event) {
    for target in event.targets {
      guard let states = content.withLock({ $0.subscribers[target]?.values }) else { continue }
      for state in states where !state.offer(event, limit: Self.bufferLimit) {
        content.withLock { $0.remove(state, from: target) }
      }
    }
  }

  /// Ends every subscription as one that fell behind.
  public func lostEvents() { endAll(.lagged, closes: false) }

  /// Ends every subscription; what they did not read yet is still given. Repeats do nothing.
  public func close() { endAll(.closed, closes: true) }

  private func endAll(_ reason: SubscriptionEnd, closes: Bool) {
    let states = content.withLock { content in
      if closes { content.isClosed = true }
      defer { content.subscribers = [:] }
      return content.subscribers.values.flatMap(\.values)
    }
    for state in states { state.end(reason) }
  }
}
