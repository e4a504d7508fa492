import Glibc
import Synchronization

/// An operating-system thread with a name, for work that may wait on the disk.
///
/// Swift's cooperative threads must never wait; whatever may block runs on one of these.
public final class NamedThread: Sendable {
  private let thread: pthread_t
  private let joined = Mutex(false)

  /// Starts a thread.
  ///
  /// - Parameters:
  ///   - name: At most 15 bytes are kept, as Linux demands.
  ///   - body: Runs once; the thread ends when it returns.
  /// - Throws: ``SpindleError`` of kind `unavailable` when no thread can be made.
  public init(name: String, body: @escaping @Sendable () -> Void) throws(IOFailure) {
    let start = unsafe Unmanaged.passRetained(Start(name: name, body: body))
    var handle = pthread_t()
    let result = unsafe pthread_create(
      &handle, nil,
      { argument in
        guard let argument = unsafe argument else { return nil }
        let start = unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue()
        NamedThread.nameCurrentThread(start.name)
        start.body()
        return nil
      }, unsafe start.toOpaque())
    guard result == 0 else {
      unsafe start.release()
      throw IOFailure("start a thread", path: name, errno: result)
    }
    thread = handle
  }

  // A thread that nobody joined must not keep its stack after its end.
  deinit { if !joined.withLock({ $0 }) { pthread_detach(thread) } }

  /// Waits for the thread's end. Call it once, from a thread that may block.
  public func join() {
    let first = joined.withLock { done in
      defer { done = true }
      return !done
    }
    if first { pthread_join(thread, nil) }
  }

  /// Lets other threads go before the calling one, for long work that nobody waits for: while they
  /// want all processors it gets a tenth of one. Where it is refused it costs nothing.
  public static func giveWay() { setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10) }

  /// Names the calling thread, from inside: a Linux thread otherwise inherits its creator's name.
  /// A name that cannot be set costs nothing but the name.
  private static func nameCurrentThread(_ name: String) {
    let path = "/proc/thread-self/comm"
    let file = unsafe open(path, O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    defer { close(file) }
    try? Files.write(Array(name.utf8.prefix(15)), to: file, path: path)
  }

  private final class Start: Sendable {
    let name: String
    let body: @Sendable () -> Void
    init(name: String, body: @escaping @Sendable () -> Void) {
      self.name = name
      self.body = body
    }
  }
}
