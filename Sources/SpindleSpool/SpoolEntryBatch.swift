internal import SpindleCore

/// Messages that travel together from a walk to its reader.
///
/// Small payloads lie one behind the other in one block, and become arrays of their own on the
/// reader's thread, one when each is asked for. An array for each made by the walk would be
/// allocated on one thread and freed on another, which costs more than reading the message.
struct SpoolEntryBatch: Sendable {
  private enum Slot: Sendable {
    case packed(id: SpoolID, start: Int, count: Int)
    case whole(SpoolEntry)
    /// Given out, so that no large payload outlives its taking.
    case taken
  }

  /// The largest payload that is copied into the block; larger ones stay arrays of their own.
  static let packedLimit = 4 << 10

  /// Shared by the parts of one batch, which share the block.
  private final class Token: Sendable {}

  private var token = Token()
  private var block: [UInt8] = []
  private var slots: [Slot] = []
  private var head = 0
  /// What the entries count against a channel's limit of bytes.
  private(set) var byteCount = 0

  init() {}

  init(_ entry: SpoolEntry) { append(entry) }

  /// An empty batch with room for as much as another.
  init(reservingLike other: borrowing SpoolEntryBatch) {
    block.reserveCapacity(other.block.count)
    slots.reserveCapacity(other.slots.count)
  }

  /// Forgets the entries and keeps their room; false where there is none, or other parts have it.
  mutating func empties() -> Bool {
    guard slots.capacity > 0, isKnownUniquelyReferenced(&token) else { return false }
    block.removeAll(keepingCapacity: true)
    slots.removeAll(keepingCapacity: true)
    head = 0
    byteCount = 0
    return true
  }

  var count: Int { slots.count - head }
  var isEmpty: Bool { slots.count == head }

  mutating func append(_ id: SpoolID, _ payload: Span<UInt8>) {
    slots.append(.packed(id: id, start: block.count, count: payload.count))
    block.append(borrowing: payload)
    byteCount += payload.count
  }

  mutating func append(_ entry: SpoolEntry) {
    slots.append(.whole(entry))
    byteCount += entry.byteCount
  }

  mutating func append(contentsOf other: consuming SpoolEntryBatch) {
    while let entry = other.popFirst() { append(entry) }
  }

  mutating func popFirst() -> SpoolEntry? {
    guard head < slots.count else { return nil }
    defer { head += 1 }
    switch slots[head] {
    case .packed(let id, let start, let count):
      byteCount -= count
      return .item(id: id, data: copyBytes(block.span.extracting(start..<(start + count))))
    case .whole(let entry):
      byteCount -= entry.byteCount
      slots[head] = .taken
      return entry
    case .taken:
      return nil
    }
  }

  /// Takes the first entries out as a batch of their own, which shares the block.
  ///
  /// - Parameter wanted: At most ``count``.
  mutating func split(_ wanted: Int) -> SpoolEntryBatch {
    var part = SpoolEntryBatch()
    part.token = token
    part.block = block
    part.slots.reserveCapacity(wanted)
    for _ in 0..<wanted {
      let slot = slots[head]
      slots[head] = .taken
      head += 1
      part.slots.append(slot)
      switch slot {
      case .packed(_, _, let count): part.byteCount += count
      case .whole(let entry): part.byteCount += entry.byteCount
      case .taken: break
      }
    }
    byteCount -= part.byteCount
    return part
  }
}

extension SpoolEntry {
  /// What an entry counts against a channel's limit of bytes.
  var byteCount: Int {
    switch self {
    case .item(_, let data): data.count
    case .corrupt(_, let error): error.utf8.count
    }
  }
}
