// The honest baseline of the spool: what a careful C++ programmer gets from RocksDB for its jobs,
// with its options, durability, gets, puts and checksums, and nothing else. Every figure of
// Benchmarks/Results/spool.md that says "RocksDB" comes from this program.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/statistics.h>
#include <rocksdb/write_batch.h>

#include "raw_channel.h"
#include "raw_database.h"
#include "raw_handover.h"
#include "raw_run.h"
#include "raw_spool_record.h"
#include "raw_spool_settings.h"

namespace {

// As a walk of a spool hands its messages over.
constexpr size_t kHandedAtOnce = 256;
constexpr size_t kHandedAtMost = 4096;

// ---- One database and what is done to it

class Spool {
 public:
  Spool(Database& db, const ValuePool& values, const Settings& settings)
      : db_(db), values_(values), codec_(settings.compression) {}

  // Stores `count` records from `index` on in one batch.
  void Store(uint64_t index, bool sync, uint64_t count = 1) {
    rocksdb::WriteBatch batch(count * (values_.Value(index).size() + 64));
    for (uint64_t i = index; i < index + count; i++) Put(i, &batch);
    rocksdb::WriteOptions options;
    options.sync = sync;
    Check(db_->Write(options, &batch));
  }

  void Remove(uint64_t index) {
    char key[kKeyBytes];
    MakeKey(index, key);
    rocksdb::WriteBatch batch(64);
    Check(batch.Delete(db_.family(), {key, kKeyBytes}));
    Check(db_->Write(rocksdb::WriteOptions(), &batch));
  }

  void LoadBorrowed(uint64_t index) {
    rocksdb::PinnableSlice record;
    Get(index, record);
    CheckInPlace(index, record);
  }

  std::string LoadCopied(uint64_t index) {
    rocksdb::PinnableSlice record;
    Get(index, record);
    return PayloadOf(record);
  }

  // What is in memory, for a caller whose thread must not wait for the disk; the slice lies on the
  // heap, where RocksDB's C interface has it.
  std::unique_ptr<rocksdb::PinnableSlice> Cached(uint64_t index) {
    auto record = std::make_unique<rocksdb::PinnableSlice>();
    rocksdb::ReadOptions options;
    options.read_tier = rocksdb::kBlockCacheTier;
    // A shard of the cache may have no room for all of its blocks.
    if (!TryGet(index, *record, options)) Get(index, *record);
    return record;
  }

  void LoadBorrowedCached(uint64_t index) { CheckInPlace(index, *Cached(index)); }

  std::string LoadCopiedCached(uint64_t index) { return PayloadOf(*Cached(index)); }

  void Fill(uint64_t count) {
    for (uint64_t index = 0; index < count; index++) Store(index, false);
  }

