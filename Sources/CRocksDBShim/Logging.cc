#include <cstdarg>
#include <utility>

#include "CHandles.h"

namespace {

class NullLogger final : public rocksdb::Logger {
 public:
  NullLogger() : rocksdb::Logger(rocksdb::InfoLogLevel::HEADER_LEVEL) {}

  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

}  // namespace

extern "C" {

rocksdb_logger_t* spindle_rocks_null_logger_create(void) {
  try {
    return new rocksdb_logger_t{std::make_shared<NullLogger>()};
  } catch (...) {
    return nullptr;
  }
}

void spindle_rocks_logger_destroy(rocksdb_logger_t* logger) { delete logger; }

}  // extern "C"
