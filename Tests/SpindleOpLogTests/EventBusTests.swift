import Glibc
import SpindleCore
import SpindleOpLog
import SpindleTestKit
import Synchronization
import Testing

@Suite struct EventOutboxTests {
  /// Each event brings the next, until it is told to stop.
  private final class Chatterbox: EventPublisher {
    struct State {
      var outbox: EventOutbox<Int>?
      var numbers: [Int] = []
      /// How many were published on the thread of the caller.
      var ownCount = 0
      var caller: pthread_t?
      var isOver = false
    }
    let state = Mutex(State())

    func publish(_ event: Int) {
      state.withLock { state in
        state.numbers.append(event)
        if state.caller == pthread_self() { state.ownCount += 1 }
        // One who would deliver for ever must come to an end in a test.
        if !state.isOver, event < 10_000 { _ = state.outbox?.add([event + 1]) }
      }
    }
  }

  @Test func whoDeliversForOthersDoesSoForOneRound() async throws {
    let publisher = Chatterbox()
    let outbox = EventOutbox<Int>(publisher)
    publisher.state.withLock { $0.outbox = outbox }
    #expect(outbox.add([0]) == 0)
    let ownCount = deliver(outbox, publisher)
    #expect(ownCount == 1)
    // The rest comes all the same, in order.
    try await eventually { publisher.state.withLock { $0.numbers.count > 50 } }
    publisher.state.withLock { $0.isOver = true }
    await outbox.drained()
    let numbers = publisher.state.withLock { state in
      state.outbox = nil
      return state.numbers
    }
    #expect(numbers == Array(0..<numbers.count))
  }

  /// No suspension in between, so nothing else runs on this thread.
  private func deliver(_ outbox: EventOutbox<Int>, _ publisher: Chatterbox) -> Int {
    publisher.state.withLock { $0.caller = pthread_self() }
    outbox.deliver()
    return publisher.state.withLock { state in
      state.caller = nil
      return state.ownCount
    }
  }
}

@Suite struct EventBusTests {
  struct Ping: RoutableEvent, Equatable {
    var number: Int
    var targets: Set<String>
  }

  @Test("O-91: an event reaches each of its targets and no other; the last to leave ends a target")
  func eventsReachTheirTargets() async throws {
    let bus = EventBus<Ping>()
    let (first, second) = (bus.subscribe(to: "a"), bus.subscribe(to: "a"))
    let both = bus.subscribe(to: "b")
    var other: Subscription<Ping>? = bus.subscribe(to: "c")
    #expect(bus.targetCount == 3)
    bus.publish(Ping(number: 1, targets: ["a", "b"]))
    bus.publish(Ping(number: 2, targets: ["b"]))
    bus.publish(Ping(number: 3, targets: []))
    other = nil
    _ = other
    #expect(bus.targetCount == 2)
    first.cancel()
    #expect(bus.targetCount == 2 && first.endReason == .cancelled)
    bus.close()
    #expect(bus.targetCount == 0)
    var numbers: [[Int]] = []
    for subscription in [first, second, both] {
      var seen: [Int] = []
      for await ping in subscription { seen.append(ping.number) }
      numbers.append(seen)
    }
    #expect(numbers == [[], [1], [1, 2]])
    #expect(second.endReason == .closed)
    #expect(bus.subscribe(to: "a").endReason == .closed)
  }

  @Test("O-92: who leaves more than 256 events unread is ended, and nobody else")
  func slowSubscribersAreEnded() async throws {
    let bus = EventBus<Ping>()
    let (slow, quick) = (bus.subscribe(to: "a"), bus.subscribe(to: "a"))
    var reader = quick.makeAsyncIterator()
    for number in 0..<300 {
      bus.publish(Ping(number: number, targets: ["a"]))
      #expect(await reader.next()?.number == number)
      #expect((slow.endReason == .lagged) == (number >= 256))
    }
    #expect(quick.endReason == nil)
    var seen: [Int] = []
    for await ping in slow { seen.append(ping.number) }
    #expect(seen == Array(0..<256))
    bus.lostEvents()
    #expect(quick.endReason == .lagged && bus.targetCount == 0)
  }

  @Test func aCancelledReaderEndsItsSubscription() async throws {
    let bus = EventBus<Ping>()
    let subscription = bus.subscribe(to: "a")
    let reader = Task { for await _ in subscription {} }
    reader.cancel()
    await reader.value
    #expect(subscription.endReason == .cancelled && bus.targetCount == 0)
  }

  @Test func aDroppedBusEndsItsSubscriptions() async throws {
    var bus: EventBus<Ping>? = EventBus<Ping>()
    let subscription = bus?.subscribe(to: "a")
    bus = nil
    _ = bus
    #expect(subscription?.endReason == .closed)
  }
}