  // Everything lies in tables and no flush or compaction is left to do.
  void Settle() {
    Check(db_->Flush(rocksdb::FlushOptions(), db_.family()));
    uint64_t left = 1;
    while (left > 0) {
      uint64_t pending = 0, running = 0, flushing = 0;
      db_->GetIntProperty(db_.family(), "rocksdb.compaction-pending", &pending);
      db_->GetIntProperty(db_.family(), "rocksdb.num-running-compactions", &running);
      db_->GetIntProperty(db_.family(), "rocksdb.num-running-flushes", &flushing);
      left = pending + running + flushing;
      if (left > 0) usleep(10'000);
    }
  }

  // Calls `visit` with each record.
  template <typename Visit>
  uint64_t Walk(const Visit& visit) {
    rocksdb::ReadOptions options;
    options.fill_cache = false;
    options.readahead_size = 2 * kMiB;
    const std::unique_ptr<rocksdb::Iterator> position(db_->NewIterator(options, db_.family()));
    uint64_t count = 0;
    for (position->SeekToFirst(); position->Valid(); position->Next()) {
      if (position->key().size() != kKeyBytes) throw std::runtime_error("a key is no id");
      visit(position->value());
      count += 1;
    }
    Check(position->status());
    return count;
  }

  // Sends the body of each record, checked, to whoever takes from the channel, which it closes.
  uint64_t WalkInto(Channel& channel) {
    PayloadBatch batch;
    const auto send = [&] {
      const size_t bytes = batch.bytes.size();
      channel.Send(std::exchange(batch, {}));
      batch.bytes.reserve(bytes);
      batch.ends.reserve(kHandedAtOnce);
    };
    const uint64_t count = Walk([&](const rocksdb::Slice& record) {
      const rocksdb::Slice body = BodyOf(record);
      batch.bytes.append(body.data(), body.size());
      batch.ends.push_back(batch.bytes.size());
      if (batch.ends.size() == kHandedAtOnce) send();
    });
    send();
    channel.Close();
    return count;
  }

 private:
  void Put(uint64_t index, rocksdb::WriteBatch* batch) {
    char key[kKeyBytes];
    MakeKey(index, key);
    Record record;
    MakeRecord(values_.Value(index), codec_, &record);
    const rocksdb::Slice key_part(key, kKeyBytes);
    const rocksdb::Slice value_parts[2] = {{record.header, kHeaderBytes}, record.body};
    Check(batch->Put(db_.family(), rocksdb::SliceParts(&key_part, 1),
                     rocksdb::SliceParts(value_parts, 2)));
  }

  void Get(uint64_t index, rocksdb::PinnableSlice& record) {
    if (!TryGet(index, record, rocksdb::ReadOptions())) {
      throw std::runtime_error("a read of everything was incomplete");
    }
  }

  // False when the options forbid what the read needs.
  bool TryGet(uint64_t index, rocksdb::PinnableSlice& record,
              const rocksdb::ReadOptions& options) {
    char key[kKeyBytes];
    MakeKey(index, key);
    const rocksdb::Status status = db_->Get(options, db_.family(), {key, kKeyBytes}, &record);
    if (status.IsIncomplete()) return false;
    Check(status);
    return true;
  }

  void CheckInPlace(uint64_t index, const rocksdb::PinnableSlice& record) {
    const rocksdb::Slice body = BodyOf(record);
    if (codec_ == Codec::none && body.size() != values_.Value(index).size()) {
      throw std::runtime_error("a record is not the one that was stored");
    }
  }

  Database& db_;
  const ValuePool& values_;
  const Codec codec_;
};

// ---- Reports

struct Result {
  std::string job;
  uint64_t value_bytes, threads, ops;
  double seconds;
  std::vector<uint32_t> latencies;
  uint64_t fsyncs;
  std::string extra;  // Further JSON fields, each with a leading comma.
};

void Print(Result result) {
  std::ostringstream out;
  out.setf(std::ios::fixed);
  out.precision(3);
  out << "{\"job\":\"" << result.job << "\",\"valueBytes\":" << result.value_bytes
      << ",\"threads\":" << result.threads << ",\"ops\":" << result.ops
      << ",\"seconds\":" << result.seconds;
  out.precision(1);
  out << ",\"opsPerSecond\":" << static_cast<double>(result.ops) / result.seconds;
  out.precision(3);
  out << ",\"p50us\":" << Percentile(result.latencies, 0.50)
      << ",\"p99us\":" << Percentile(result.latencies, 0.99) << ",\"fsyncs\":" << result.fsyncs
      << result.extra;
  std::cout << out.str() << "}" << std::endl;
}

// ---- Measuring

// Calls `op` for the numbers 0 ..< `ops` on `threads` threads, until they or the seconds are used
// up.
Result Measure(const std::string& job, const Database& db, uint64_t value_bytes, uint64_t threads,
               uint64_t ops, double seconds, const std::function<void(uint64_t)>& op) {
  std::vector<std::vector<uint32_t>> latencies(threads);
  for (auto& each : latencies) each.reserve(ops / threads + 1024);
  std::atomic<uint64_t> next{0};
  const uint64_t syncs = db.WALSyncs();
  const auto start = OnThreads(threads, [&](uint64_t thread, Clock::time_point begin) {
    const auto end = begin + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(seconds));
    auto before = Clock::now();
    while (before < end) {
      const uint64_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= ops) return;
      op(index);
      const auto after = Clock::now();
      const auto nanoseconds = std::chrono::nanoseconds(after - before).count();
      latencies[thread].push_back(
          static_cast<uint32_t>(std::min<int64_t>(nanoseconds, UINT32_MAX)));
      before = after;
    }
  });
  Result result{job, value_bytes, threads, 0, SecondsSince(start), {}, db.WALSyncs() - syncs, ""};
  for (const auto& each : latencies) {
    result.latencies.insert(result.latencies.end(), each.begin(), each.end());
  }
  result.ops = result.latencies.size();
  return result;
}

