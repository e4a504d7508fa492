// The honest baseline: what a careful C++ programmer gets from RocksDB for the jobs of the spool,
// with the options, durability, gets and puts of the store it is compared with, and nothing else.
// Every figure of Benchmarks/ that says "raw" comes from this program.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/version.h>
#include <rocksdb/write_batch.h>

#include "raw_database.h"
#include "raw_run.h"
#include "raw_settings.h"

namespace {

// ---- One measured run

struct Work {
  bool sync = false;
  bool conditional = false;
  uint64_t ops_per_batch = 1;
};

class Run {
 public:
  // Takes `ops` keys from number `first_key` on.
  Run(Database& db, const ValuePool& values, uint64_t first_key, uint64_t ops, double seconds)
      : db_(db),
        values_(values),
        end_key_(first_key + ops),
        seconds_(seconds),
        next_(first_key) {}

  // Called by every thread of the run: writes until the run's ops or its time are used up.
  // `latencies` receives the nanoseconds of each write.
  void Write(const Work& work, Clock::time_point start, std::vector<uint32_t>& latencies) {
    rocksdb::WriteOptions options;
    options.sync = work.sync;
    const auto end = start + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(seconds_));
    const size_t reserve = (values_.Value(0).size() + 64) * work.ops_per_batch;
    auto before = Clock::now();
    while (before < end && !stop_.load(std::memory_order_relaxed)) {
      const uint64_t first = next_.fetch_add(work.ops_per_batch, std::memory_order_relaxed);
      if (first >= end_key_) return;
      const uint64_t last = std::min(first + work.ops_per_batch, end_key_);
      rocksdb::WriteBatch batch(reserve);
      for (uint64_t index = first; index < last; index++) Put(batch, index);
      if (work.conditional) {
        WriteIfAbsent(options, first, batch);
      } else {
        Check(db_->Write(options, &batch));
      }
      done_.fetch_add(last - first, std::memory_order_relaxed);
      const auto after = Clock::now();
      const auto nanoseconds = std::chrono::nanoseconds(after - before).count();
      latencies.push_back(static_cast<uint32_t>(std::min<int64_t>(nanoseconds, UINT32_MAX)));
      before = after;
    }
  }

  void Stop() { stop_ = true; }
  uint64_t done() const { return done_; }

 private:
  void Put(rocksdb::WriteBatch& batch, uint64_t index) {
    char key[kKeyBytes];
    MakeKey(index, key);
    Check(batch.Put(db_.family(), {key, kKeyBytes}, values_.Value(index)));
  }

  // The mutex spans the Get and the write: otherwise two callers could both find the key absent.
  void WriteIfAbsent(const rocksdb::WriteOptions& options, uint64_t index,
                     rocksdb::WriteBatch& batch) {
    char key[kKeyBytes];
    MakeKey(index, key);
    const std::lock_guard<std::mutex> lock(conditional_);
    rocksdb::PinnableSlice found;
    const auto status = db_->Get(rocksdb::ReadOptions(), db_.family(), {key, kKeyBytes}, &found);
    if (status.ok()) throw std::runtime_error("a key that must be absent is there");
    if (!status.IsNotFound()) Check(status);
    Check(db_->Write(options, &batch));
  }

  Database& db_;
  const ValuePool& values_;
  const uint64_t end_key_;
  const double seconds_;
  std::mutex conditional_;
  std::atomic<uint64_t> next_, done_{0};
  std::atomic<bool> stop_{false};
};

// ---- Reports

struct Result {
  std::string job;
  std::string extra;  // Further JSON fields, each with a leading comma.
  uint64_t value_bytes, threads, ops_per_batch, ops;
  double seconds;
  std::vector<uint32_t> latencies;
  uint64_t fsyncs;
};

