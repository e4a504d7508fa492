// Tells ThreadSanitizer of the waiting that it cannot see: that of Synchronization.Mutex.
//
// The fast paths of the mutex are compiled into the caller, and so watched. The slow ones, taken
// when two threads meet, are in Swift's own library, which is not; without their order every such
// meeting would be reported as a race. The test processes load this library before that one, so
// the calls come here first. `make test-thread` builds it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CONTEXT __attribute__((swift_context))
#define SWIFT __attribute__((swiftcall))

typedef SWIFT void (*Lock)(uint32_t thread, CONTEXT void *mutex);
typedef SWIFT bool (*TryLock)(CONTEXT void *mutex);
typedef SWIFT void (*Unlock)(CONTEXT void *mutex);

// The names of _MutexHandle._lockSlow(UInt32), _tryLockSlow() and _unlockSlow().
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define TRY_LOCK "$s15Synchronization12_MutexHandleV12_tryLockSlowSbyF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

// Defined by ThreadSanitizer's runtime; absent in the programs that merely start a test.
extern void __tsan_acquire(void *address) __attribute__((weak));
extern void __tsan_release(void *address) __attribute__((weak));

static void *find(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (found == NULL) {
    fprintf(stderr, "MutexOrder: Swift's Synchronization library has no %s\n", name);
    abort();
  }
  return found;
}

SWIFT void lock(uint32_t thread, CONTEXT void *mutex) __asm__(LOCK);
SWIFT bool tryLock(CONTEXT void *mutex) __asm__(TRY_LOCK);
SWIFT void unlock(CONTEXT void *mutex) __asm__(UNLOCK);

SWIFT void lock(uint32_t thread, CONTEXT void *mutex) {
  static _Atomic(Lock) next;
  if (next == NULL) next = (Lock)find(LOCK);
  next(thread, mutex);
  if (__tsan_acquire) __tsan_acquire(mutex);
}

SWIFT bool tryLock(CONTEXT void *mutex) {
  static _Atomic(TryLock) next;
  if (next == NULL) next = (TryLock)find(TRY_LOCK);
  const bool taken = next(mutex);
  if (taken && __tsan_acquire) __tsan_acquire(mutex);
  return taken;
}

SWIFT void unlock(CONTEXT void *mutex) {
  static _Atomic(Unlock) next;
  if (next == NULL) next = (Unlock)find(UNLOCK);
  // Before the call: afterwards the mutex may belong to another thread already, or be gone.
  if (__tsan_release) __tsan_release(mutex);
  next(mutex);
}
