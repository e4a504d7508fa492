#include <rocksdb/env.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "CHandles.h"

namespace {

constexpr char kOldPrefix[] = "LOG.old.";
constexpr size_t kOldPrefixLength = sizeof(kOldPrefix) - 1;

/// Longer lines are cut: they are tables of statistics, and this runs where memory is short.
constexpr size_t kLineLimit = 8192;

/// How long nothing is tried after the file could not be opened or renamed: lines come in bursts,
/// often while RocksDB holds its mutex.
constexpr uint64_t kRetryMicroseconds = 1000000;

uint64_t NowMicroseconds() {
  timeval now;
  gettimeofday(&now, nullptr);
  return static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_usec);
}

/// Writes RocksDB's messages with plain system calls. A line that cannot be written is lost and
/// counted; nothing here throws, asserts or reports a failure to RocksDB.
class FileLogger final : public rocksdb::Logger {
 public:
  FileLogger(const char* directory, int level, uint64_t roll_us, uint64_t byte_limit,
             size_t kept_files)
      : rocksdb::Logger(static_cast<rocksdb::InfoLogLevel>(level)),
        directory_(directory),
        path_(directory_ + "/LOG"),
        roll_us_(roll_us),
        byte_limit_(byte_limit),
        kept_files_(kept_files) {}

  ~FileLogger() override {
    if (file_ >= 0) close(file_);
  }

