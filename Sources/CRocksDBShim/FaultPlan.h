#pragma once

#include <rocksdb/file_system.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

namespace spindle {

/// Operations that fail on demand. Costs one relaxed load per operation while nothing is armed.
class FaultPlan {
 public:
  static constexpr int kOperations = 8;

  struct Fault {
    int error = 0;
    uint64_t partial_bytes = 0;
  };

  bool Arm(int operation, uint64_t skip, int64_t fail, int error, uint64_t partial) noexcept;
  void Clear() noexcept;

  /// The fault that the current call of `operation` has to suffer, if any.
  std::optional<Fault> Take(int operation) noexcept {
    if ((armed_.load(std::memory_order_relaxed) & (1u << operation)) == 0) return std::nullopt;
    return TakeArmed(operation);
  }

  uint64_t Count(int operation) const noexcept;

  /// The status RocksDB's own file system gives for the same errno: ENOSPC is retryable.
  static rocksdb::IOStatus StatusOf(const Fault& fault, const char* action,
                                    const std::string& path);

 private:
  struct Slot {
    uint64_t skip = 0;
    int64_t fail = 0;
    Fault fault;
    uint64_t taken = 0;
  };

  std::optional<Fault> TakeArmed(int operation) noexcept;

  std::atomic<uint32_t> armed_{0};
  mutable std::mutex mutex_;
  std::array<Slot, kOperations> slots_;
};

}  // namespace spindle
