#include "WalRegistry.h"

#include <cerrno>
#include <cstring>
#include <utility>

#include "CRocksDBShim.h"

namespace spindle {

namespace {

bool MeansNoSpace(const rocksdb::IOStatus& status) {
  // RocksDB keeps the text of an errno it has no code for, and it has none for EDQUOT.
  return status.IsNoSpace() ||
         (status.getState() != nullptr && strstr(status.getState(), strerror(EDQUOT)) != nullptr);
}

/// Cuts the torn record off and makes the rest durable. The caller holds `file.mutex`.
rocksdb::IOStatus CutAndSync(WalFile& file, FaultPlan& faults) {
  if (file.open_file == nullptr) return rocksdb::IOStatus::OK();
  const rocksdb::IOOptions options;
  const uint64_t whole =
      file.scanner.valid() ? file.scanner.record_end() : file.appended.load();
  rocksdb::IOStatus status = file.open_file->Truncate(whole, options, nullptr);
  if (!status.ok()) return status;
  if (const auto fault = faults.Take(SPINDLE_ROCKS_FAULT_WAL_SYNC)) {
    return FaultPlan::StatusOf(*fault, "While syncing file", file.path);
  }
  status = file.open_file->Sync(options, nullptr);
  if (!status.ok()) return status;
  file.appended.store(whole);
  file.synced.store(whole);
  return status;
}

}  // namespace

std::shared_ptr<WalFile> WalRegistry::Add(uint64_t number, const std::string& path) {
  auto file = std::make_shared<WalFile>(number, path);
  std::lock_guard<std::mutex> lock(mutex_);
  files_[number] = file;
  if (number > newest_) newest_ = number;
  return file;
}

void WalRegistry::Forget(const std::string& path) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto entry = files_.begin(); entry != files_.end(); ++entry) {
    if (entry->second->path == path) {
      files_.erase(entry);
      return;
    }
  }
}

void WalRegistry::Fail(WalFile& file, int kind, const rocksdb::IOStatus& status) {
  // Refuse first, tell later: no append may pass while the text below is being copied.
  file.mode.store(WalFile::Mode::failed, std::memory_order_seq_cst);
  std::lock_guard<std::mutex> lock(mutex_);
  if (file.failure_kind == 0) file.failure_kind = kind;
  failed_.store(true, std::memory_order_seq_cst);
  if (failure_.kind != 0) return;
  failure_.kind = kind;
  failure_.log_number = file.number;
  failure_.no_space = MeansNoSpace(status);
  failure_.text = status.ToString();
}

WalRegistry::Failure WalRegistry::failure() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return failure_;
}

rocksdb::Status WalRegistry::RetireFailed(FaultPlan& faults) {
  std::vector<std::pair<std::shared_ptr<WalFile>, int>> failed_files;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& entry : files_) {
      if (entry.second->mode.load() == WalFile::Mode::failed) {
        failed_files.emplace_back(entry.second, entry.second->failure_kind);
      }
    }
  }
  for (const auto& [file, kind] : failed_files) {
    std::lock_guard<std::mutex> lock(file->mutex);
    if (kind == SPINDLE_ROCKS_WAL_APPEND_FAILED) {
      const rocksdb::IOStatus status = CutAndSync(*file, faults);
      if (!status.ok()) return status;
    }
    file->mode.store(WalFile::Mode::retired, std::memory_order_seq_cst);
  }
  return rocksdb::Status::OK();
}

bool WalRegistry::Clear() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& entry : files_) {
    const WalFile& file = *entry.second;
    const WalFile::Mode mode = file.mode.load();
    if (mode == WalFile::Mode::failed) return false;
    if (mode != WalFile::Mode::healthy && file.number == newest_) return false;
  }
  failure_ = Failure();
  failed_.store(false, std::memory_order_seq_cst);
  return true;
}

std::vector<std::shared_ptr<WalFile>> WalRegistry::Unsynced() const {
  std::vector<std::shared_ptr<WalFile>> result;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& entry : files_) {
    const WalFile& file = *entry.second;
    if (file.synced.load() < file.appended.load()) result.push_back(entry.second);
  }
  return result;
}

size_t WalRegistry::Sizes(uint64_t* numbers, uint64_t* appended, uint64_t* synced,
                          size_t capacity) const {
  std::lock_guard<std::mutex> lock(mutex_);
  size_t index = 0;
  for (const auto& entry : files_) {
    if (index == capacity) break;
    if (numbers != nullptr) numbers[index] = entry.first;
    if (synced != nullptr) synced[index] = entry.second->synced.load();
    if (appended != nullptr) appended[index] = entry.second->appended.load();
    index += 1;
  }
  return files_.size();
}

}  // namespace spindle
