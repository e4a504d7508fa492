#include <rocksdb/listener.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "CHandles.h"

namespace spindle {
namespace {

using rocksdb::Status;
using rocksdb::WriteStallCondition;

static_assert(static_cast<int>(rocksdb::BackgroundErrorReason::kFlush) ==
              SPINDLE_ROCKS_REASON_FLUSH);
static_assert(static_cast<int>(rocksdb::BackgroundErrorReason::kManifestWriteNoWAL) ==
              SPINDLE_ROCKS_REASON_MANIFEST_WRITE_NO_WAL);
static_assert(static_cast<int>(Status::Severity::kUnrecoverableError) ==
              SPINDLE_ROCKS_SEVERITY_UNRECOVERABLE);

enum Counter {
  kBackgroundErrors,
  kDelayed,
  kStopped,
  kStallsToNormal,
  kStallsToDelayed,
  kStallsToStopped,
  kFlushesBegun,
  kFlushesCompleted,
  kFlushBytesIn,
  kFlushBytesOut,
  kCompactionsBegun,
  kCompactionsCompleted,
  kCompactionBytesIn,
  kCompactionBytesOut,
  kRecoveriesBegun,
  kRecoveriesSucceeded,
  kRecoveriesFailed,
  kEventsDropped,
  kCounters,
};

// The C structure is filled from the array of counters, in this order.
static_assert(sizeof(spindle_rocks_counters_t) == kCounters * sizeof(uint64_t));
static_assert(offsetof(spindle_rocks_counters_t, events_dropped) ==
              kEventsDropped * sizeof(uint64_t));
static_assert(offsetof(spindle_rocks_counters_t, compactions_begun) ==
              kCompactionsBegun * sizeof(uint64_t));

constexpr size_t kMaxEvents = 65536;

uint64_t MicrosecondsNow() {
  using std::chrono::microseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<microseconds>(now).count());
}

template <size_t size>
void CopyCut(char (&destination)[size], const std::string& source) {
  const size_t length = source.size() < size - 1 ? source.size() : size - 1;
  memcpy(destination, source.data(), length);
  memset(destination + length, 0, size - length);
}

const char* NameOf(WriteStallCondition condition) {
  switch (condition) {
    case WriteStallCondition::kDelayed:
      return "delayed";
    case WriteStallCondition::kStopped:
      return "stopped";
    default:
      return "normal";
  }
}

/// RocksDB calls these from its own threads, some of them while writers wait: nothing here blocks
/// but short critical sections, and nothing throws.
class Listener final : public rocksdb::EventListener {
 public:
  explicit Listener(size_t event_capacity)
      : event_capacity_(event_capacity < kMaxEvents ? event_capacity : kMaxEvents) {}

  const char* Name() const override { return "SpindleListener"; }

  void OnFlushBegin(rocksdb::DB*, const rocksdb::FlushJobInfo& info) override {
    Quietly([&] {
      Add(kFlushesBegun, 1);
      std::lock_guard<std::mutex> lock(mutex_);
      // Bounded: a flush that fails never completes and leaves its entry behind.
      if (flush_begun_us_.size() >= 1024) flush_begun_us_.clear();
      flush_begun_us_[{info.job_id, info.cf_name}] = MicrosecondsNow();
      Record(SPINDLE_ROCKS_EVENT_FLUSH_BEGIN, info.cf_name, info.job_id, 0, 0, 0, "");
    });
  }

  void OnFlushCompleted(rocksdb::DB*, const rocksdb::FlushJobInfo& info) override {
    Quietly([&] {
      const rocksdb::TableProperties& table = info.table_properties;
      const uint64_t bytes_in = table.raw_key_size + table.raw_value_size;
      uint64_t bytes_out = table.data_size + table.index_size + table.filter_size;
      for (const auto& blob : info.blob_file_addition_infos) bytes_out += blob.total_blob_bytes;
      Add(kFlushesCompleted, 1);
      Add(kFlushBytesIn, bytes_in);
      Add(kFlushBytesOut, bytes_out);
      std::lock_guard<std::mutex> lock(mutex_);
      uint64_t duration = 0;
      const auto begun = flush_begun_us_.find({info.job_id, info.cf_name});
      if (begun != flush_begun_us_.end()) {
        const uint64_t now = MicrosecondsNow();
        duration = now > begun->second ? now - begun->second : 0;
        flush_begun_us_.erase(begun);
      }
      Record(SPINDLE_ROCKS_EVENT_FLUSH_END, info.cf_name, info.job_id, bytes_in, bytes_out,
             duration, info.file_path);
    });
  }

