import Spindle

// Sends 100,000 readings through the store. Kill it at any moment and start it again: it goes on
// where it stopped, and at the end every reading was applied exactly once.
let spindle = try await Spindle.open(at: "readings")
let ingest = try await spindle.ingest(producer: "thermometer")

// How many readings an earlier run left in the store; they must not be sent again.
var reading = await ingest.position.pointCount
while reading < 100_000 {
  var lines = ""
  for number in reading..<(reading + 1_000) {
    lines += "room,floor=\(number % 7) celsius=\(18 + number % 5),number=\(number)i \(number)\n"
  }
  // Kept, also if the process is killed now, once this returns. `.synced` survives power loss.
  try await ingest.store(Array(lines.utf8), durability: .buffered)
  reading += 1_000
}
try await ingest.drained()
print("readings applied: \(await ingest.position.pointCount)")
try await spindle.close()
