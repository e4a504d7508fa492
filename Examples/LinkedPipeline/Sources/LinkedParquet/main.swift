import SpindleCore
import SpindleParquet

// Writes some flights, then reads those of one airport that were late.
let schema = try ParquetSchema([
  ParquetColumn(
    name: "time", physicalType: .int64,
    logicalType: .timestamp(.milliseconds, isAdjustedToUTC: true)),
  ParquetColumn(name: "origin", physicalType: .byteArray, logicalType: .string),
  ParquetColumn(name: "dep_delay", physicalType: .double, isOptional: true),
])
var settings = ParquetWriterSettings()
settings.sortingColumns = [ParquetSortingColumn(name: "time")]
settings.columns["origin"] = ParquetColumnSettings(bloomFilter: ParquetBloomFilter())

// By column, as many rows at a time as the program has at hand.
let writer = try ParquetWriter(FileSink("flights.parquet"), schema: schema, settings: settings)
for day in 0..<31 {
  var times = ColumnBuilder<Int64>()
  var origins = ByteStringsBuilder()
  var delays = ColumnBuilder<Double>()
  for flight in 0..<1000 {
    times.append(1_357_016_400_000 + Int64(day) * 86_400_000 + Int64(flight) * 60_000)
    origins.append(["EWR", "JFK", "LGA"][flight % 3])
    // A flight that was cancelled has no delay.
    delays.append(flight % 50 == 0 ? nil : Double((flight * 7 + day) % 90 - 15))
  }
  try writer.write(ColumnBatch([times.finish(), origins.finish(), delays.finish()]))
}
print("written: \(try writer.finish().rowCount) flights")

// Only the pages that may hold such rows are read, and only these rows are handed out.
let reader = try ParquetReader(FileSource("flights.parquet"))
let late = ParquetPredicate.all([
  .between("time", .integer(1_357_016_400_000), .integer(1_357_102_799_999)),
  .equal("origin", "JFK"), .greater("dep_delay", 60),
])
let scan = try reader.scan(columns: ["dep_delay"], where: late)
var (count, sum) = (0, 0.0)
while let batch = try scan.next() {
  batch.columns[0].withView(of: Double.self) { delays in
    for row in 0..<delays.count { sum += delays[row] ?? 0 }
  }
  count += batch.rowCount
}
print("late from JFK on the first day: \(count), by \(sum) minutes in all")
print("pages read: \(scan.counts.pagesRead), passed over: \(scan.counts.pagesPruned)")

// For few rows there is a more comfortable way.
let rows = try reader.rows(columns: ["origin", "dep_delay"], where: late)
if let row = try rows.next() {
  print("the first: \(row["origin"]?.text ?? ""), \(row["dep_delay"]?.double ?? 0) minutes")
}
