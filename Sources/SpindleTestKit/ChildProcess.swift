internal import Glibc
internal import SpindleIO
internal import Synchronization

/// A process that a test starts, listens to and kills. RocksDB is not fork-safe, so it is spawned.
public final class ChildProcess: Sendable {
  public let pid: Int32
  private let input: Int32
  private struct Output {
    var lines: [String] = []
    var isAtEnd = false
  }
  private let output = Mutex(Output())
  private let fate: Fate
  private let reader = Mutex<NamedThread?>(nil)
  private let status = Mutex<Int32?>(nil)

  /// What the thread that reads a process's output does to it. A test that waits for its turn
  /// among a thousand others would let a writer fill the disk meanwhile.
  public struct Fate: Sendable {
    var signal: Int32 = 0
    var lineCount: Int = .max
    var pause: Duration = .zero

    /// The process goes on until it ends or the test kills it.
    public static let free = Self()

    /// It is killed once so many lines came, or a moment after that.
    public static func death(lines: Int, pause: Duration = .zero) -> Self {
      Self(signal: SIGKILL, lineCount: lines, pause: pause)
    }

    /// It stands still once so many lines came, until ``ChildProcess/resume()``.
    public static func halt(lines: Int) -> Self { Self(signal: SIGSTOP, lineCount: lines) }
  }

  /// How a process ended.
  public enum Ending: Sendable, Equatable {
    case exit(Int32)
    case signal(Int32)
  }

  /// Starts a program; its standard output is collected line by line.
  public init(_ executable: String, _ arguments: [String], fate: Fate = .free) throws {
    self.fate = fate
    (pid, input) = try Self.spawning.withLock { _ in try Self.spawn(executable, arguments) }
    let thread = try NamedThread(name: "child-output") { [self] in collect(input) }
    reader.withLock { $0 = thread }
  }

  /// One at a time: a child that starts while the pipe of another is not yet closed on exec would
  /// keep that pipe open.
  private static let spawning = Mutex(())

  private static func spawn(
    _ executable: String, _ arguments: [String]
  ) throws -> (pid: Int32, input: Int32) {
    var pipes: [Int32] = [0, 0]
    guard unsafe pipe(&pipes) == 0 else { throw TestKitError("no pipe: \(errno)") }
    for end in pipes { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    unsafe posix_spawn_file_actions_adddup2(&actions, pipes[1], 1)
    var words = unsafe ([executable] + arguments).map { unsafe strdup($0) }
    unsafe words.append(nil)
    defer { unsafe words.forEach { unsafe free($0) } }
    var child: pid_t = 0
    let result = unsafe posix_spawn(&child, executable, &actions, nil, words, environ)
    close(pipes[1])
    guard result == 0 else {
      close(pipes[0])
      throw TestKitError("cannot start \(executable): \(unsafe String(cString: strerror(result)))")
    }
    return (child, pipes[0])
  }

  deinit {
    if status.withLock({ $0 }) == nil {
      send(SIGKILL)
      waitpid(pid, nil, 0)
    }
  }

  private func collect(_ file: Int32) {
    var rest: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    var isDue = meetFate()
    while true {
      let count = unsafe chunk.withUnsafeMutableBytes {
        unsafe read(file, $0.baseAddress, $0.count)
      }
      if count < 0, errno == EINTR { continue }
      if count <= 0 { break }
      rest += chunk[..<count]
      var pieces = rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      // The last piece has no line end yet.
      rest = Array(pieces.removeLast())
      let lines = pieces.map { String(decoding: $0, as: UTF8.self) }
      output.withLock { $0.lines += lines }
      if !isDue { isDue = meetFate() }
    }
    close(file)
    output.withLock { $0.isAtEnd = true }
  }

  private func meetFate() -> Bool {
    guard output.withLock({ $0.lines.count >= fate.lineCount }) else { return false }
    let (seconds, attoseconds) = fate.pause.components
    var rest = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
    unsafe nanosleep(&rest, nil)
    send(fate.signal)
    return true
  }

  /// A process that was waited for has given its number back: it gets no signal any more.
  private func send(_ signal: Int32) {
    status.withLock { status in
      if status == nil { _ = Glibc.kill(pid, signal) }
    }
  }

  /// Waits until the process stands still, as ``Fate/halt(lines:)`` makes it.
  public func waitForStop() async throws {
    while processStatus("State", of: "\(pid)")?.hasPrefix("T") != true {
      guard !output.withLock({ $0.isAtEnd }) else { throw TestKitError("process \(pid) ended") }
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  /// Lets a process that stands still go on.
  public func resume() { send(SIGCONT) }

  /// The whole lines so far; a line that was cut short is not among them.
  public var lines: [String] { output.withLock { $0.lines } }

  /// Waits until at least `count` lines came or the output ended.
  public func waitForLines(_ count: Int) async throws {
    while !output.withLock({ $0.isAtEnd || $0.lines.count >= count }) {
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  /// Kills the process as `kill -9` does and gives every line it wrote.
  public func killAndCollect() async throws -> [String] {
    send(SIGKILL)
    _ = try await ending()
    return lines
  }

  /// Waits until the process met the death it was started for and gives every line it wrote.
  public func linesUntilDeath() async throws -> [String] {
    let ending = try await ending()
    guard ending == .signal(SIGKILL) else {
      throw TestKitError("process \(pid) should be killed and ended by itself: \(ending)")
    }
    return lines
  }

  /// Waits for the process to end by itself.
  public func ending() async throws -> Ending {
    while true {
      let done: Int32? = status.withLock { status in
        if status == nil {
          var raw: Int32 = 0
          if unsafe waitpid(pid, &raw, WNOHANG) == pid { status = raw }
        }
        return status
      }
      if let done, output.withLock({ $0.isAtEnd }) {
        let signal = done & 0x7F
        return signal == 0 ? .exit((done >> 8) & 0xFF) : .signal(signal)
      }
      try await Task.sleep(for: .milliseconds(1))
    }
  }

  /// Lets this process, itself a child, end as soon as nobody reads its standard output any more.
  /// When the tests' process crashes, its children must not outlive it: they hold its standard
  /// error, and the test runner waits for the end of that.
  public static func endWithReader() throws {
    _ = try NamedThread(name: "reader-watch") {
      // No event is asked for; that the pipe has no reader is told all the same.
      var output = pollfd(fd: 1, events: 0, revents: 0)
      while unsafe poll(&output, 1, -1) < 0, errno == EINTR {}
      _exit(1)
    }
  }

  /// A program that was built beside the running tests.
  public static func builtProgram(_ name: String) throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count - 1)
    guard count > 0 else { throw TestKitError("/proc/self/exe cannot be read") }
    let own = String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    var folders = [Files.directory(of: own)]
    folders += CommandLine.arguments.map { Files.directory(of: $0) }
    for folder in folders where Files.exists(folder + "/" + name) { return folder + "/" + name }
    throw TestKitError("\(name) was not built beside the tests (looked in \(folders))")
  }
}
