internal import Glibc

/// A counting semaphore that parks a thread: the wake-up signal of our own threads.
///
/// Times run on the monotonic clock. glibc's own semaphore waits on the wall clock, and one that is
/// set back would hold its waiter for as long.
@safe public final class ThreadSemaphore: @unchecked Sendable {
  @safe private struct State {
    var mutex = unsafe pthread_mutex_t()
    var condition = pthread_cond_t()
    var count = 0
  }

  // Proof of sendability: the pointer never changes and lives until deinit; the count is read and
  // written under the mutex only.
  private let state: UnsafeMutablePointer<State>

  public init() {
    unsafe state = .allocate(capacity: 1)
    unsafe state.initialize(to: State())
    unsafe pthread_mutex_init(&state.pointee.mutex, nil)
    var attributes = pthread_condattr_t()
    unsafe pthread_condattr_init(&attributes)
    unsafe pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    unsafe pthread_cond_init(&state.pointee.condition, &attributes)
    unsafe pthread_condattr_destroy(&attributes)
  }

  deinit {
    unsafe pthread_cond_destroy(&state.pointee.condition)
    unsafe pthread_mutex_destroy(&state.pointee.mutex)
    unsafe state.deallocate()
  }

  public func signal() {
    unsafe pthread_mutex_lock(&state.pointee.mutex)
    unsafe state.pointee.count += 1
    // Within the lock: a waiter that was not asleep may end the semaphore's life right after it.
    unsafe pthread_cond_signal(&state.pointee.condition)
    unsafe pthread_mutex_unlock(&state.pointee.mutex)
  }

  public func wait() {
    unsafe pthread_mutex_lock(&state.pointee.mutex)
    while unsafe state.pointee.count == 0 {
      unsafe pthread_cond_wait(&state.pointee.condition, &state.pointee.mutex)
    }
    unsafe state.pointee.count -= 1
    unsafe pthread_mutex_unlock(&state.pointee.mutex)
  }

  /// Waits at most this long; returns false when the time ran out.
  public func wait(milliseconds: Int) -> Bool {
    var deadline = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &deadline)
    let nanoseconds = deadline.tv_nsec + (milliseconds % 1000) * 1_000_000
    deadline.tv_sec += milliseconds / 1000 + nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000
    unsafe pthread_mutex_lock(&state.pointee.mutex)
    defer { unsafe pthread_mutex_unlock(&state.pointee.mutex) }
    while unsafe state.pointee.count == 0 {
      let result = unsafe pthread_cond_timedwait(
        &state.pointee.condition, &state.pointee.mutex, &deadline)
      if result == ETIMEDOUT, unsafe state.pointee.count == 0 { return false }
    }
    unsafe state.pointee.count -= 1
    return true
  }
}
