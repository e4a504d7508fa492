// Counts the allocations of each thread. A process loads it before the C library:
// LD_PRELOAD=allocations.so PROGRAM; the program asks for the count by its name.
#include <cerrno>
#include <cstddef>

extern "C" {

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

// In the thread's fixed part: a counter that is allocated itself would call itself.
static __thread unsigned long count __attribute__((tls_model("initial-exec")));

unsigned long spindle_allocations() { return count; }

void* malloc(size_t bytes) {
  ++count;
  return __libc_malloc(bytes);
}

void* calloc(size_t number, size_t bytes) {
  ++count;
  return __libc_calloc(number, bytes);
}

void* realloc(void* block, size_t bytes) {
  ++count;
  return __libc_realloc(block, bytes);
}

void* memalign(size_t alignment, size_t bytes) {
  ++count;
  return __libc_memalign(alignment, bytes);
}

void* aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void** block, size_t alignment, size_t bytes) {
  *block = memalign(alignment, bytes);
  return *block == nullptr && bytes > 0 ? ENOMEM : 0;
}

}  // extern "C"