DatabaseSettings SpoolOptions(const Settings& settings) {
  DatabaseSettings options;
  options.write_buffers_bytes = settings.write_buffer_bytes;
  options.write_buffer_bytes = settings.write_buffer_bytes / 2;
  options.compression = rocksdb::kNoCompression;
  return options;
}

uint64_t ValueBytesOf(const Settings& settings) {
  if (settings.value_bytes > 0) return settings.value_bytes;
  if (settings.job.rfind("enumerate", 0) == 0) return 500;
  return settings.job == "churn" ? 16'384 : 1024;
}

uint64_t OpsOf(const Settings& settings, uint64_t bytes_at_most) {
  if (settings.ops > 0) return settings.ops;
  return std::max<uint64_t>(1, std::min<uint64_t>(100'000, bytes_at_most / ValueBytesOf(settings)));
}

// A random order of 0 ..< `count`; the seed is fixed.
std::vector<uint64_t> Shuffled(uint64_t count) {
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  for (uint64_t i = count; i > 1; i--) std::swap(order[i - 1], order[Mix(i) % i]);
  return order;
}

void DropPageCache() {
  sync();
  std::ofstream file("/proc/sys/vm/drop_caches");
  file << "3" << std::flush;
  if (!file) {
    throw std::runtime_error("cannot write /proc/sys/vm/drop_caches; --drop-caches needs root");
  }
}

// ---- Jobs

void RunStore(const Settings& settings, bool sync) {
  const ValuePool values(ValueBytesOf(settings), 7, settings.words);
  Database db(settings.dir, SpoolOptions(settings));
  Spool spool(db, values, settings);
  const uint64_t count = settings.per_batch;
  const bool is_handed_over = settings.job == "synced-handed";
  std::unique_ptr<Handover> other;
  if (is_handed_over) other = std::make_unique<Handover>();
  auto result = Measure(settings.job, db, ValueBytesOf(settings),
                        is_handed_over ? 1 : settings.threads,
                        OpsOf(settings, 1024 * kMiB) / count, settings.seconds,
                        [&](uint64_t index) {
                          const auto store = [&] { spool.Store(index * count, sync, count); };
                          if (is_handed_over) {
                            other->Run(store);
                          } else {
                            store();
                          }
                        });
  result.ops *= count;
  Print(std::move(result));
}

void RunLoad(const Settings& settings) {
  const ValuePool values(ValueBytesOf(settings), 7, settings.words);
  const bool is_handed_over = settings.job == "load-cold-handed";
  const bool is_cold = settings.job == "load-cold" || is_handed_over;
  uint64_t count = OpsOf(settings, is_cold ? 1024 * kMiB : 32 * kMiB);
  uint64_t reads = count;
  if (!is_cold) {
    // What the cache holds is read again and again.
    reads = settings.ops > 0 ? settings.ops : 400'000;
    count = std::max<uint64_t>(1, std::min(count, 32 * kMiB / ValueBytesOf(settings)));
  }
  const auto order = Shuffled(count);
  Database db(settings.dir, SpoolOptions(settings));
  Spool(db, values, settings).Fill(count);
  Spool(db, values, settings).Settle();
  auto options = SpoolOptions(settings);
  if (is_cold) options.block_cache_bytes = 64 * 1024;
  db.Reopen(options);
  Spool spool(db, values, settings);
  if (is_cold && settings.drop_caches) DropPageCache();
  if (!is_cold) {
    for (uint64_t index = 0; index < count; index++) spool.LoadBorrowed(index);
  }
  uint64_t bytes = 0;
  std::unique_ptr<Handover> other;
  if (is_handed_over) other = std::make_unique<Handover>();
  auto result = Measure(
      settings.job, db, ValueBytesOf(settings), 1, reads, settings.seconds, [&](uint64_t index) {
        const uint64_t number = order[index % count];
        const auto load = [&] { bytes += spool.LoadCopied(number).size(); };
        if (settings.job == "load-borrowed") {
          spool.LoadBorrowed(number);
        } else if (settings.job == "load-borrowed-cached") {
          spool.LoadBorrowedCached(number);
        } else if (settings.job == "load-copied-cached") {
          bytes += spool.LoadCopiedCached(number).size();
        } else if (is_handed_over) {
          other->Run(load);
        } else {
          load();
        }
      });
  if (is_cold) {
    const std::string state = settings.drop_caches ? "dropped" : "warm";
    result.extra = ",\"pageCache\":\"" + state + "\"";
  }
  Print(result);
}

void RunEnumerate(const Settings& settings) {
  const ValuePool values(ValueBytesOf(settings), 7, settings.words);
  const uint64_t count = OpsOf(settings, 1024 * kMiB);
  Database db(settings.dir, SpoolOptions(settings));
  Spool spool(db, values, settings);
  spool.Fill(count);
  spool.Settle();
  uint64_t bytes = 0;
  uint64_t found = 0;
  const auto take = [&](const std::string& payload) { bytes += payload.size(); };
  const auto start = Clock::now();
  if (settings.job == "enumerate-handed") {
    Channel channel(kHandedAtMost);
    std::thread reader([&] {
      PayloadBatch batch;
      while (channel.Take(&batch)) {
        size_t begin = 0;
        for (const size_t end : batch.ends) {
          take(batch.bytes.substr(begin, end - begin));
          begin = end;
        }
      }
    });
    found = spool.WalkInto(channel);
    reader.join();
  } else {
    found = spool.Walk([&](const rocksdb::Slice& record) { take(PayloadOf(record)); });
  }
  const double seconds = SecondsSince(start);
  if (found != count || bytes != count * ValueBytesOf(settings)) {
    throw std::runtime_error("the walk found other than what was stored");
  }
  Print({settings.job, ValueBytesOf(settings), 1, found, seconds, {}, 0, ""});
}

void RunRemove(const Settings& settings) {
  const ValuePool values(ValueBytesOf(settings), 7, settings.words);
  const uint64_t count = OpsOf(settings, 1024 * kMiB);
  Database db(settings.dir, SpoolOptions(settings));
  Spool spool(db, values, settings);
  spool.Fill(count);
  Print(Measure(settings.job, db, ValueBytesOf(settings), 1, count, settings.seconds,
                [&](uint64_t index) { spool.Remove(index); }));
}

uint64_t KernelBytesWritten() {
  std::ifstream file("/proc/self/io");
  for (std::string name, value; file >> name >> value;) {
    if (name == "write_bytes:") return std::stoull(value);
  }
  throw std::runtime_error("/proc/self/io does not tell write_bytes");
}

uint64_t EngineBytesWritten(const Database& db) {
  return db.Ticker(rocksdb::WAL_FILE_BYTES) + db.Ticker(rocksdb::FLUSH_WRITE_BYTES) +
         db.Ticker(rocksdb::COMPACT_WRITE_BYTES) +
         db.Ticker(rocksdb::BLOB_DB_BLOB_FILE_BYTES_WRITTEN);
}

uint64_t DiskBytes(const std::string& path) {
  uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

void RunChurn(const Settings& settings) {
  const uint64_t value_bytes = ValueBytesOf(settings);
  const ValuePool values(value_bytes, 7, settings.words);
  const uint64_t live_count = std::max<uint64_t>(1, settings.live_bytes / value_bytes);
  const uint64_t stored = std::max(4 * settings.live_bytes, 8 * settings.write_buffer_bytes);
  const uint64_t ops = settings.ops > 0 ? settings.ops : stored / value_bytes;
  auto options = SpoolOptions(settings);
  options.blobs = settings.blobs;
  options.statistics = true;
  Database db(settings.dir, options);
  Spool spool(db, values, settings);
  spool.Fill(live_count);
  spool.Settle();
  std::vector<uint64_t> live(live_count);
  std::iota(live.begin(), live.end(), 0);
  const uint64_t kernel_before = KernelBytesWritten();
  const uint64_t engine_before = EngineBytesWritten(db);
  auto result = Measure(settings.job, db, value_bytes, 1, ops, 86'400, [&](uint64_t index) {
    spool.Store(live_count + index, false);
    uint64_t& slot = live[Mix(index) % live_count];
    spool.Remove(slot);
    slot = live_count + index;
  });
  // What a flush or compaction under way has still to write belongs to these stores too.
  spool.Settle();
  std::ostringstream extra;
  extra << ",\"liveBytes\":" << live_count * value_bytes
        << ",\"storedBytes\":" << result.ops * value_bytes
        << ",\"kernelBytes\":" << KernelBytesWritten() - kernel_before
        << ",\"engineBytes\":" << EngineBytesWritten(db) - engine_before
        << ",\"diskBytes\":" << DiskBytes(db.path())
        << ",\"blobs\":" << (settings.blobs ? "true" : "false");
  result.extra = extra.str();
  Print(result);
}

void RunOnce(const Settings& settings) {
  if (settings.job == "store" || settings.job.rfind("synced", 0) == 0) {
    RunStore(settings, settings.job != "store");
  } else if (settings.job.rfind("enumerate", 0) == 0) {
    RunEnumerate(settings);
  } else if (settings.job == "remove") {
    RunRemove(settings);
  } else if (settings.job == "churn") {
    RunChurn(settings);
  } else {
    RunLoad(settings);
  }
}

void RunAll(const Settings& settings) {
  const auto run = [&](const std::string& job, uint64_t value_bytes, uint64_t threads,
                       uint64_t live_bytes, bool blobs) {
    Settings one = settings;
    one.job = job;
    one.value_bytes = value_bytes;
    one.threads = threads;
    one.live_bytes = live_bytes;
    one.blobs = blobs;
    RunOnce(one);
  };
  for (const uint64_t bytes : {256, 1024, 4096, 65'536}) run("store", bytes, 1, 0, false);
  for (const uint64_t bytes : {256, 1024, 4096}) run("store", bytes, 64, 0, false);
  for (const uint64_t threads : {1, 16, 64}) {
    for (const uint64_t bytes : {256, 1024, 4096}) run("synced", bytes, threads, 0, false);
  }
  for (const char* job : {"load-borrowed", "load-copied", "load-cold"}) {
    for (const uint64_t bytes : {256, 1024, 4096, 65'536}) run(job, bytes, 1, 0, false);
  }
  run("enumerate", 500, 1, 0, false);
  run("remove", 1024, 1, 0, false);
  for (const uint64_t live : {16 * kMiB, 1024 * kMiB}) {
    for (const bool blobs : {false, true}) run("churn", 16'384, 1, live, blobs);
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
    WarnOfMemoryDisk("raw_spool", settings.dir);
    for (uint64_t round = 0; round < settings.repeat; round++) {
      if (settings.job == "all") {
        RunAll(settings);
      } else {
        RunOnce(settings);
      }
    }
    return 0;
  } catch (const UsageError& error) {
    std::cerr << "raw_spool: " << error.what() << "; see raw_spool --help\n";
    return 64;
  } catch (const std::exception& error) {
    std::cerr << "raw_spool: " << error.what() << "\n";
    return 1;
  }
}
