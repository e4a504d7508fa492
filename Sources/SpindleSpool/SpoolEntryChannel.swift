internal import Synchronization

/// A bounded channel from one walk over a spool to its reader.
///
/// The walk waits while the channel is full, so memory is bounded by ``capacity`` messages and by
/// ``byteLimit`` bytes. The sequence ends when the walk ends. Leaving the loop over it, dropping it
/// unread, cancelling its task or calling ``cancel()`` ends the walk:
/// ```swift
/// let channel = SpoolEntryChannel()
/// let walk = try spool.enumerate(into: channel, startTime: start)
/// for await entry in channel { take(entry) }
/// let outcome = await walk.finished()
/// ```
/// Several tasks may read; each entry goes to one of them. One that leaves or is cancelled leaves
/// the rest to the others; the last one's end is the walk's. A single reader takes up to 256 small
/// entries at a time, an eighth of the capacity at most; of several each takes up to 16, and fewer
/// when few wait. What is taken does not count for the bounds any more.
public final class SpoolEntryChannel: AsyncSequence, Sendable {
  public typealias Element = SpoolEntry

  /// The walk holds this and not the channel, so that a reader's end is noticed.
  let queue: SpoolEntryQueue

  /// The most messages held at once.
  public var capacity: Int { queue.capacity }
  /// The most bytes of payloads held at once; a larger message passes alone.
  public var byteLimit: Int { queue.byteLimit }

  /// - Parameters:
  ///   - capacity: 1 or more. The default is 4,096.
  ///   - byteLimit: 0 or more; 0 holds one message at a time. The default is 64 MiB.
  public init(capacity: Int = 4_096, byteLimit: Int = 64 << 20) {
    queue = SpoolEntryQueue(capacity: capacity, byteLimit: byteLimit)
  }

  deinit { queue.channelIsGone() }

  /// Tells the walk that nobody reads any more; it stops at its next entry.
  public func cancel() { queue.cancel() }

  public struct AsyncIterator: AsyncIteratorProtocol {
    let reader: Reader
    public mutating func next() async -> SpoolEntry? { await reader.next() }
  }

  /// Lives as long as a loop over the channel.
  final class Reader: Sendable {
    private let queue: SpoolEntryQueue
    private let hasLeft = Atomic<Bool>(false)
    /// Taken from the queue and not yet given.
    private let taken = Mutex(SpoolEntryQueue.Batch())

    init(_ queue: SpoolEntryQueue) {
      self.queue = queue
      queue.readerCame()
    }

    deinit { leave(atEnd: false) }

    /// Ends this reader, once.
    private func leave(atEnd: Bool) {
      if hasLeft.exchange(true, ordering: .acquiringAndReleasing) { return }
      queue.readerLeft(unused: takeAll(), atEnd: atEnd)
    }

    private func takeAll() -> SpoolEntryQueue.Batch {
      taken.withLock { taken in
        defer { taken = SpoolEntryQueue.Batch() }
        return taken
      }
    }

    func next() async -> SpoolEntry? {
      if Task.isCancelled { leave(atEnd: false) }
      if hasLeft.load(ordering: .acquiring) { return nil }
      if let entry = taken.withLock({ $0.popFirst() }) { return entry }
      queue.recycle(takeAll())
      guard let batch = await queue.next() else {
        leave(atEnd: !Task.isCancelled)
        return nil
      }
      return taken.withLock { taken in
        taken = batch
        return taken.popFirst()
      }
    }
  }

  public func makeAsyncIterator() -> AsyncIterator { AsyncIterator(reader: Reader(queue)) }
}
