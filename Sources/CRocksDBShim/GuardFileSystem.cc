#include "GuardFileSystem.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "CRocksDBShim.h"
#include "CountedFile.h"

namespace spindle {

using rocksdb::DataVerificationInfo;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

struct FileName {
  FileKind kind = FileKind::other;
  uint64_t number = 0;
};

FileName ParseFileName(const std::string& path) {
  FileName result;
  const std::string base = path.substr(path.rfind('/') + 1);
  if (base.rfind("MANIFEST-", 0) == 0) {
    result.kind = FileKind::manifest;
    return result;
  }
  size_t digits = 0;
  while (digits < base.size() && isdigit(static_cast<unsigned char>(base[digits]))) digits += 1;
  if (digits == 0) return result;
  const std::string suffix = base.substr(digits);
  if (suffix == ".log") result.kind = FileKind::wal;
  if (suffix == ".sst" || suffix == ".blob") result.kind = FileKind::table;
  result.number = strtoull(base.c_str(), nullptr, 10);
  return result;
}

/// A WAL: after its first failure nothing is ever appended to it again.
class GuardedWal final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  GuardedWal(std::unique_ptr<FSWritableFile>&& file, std::shared_ptr<WalFile> file_state,
             std::shared_ptr<GuardState> guard)
      : FSWritableFileOwnerWrapper(std::move(file)),
        file_(std::move(file_state)),
        guard_(std::move(guard)) {
    std::lock_guard<std::mutex> lock(file_->mutex);
    file_->open_file = target();
  }

  ~GuardedWal() override {
    std::lock_guard<std::mutex> lock(file_->mutex);
    file_->open_file = nullptr;
  }

  IOStatus Append(const Slice& data, const IOOptions& options, IODebugContext* debug) override {
    return Write(data, [&](const Slice& part) { return target()->Append(part, options, debug); });
  }

  IOStatus Append(const Slice& data, const IOOptions& options, const DataVerificationInfo& info,
                  IODebugContext* debug) override {
    return Write(data, [&](const Slice& part) {
      if (part.size() != data.size()) return target()->Append(part, options, debug);
      return target()->Append(part, options, info, debug);
    });
  }

