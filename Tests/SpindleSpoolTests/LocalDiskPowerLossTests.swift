import SpindleCore
import SpindleIO
import SpindleSpool
import SpindleTestKit
import Testing

/// Lets the power fail at every step of stores and removes.
@Suite("A spool on files: power loss", .temporaryDirectory)
struct LocalDiskPowerLossTests {
  /// What may be found under an id: the state that the last synced call left, or a later one.
  private struct Possible: Equatable, Sendable {
    /// The number of the value; nil is no message.
    var durable: Int?
    var later: [Int?] = []

    func allows(_ number: Int?) -> Bool { durable == number || later.contains(number) }
    /// A file whose contents were not made durable is told by its header.
    var allowsDamage: Bool { later.contains { $0 != nil } }
  }

  /// A moment at which the power fails.
  private struct Moment: Sendable {
    let image: [DurableTree.Node]
    let possible: [SpoolID: Possible]
  }

  private struct State: Sendable {
    var tree: DurableTree?
    var possible: [SpoolID: Possible] = [:]
    var moments: [Moment] = []

    /// Takes down what the power would leave now, in both ways.
    mutating func record() throws {
      for keepsNames in [false, true] {
        guard let image = try tree?.image(keepingNames: keepsNames) else { continue }
        if moments.last?.image == image, moments.last?.possible == possible { continue }
        moments.append(Moment(image: image, possible: possible))
      }
    }
  }

  private func value(_ number: Int) -> [UInt8] {
    numberedValue(number, bytes: 64 + number % 5 * 1_000)
  }

  @Test(
    "A-X-3: on files a synced message survives power loss at every step, and none is ever wrong",
    arguments: [true, false])
  func syncedMessagesSurvivePowerLoss(flushes: Bool) async throws {
    // In memory, where a sync costs nothing.
    try await withSmallDisk(bytes: 64 << 20) { (disk) async throws in
      try await losePower(disk.path, flushes: flushes)
    }
  }

  private func losePower(_ folder: String, flushes: Bool) async throws {
    let path = folder + "/spool"
    let state = Shared(State())
    let record = { @Sendable (step: LocalDiskHooks.Step?) in
      state.update { state in
        do {
          switch step {
          case .written(let synced):
            try state.tree?.addContents(in: path + "/new", areDurable: synced)
          case .synchronized(let directory): try state.tree?.synchronizeNames(of: directory)
          case .placing, nil: break
          }
          try state.record()
        } catch {
          Issue.record(error)
        }
      }
    }
    try await withDiskSpool(LocalDiskSettings(flush: flushes), at: path, record) {
      (spool) async throws in
      state.update { state in
        do { state.tree = try DurableTree(path) } catch { Issue.record(error) }
      }
      // Some share all directories, some a few, some none.
      let ids = [1, 2, 70_000, 5_000_000, 800_000_000_000, 900_000_000_000].flatMap {
        [id(atMilliseconds: $0, 1), id(atMilliseconds: $0, 2)]
      }
      var random = SeededGenerator(seed: flushes ? 3 : 4)
      for number in 0..<100 {
        let id = ids[Int(random.next() % UInt64(ids.count))]
        let choice = random.next() % 8
        let isStored = try? await spool.load(id)
        if choice == 7 {
          try await spool.cleanup()
        } else if choice >= 5, isStored != nil {
          state.update { $0.possible[id, default: Possible()].later.append(nil) }
          try await spool.remove(id)
          if flushes { state.update { $0.possible[id] = Possible(durable: nil) } }
        } else {
          let syncs = flushes || choice < 3
          state.update { $0.possible[id, default: Possible()].later.append(number) }
          try await spool.store(id, value(number), forceSync: syncs, deadline: nil)
          if syncs { state.update { $0.possible[id] = Possible(durable: number) } }
        }
        record(nil)
      }
    }
    let moments = state.value.moments
    #expect(moments.count > 200)
    var survivors = 0
    for (index, moment) in moments.enumerated() {
      let place = folder + "/after-\(index)"
      try Files.createDirectory(place)
      for node in moment.image {
        if let bytes = node.bytes {
          try writeFile(bytes, to: place + node.path)
        } else {
          try Files.createDirectory(place + node.path)
        }
      }
      try await withDiskSpool(at: place) { (spool) async throws in
        for (id, possible) in moment.possible {
          do {
            let found = try await spool.load(id)
            let number = (possible.later + [possible.durable]).compactMap { $0 }
              .first { value($0) == found }
            #expect(number != nil, "a message that was never stored, at moment \(index)")
            if number != nil { survivors += 1 }
          } catch let error as SpindleError where error.kind == .notFound {
            #expect(possible.allows(nil), "a message is lost at moment \(index)")
          } catch let error as SpindleError where error.kind == .corruption {
            #expect(possible.allowsDamage, "a message is damaged at moment \(index)")
          }
        }
        let outcome = try await spool.all().outcome
        #expect(outcome.error == nil)
      }
      TemporaryDirectory.remove(place)
    }
    #expect(survivors > moments.count)
  }
}
