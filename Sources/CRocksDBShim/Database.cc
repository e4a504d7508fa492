#include <malloc.h>
#include <rocksdb/convenience.h>
#include <rocksdb/transaction_log.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "CHandles.h"

using rocksdb::DB;
using rocksdb::Slice;
using rocksdb::Status;
using spindle::Guarded;

struct spindle_rocks_cancellation_t {
  std::atomic<bool> canceled{false};
};

namespace {

/// Bytes of a batch with one put beside key and value, at most: header, tag and three varints.
constexpr size_t kPutOverheadBytes = 12 + 1 + 3 * 5;

/// How often properties are read while waiting: they take RocksDB's mutex.
constexpr auto kPollInterval = std::chrono::milliseconds(5);

Status IsIdle(DB* db, bool* idle) {
  *idle = true;
  // Summed over every column family; the running counts are those of the database, so their sum
  // is zero exactly when they are.
  for (const std::string& property :
       {DB::Properties::kMemTableFlushPending, DB::Properties::kCompactionPending,
        DB::Properties::kNumRunningFlushes, DB::Properties::kNumRunningCompactions}) {
    uint64_t value = 0;
    if (!db->GetAggregatedIntProperty(property, &value)) {
      return Status::NotSupported("cannot read the property", property);
    }
    if (value != 0) *idle = false;
  }
  return Status::OK();
}

Status CheckBackgroundErrors(DB* db, const spindle_rocks_listener_t* listener, uint64_t before) {
  if (listener == nullptr) {
    uint64_t count = 0;
    if (!db->GetIntProperty(DB::Properties::kBackgroundErrors, &count)) {
      return Status::NotSupported("cannot read the property", DB::Properties::kBackgroundErrors);
    }
    return count > before ? Status::IOError("background error in flush or compaction")
                          : Status::OK();
  }
  spindle_rocks_counters_t counters;
  spindle_rocks_listener_counters(listener, &counters);
  if (counters.background_errors <= before) return Status::OK();
  char* text = nullptr;
  spindle_rocks_listener_last_error(listener, nullptr, &text);
  const std::unique_ptr<char, decltype(&free)> owner(text, &free);
  return Status::IOError("background error", text == nullptr ? "" : text);
}

}  // namespace

