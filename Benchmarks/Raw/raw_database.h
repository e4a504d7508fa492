// The database of the baseline, its options, and the keys and values it is fed.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/statistics.h>
#include <rocksdb/table.h>

constexpr uint64_t kMiB = 1024 * 1024;
constexpr size_t kKeyBytes = 16;
constexpr char kFamily[] = "spool:bench";

inline void Check(const rocksdb::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

// ---- Keys and values

inline uint64_t Mix(uint64_t x) {  // splitmix64
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

// Key number `index` of a UUIDv7 generator that makes 4,096 ids a millisecond: 48 bits of time,
// version, a 12-bit counter, variant, 62 random bits (RFC 9562 section 5.7 and 6.2).
inline void MakeKey(uint64_t index, char* out) {
  const uint64_t milliseconds = 1767225600000 + index / 4096;
  const uint64_t high = (milliseconds << 16) | 0x7000u | (index % 4096);
  const uint64_t low = (Mix(index) >> 2) | 0x8000000000000000u;
  for (int i = 0; i < 8; i++) {
    out[i] = static_cast<char>(high >> (56 - 8 * i));
    out[8 + i] = static_cast<char>(low >> (56 - 8 * i));
  }
}

// Values are windows into one pool of random bytes, larger than LZ4's 64 KiB window and than the
// CPU's inner caches, so that neither compression nor a hot value flatters the result. Or they are
// words of 3 to 10 letters out of 2,048, in random order.
class ValuePool {
 public:
  ValuePool(uint64_t value_bytes, uint64_t seed, bool words = false)
      : value_bytes_(value_bytes), slots_(std::max<uint64_t>(2, 16 * kMiB / value_bytes)) {
    if (words) {
      FillWithWords(seed);
      return;
    }
    bytes_.resize((slots_ * value_bytes_ + 7) / 8 * 8);
    for (size_t i = 0; i < bytes_.size(); i += 8) {
      const uint64_t word = Mix(seed + i);
      std::memcpy(&bytes_[i], &word, 8);
    }
  }

  rocksdb::Slice Value(uint64_t index) const {
    return {bytes_.data() + (index % slots_) * value_bytes_, value_bytes_};
  }

 private:
  void FillWithWords(uint64_t seed) {
    std::vector<std::string> vocabulary(2048);
    for (auto& word : vocabulary) {
      word.resize(3 + Mix(seed++) % 8);
      for (char& letter : word) letter = static_cast<char>('a' + Mix(seed++) % 26);
      word += ' ';
    }
    while (bytes_.size() < slots_ * value_bytes_) {
      bytes_ += vocabulary[Mix(seed++) % vocabulary.size()];
    }
  }

  const uint64_t value_bytes_, slots_;
  std::string bytes_;
};

// ---- The database

inline rocksdb::DBOptions DatabaseOptions(size_t write_buffers_bytes) {
  rocksdb::DBOptions options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = false;
  options.db_write_buffer_size = write_buffers_bytes;
  options.max_total_wal_size = 512 * kMiB;
  options.max_open_files = 512;
  options.keep_log_file_num = 10;
  return options;
}

// What the jobs set differently.
struct DatabaseSettings {
  // Of all families together.
  size_t write_buffers_bytes = 256 * kMiB;
  size_t write_buffer_bytes = 64 * kMiB;
  size_t block_cache_bytes = 64 * kMiB;
  rocksdb::CompressionType compression = rocksdb::kLZ4Compression;
  // Values of 4 KiB and more go to blob files.
  bool blobs = false;
  bool statistics = false;
};

inline rocksdb::ColumnFamilyOptions FamilyOptions(const DatabaseSettings& settings,
                                                  std::shared_ptr<rocksdb::Cache> cache) {
  rocksdb::BlockBasedTableOptions table;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = std::move(cache);
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = settings.write_buffer_bytes;
  options.max_write_buffer_number = 2;
  options.max_bytes_for_level_base = 4 * settings.write_buffer_bytes;
  options.compression = settings.compression;
  options.level_compaction_dynamic_level_bytes = false;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  if (settings.blobs) {
    options.enable_blob_files = true;
    options.min_blob_size = 4096;
    options.blob_file_size = 64 * kMiB;
    options.enable_blob_garbage_collection = true;
  }
  return options;
}

// A directory of its own, removed with all it holds.
class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(const std::string& parent) : path_(parent + "/raw-store-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      throw std::runtime_error("cannot make a directory in " + parent + ": " + strerror(errno));
    }
  }

  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A database in a fresh directory, closed and removed when it goes out of scope.
class Database {
 public:
  Database(const std::string& parent, const DatabaseSettings& settings) : directory_(parent) {
    Open(settings);
  }

  // Closes the database and opens it again with other settings.
  void Reopen(const DatabaseSettings& settings) {
    Close();
    Open(settings);
  }

  rocksdb::DB* operator->() const { return db_.get(); }
  rocksdb::ColumnFamilyHandle* family() const { return family_.get(); }
  rocksdb::ColumnFamilyHandle* default_family() const { return default_.get(); }

  // Writes with sync=true that RocksDB merged into one fsync count once.
  uint64_t WALSyncs() const {
    std::map<std::string, std::string> facts;
    if (!db_->GetMapProperty(rocksdb::DB::Properties::kDBStats, &facts)) {
      throw std::runtime_error("RocksDB does not tell its WAL syncs");
    }
    return std::stoull(facts.at("db.wal_syncs"));
  }

  const std::string& path() const { return directory_.path(); }

  uint64_t Ticker(rocksdb::Tickers ticker) const { return statistics_->getTickerCount(ticker); }

 private:
  void Open(const DatabaseSettings& settings) {
    auto options = DatabaseOptions(settings.write_buffers_bytes);
    if (settings.statistics) {
      options.statistics = rocksdb::CreateDBStatistics();
      options.statistics->set_stats_level(rocksdb::StatsLevel::kExceptTimers);
    }
    statistics_ = options.statistics;
    const auto family_options =
        FamilyOptions(settings, rocksdb::NewLRUCache(settings.block_cache_bytes));
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* db = nullptr;
    Check(rocksdb::DB::Open(options, directory_.path(),
                            {{"default", family_options}, {kFamily, family_options}}, &handles,
                            &db));
    db_.reset(db);
    default_.reset(handles[0]);
    family_.reset(handles[1]);
  }

  void Close() {
    family_.reset();
    default_.reset();
    db_.reset();
  }

  // The order of these is the order of destruction reversed: the handles must be gone before their
  // database is, and the database before its directory.
  const TemporaryDirectory directory_;
  std::shared_ptr<rocksdb::Statistics> statistics_;
  std::unique_ptr<rocksdb::DB> db_;
  std::unique_ptr<rocksdb::ColumnFamilyHandle> default_, family_;
};
