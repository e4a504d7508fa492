#include <rocksdb/metadata.h>
#include <rocksdb/table_properties.h>

#include <vector>

#include "CHandles.h"

struct spindle_rocks_files_t {
  struct Table {
    spindle_rocks_table_file_t file;
    std::string smallest_key;
    std::string largest_key;
  };

  uint64_t table_bytes = 0;
  std::vector<Table> tables;
  std::vector<spindle_rocks_blob_file_t> blobs;
};

namespace {

void Fill(spindle_rocks_files_t* files, const rocksdb::ColumnFamilyMetaData& metadata) {
  files->table_bytes = metadata.size;
  for (const rocksdb::LevelMetaData& level : metadata.levels) {
    for (const rocksdb::SstFileMetaData& file : level.files) {
      spindle_rocks_table_file_t table = {};
      table.file_number = file.file_number;
      table.size_bytes = file.size;
      table.entries = file.num_entries;
      table.deletions = file.num_deletions;
      table.smallest_sequence = file.smallest_seqno;
      table.largest_sequence = file.largest_seqno;
      table.oldest_blob_file_number = file.oldest_blob_file_number;
      table.creation_time_s = file.file_creation_time;
      table.level = level.level;
      table.being_compacted = file.being_compacted ? 1 : 0;
      files->tables.push_back({table, file.smallestkey, file.largestkey});
    }
  }
  for (const rocksdb::BlobMetaData& file : metadata.blob_files) {
    spindle_rocks_blob_file_t blob = {};
    blob.file_number = file.blob_file_number;
    blob.size_bytes = file.blob_file_size;
    blob.blobs = file.total_blob_count;
    blob.blob_bytes = file.total_blob_bytes;
    blob.garbage_blobs = file.garbage_blob_count;
    blob.garbage_bytes = file.garbage_blob_bytes;
    files->blobs.push_back(blob);
  }
}

const char* BytesOf(const std::string& text, size_t* length) {
  *length = text.size();
  return text.data();
}

}  // namespace

extern "C" {

spindle_rocks_files_t* spindle_rocks_files_create(rocksdb_t* db,
                                                  rocksdb_column_family_handle_t* column_family,
                                                  char** errptr) {
  std::unique_ptr<spindle_rocks_files_t> files;
  const bool succeeded = spindle::Guarded(errptr, [&] {
    auto result = std::make_unique<spindle_rocks_files_t>();
    rocksdb::ColumnFamilyMetaData metadata;
    db->rep->GetColumnFamilyMetaData(column_family->rep, &metadata);
    Fill(result.get(), metadata);
    files = std::move(result);
    return rocksdb::Status::OK();
  });
  return succeeded ? files.release() : nullptr;
}

void spindle_rocks_files_destroy(spindle_rocks_files_t* files) { delete files; }

uint64_t spindle_rocks_files_table_bytes(const spindle_rocks_files_t* files) {
  return files->table_bytes;
}

size_t spindle_rocks_files_table_count(const spindle_rocks_files_t* files) {
  return files->tables.size();
}

size_t spindle_rocks_files_blob_count(const spindle_rocks_files_t* files) {
  return files->blobs.size();
}

int spindle_rocks_files_table(const spindle_rocks_files_t* files, size_t index,
                              spindle_rocks_table_file_t* table) {
  if (index >= files->tables.size()) return -1;
  *table = files->tables[index].file;
  return 0;
}

int spindle_rocks_files_blob(const spindle_rocks_files_t* files, size_t index,
                             spindle_rocks_blob_file_t* blob) {
  if (index >= files->blobs.size()) return -1;
  *blob = files->blobs[index];
  return 0;
}

const char* spindle_rocks_files_smallest_key(const spindle_rocks_files_t* files, size_t index,
                                             size_t* length) {
  if (index >= files->tables.size()) return nullptr;
  return BytesOf(files->tables[index].smallest_key, length);
}

const char* spindle_rocks_files_largest_key(const spindle_rocks_files_t* files, size_t index,
                                            size_t* length) {
  if (index >= files->tables.size()) return nullptr;
  return BytesOf(files->tables[index].largest_key, length);
}

int spindle_rocks_table_properties(rocksdb_t* db, rocksdb_column_family_handle_t* column_family,
                                   spindle_rocks_table_properties_t* sum, char** errptr) {
  *sum = spindle_rocks_table_properties_t{};
  const bool succeeded = spindle::Guarded(errptr, [&] {
    rocksdb::TablePropertiesCollection tables;
    const rocksdb::Status status =
        db->rep->GetPropertiesOfAllTables(column_family->rep, &tables);
    if (!status.ok()) return status;
    for (const auto& entry : tables) {
      const rocksdb::TableProperties& table = *entry.second;
      sum->tables += 1;
      sum->data_bytes += table.data_size;
      sum->index_bytes += table.index_size;
      sum->filter_bytes += table.filter_size;
      sum->raw_key_bytes += table.raw_key_size;
      sum->raw_value_bytes += table.raw_value_size;
      sum->data_blocks += table.num_data_blocks;
      sum->entries += table.num_entries;
      sum->deletions += table.num_deletions;
      sum->merge_operands += table.num_merge_operands;
      sum->range_deletions += table.num_range_deletions;
    }
    return status;
  });
  return succeeded ? 0 : -1;
}

}  // extern "C"