  void OnCompactionBegin(rocksdb::DB*, const rocksdb::CompactionJobInfo& info) override {
    Quietly([&] {
      Add(kCompactionsBegun, 1);
      std::lock_guard<std::mutex> lock(mutex_);
      Record(SPINDLE_ROCKS_EVENT_COMPACTION_BEGIN, info.cf_name, info.job_id, 0, 0, 0,
             Levels(info));
    });
  }

  void OnCompactionCompleted(rocksdb::DB*, const rocksdb::CompactionJobInfo& info) override {
    Quietly([&] {
      const uint64_t bytes_in = info.stats.total_input_bytes;
      const uint64_t bytes_out = info.stats.total_output_bytes;
      Add(kCompactionsCompleted, 1);
      Add(kCompactionBytesIn, bytes_in);
      Add(kCompactionBytesOut, bytes_out);
      const std::string text =
          info.status.ok() ? Levels(info) : Levels(info) + ": " + info.status.ToString();
      std::lock_guard<std::mutex> lock(mutex_);
      if (IsFailure(info.status)) {
        Failures& failures = failures_[info.cf_name];
        failures.count += 1;
        failures.last_text = info.status.ToString();
      }
      Record(SPINDLE_ROCKS_EVENT_COMPACTION_END, info.cf_name, info.job_id, bytes_in, bytes_out,
             info.stats.elapsed_micros, text);
    });
  }

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, Status* status) override {
    Quietly([&] {
      if (ShouldBeHard(reason, *status)) *status = Status(*status, Status::kHardError);
    });
    if (status->severity() >= Status::kHardError) {
      standing_error_.store(true, std::memory_order_release);
    }
    Add(kBackgroundErrors, 1);
    Quietly([&] {
      std::string text = status->ToString();
      std::lock_guard<std::mutex> lock(mutex_);
      last_reason_ = static_cast<int>(reason);
      last_severity_ = static_cast<int>(status->severity());
      Record(SPINDLE_ROCKS_EVENT_BACKGROUND_ERROR, "", -1, 0, 0, 0, text);
      last_text_ = std::move(text);
    });
  }

  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, Status status,
                            bool* auto_recovery) override {
    if (!auto_recovery_.load(std::memory_order_relaxed)) {
      *auto_recovery = false;
      return;
    }
    Add(kRecoveriesBegun, 1);
    Quietly([&] {
      std::lock_guard<std::mutex> lock(mutex_);
      Record(SPINDLE_ROCKS_EVENT_RECOVERY_BEGIN, "", -1, 0, 0, 0, status.ToString());
    });
  }

  void OnErrorRecoveryEnd(const rocksdb::BackgroundErrorRecoveryInfo& info) override {
    const bool succeeded = info.new_bg_error.ok();
    if (succeeded) standing_error_.store(false, std::memory_order_release);
    Add(succeeded ? kRecoveriesSucceeded : kRecoveriesFailed, 1);
    Quietly([&] {
      std::lock_guard<std::mutex> lock(mutex_);
      Record(SPINDLE_ROCKS_EVENT_RECOVERY_END, "", -1, 0, 0, 0, info.new_bg_error.ToString());
    });
  }

  void OnStallConditionsChanged(const rocksdb::WriteStallInfo& info) override {
    Quietly([&] {
      const WriteStallCondition now = info.condition.cur;
      Add(now == WriteStallCondition::kDelayed   ? kStallsToDelayed
          : now == WriteStallCondition::kStopped ? kStallsToStopped
                                                 : kStallsToNormal,
          1);
      std::lock_guard<std::mutex> lock(mutex_);
      stalled_.erase(info.cf_name);
      if (now != WriteStallCondition::kNormal) stalled_[info.cf_name] = now;
      CountStalled();
      Record(SPINDLE_ROCKS_EVENT_STALL, info.cf_name, -1, 0, 0, 0,
             std::string(NameOf(info.condition.prev)) + " -> " + NameOf(now));
    });
  }

  // A dropped column family reports no return to normal.
  void OnColumnFamilyHandleDeletionStarted(rocksdb::ColumnFamilyHandle* handle) override {
    Quietly([&] {
      std::lock_guard<std::mutex> lock(mutex_);
      if (stalled_.erase(handle->GetName()) > 0) CountStalled();
      failures_.erase(handle->GetName());
    });
  }

  void set_auto_recovery(bool enabled) { auto_recovery_.store(enabled); }
  bool standing_error() const { return standing_error_.load(std::memory_order_acquire); }
  uint64_t counter(int index) const {
    return counters_[static_cast<size_t>(index)].load(std::memory_order_relaxed);
  }

  int LastError(int* severity, char** text) const {
    std::lock_guard<std::mutex> lock(mutex_);
    if (severity != nullptr) *severity = last_severity_;
    if (text != nullptr) {
      *text = last_reason_ == SPINDLE_ROCKS_REASON_NONE ? nullptr : CopyText(last_text_);
    }
    return last_reason_;
  }

  uint64_t CompactionFailures(const char* column_family, char** text) const {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = failures_.find(column_family);
    if (text != nullptr) {
      *text = found == failures_.end() ? nullptr : CopyText(found->second.last_text);
    }
    return found == failures_.end() ? 0 : found->second.count;
  }

  size_t Drain(spindle_rocks_event_t* events, size_t capacity) {
    std::lock_guard<std::mutex> lock(mutex_);
    size_t count = 0;
    while (count < capacity && !events_.empty()) {
      events[count++] = events_.front();
      events_.pop_front();
    }
    return count;
  }

 private:
  struct Failures {
    uint64_t count = 0;
    std::string last_text;
  };

  /// Losing an event when memory is exhausted is better than unwinding through RocksDB.
  template <typename Body>
  void Quietly(Body&& body) noexcept {
    try {
      body();
    } catch (...) {
      Add(kEventsDropped, 1);
    }
  }

  void Add(Counter counter, uint64_t amount) noexcept {
    counters_[counter].fetch_add(amount, std::memory_order_relaxed);
  }

  /// See the header. An I/O error of the WAL is fatal to RocksDB because records in the WAL's
  /// buffer may be lost; but the guard refuses every record that did not reach the file, so nothing
  /// acknowledged is in that buffer.
  static bool ShouldBeHard(rocksdb::BackgroundErrorReason reason, const Status& status) {
    const Status::Severity severity = status.severity();
    switch (reason) {
      case rocksdb::BackgroundErrorReason::kFlush:
      case rocksdb::BackgroundErrorReason::kFlushNoWAL:
        return severity == Status::kNoError ||
               (status.IsIOError() && severity == Status::kFatalError);
      case rocksdb::BackgroundErrorReason::kMemTable:
      case rocksdb::BackgroundErrorReason::kWriteCallback:
        return status.IsIOError() && severity == Status::kFatalError;
      default:
        return false;
    }
  }

  /// Whether a compaction's end says something of the data or the disk.
  static bool IsFailure(const Status& status) {
    return !status.ok() && !status.IsShutdownInProgress() && !status.IsColumnFamilyDropped() &&
           !status.IsManualCompactionPaused() && !status.IsIncomplete();
  }

  static std::string Levels(const rocksdb::CompactionJobInfo& info) {
    return "L" + std::to_string(info.base_input_level) + " -> L" +
           std::to_string(info.output_level);
  }

  /// Held by `mutex_`, as is everything below.
  void CountStalled() {
    uint64_t stopped = 0;
    for (const auto& entry : stalled_) {
      if (entry.second == WriteStallCondition::kStopped) stopped += 1;
    }
    counters_[kStopped].store(stopped, std::memory_order_relaxed);
    counters_[kDelayed].store(stalled_.size() - stopped, std::memory_order_relaxed);
  }

  void Record(int kind, const std::string& column_family, int job_id, uint64_t bytes_in,
              uint64_t bytes_out, uint64_t duration_us, const std::string& text) {
    if (event_capacity_ == 0) return;
    if (events_.size() == event_capacity_) {
      events_.pop_front();
      Add(kEventsDropped, 1);
    }
    events_.emplace_back();
    spindle_rocks_event_t& event = events_.back();
    event.sequence = ++sequence_;
    event.time_us = MicrosecondsNow();
    event.bytes_in = bytes_in;
    event.bytes_out = bytes_out;
    event.duration_us = duration_us;
    event.kind = kind;
    event.job_id = job_id;
    CopyCut(event.column_family, column_family);
    CopyCut(event.text, text);
  }

  const size_t event_capacity_;
  std::array<std::atomic<uint64_t>, kCounters> counters_{};
  std::atomic<bool> standing_error_{false};
  std::atomic<bool> auto_recovery_{false};

  mutable std::mutex mutex_;
  int last_reason_ = SPINDLE_ROCKS_REASON_NONE;
  int last_severity_ = SPINDLE_ROCKS_SEVERITY_NONE;
  std::string last_text_;
  std::map<std::string, WriteStallCondition> stalled_;
  /// By column family, of which there are few.
  std::map<std::string, Failures> failures_;
  std::map<std::pair<int, std::string>, uint64_t> flush_begun_us_;
  std::deque<spindle_rocks_event_t> events_;
  uint64_t sequence_ = 0;
};

}  // namespace
}  // namespace spindle

