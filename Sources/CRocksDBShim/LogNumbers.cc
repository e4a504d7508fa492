#include <rocksdb/wal_filter.h>

#include <algorithm>
#include <cstdarg>
#include <map>
#include <vector>

#include "CHandles.h"

using rocksdb::DB;
using rocksdb::Status;

struct spindle_rocks_log_numbers_t {
  struct Family {
    std::string name;
    spindle_rocks_log_family_t numbers;
  };
  uint64_t oldest_needed = 0;
  uint64_t latest_sequence = 0;
  bool has_value = false;
  std::string value;
  std::vector<Family> families;
};

namespace {

/// Stops the replay at the first record and keeps what the manifest said before it.
class LogNumberReader final : public rocksdb::WalFilter {
 public:
  std::map<uint32_t, uint64_t> numbers;

  void ColumnFamilyLogNumberMap(const std::map<uint32_t, uint64_t>& by_family,
                                const std::map<std::string, uint32_t>&) override {
    numbers = by_family;
  }

  WalProcessingOption LogRecordFound(unsigned long long, const std::string&,
                                     const rocksdb::WriteBatch&, rocksdb::WriteBatch*,
                                     bool*) override {
    return WalProcessingOption::kStopReplay;
  }

  const char* Name() const override { return "spindle.LogNumberReader"; }
};

/// Without a logger of its own RocksDB would make a LOG file.
class SilentLogger final : public rocksdb::Logger {
 public:
  SilentLogger() : rocksdb::Logger(rocksdb::InfoLogLevel::HEADER_LEVEL) {}
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

/// Few files are opened: the numbers stand in the manifest.
constexpr int kOpenFiles = 16;
/// The memtables stay empty; a small buffer keeps their arenas small.
constexpr size_t kWriteBufferBytes = 64 << 10;

rocksdb::DBOptions OpenOptions(rocksdb::WalFilter* filter) {
  rocksdb::DBOptions options;
  options.paranoid_checks = false;
  options.info_log = std::make_shared<SilentLogger>();
  options.wal_filter = filter;
  options.max_open_files = kOpenFiles;
  options.skip_stats_update_on_db_open = true;
  return options;
}

void Collect(DB* db, const std::vector<rocksdb::ColumnFamilyHandle*>& handles,
             const LogNumberReader& reader, spindle_rocks_log_numbers_t* result) {
  std::map<std::string, spindle_rocks_log_family_t> by_name;
  for (const auto* handle : handles) {
    const auto number = reader.numbers.find(handle->GetID());
    by_name[handle->GetName()] = {handle->GetID(),
                                  number == reader.numbers.end() ? 0 : number->second, 0, 0, 0, 0};
  }
  std::vector<rocksdb::LiveFileMetaData> files;
  db->GetLiveFilesMetaData(&files);
  for (const auto& file : files) {
    spindle_rocks_log_family_t& family = by_name[file.column_family_name];
    family.tables += 1;
    family.largest_sequence = std::max<uint64_t>(family.largest_sequence, file.largest_seqno);
    uint64_t& newest =
        file.level > 0 ? family.newest_compacted_table : family.newest_flushed_table;
    newest = std::max(newest, file.file_number);
  }
  for (const auto& [name, numbers] : by_name) result->families.push_back({name, numbers});
  result->latest_sequence = db->GetLatestSequenceNumber();
}

Status ReadLogNumbers(const std::string& path, const rocksdb::Slice& key,
                      spindle_rocks_log_numbers_t* result) {
  LogNumberReader reader;
  const rocksdb::DBOptions options = OpenOptions(&reader);
  std::vector<std::string> names;
  Status status = DB::ListColumnFamilies(options, path, &names);
  if (!status.ok()) return status;
  rocksdb::ColumnFamilyOptions family_options;
  family_options.write_buffer_size = kWriteBufferBytes;
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const auto& name : names) descriptors.emplace_back(name, family_options);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  DB* opened = nullptr;
  status = DB::OpenForReadOnly(options, path, descriptors, &handles, &opened);
  if (!status.ok()) return status;
  const std::unique_ptr<DB> db(opened);
  Collect(db.get(), handles, reader, result);
  if (!db->GetIntProperty(DB::Properties::kMinLogNumberToKeep, &result->oldest_needed)) {
    status = Status::NotSupported("cannot read the property",
                                  DB::Properties::kMinLogNumberToKeep);
  }
  if (status.ok()) {
    const Status found =
        db->Get(rocksdb::ReadOptions(), db->DefaultColumnFamily(), key, &result->value);
    result->has_value = found.ok();
    if (!found.ok() && !found.IsNotFound()) status = found;
  }
  for (auto* handle : handles) db->DestroyColumnFamilyHandle(handle);
  return status;
}

}  // namespace

extern "C" {

spindle_rocks_log_numbers_t* spindle_rocks_log_numbers_create(const char* path, const char* key,
                                                              size_t key_length, char** errptr) {
  spindle_rocks_log_numbers_t* result = nullptr;
  spindle::Guarded(errptr, [&] {
    auto numbers = std::make_unique<spindle_rocks_log_numbers_t>();
    const Status status = ReadLogNumbers(path, rocksdb::Slice(key, key_length), numbers.get());
    if (status.ok()) result = numbers.release();
    return status;
  });
  return result;
}

void spindle_rocks_log_numbers_destroy(spindle_rocks_log_numbers_t* numbers) { delete numbers; }

uint64_t spindle_rocks_log_numbers_oldest_needed(const spindle_rocks_log_numbers_t* numbers) {
  return numbers->oldest_needed;
}

uint64_t spindle_rocks_log_numbers_latest_sequence(const spindle_rocks_log_numbers_t* numbers) {
  return numbers->latest_sequence;
}

const char* spindle_rocks_log_numbers_value(const spindle_rocks_log_numbers_t* numbers,
                                            size_t* length) {
  *length = numbers->value.size();
  return numbers->has_value ? numbers->value.data() : nullptr;
}

size_t spindle_rocks_log_numbers_family_count(const spindle_rocks_log_numbers_t* numbers) {
  return numbers->families.size();
}

const char* spindle_rocks_log_numbers_family(const spindle_rocks_log_numbers_t* numbers,
                                             size_t index, spindle_rocks_log_family_t* family) {
  if (index >= numbers->families.size()) return nullptr;
  *family = numbers->families[index].numbers;
  return numbers->families[index].name.c_str();
}

}  // extern "C"
