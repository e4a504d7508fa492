#pragma once

#include <rocksdb/file_system.h>

#include <atomic>
#include <memory>
#include <string>

#include "FaultPlan.h"
#include "WalRegistry.h"

namespace spindle {

/// What the guard and the files it opened share; files may outlive the file system object.
struct GuardState {
  /// Makes everything appended to `file` so far durable through `body`, or takes it out of service.
  template <typename Body>
  rocksdb::IOStatus Sync(WalFile& file, Body&& body);

  /// What an operation on a file out of service gets.
  rocksdb::IOStatus Refusal(const WalFile& file, const char* action) const;

  WalRegistry wals;
  FaultPlan faults;
  std::atomic<uint64_t> other_bytes_written{0};
  std::atomic<uint32_t> sync_delay_us{0};
  std::atomic<bool> tables_held{false};
};

/// The default file system with a guard around every writable file of one store.
class GuardFileSystem : public rocksdb::FileSystemWrapper {
 public:
  GuardFileSystem() : rocksdb::FileSystemWrapper(rocksdb::FileSystem::Default()) {}

  static const char* kClassName() { return "SpindleGuardFileSystem"; }
  const char* Name() const override { return kClassName(); }

  rocksdb::IOStatus NewWritableFile(const std::string& path, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReopenWritableFile(const std::string& path,
                                       const rocksdb::FileOptions& options,
                                       std::unique_ptr<rocksdb::FSWritableFile>* result,
                                       rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus ReuseWritableFile(const std::string& path, const std::string& old_path,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& path, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus RenameFile(const std::string& source, const std::string& target,
                               const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

  /// See spindle_rocks_env_sync_wals.
  rocksdb::Status SyncWals();

  const std::shared_ptr<GuardState> state = std::make_shared<GuardState>();

 private:
  rocksdb::IOStatus CheckCreate(const std::string& path);
  rocksdb::IOStatus Wrap(const std::string& path, bool is_empty,
                         std::unique_ptr<rocksdb::FSWritableFile>* result);
};

}  // namespace spindle
