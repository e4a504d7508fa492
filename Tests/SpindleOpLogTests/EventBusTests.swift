import SpindleCore
import SpindleOpLog
import Testing

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
