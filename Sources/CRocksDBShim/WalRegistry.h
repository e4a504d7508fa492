#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "FaultPlan.h"
#include "LogScanner.h"

namespace spindle {

/// The guard's view of one WAL file.
///
/// RocksDB serialises appends to a WAL, and syncs may run beside them. So the appending thread
/// alone touches `scanner` while the file is healthy; the rest is atomic or held by a mutex.
struct WalFile {
  enum class Mode : int {
    healthy,
    /// An operation failed: every append is refused.
    failed,
    /// Given up by the cure: all but appends succeed and do nothing.
    retired,
  };

  WalFile(uint64_t number, std::string path) : number(number), path(std::move(path)) {}

  const uint64_t number;
  const std::string path;
  std::atomic<Mode> mode{Mode::healthy};
  std::atomic<uint64_t> appended{0};
  std::atomic<uint64_t> synced{0};
  /// Whether the directory entry of the file is durable.
  std::atomic<bool> entry_synced{false};
  LogScanner scanner;

  std::mutex mutex;
  /// The open file below the guard; null once closed. Held by `mutex`.
  rocksdb::FSWritableFile* open_file = nullptr;
  /// SPINDLE_ROCKS_WAL_*: why this file left `healthy`. Held by the registry's mutex.
  int failure_kind = 0;
};

/// Every live WAL of one store, and the first failure that has not been cleared.
class WalRegistry {
 public:
  struct Failure {
    int kind = 0;
    uint64_t log_number = 0;
    bool no_space = false;
    std::string text;
  };

  std::shared_ptr<WalFile> Add(uint64_t number, const std::string& path);
  void Forget(const std::string& path);

  /// Takes the file out of service. Only the first failure since the last clear is remembered.
  void Fail(WalFile& file, int kind, const rocksdb::IOStatus& status);

  bool failed() const noexcept { return failed_.load(std::memory_order_acquire); }
  Failure failure() const;

  /// See spindle_rocks_env_retire_failed_wal and spindle_rocks_env_clear_wal_failure.
  rocksdb::Status RetireFailed(FaultPlan& faults);
  bool Clear();

  /// Every WAL that holds bytes no sync has covered, oldest first.
  std::vector<std::shared_ptr<WalFile>> Unsynced() const;

  size_t Sizes(uint64_t* numbers, uint64_t* appended, uint64_t* synced, size_t capacity) const;

  std::atomic<uint64_t> bytes_written{0};
  std::atomic<uint64_t> syncs{0};

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<WalFile>> files_;
  uint64_t newest_ = 0;
  Failure failure_;
  std::atomic<bool> failed_{false};
};

}  // namespace spindle
