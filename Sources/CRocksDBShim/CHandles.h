#pragma once

// The structures behind the opaque handles of rocksdb/c.h, which no public header declares. They
// are copied from db/c.cc of RocksDB 7.8.3; each begins with the member used here, so a handle
// made by the C API can be read, and one made here can be given to the C API.

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/version.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "CRocksDBShim.h"

#if ROCKSDB_MAJOR != 7 || ROCKSDB_MINOR != 8
#error "The handle layouts below are those of RocksDB 7.8: compare them with db/c.cc first."
#endif

struct rocksdb_t {
  rocksdb::DB* rep;
};

struct rocksdb_options_t {
  rocksdb::Options rep;
};

struct rocksdb_writeoptions_t {
  rocksdb::WriteOptions rep;
};

struct rocksdb_env_t {
  rocksdb::Env* rep;
  bool is_default;
};

struct rocksdb_column_family_handle_t {
  rocksdb::ColumnFamilyHandle* rep;
};

struct rocksdb_logger_t {
  std::shared_ptr<rocksdb::Logger> rep;
};

namespace spindle {

/// malloc'ed copy of `text`, as rocksdb_free expects it; NULL when memory is exhausted.
inline char* CopyText(const char* text) noexcept { return strdup(text); }
inline char* CopyText(const std::string& text) noexcept { return strdup(text.c_str()); }

inline void SetError(char** errptr, const char* text) noexcept {
  if (errptr == nullptr) return;
  free(*errptr);
  *errptr = CopyText(text);
}

/// Runs `body`, which returns a Status, and hands its failure or its exception to `errptr`.
/// Returns whether it succeeded.
template <typename Body>
bool Guarded(char** errptr, Body&& body) noexcept {
  try {
    const rocksdb::Status status = body();
    if (status.ok()) return true;
    SetError(errptr, status.ToString().c_str());
  } catch (const std::exception& error) {
    SetError(errptr, error.what());
  } catch (...) {
    SetError(errptr, "unknown C++ exception");
  }
  return false;
}

}  // namespace spindle
