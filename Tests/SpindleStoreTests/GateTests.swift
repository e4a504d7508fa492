import SpindleCore
import SpindleRocks
import SpindleStore
import SpindleTestKit
import Testing

/// When the gate of a part shuts, and when it opens.
@Suite(.temporaryDirectory) struct GateTests {
  @Test("A-G-6: errors that persist shut the gate; an isolated one, or a burst, does not")
  func onlyPersistingErrorsLatch() async throws {
    let fixture = try await GateFixture()
    fixture.fail()
    try await fixture.pass(60)
    #expect(!fixture.gate.isShut)
    // A burst is one event, however many errors it has.
    for _ in 0..<50 { fixture.fail() }
    try await fixture.pass(60)
    #expect(!fixture.gate.isShut)
    // Fourteen seconds of errors are a blip; the fifteenth is not.
    for second in 0..<15 {
      #expect(!fixture.gate.isShut, "after \(second) s")
      fixture.fail()
      try await fixture.pass(1)
    }
    await fixture.expectShut("errors")
    #expect(fixture.gate.status.errors == ["busy": 66])
    #expect(fixture.gate.status.transitions == ["errors": 1])
    #expect(fixture.gate.status.lastError?.detail == "Resource busy: test")
    #expect(fixture.told == ["error errors"])
    try await fixture.store.close()
  }

  @Test("A-G-6: errors that persist shut the gate when the window is shorter than the look")
  func shortWindowsLatch() async throws {
    var settings = GateSettings()
    settings.errorLatchDuration = .milliseconds(500)
    let calls = try await GateFixture(settings)
    for _ in 0..<2 {
      for _ in 0..<3 {
        calls.fail()
        calls.clock.advance(by: .milliseconds(250))
      }
      #expect(!calls.gate.isShut)
      calls.fail()
      try await calls.store.checkHealth()
    }
    await calls.expectShut("errors")
    try await calls.store.close()
  }

  @Test("A-G-6: compactions that fail at every look shut the gate, whatever the window")
  func shortWindowsLatchForCompactions() async throws {
    var settings = GateSettings()
    settings.errorLatchDuration = .milliseconds(500)
    let fixture = try await GateFixture(settings)
    func look(_ count: UInt64) {
      fixture.clock.advance(by: .seconds(1))
      _ = fixture.gate.tick(backgroundErrors: count) { nil }
    }
    look(1)
    look(1)
    // One that follows a quiet look is a blip again.
    look(2)
    #expect(!fixture.gate.isShut)
    look(3)
    #expect(fixture.reasons == ["background_error"])
    try await fixture.store.close()
  }

  @Test func durationsBeyondAHundredYearsAreRefused() async throws {
    let names: [WritableKeyPath<GateSettings, Duration>] = [
      \.errorLatchDuration, \.errorUnlatchDuration, \.backpressureUnlatchDuration,
    ]
    for name in names {
      var settings = GateSettings()
      settings[keyPath: name] = GateSettings.durationLimit
      try settings.validate()
      for wrong in [Duration.seconds(Int64.max), .nanoseconds(-1)] {
        settings[keyPath: name] = wrong
        let error = await refusal { try settings.validate() }
        #expect(error?.kind == .invalidArgument)
      }
    }
  }

  @Test("A-G-6: a write that succeeds in between shows that the errors do not persist")
  func successesKeepTheGateOpen() async throws {
    let fixture = try await GateFixture()
    for _ in 0..<60 {
      fixture.fail()
      try await fixture.pass(1)
      fixture.gate.recordSuccess()
    }
    #expect(!fixture.gate.isShut)
    // After a quiet time the count starts anew.
    try await fixture.pass(20)
    for _ in 0..<14 {
      fixture.fail()
      try await fixture.pass(1)
    }
    #expect(!fixture.gate.isShut)
    try await fixture.store.close()
  }

  @Test("A-G-6: errors that are no fault of the data are not counted")
  func refusalsAreNoErrors() async throws {
    let fixture = try await GateFixture()
    for _ in 0..<60 {
      fixture.fail("Closed: the database is closed")
      fixture.fail("Shutdown in progress: ")
      fixture.fail("Result incomplete: Write stall")
      fixture.fail("NotFound: ")
      try await fixture.pass(1)
    }
    #expect(!fixture.gate.isShut)
    #expect(fixture.gate.status == GateStatus())
    try await fixture.store.close()
  }