void Print(Result& result, const Settings& settings, const Database& db) {
  std::ostringstream out;
  out.setf(std::ios::fixed);
  out.precision(3);
  out << "{\"job\":\"" << result.job << "\",\"valueBytes\":" << result.value_bytes
      << ",\"threads\":" << result.threads << ",\"opsPerBatch\":" << result.ops_per_batch
      << ",\"ops\":" << result.ops << ",\"seconds\":" << result.seconds;
  out.precision(1);
  out << ",\"opsPerSecond\":" << static_cast<double>(result.ops) / result.seconds
      << ",\"p50us\":" << Percentile(result.latencies, 0.50)
      << ",\"p99us\":" << Percentile(result.latencies, 0.99) << ",\"fsyncs\":" << result.fsyncs
      << result.extra;
  if (settings.stats) {
    out << ",\"walFileSynced\":" << db.Ticker(rocksdb::WAL_FILE_SYNCED)
        << ",\"walFileBytes\":" << db.Ticker(rocksdb::WAL_FILE_BYTES)
        << ",\"flushWriteBytes\":" << db.Ticker(rocksdb::FLUSH_WRITE_BYTES)
        << ",\"compactWriteBytes\":" << db.Ticker(rocksdb::COMPACT_WRITE_BYTES)
        << ",\"stallMicros\":" << db.Ticker(rocksdb::STALL_MICROS);
  }
  std::cout << out.str() << "}" << std::endl;
}

DatabaseSettings DatabaseOf(const Settings& settings) {
  DatabaseSettings database;
  database.statistics = settings.stats;
  return database;
}

// What RocksDB says its options are, so that the two sides can be compared by eye or by diff.
void PrintOptions(const Settings& settings) {
  const Database db(settings.dir, DatabaseOf(settings));
  const auto options = db->GetDBOptions();
  std::ostringstream out;
  out << std::boolalpha;
  out << "{\"rocksdb\":\"" << rocksdb::GetRocksVersionAsString()
      << "\",\"paranoid_checks\":" << options.paranoid_checks
      << ",\"db_write_buffer_size\":" << options.db_write_buffer_size
      << ",\"max_total_wal_size\":" << options.max_total_wal_size
      << ",\"max_open_files\":" << options.max_open_files
      << ",\"keep_log_file_num\":" << options.keep_log_file_num
      << ",\"max_background_jobs\":" << options.max_background_jobs
      << ",\"recycle_log_file_num\":" << options.recycle_log_file_num
      << ",\"manual_wal_flush\":" << options.manual_wal_flush
      << ",\"enable_pipelined_write\":" << options.enable_pipelined_write
      << ",\"statistics\":" << (options.statistics != nullptr) << ",\"column_families\":{";
  for (auto* family : {db.default_family(), db.family()}) {
    const auto of = db->GetOptions(family);
    const auto* table = of.table_factory->GetOptions<rocksdb::BlockBasedTableOptions>();
    std::string compression;
    Check(rocksdb::GetStringFromCompressionType(&compression, of.compression));
    out << (family == db.default_family() ? "" : ",") << "\"" << family->GetName()
        << "\":{\"write_buffer_size\":" << of.write_buffer_size
        << ",\"max_write_buffer_number\":" << of.max_write_buffer_number
        << ",\"compression\":\"" << compression << "\",\"level_compaction_dynamic_level_bytes\":"
        << of.level_compaction_dynamic_level_bytes << ",\"filter_policy\":\""
        << table->filter_policy->GetId() << "\",\"block_size\":" << table->block_size
        << ",\"block_cache\":\"" << table->block_cache->Name()
        << "\",\"block_cache_bytes\":" << table->block_cache->GetCapacity() << "}";
  }
  std::cout << out.str() << "}}" << std::endl;
}

// ---- Jobs