extern "C" {

int spindle_rocks_supports_compression(int compression) {
  try {
    const std::vector<rocksdb::CompressionType> known = rocksdb::GetSupportedCompressions();
    const auto wanted = static_cast<rocksdb::CompressionType>(compression);
    return std::find(known.begin(), known.end(), wanted) != known.end() ? 1 : 0;
  } catch (...) {
    return 0;
  }
}

void spindle_rocks_put(rocksdb_t* db, const rocksdb_writeoptions_t* options,
                       rocksdb_column_family_handle_t* column_family, const char* key,
                       size_t key_count, const char* header, size_t header_count,
                       const char* payload, size_t payload_count, char** errptr) {
  Guarded(errptr, [&] {
    const Slice key_part(key, key_count);
    const Slice value_parts[2] = {{header, header_count}, {payload, payload_count}};
    rocksdb::WriteBatch batch(key_count + header_count + payload_count + kPutOverheadBytes);
    const Status status = batch.Put(column_family->rep, rocksdb::SliceParts(&key_part, 1),
                                    rocksdb::SliceParts(value_parts, 2));
    if (!status.ok()) return status;
    return db->rep->Write(options->rep, &batch);
  });
}

void spindle_rocks_return_large_blocks(int bytes) { mallopt(M_MMAP_THRESHOLD, bytes); }

void spindle_rocks_resume(rocksdb_t* db, char** errptr) {
  Guarded(errptr, [&] { return db->rep->Resume(); });
}

void spindle_rocks_flush_column_families(rocksdb_t* db,
                                         rocksdb_column_family_handle_t* const* column_families,
                                         size_t count, int wait, char** errptr) {
  Guarded(errptr, [&] {
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    handles.reserve(count);
    for (size_t index = 0; index < count; ++index) handles.push_back(column_families[index]->rep);
    rocksdb::FlushOptions options;
    options.wait = wait != 0;
    options.allow_write_stall = true;
    return db->rep->Flush(options, handles);
  });
}

int spindle_rocks_current_wal(rocksdb_t* db, uint64_t* log_number, uint64_t* size_bytes,
                              char** errptr) {
  const bool succeeded = Guarded(errptr, [&] {
    std::unique_ptr<rocksdb::LogFile> file;
    const Status status = db->rep->GetCurrentWalFile(&file);
    if (!status.ok()) return status;
    if (log_number != nullptr) *log_number = file->LogNumber();
    if (size_bytes != nullptr) *size_bytes = file->SizeFileBytes();
    return status;
  });
  return succeeded ? 0 : -1;
}

int64_t spindle_rocks_wal_files(rocksdb_t* db, spindle_rocks_wal_file_t* files, size_t capacity,
                                char** errptr) {
  int64_t count = -1;
  Guarded(errptr, [&] {
    rocksdb::VectorLogPtr sorted;
    const Status status = db->rep->GetSortedWalFiles(sorted);
    if (!status.ok()) return status;
    for (size_t index = 0; index < sorted.size() && index < capacity; ++index) {
      const rocksdb::LogFile& file = *sorted[index];
      files[index].log_number = file.LogNumber();
      files[index].size_bytes = file.SizeFileBytes();
      files[index].start_sequence = file.StartSequence();
      files[index].archived = file.Type() == rocksdb::kArchivedLogFile ? 1 : 0;
    }
    count = static_cast<int64_t>(sorted.size());
    return status;
  });
  return count;
}

spindle_rocks_cancellation_t* spindle_rocks_cancellation_create(void) {
  return new (std::nothrow) spindle_rocks_cancellation_t;
}

void spindle_rocks_cancellation_destroy(spindle_rocks_cancellation_t* cancellation) {
  delete cancellation;
}

void spindle_rocks_cancellation_cancel(spindle_rocks_cancellation_t* cancellation) {
  cancellation->canceled.store(true);
}

void spindle_rocks_compact_range(rocksdb_t* db, rocksdb_column_family_handle_t* column_family,
                                 const char* lower, size_t lower_length, const char* upper,
                                 size_t upper_length, int exclusive, int rewrite_bottommost,
                                 spindle_rocks_cancellation_t* cancellation, char** errptr) {
  Guarded(errptr, [&] {
    using rocksdb::BottommostLevelCompaction;
    using rocksdb::Slice;
    rocksdb::CompactRangeOptions options;
    options.exclusive_manual_compaction = exclusive != 0;
    options.bottommost_level_compaction =
        rewrite_bottommost != 0 ? BottommostLevelCompaction::kForce
                                : BottommostLevelCompaction::kIfHaveCompactionFilter;
    if (cancellation != nullptr) options.canceled = &cancellation->canceled;
    const Slice low(lower == nullptr ? "" : lower, lower_length);
    const Slice high(upper == nullptr ? "" : upper, upper_length);
    return db->rep->CompactRange(options, column_family->rep, lower == nullptr ? nullptr : &low,
                                 upper == nullptr ? nullptr : &high);
  });
}

void spindle_rocks_verify_checksum(rocksdb_t* db, char** errptr) {
  Guarded(errptr, [&] { return db->rep->VerifyChecksum(); });
}

int spindle_rocks_wait_for_compact(rocksdb_t* db, const spindle_rocks_listener_t* listener,
                                   uint64_t background_errors_before, uint32_t idle_grace_ms,
                                   uint32_t timeout_ms, char** errptr) {
  using Clock = std::chrono::steady_clock;
  int result = -1;
  Guarded(errptr, [&] {
    const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
    const auto grace = std::chrono::milliseconds(idle_grace_ms);
    Clock::time_point idle_since = Clock::now();
    while (true) {
      Status status = CheckBackgroundErrors(db->rep, listener, background_errors_before);
      if (!status.ok()) return status;
      bool idle = false;
      status = IsIdle(db->rep, &idle);
      if (!status.ok()) return status;
      const Clock::time_point now = Clock::now();
      if (!idle) idle_since = now;
      if (idle && now - idle_since >= grace) {
        result = 0;
        return status;
      }
      if (now >= deadline) {
        result = 1;
        return status;
      }
      std::this_thread::sleep_for(kPollInterval);
    }
  });
  return result;
}

}  // extern "C"