  void LogHeader(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::HEADER_LEVEL, format, arguments);
  }

  // RocksDB comes here without a level for header lines only.
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::HEADER_LEVEL, format, arguments);
  }

  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel()) return;
    const uint64_t now = NowMicroseconds();
    char line[kLineLimit];
    size_t size = Begin(line, now, level);
    // One byte stays for the line end.
    const size_t room = sizeof(line) - size - 1;
    const int length = vsnprintf(line + size, room, format, arguments);
    if (length < 0) return;
    size += std::min(static_cast<size_t>(length), room - 1);
    while (size > 0 && line[size - 1] == '\n') --size;
    line[size++] = '\n';
    try {
      const std::lock_guard<std::mutex> guard(mutex_);
      Append(line, size, now);
    } catch (...) {
      // The names of old files need memory; without any the line is lost.
    }
  }

  size_t GetLogFileSize() const override {
    const std::lock_guard<std::mutex> guard(mutex_);
    return size_;
  }

 private:
  /// The line's time in UTC, its thread and, where it is not the usual one, its level.
  static size_t Begin(char* line, uint64_t now, rocksdb::InfoLogLevel level) {
    static const char* const kNames[] = {"[DEBUG] ", "", "[WARN] ", "[ERROR] ", "[FATAL] ", ""};
    const time_t seconds = static_cast<time_t>(now / 1000000);
    tm date;
    gmtime_r(&seconds, &date);
    const int length = snprintf(line, 96, "%04d/%02d/%02d-%02d:%02d:%02d.%06d %d %s",
                                date.tm_year + 1900, date.tm_mon + 1, date.tm_mday, date.tm_hour,
                                date.tm_min, date.tm_sec, static_cast<int>(now % 1000000),
                                static_cast<int>(gettid()), kNames[static_cast<int>(level)]);
    return length < 0 ? 0 : std::min<size_t>(static_cast<size_t>(length), 95);
  }

  void Append(const char* line, size_t size, uint64_t now) {
    if (!Prepare(size, now)) {
      ++lost_lines_;
      return;
    }
    if (lost_lines_ > 0 || is_torn_) {
      // The line that did not fit ends here, and the next one says what is missing.
      char note[96];
      const int length = snprintf(note, sizeof(note), "%s(%llu lines could not be written)\n",
                                  is_torn_ ? "\n" : "",
                                  static_cast<unsigned long long>(lost_lines_));
      if (!Write(note, static_cast<size_t>(length))) {
        ++lost_lines_;
        return;
      }
      lost_lines_ = 0;
    }
    if (!Write(line, size)) ++lost_lines_;
  }

  /// Whether the file is open and has room for the line; opens and rolls it as needed.
  bool Prepare(size_t size, uint64_t now) {
    if (file_ >= 0) {
      const bool is_old = now >= opened_at_ + roll_us_;
      const bool is_full = size_ > 0 && size_ + size > byte_limit_;
      if (!is_old && !is_full) return true;
      if (now < retry_at_) return !is_full;
      if (!Retire(now)) {
        retry_at_ = now + kRetryMicroseconds;
        return !is_full;
      }
      close(file_);
      file_ = -1;
    } else if (now < retry_at_) {
      return false;
    } else if (access(path_.c_str(), F_OK) == 0 && !Retire(now)) {
      // What an earlier run left must not be overwritten.
      retry_at_ = now + kRetryMicroseconds;
      return false;
    }
    file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (file_ < 0) {
      retry_at_ = now + kRetryMicroseconds;
      return false;
    }
    opened_at_ = now;
    size_ = 0;
    is_torn_ = false;
    return true;
  }

  bool Write(const char* bytes, size_t size) {
    while (size > 0) {
      const ssize_t written = write(file_, bytes, size);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) return false;
      bytes += written;
      size -= static_cast<size_t>(written);
      size_ += static_cast<size_t>(written);
      is_torn_ = size > 0;
    }
    return true;
  }

  /// Renames LOG by the time and deletes the oldest of the old ones.
  bool Retire(uint64_t now) {
    last_old_ = std::max(now, last_old_ + 1);
    std::string old = directory_ + "/" + kOldPrefix + std::to_string(last_old_);
    if (rename(path_.c_str(), old.c_str()) != 0 && errno != ENOENT) return false;
    std::vector<std::string> names;
    DIR* const directory = opendir(directory_.c_str());
    if (directory == nullptr) return true;
    while (const dirent* entry = readdir(directory)) {
      const std::string name = entry->d_name;
      if (name.compare(0, kOldPrefixLength, kOldPrefix) == 0 && name.size() > kOldPrefixLength &&
          name.find_first_not_of("0123456789", kOldPrefixLength) == std::string::npos) {
        names.push_back(name);
      }
    }
    closedir(directory);
    if (names.size() <= kept_files_) return true;
    // By number: shorter ones are smaller.
    std::sort(names.begin(), names.end(), [](const std::string& left, const std::string& right) {
      return left.size() != right.size() ? left.size() < right.size() : left < right;
    });
    names.resize(names.size() - kept_files_);
    for (const std::string& name : names) unlink((directory_ + "/" + name).c_str());
    return true;
  }

  const std::string directory_;
  const std::string path_;
  const uint64_t roll_us_;
  const uint64_t byte_limit_;
  const size_t kept_files_;

  mutable std::mutex mutex_;
  int file_ = -1;
  uint64_t opened_at_ = 0;
  uint64_t retry_at_ = 0;
  uint64_t last_old_ = 0;
  uint64_t size_ = 0;
  uint64_t lost_lines_ = 0;
  /// Whether the last line in the file was cut short.
  bool is_torn_ = false;
};

}  // namespace

extern "C" {

rocksdb_logger_t* spindle_rocks_file_logger_create(const char* directory, int level,
                                                   uint64_t roll_us, uint64_t byte_limit,
                                                   size_t kept_files) {
  level = std::clamp<int>(level, SPINDLE_ROCKS_LOG_DEBUG, SPINDLE_ROCKS_LOG_HEADER);
  // Later than any clock reads; the sum with a time must not overflow.
  roll_us = std::min(roll_us, uint64_t{1} << 62);
  try {
    return new rocksdb_logger_t{
        std::make_shared<FileLogger>(directory, level, roll_us, byte_limit, kept_files)};
  } catch (...) {
    return nullptr;
  }
}

}  // extern "C"