  @Test("A-G-5: one backpressure timeout followed by writes does not shut the gate")
  func oneTimeoutDoesNotLatch() async throws {
    let fixture = try await GateFixture()
    fixture.gate.recordBackpressureTimeout(at: fixture.clock.now)
    try await fixture.pass(1)
    fixture.gate.recordSuccess()
    try await fixture.pass(60)
    #expect(!fixture.gate.isShut)
    #expect(fixture.gate.status.backpressureTimeouts == 1)
    #expect(fixture.gate.status.errors.isEmpty)
    #expect(fixture.told.isEmpty)
    try await fixture.store.close()
  }

  @Test("A-G-5: timeouts that persist shut the gate, which opens promptly once writes succeed")
  func persistingTimeoutsLatchAndOpenPromptly() async throws {
    let fixture = try await GateFixture()
    for _ in 0..<16 {
      fixture.gate.recordBackpressureTimeout(at: fixture.clock.now)
      try await fixture.pass(1)
    }
    await fixture.expectShut("backpressure")
    try await fixture.pass(28)
    #expect(fixture.gate.isShut)
    try await fixture.pass(1)
    #expect(!fixture.gate.isShut)
    try await fixture.store.put(fixture.family, 1)
    #expect(fixture.told == ["error backpressure", "info backpressure"])
    try await fixture.store.close()
  }

  @Test("A-G-5: the gate that backpressure shut stays shut while RocksDB refuses the probe")
  func aStallKeepsTheGateShut() async throws {
    let fixture = try await GateFixture()
    try await fixture.makeTables()
    for _ in 0..<16 {
      fixture.gate.recordBackpressureTimeout(at: fixture.clock.now)
      try await fixture.pass(1)
    }
    try await fixture.setStopped(true)
    try await fixture.pass(120)
    #expect(fixture.reasons == ["backpressure"])
    try await fixture.setStopped(false)
    try await fixture.pass(1)
    #expect(!fixture.gate.isShut)
    try await fixture.store.close()
  }

  @Test("A-G-7: with errors of one class alone the gate opens after the quiet time")
  func oneClassOfErrorsOpens() async throws {
    let fixture = try await GateFixture()
    for _ in 0..<16 {
      fixture.fail()
      try await fixture.pass(1)
    }
    #expect(fixture.reasons == ["errors"])
    try await fixture.pass(298)
    #expect(fixture.gate.isShut)
    try await fixture.pass(3)
    #expect(!fixture.gate.isShut)
    #expect(fixture.told == ["error errors", "info errors"])
    // The probe is gone, and the errors of before do not count any more.
    #expect(try fixture.store.numbers(fixture.family).isEmpty)
    fixture.fail()
    try await fixture.pass(60)
    #expect(!fixture.gate.isShut)
    try await fixture.store.close()
  }

  @Test("A-G-7: a read that failed stamps the quiet time too, and so does an error while shut")
  func immediateLatchesStamp() async throws {
    let fixture = try await GateFixture()
    try await fixture.pass(1000)
    fixture.fail("IO error: Input/output error: test")
    await fixture.expectShut("io_error")
    try await fixture.pass(200)
    fixture.fail()
    try await fixture.pass(299)
    #expect(fixture.gate.isShut)
    try await fixture.pass(1)
    #expect(!fixture.gate.isShut)
    try await fixture.store.close()
  }

  @Test("A-G-9: without allowsErrorUnlatch the gate never opens by itself")
  func neverOpensByItself() async throws {
    var settings = GateSettings()
    settings.allowsErrorUnlatch = false
    settings.errorUnlatchDuration = .seconds(5)
    settings.backpressureUnlatchDuration = .seconds(5)
    let fixture = try await GateFixture(settings)
    fixture.fail("IO error: Input/output error: test")
    for _ in 0..<16 {
      fixture.gate.recordBackpressureTimeout(at: fixture.clock.now)
      try await fixture.pass(1)
    }
    #expect(fixture.reasons == ["io_error", "backpressure"])
    fixture.clock.advance(by: .seconds(1_000_000))
    try await fixture.pass(100)
    #expect(fixture.reasons == ["io_error", "backpressure"])
    // The operator still can.
    try await fixture.store.clearGate(of: fixture.family)
    try await fixture.store.put(fixture.family, 1)
    try await fixture.store.close()
  }