struct spindle_rocks_listener_t {
  std::shared_ptr<spindle::Listener> rep;
};

extern "C" {

spindle_rocks_listener_t* spindle_rocks_listener_create(size_t event_capacity) {
  try {
    auto listener = std::make_shared<spindle::Listener>(event_capacity);
    return new spindle_rocks_listener_t{std::move(listener)};
  } catch (...) {
    return nullptr;
  }
}

void spindle_rocks_listener_destroy(spindle_rocks_listener_t* listener) { delete listener; }

int spindle_rocks_options_add_listener(rocksdb_options_t* options,
                                       spindle_rocks_listener_t* listener) {
  try {
    options->rep.listeners.push_back(listener->rep);
    return 0;
  } catch (...) {
    return -1;
  }
}

void spindle_rocks_listener_set_auto_recovery(spindle_rocks_listener_t* listener, int enabled) {
  listener->rep->set_auto_recovery(enabled != 0);
}

void spindle_rocks_listener_counters(const spindle_rocks_listener_t* listener,
                                     spindle_rocks_counters_t* counters) {
  uint64_t values[spindle::kCounters];
  for (int index = 0; index < spindle::kCounters; ++index) {
    values[index] = listener->rep->counter(index);
  }
  memcpy(counters, values, sizeof(values));
}

int spindle_rocks_listener_in_background_error(const spindle_rocks_listener_t* listener) {
  return listener->rep->standing_error() ? 1 : 0;
}

int spindle_rocks_listener_last_error(const spindle_rocks_listener_t* listener, int* severity,
                                      char** text) {
  return listener->rep->LastError(severity, text);
}

uint64_t spindle_rocks_listener_compaction_failures(const spindle_rocks_listener_t* listener,
                                                    const char* column_family, char** text) {
  return listener->rep->CompactionFailures(column_family, text);
}

size_t spindle_rocks_listener_drain(spindle_rocks_listener_t* listener,
                                    spindle_rocks_event_t* events, size_t capacity) {
  return listener->rep->Drain(events, capacity);
}

}  // extern "C"