  // Positioned appends are direct I/O: whole sectors, the last one written again and again. Their
  // sizes do not add up to the file's, so the scanner stands down.
  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    file_->scanner.Invalidate();
    return Write(data, [&](const Slice& part) {
      return target()->PositionedAppend(part, offset, options, debug);
    });
  }

  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const DataVerificationInfo& info, IODebugContext* debug) override {
    file_->scanner.Invalidate();
    return Write(data, [&](const Slice& part) {
      if (part.size() != data.size()) {
        return target()->PositionedAppend(part, offset, options, debug);
      }
      return target()->PositionedAppend(part, offset, options, info, debug);
    });
  }

  IOStatus Flush(const IOOptions& options, IODebugContext* debug) override {
    if (mode() != WalFile::Mode::healthy) return StatusWhenOutOfService("flush");
    return Checked(SPINDLE_ROCKS_WAL_APPEND_FAILED, target()->Flush(options, debug));
  }

  IOStatus Truncate(uint64_t size, const IOOptions& options, IODebugContext* debug) override {
    if (mode() != WalFile::Mode::healthy) return StatusWhenOutOfService("truncate");
    file_->scanner.Invalidate();
    IOStatus status = Checked(SPINDLE_ROCKS_WAL_APPEND_FAILED,
                              target()->Truncate(size, options, debug));
    if (status.ok()) file_->appended.store(size);
    return status;
  }

  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    return guard_->Sync(*file_, [&] { return target()->Sync(options, debug); });
  }

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return guard_->Sync(*file_, [&] { return target()->Fsync(options, debug); });
  }

  IOStatus RangeSync(uint64_t offset, uint64_t length, const IOOptions& options,
                     IODebugContext* debug) override {
    if (mode() != WalFile::Mode::healthy) return StatusWhenOutOfService("range sync");
    return Checked(SPINDLE_ROCKS_WAL_SYNC_FAILED,
                   target()->RangeSync(offset, length, options, debug));
  }

  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    const WalFile::Mode before = mode();
    std::lock_guard<std::mutex> lock(file_->mutex);
    file_->open_file = nullptr;
    IOStatus status = target()->Close(options, debug);
    if (before == WalFile::Mode::healthy) {
      return Checked(SPINDLE_ROCKS_WAL_APPEND_FAILED, std::move(status));
    }
    // The file's failure has been told; only an undisturbed close matters now.
    status.PermitUncheckedError();
    return before == WalFile::Mode::failed ? StatusWhenOutOfService("close") : IOStatus::OK();
  }

  // Space reserved for a file that takes no more bytes would only keep the disk full.
  void PrepareWrite(size_t offset, size_t length, const IOOptions& options,
                    IODebugContext* debug) override {
    if (mode() == WalFile::Mode::healthy) target()->PrepareWrite(offset, length, options, debug);
  }

  IOStatus Allocate(uint64_t offset, uint64_t length, const IOOptions& options,
                    IODebugContext* debug) override {
    if (mode() != WalFile::Mode::healthy) return IOStatus::OK();
    return target()->Allocate(offset, length, options, debug);
  }

 private:
  WalFile::Mode mode() const { return file_->mode.load(std::memory_order_acquire); }

  template <typename Body>
  IOStatus Write(const Slice& data, Body&& body) {
    if (mode() != WalFile::Mode::healthy) return Refuse();
    IOStatus status;
    if (const auto fault = guard_->faults.Take(SPINDLE_ROCKS_FAULT_WAL_APPEND)) {
      const size_t partial = std::min<uint64_t>(fault->partial_bytes, data.size());
      if (partial > 0) body(Slice(data.data(), partial)).PermitUncheckedError();
      status = FaultPlan::StatusOf(*fault, "While appending to file", file_->path);
    } else {
      status = body(data);
    }
    if (!status.ok()) return Checked(SPINDLE_ROCKS_WAL_APPEND_FAILED, std::move(status));
    file_->scanner.Feed(data.data(), data.size());
    file_->appended.fetch_add(data.size(), std::memory_order_release);
    guard_->wals.bytes_written.fetch_add(data.size(), std::memory_order_relaxed);
    return status;
  }

  /// An append to a file that is out of service. RocksDB drops the refused record from its buffer,
  /// so nothing is appended when it switches files: what comes here is a writer's.
  IOStatus Refuse() {
    return Checked(SPINDLE_ROCKS_WAL_APPEND_FAILED, guard_->Refusal(*file_, "append"));
  }

  IOStatus Checked(int kind, IOStatus&& status) {
    if (!status.ok()) guard_->wals.Fail(*file_, kind, status);
    return std::move(status);
  }

  IOStatus StatusWhenOutOfService(const char* action) {
    return mode() == WalFile::Mode::failed ? guard_->Refusal(*file_, action) : IOStatus::OK();
  }

  const std::shared_ptr<WalFile> file_;
  const std::shared_ptr<GuardState> guard_;
};

}  // namespace

IOStatus GuardState::Refusal(const WalFile& file, const char* action) const {
  const WalRegistry::Failure failure = wals.failure();
  return IOStatus::IOError("write-ahead log poisoned by an earlier failure",
                           std::string(action) + " of " + file.path + " refused; first: " +
                               (failure.kind == 0 ? "the file was retired" : failure.text));
}

template <typename Body>
IOStatus GuardState::Sync(WalFile& file, Body&& body) {
  const WalFile::Mode mode = file.mode.load(std::memory_order_acquire);
  if (mode == WalFile::Mode::failed) return Refusal(file, "sync");
  // Retiring the file has synced it, and nothing was appended since.
  if (mode == WalFile::Mode::retired) return IOStatus::OK();
  if (const uint32_t delay = sync_delay_us.load(std::memory_order_relaxed)) {
    std::this_thread::sleep_for(std::chrono::microseconds(delay));
  }
  const uint64_t size = file.appended.load(std::memory_order_acquire);
  IOStatus status;
  if (const auto fault = faults.Take(SPINDLE_ROCKS_FAULT_WAL_SYNC)) {
    status = FaultPlan::StatusOf(*fault, "While syncing file", file.path);
  } else {
    status = body();
  }
  if (!status.ok()) {
    wals.Fail(file, SPINDLE_ROCKS_WAL_SYNC_FAILED, status);
    return status;
  }
  // Syncs of one file may overlap; the mark only rises.
  uint64_t mark = file.synced.load(std::memory_order_relaxed);
  while (mark < size && !file.synced.compare_exchange_weak(mark, size)) {
  }
  wals.syncs.fetch_add(1, std::memory_order_relaxed);
  return status;
}

