import ArgumentParser
import Foundation
import SpindleCore
import SpindleSpool

struct SpoolRepairCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair",
    abstract: "Heal a spool whose table files are damaged or missing.",
    discussion: """
      Without --apply it changes nothing in the spool and reports what a repair would do; it tries
      it out on a second database of hard links, which it removes. With --apply the damaged tables
      are put into the store's quarantine, every message that can be read is kept, and messages
      that fail their checks go to the spool's quarantine. What is lost is named. Other parts of the
      store, such as op-logs, are not repaired and not changed.

      The store must not be running elsewhere, also without --apply. A repair that was interrupted
      is repeated. Damage of the log comes first: spindle check --recover. Exit code 0: nothing is
      damaged, or it was repaired; 2: damage was found and nothing was changed.

      Example:
        spindle spool repair --store data --name ingest
        spindle spool repair --store data --name ingest --apply
      """)
  @OptionGroup var target: SpoolCommand.Target
  @Flag(help: "Change the store.") var apply = false
  @Flag(help: "Print one JSON object.") var json = false

  private struct Table: Encodable {
    var file: UInt64
    var family: String
    var bytes: UInt64
    var messages: UInt64?
    var missing: Bool
    var damage: String
  }

  private struct Report: Encodable {
    var needed: Bool
    var applied: Bool
    var tables: [Table]
    var lostRanges: [LostRow]
    var rescued: UInt64
    /// The most that can be lost; absent where that is not known.
    var lost: UInt64?
    var uncertain: UInt64
    /// At most 1,000.
    var uncertainIDs: [String]
    var damaged: UInt64
    /// At most 1,000.
    var damagedIDs: [String]
    var intact: UInt64
    var quarantine: String?

    init(_ found: SpoolRepair) {
      needed = found.isNeeded
      applied = found.isApplied
      tables = found.tables.map {
        Table(
          file: $0.number, family: $0.family, bytes: $0.bytes, messages: $0.messages,
          missing: $0.isMissing, damage: $0.damage)
      }
      lostRanges = found.lostRanges.map(LostRow.init)
      rescued = found.rescued
      lost = found.lost
      uncertain = found.uncertain
      uncertainIDs = found.uncertainIDs.map(\.description)
      damaged = found.damaged
      damagedIDs = found.damagedIDs.map(\.description)
      intact = found.intact
      quarantine = found.quarantine
    }
  }

  func run() async throws {
    try await reportingErrors {
      try SpoolCommand.check(name: target.name)
      let found = try await RocksSpool.repair(
        storeAt: target.options.store, name: target.name, applies: apply)
      if json { try Output.json(Report(found)) } else { show(found) }
      if found.isNeeded, !found.isApplied { throw ExitCode(2) }
    }
  }

  private func show(_ found: SpoolRepair) {
    guard found.isNeeded else {
      Output.line("nothing is damaged: \(Output.grouped(found.intact)) messages")
      return
    }
    for table in found.tables {
      Output.line("table file \(table.number) of \(table.family): \(Output.plain(table.damage))")
    }
    for range in found.lostRanges { Output.line(LostRow(range).text()) }
    let lost = found.lost.map { "at most \(Output.grouped($0))" } ?? "not known how many"
    let rows = [
      ("kept", Output.grouped(found.intact)),
      ("kept from damaged tables", Output.grouped(found.rescued)), ("lost", lost),
      ("uncertain, kept", Output.grouped(found.uncertain)),
      ("damaged, set aside", Output.grouped(found.damaged)),
    ]
    for (title, number) in rows {
      Output.line(title.padding(toLength: 26, withPad: " ", startingAt: 0) + number)
    }
    for id in found.uncertainIDs {
      Output.line("  \(id) is kept; the lost blocks may have replaced or removed it")
    }
    for id in found.damagedIDs { Output.line("  \(id) goes to the spool's quarantine") }
    if let place = found.quarantine { Output.line("the damaged tables lie in \(place)") }
    Output.line(
      found.isApplied ? "the spool is repaired" : "nothing was changed; --apply repairs the spool")
  }
}
