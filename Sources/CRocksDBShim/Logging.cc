#include <rocksdb/env.h>

#include <cstdarg>
#include <cstdio>
#include <utility>

#include "CHandles.h"

namespace {

static_assert(static_cast<int>(rocksdb::InfoLogLevel::DEBUG_LEVEL) == SPINDLE_ROCKS_LOG_DEBUG);
static_assert(static_cast<int>(rocksdb::InfoLogLevel::HEADER_LEVEL) == SPINDLE_ROCKS_LOG_HEADER);

class CallbackLogger final : public rocksdb::Logger {
 public:
  CallbackLogger(int level, spindle_rocks_log_callback_t callback, void* context)
      : rocksdb::Logger(static_cast<rocksdb::InfoLogLevel>(level)),
        callback_(callback),
        context_(context) {}

  // RocksDB comes here without a level for header lines only, of which there are hundreds a start.
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::HEADER_LEVEL, format, arguments);
  }

  void LogHeader(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::HEADER_LEVEL, format, arguments);
  }

  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (callback_ == nullptr || level < GetInfoLogLevel()) return;
    // Longer lines are cut: they are statistics tables, and this may run where memory is short.
    char text[2048];
    const int length = vsnprintf(text, sizeof(text), format, arguments);
    if (length < 0) return;
    size_t size = static_cast<size_t>(length) < sizeof(text) ? static_cast<size_t>(length)
                                                             : sizeof(text) - 1;
    while (size > 0 && text[size - 1] == '\n') text[--size] = 0;
    callback_(context_, static_cast<int>(level), text, size);
  }

 private:
  const spindle_rocks_log_callback_t callback_;
  void* const context_;
};

}  // namespace

extern "C" {

rocksdb_logger_t* spindle_rocks_logger_create(int level, spindle_rocks_log_callback_t callback,
                                              void* context) {
  if (level < SPINDLE_ROCKS_LOG_DEBUG) level = SPINDLE_ROCKS_LOG_DEBUG;
  if (level > SPINDLE_ROCKS_LOG_HEADER) level = SPINDLE_ROCKS_LOG_HEADER;
  try {
    return new rocksdb_logger_t{std::make_shared<CallbackLogger>(level, callback, context)};
  } catch (...) {
    return nullptr;
  }
}

rocksdb_logger_t* spindle_rocks_null_logger_create(void) {
  return spindle_rocks_logger_create(SPINDLE_ROCKS_LOG_HEADER, nullptr, nullptr);
}

void spindle_rocks_logger_destroy(rocksdb_logger_t* logger) { delete logger; }

}  // extern "C"