  @Test("A-G-8: an error between the look and the opening keeps the gate shut")
  func anErrorBetweenLookAndOpeningWins() async throws {
    let fixture = try await GateFixture()
    let gate = fixture.gate
    for round in 0..<500 {
      fixture.fail("IO error: Input/output error: test \(round)")
      let attempt = gate.attemptForOperator()
      if round % 2 == 0 {
        fixture.fail("IO error: Input/output error: again")
      } else {
        fixture.fail("Resource busy: test")
      }
      #expect(!gate.finish(attempt, backgroundErrors: 0))
      #expect(gate.isShut)
      #expect(gate.finish(gate.attemptForOperator(), backgroundErrors: 0))
      #expect(!gate.isShut)
    }
    // A compaction that failed meanwhile was not seen by any look yet.
    fixture.fail("IO error: Input/output error: test")
    _ = gate.tick(backgroundErrors: 3) { nil }
    #expect(!gate.finish(gate.attemptForOperator(), backgroundErrors: 4))
    #expect(gate.isShut)
    try await fixture.store.close()
  }

  @Test("A-G-8: an error that races with the opening is never wiped")
  func aRacingErrorIsNeverWiped() async throws {
    let fixture = try await GateFixture()
    let gate = fixture.gate
    for round in 0..<1000 {
      gate.shutForOperator(note: "round \(round)")
      let attempt = gate.attemptForOperator()
      await withTaskGroup(of: Void.self) { group in
        group.addTask { gate.record(RocksError(message: "IO error: Input/output error: test")) }
        group.addTask { gate.finish(attempt, backgroundErrors: 0) }
      }
      // Whichever came first, the error stands.
      #expect(gate.isShut)
      #expect(fixture.reasons.contains("io_error"))
      #expect(gate.finish(gate.attemptForOperator(), backgroundErrors: 0))
    }
    #expect(gate.status.errors == ["io_error": 1000])
    #expect(gate.status.transitions["io_error"] == 1000)
    try await fixture.store.close()
  }

  @Test("The operator shuts the gate and opens it again")
  func theOperatorDecides() async throws {
    let fixture = try await GateFixture()
    fixture.gate.shutForOperator(note: "moving house")
    await fixture.expectShut("operator")
    #expect(fixture.gate.status.causes.first?.detail == "moving house")
    fixture.clock.advance(by: .seconds(1_000_000))
    try await fixture.pass(10)
    await fixture.expectShut("operator")
    // The other parts go on.
    let other = try await fixture.store.family("spool:b")
    try await fixture.store.put(other, 1)
    try await fixture.store.clearGate(of: fixture.family)
    try await fixture.store.put(fixture.family, 1)
    #expect(fixture.told == ["error operator", "info operator"])
    try await fixture.store.close()
  }

  @Test("A part that is no spool is probed in default, and says more")
  func otherPartsAreProbedElsewhere() async throws {
    let fixture = try await GateFixture()
    let family = try await fixture.store.family("oplog:a")
    family.health.record(RocksError(message: "IO error: Input/output error: test"))
    let error = await refusal { try await fixture.store.put(family, 1) }
    #expect(error?.reason == "io_error")
    #expect(error?.message.contains("oplog:a") == true)
    try await fixture.pass(301)
    #expect(!family.health.isShut)
    try await fixture.store.put(family, 1)
    #expect(try fixture.store.numbers(family) == [1])
    try await fixture.store.close()
  }

  @Test("While the store's own gate is shut no part is probed")
  func thePartWaitsForTheStore() async throws {
    let fixture = try await GateFixture()
    fixture.fail("IO error: Input/output error: test")
    fixture.store.health.shutForOperator(note: "moving house")
    try await fixture.pass(400)
    #expect(fixture.gate.isShut)
    let error = await refusal { try await fixture.store.clearGate(of: fixture.family) }
    #expect(error?.kind == .unavailable)
    fixture.store.health.openForOperator()
    try await fixture.pass(1)
    #expect(!fixture.gate.isShut)
    try await fixture.store.close()
  }
}