uint64_t OpsOf(const Settings& settings, uint64_t value_bytes) {
  if (settings.ops > 0) return settings.ops;
  return std::min<uint64_t>(100'000, 1024 * kMiB / value_bytes);
}

void RunJob(const Settings& settings, const std::string& job, const Work& work,
            const ValuePool& values, uint64_t value_bytes, uint64_t threads) {
  Database db(settings.dir, DatabaseOf(settings));
  Run run(db, values, 0, OpsOf(settings, value_bytes), settings.seconds);
  std::vector<std::vector<uint32_t>> latencies(threads);
  for (auto& each : latencies) each.reserve(OpsOf(settings, value_bytes) / threads + 1024);
  const auto syncs = db.WALSyncs();
  const auto start = OnThreads(threads, [&](uint64_t thread, Clock::time_point begin) {
    run.Write(work, begin, latencies[thread]);
  });
  const double seconds = SecondsSince(start);
  Result result{job, "", value_bytes, threads, work.ops_per_batch, run.done(), seconds,
                {}, db.WALSyncs() - syncs};
  for (const auto& each : latencies) {
    result.latencies.insert(result.latencies.end(), each.begin(), each.end());
  }
  Print(result, settings, db);
}

void RunBeside(const Settings& settings, const ValuePool& values, uint64_t value_bytes,
               bool with_synced) {
  Database db(settings.dir, DatabaseOf(settings));
  const uint64_t ops = OpsOf(settings, value_bytes);
  Run inlined(db, values, 0, ops, settings.seconds);
  // Its keys lie behind the inline ones; it stops when the inline thread does, not by its count.
  Run synced(db, values, ops, UINT64_MAX / 4, settings.seconds);
  std::vector<uint32_t> latencies, synced_latencies;
  latencies.reserve(ops);
  const auto syncs = db.WALSyncs();
  const auto start = OnThreads(with_synced ? 2 : 1, [&](uint64_t thread, Clock::time_point begin) {
    if (thread == 1) {
      synced.Write({true, false, 1}, begin, synced_latencies);
      return;
    }
    try {
      inlined.Write({false, false, 1}, begin, latencies);
    } catch (...) {
      synced.Stop();
      throw;
    }
    synced.Stop();
  });
  const double seconds = SecondsSince(start);
  std::ostringstream extra;
  extra.setf(std::ios::fixed);
  extra.precision(1);
  extra << ",\"syncedOps\":" << synced.done()
        << ",\"syncedP50us\":" << Percentile(synced_latencies, 0.50);
  Result result{with_synced ? "beside-synced" : "beside-alone", extra.str(), value_bytes, 1, 1,
                inlined.done(), seconds, std::move(latencies), db.WALSyncs() - syncs};
  Print(result, settings, db);
}

void RunAll(const Settings& settings, const std::string& job) {
  static const std::map<std::string, Work> kWork = {
      {"inline", {false, false, 1}},
      {"group", {false, false, 64}},
      {"conditional", {false, true, 1}},
      {"synced", {true, false, 1}},
  };
  if (job == "all") {
    for (const char* each : {"inline", "group", "conditional", "synced", "beside"}) {
      RunAll(settings, each);
    }
    return;
  }
  auto value_bytes = settings.value_bytes;
  auto threads = settings.threads;
  if (value_bytes.empty()) value_bytes = {256, 1024, 4096, 65536};
  if (settings.value_bytes.empty() && job == "synced") value_bytes = {256, 1024, 4096};
  if (settings.value_bytes.empty() && job == "beside") value_bytes = {256};
  if (threads.empty()) threads = {1};
  if (settings.threads.empty() && job == "synced") threads = {1, 16, 64};
  for (const auto bytes : value_bytes) {
    const ValuePool values(bytes, 7);
    for (uint64_t round = 0; round < settings.repeat; round++) {
      if (job == "beside") {
        RunBeside(settings, values, bytes, false);
        RunBeside(settings, values, bytes, true);
        continue;
      }
      for (const auto count : threads) RunJob(settings, job, kWork.at(job), values, bytes, count);
    }
  }
}

}  // namespace

int main(int count, char** values) {
  try {
    const std::vector<std::string> arguments(values + 1, values + count);
    if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
      std::cout << kHelp;
      return 0;
    }
    const auto settings = Parse(arguments);
    std::filesystem::create_directories(settings.dir);
    WarnOfMemoryDisk("raw_store", settings.dir);
    if (settings.print_options) PrintOptions(settings);
    if (!settings.job.empty()) RunAll(settings, settings.job);
    return 0;
  } catch (const UsageError& error) {
    std::cerr << "raw_store: " << error.what() << "; see raw_store --help\n";
    return 64;
  } catch (const std::exception& error) {
    std::cerr << "raw_store: " << error.what() << "\n";
    return 1;
  }
}
