#include "GuardFileSystem.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <utility>

#include "CRocksDBShim.h"

namespace spindle {

using rocksdb::DataVerificationInfo;
using rocksdb::FSWritableFile;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;
using rocksdb::Slice;

namespace {

enum class FileKind { wal, table, manifest, other };

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

uint64_t HashOf(const Slice& data) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (size_t index = 0; index < data.size(); ++index) {
    hash = (hash ^ static_cast<unsigned char>(data[index])) * 0x100000001b3u;
  }
  return hash;
}

/// A table, blob, manifest or other file: counted, and failed on demand.
class CountedFile final : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  CountedFile(std::unique_ptr<FSWritableFile>&& file, FileKind kind, std::string path,
              std::shared_ptr<GuardState> guard)
      : FSWritableFileOwnerWrapper(std::move(file)),
        kind_(kind),
        path_(std::move(path)),
        guard_(std::move(guard)) {}

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

  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            IODebugContext* debug) override {
    return Write(data, [&](const Slice& part) {
      return target()->PositionedAppend(part, offset, options, debug);
    });
  }

  IOStatus PositionedAppend(const Slice& data, uint64_t offset, const IOOptions& options,
                            const DataVerificationInfo& info, IODebugContext* debug) override {
    return Write(data, [&](const Slice& part) {
      if (part.size() != data.size()) {
        return target()->PositionedAppend(part, offset, options, debug);
      }
      return target()->PositionedAppend(part, offset, options, info, debug);
    });
  }

  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus injected = SyncFault();
    if (!injected.ok()) return injected;
    return target()->Sync(options, debug);
  }

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus injected = SyncFault();
    if (!injected.ok()) return injected;
    return target()->Fsync(options, debug);
  }

 private:
  template <typename Body>
  IOStatus Write(const Slice& data, Body&& body) {
    const int operation = kind_ == FileKind::table      ? SPINDLE_ROCKS_FAULT_TABLE_APPEND
                          : kind_ == FileKind::manifest ? SPINDLE_ROCKS_FAULT_MANIFEST_APPEND
                                                        : -1;
    if (operation >= 0) {
      if (const auto fault = guard_->faults.Take(operation)) {
        const size_t partial = std::min<uint64_t>(fault->partial_bytes, data.size());
        if (partial > 0) body(Slice(data.data(), partial)).PermitUncheckedError();
        return FaultPlan::StatusOf(*fault, "While appending to file", path_);
      }
    }
    IOStatus status = body(data);
    if (status.ok()) {
      guard_->other_bytes_written.fetch_add(data.size(), std::memory_order_relaxed);
    }
    return status;
  }

  IOStatus SyncFault() {
    const int operation = kind_ == FileKind::table      ? SPINDLE_ROCKS_FAULT_TABLE_SYNC
                          : kind_ == FileKind::manifest ? SPINDLE_ROCKS_FAULT_MANIFEST_SYNC
                                                        : -1;
    if (operation < 0) return IOStatus::OK();
    const auto fault = guard_->faults.Take(operation);
    if (!fault) return IOStatus::OK();
    return FaultPlan::StatusOf(*fault, "While syncing file", path_);
  }

  const FileKind kind_;
  const std::string path_;
  const std::shared_ptr<GuardState> guard_;
};

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
    return SyncWith([&] { return target()->Sync(options, debug); });
  }

  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return SyncWith([&] { return target()->Fsync(options, debug); });
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
    if (mode() != WalFile::Mode::healthy) return Refuse(data);
    IOStatus status;
    if (const auto fault = guard_->faults.Take(SPINDLE_ROCKS_FAULT_WAL_APPEND)) {
      const size_t partial = std::min<uint64_t>(fault->partial_bytes, data.size());
      if (partial > 0) body(Slice(data.data(), partial)).PermitUncheckedError();
      status = FaultPlan::StatusOf(*fault, "While appending to file", file_->path);
    } else {
      status = body(data);
    }
    if (!status.ok()) {
      Remember(data);
      return Checked(SPINDLE_ROCKS_WAL_APPEND_FAILED, std::move(status));
    }
    file_->scanner.Feed(data.data(), data.size());
    file_->appended.fetch_add(data.size(), std::memory_order_release);
    guard_->wals.bytes_written.fetch_add(data.size(), std::memory_order_relaxed);
    return status;
  }

  /// An append to a file that is out of service.
  IOStatus Refuse(const Slice& data) {
    WalFile::Mode expected = WalFile::Mode::retired;
    if (file_->refused_length == data.size() && file_->refused_hash == HashOf(data) &&
        file_->mode.compare_exchange_strong(expected, WalFile::Mode::drained)) {
      return IOStatus::OK();
    }
    Remember(data);
    IOStatus status = Poisoned("append");
    guard_->wals.Fail(*file_, SPINDLE_ROCKS_WAL_APPEND_FAILED, status);
    return status;
  }

  /// RocksDB keeps a refused record in its buffer, adds later ones to it, and offers all of them
  /// at the next append: the bytes of the latest attempt are what it holds.
  void Remember(const Slice& data) {
    file_->refused_length = data.size();
    file_->refused_hash = HashOf(data);
  }

  template <typename Body>
  IOStatus SyncWith(Body&& body) {
    // Retiring the file has synced it, and nothing was appended since.
    if (mode() != WalFile::Mode::healthy) return StatusWhenOutOfService("sync");
    if (const uint32_t delay = guard_->sync_delay_us.load(std::memory_order_relaxed)) {
      std::this_thread::sleep_for(std::chrono::microseconds(delay));
    }
    const uint64_t size = file_->appended.load(std::memory_order_acquire);
    IOStatus status;
    if (const auto fault = guard_->faults.Take(SPINDLE_ROCKS_FAULT_WAL_SYNC)) {
      status = FaultPlan::StatusOf(*fault, "While syncing file", file_->path);
    } else {
      status = body();
    }
    if (!status.ok()) return Checked(SPINDLE_ROCKS_WAL_SYNC_FAILED, std::move(status));
    // Syncs of one file may overlap; the mark only rises.
    uint64_t mark = file_->synced.load(std::memory_order_relaxed);
    while (mark < size && !file_->synced.compare_exchange_weak(mark, size)) {
    }
    guard_->wals.syncs.fetch_add(1, std::memory_order_relaxed);
    return status;
  }

  IOStatus Checked(int kind, IOStatus&& status) {
    if (!status.ok()) guard_->wals.Fail(*file_, kind, status);
    return std::move(status);
  }

  IOStatus StatusWhenOutOfService(const char* action) {
    return mode() == WalFile::Mode::failed ? Poisoned(action) : IOStatus::OK();
  }

  IOStatus Poisoned(const char* action) {
    const WalRegistry::Failure failure = guard_->wals.failure();
    return IOStatus::IOError("write-ahead log poisoned by an earlier failure",
                             std::string(action) + " of " + file_->path + " refused; first: " +
                                 (failure.kind == 0 ? "the file was retired" : failure.text));
  }

  const std::shared_ptr<WalFile> file_;
  const std::shared_ptr<GuardState> guard_;
};

}  // namespace

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