rocksdb::Status GuardFileSystem::SyncWals() {
  const IOOptions options;
  for (const std::shared_ptr<WalFile>& file : state->wals.Unsynced()) {
    std::lock_guard<std::mutex> lock(file->mutex);
    // RocksDB closes a WAL when it has been synced or when nothing needs it any more.
    if (file->open_file == nullptr) continue;
    IOStatus status = state->Sync(*file, [&] {
      if (!file->entry_synced.load()) {
        std::unique_ptr<rocksdb::FSDirectory> directory;
        const std::string name = file->path.substr(0, file->path.rfind('/'));
        IOStatus entry = target()->NewDirectory(name, options, &directory, nullptr);
        if (entry.ok()) entry = directory->Fsync(options, nullptr);
        if (!entry.ok()) return entry;
        file->entry_synced.store(true);
      }
      return file->open_file->Sync(options, nullptr);
    });
    if (!status.ok()) return status;
  }
  return state->wals.failed() ? rocksdb::Status::IOError(state->wals.failure().text)
                              : rocksdb::Status::OK();
}

IOStatus GuardFileSystem::CheckCreate(const std::string& path) {
  const FileKind kind = ParseFileName(path).kind;
  if (kind != FileKind::wal && kind != FileKind::table) return IOStatus::OK();
  const auto fault = state->faults.Take(kind == FileKind::wal ? SPINDLE_ROCKS_FAULT_WAL_CREATE
                                                       : SPINDLE_ROCKS_FAULT_TABLE_CREATE);
  if (!fault) return IOStatus::OK();
  return FaultPlan::StatusOf(*fault, "While open a file for appending", path);
}

IOStatus GuardFileSystem::Wrap(const std::string& path, bool is_empty,
                               std::unique_ptr<FSWritableFile>* result) {
  const FileName name = ParseFileName(path);
  if (name.kind != FileKind::wal) {
    result->reset(new CountedFile(std::move(*result), name.kind, path, state));
    return IOStatus::OK();
  }
  std::shared_ptr<WalFile> wal = state->wals.Add(name.number, path);
  if (!is_empty) {
    wal->scanner.Invalidate();
    wal->appended.store((*result)->GetFileSize(IOOptions(), nullptr));
  }
  result->reset(new GuardedWal(std::move(*result), std::move(wal), state));
  return IOStatus::OK();
}

IOStatus GuardFileSystem::NewWritableFile(const std::string& path,
                                          const rocksdb::FileOptions& options,
                                          std::unique_ptr<FSWritableFile>* result,
                                          IODebugContext* debug) {
  IOStatus status = CheckCreate(path);
  if (status.ok()) status = target()->NewWritableFile(path, options, result, debug);
  return status.ok() ? Wrap(path, true, result) : status;
}

IOStatus GuardFileSystem::ReopenWritableFile(const std::string& path,
                                             const rocksdb::FileOptions& options,
                                             std::unique_ptr<FSWritableFile>* result,
                                             IODebugContext* debug) {
  IOStatus status = CheckCreate(path);
  if (status.ok()) status = target()->ReopenWritableFile(path, options, result, debug);
  return status.ok() ? Wrap(path, false, result) : status;
}

IOStatus GuardFileSystem::ReuseWritableFile(const std::string& path, const std::string& old_path,
                                            const rocksdb::FileOptions& options,
                                            std::unique_ptr<FSWritableFile>* result,
                                            IODebugContext* debug) {
  IOStatus status = CheckCreate(path);
  if (status.ok()) status = target()->ReuseWritableFile(path, old_path, options, result, debug);
  if (!status.ok()) return status;
  state->wals.Forget(old_path);
  return Wrap(path, false, result);
}

IOStatus GuardFileSystem::DeleteFile(const std::string& path, const IOOptions& options,
                                     IODebugContext* debug) {
  IOStatus status = target()->DeleteFile(path, options, debug);
  if (status.ok()) state->wals.Forget(path);
  return status;
}

IOStatus GuardFileSystem::RenameFile(const std::string& source, const std::string& destination,
                                     const IOOptions& options, IODebugContext* debug) {
  IOStatus status = target()->RenameFile(source, destination, options, debug);
  if (status.ok()) state->wals.Forget(source);
  return status;
}

}  // namespace spindle
