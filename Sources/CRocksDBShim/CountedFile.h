#pragma once

#include <rocksdb/file_system.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "CRocksDBShim.h"
#include "GuardFileSystem.h"

namespace spindle {

enum class FileKind { wal, table, manifest, other };

/// A table, blob, manifest or other file: counted, and failed on demand.
class CountedFile final : public rocksdb::FSWritableFileOwnerWrapper {
  using DataVerificationInfo = rocksdb::DataVerificationInfo;
  using IODebugContext = rocksdb::IODebugContext;
  using IOOptions = rocksdb::IOOptions;
  using IOStatus = rocksdb::IOStatus;
  using Slice = rocksdb::Slice;

 public:
  CountedFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, FileKind kind, std::string path,
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
    // Two minutes at most: RocksDB's threads belong to the process, and whoever is to let the
    // tables go may wait for one of them.
    for (int waited = 0; waited < 120'000 && kind_ == FileKind::table; waited++) {
      if (!guard_->tables_held.load(std::memory_order_relaxed)) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
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

}  // namespace spindle
