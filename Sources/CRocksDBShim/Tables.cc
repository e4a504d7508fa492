#include <fcntl.h>
#include <rocksdb/ldb_tool.h>
#include <rocksdb/sst_file_reader.h>
#include <rocksdb/table_properties.h>
#include <rocksdb/utilities/ldb_cmd.h>
#include <stdio.h>

#include <cerrno>
#include <vector>

#include "CHandles.h"

using rocksdb::LDBCommand;
using rocksdb::Status;

namespace {

/// The tables' properties are read one after the other; none needs to stay open.
constexpr int kOpenFiles = 16;

Status CheckTable(const std::string& path, uint64_t* entries, uint64_t* deletions) {
  rocksdb::SstFileReader reader{rocksdb::Options()};
  const Status status = reader.Open(path);
  if (!status.ok()) return status;
  if (const auto properties = reader.GetTableProperties()) {
    *entries = properties->num_entries;
    *deletions = properties->num_deletions;
  }
  return reader.VerifyChecksum();
}

Status DropTable(const std::string& path, uint64_t number,
                 const std::vector<rocksdb::ColumnFamilyDescriptor>& families) {
  rocksdb::Options options;
  options.paranoid_checks = false;
  options.max_open_files = kOpenFiles;
  const std::unique_ptr<LDBCommand> command(LDBCommand::InitFromCmdLineArgs(
      {"--db=" + path, "unsafe_remove_sst_file", std::to_string(number)}, options,
      rocksdb::LDBOptions(), &families));
  if (command == nullptr || !command->ValidateCmdLineOptions()) {
    return Status::NotSupported("the library cannot drop a table from a manifest");
  }
  command->Run();
  rocksdb::LDBCommandExecuteResult result = command->GetExecuteState();
  return result.IsSucceed() ? Status::OK() : Status::IOError(result.ToString());
}

Status DropTables(const std::string& path, const uint64_t* numbers, size_t count) {
  std::vector<std::string> names;
  const Status status = rocksdb::DB::ListColumnFamilies(rocksdb::DBOptions(), path, &names);
  if (!status.ok()) return status;
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const auto& name : names) {
    families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  }
  for (size_t index = 0; index < count; ++index) {
    const Status dropped = DropTable(path, numbers[index], families);
    if (!dropped.ok()) return dropped;
  }
  return Status::OK();
}

}  // namespace

extern "C" {

void spindle_rocks_check_table(const char* path, uint64_t* entries, uint64_t* deletions,
                               char** errptr) {
  spindle::Guarded(errptr, [&] { return CheckTable(path, entries, deletions); });
}

void spindle_rocks_drop_tables(const char* path, const uint64_t* numbers, size_t count,
                               char** errptr) {
  spindle::Guarded(errptr, [&] { return DropTables(path, numbers, count); });
}

int spindle_rocks_exchange(const char* one, const char* other) {
  return renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0 ? 0 : errno;
}

}  // extern "C"
