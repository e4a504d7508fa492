// What the command line of the spool's baseline may say.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "raw_numbers.h"
#include "raw_spool_record.h"

constexpr char kHelp[] = R"(usage: raw_spool JOB [options]

The spool's jobs written straight on RocksDB: each record is 12 bytes of header with the CRC-32C of
the payload, and the payload; each read checks it. Each job has a fresh database that is removed
afterwards; one JSON object a line on stdout:
  store          buffered, one record a WriteBatch
  synced         the same with sync=true
  synced-handed  the same by one caller, each store done by another thread that the caller waits
                 for: the least that a caller whose own thread must not wait for the disk has to pay
  load-borrowed  random reads from a block cache that holds everything, checked in place
  load-copied    the same, and the payload is copied
  load-borrowed-cached, load-copied-cached
                 the same, asked of memory alone, into a slice on the heap as RocksDB's C interface
                 has it: the least that a caller has to pay whose own thread must not wait
  load-cold      a block cache of 64 KiB, each record once, in random order, copied
  load-cold-handed
                 the same, each read done by another thread that the caller waits for
  enumerate      one walk over everything, checked and copied
  enumerate-handed
                 the same, the records handed to another thread by 256 through a queue of 4096: the
                 least that a walk has to pay whose reader must not wait for the disk
  remove         buffered deletes, one a WriteBatch
  churn          store one, remove a random other of a live set; counts the bytes written
  all            every job above at its usual sizes

Options:
  --dir DIR            where the databases are made; the disk measured. The default is "."
  --value-bytes N      1 to 8388608. The default is 1024; enumerate: 500; churn: 16384
  --threads N          1 to 1024 callers at once of store and synced. The default is 1
  --per-batch N        records in one WriteBatch of store and synced, 1 to 1024. The default is 1
  --ops N              ops of a run. The default is 100000, but at most 1 GiB of values; hot
                       loads: of 32 MiB of values, that the cache holds them; churn: 4 times the
                       live set or 8 times the write buffer, whichever is more
  --live-bytes N       bytes that the live set of churn has. The default is 16777216
  --write-buffer-bytes N
                       bytes of all memtables before a flush, 1048576 or more, at most 68719476736.
                       The default is 268435456
  --blobs              churn: values of 4 KiB and more go to blob files
  --payload P          random: bytes that nothing compresses, the default; or words of a small
                       vocabulary in random order
  --compression C      none, lz4 or zstd, before the write. The default is none
  --drop-caches        load-cold: empty the system's page cache first; needs root
  --seconds S          a run ends here though ops are left, churn apart. The default is 5
  --repeat N           print every run N times. The default is 1
  --help               this text

Fields: opsPerSecond counts records; p50us and p99us time one of them, or one
batch, and include one clock reading.
fsyncs counts the WAL syncs of the timed part. Churn counts one op for a store and the removal after
it, and has storedBytes, the payload bytes stored; kernelBytes, what the kernel counted as written
to the disk for this process (write_bytes of /proc/self/io); engineBytes, the log, table and blob
bytes by RocksDB's tickers; and diskBytes, what the directory holds at the end.

Options of the database are those of a spool: a memtable has half of the write buffer, and tables
are not compressed.

Example: raw_spool churn --live-bytes 1073741824 --dir /var/tmp
Exit 0 ok, 1 failed, 64 usage.
)";

constexpr uint64_t kMostValueBytes = 8 * 1024 * 1024;

struct Settings {
  std::string job;
  std::string dir = ".";
  uint64_t value_bytes = 0;  // 0: the job's default.
  uint64_t threads = 1;
  uint64_t per_batch = 1;
  uint64_t ops = 0;  // 0: by the job and the size of the values.
  uint64_t live_bytes = 16 * 1024 * 1024;
  uint64_t write_buffer_bytes = 256 * 1024 * 1024;
  bool blobs = false;
  bool drop_caches = false;
  bool words = false;
  Codec compression = Codec::none;
  double seconds = 5;
  uint64_t repeat = 1;
};

// The place of a word among the allowed ones.
inline size_t ParseChoice(const std::string& option, const std::string& text,
                          const std::vector<std::string>& allowed) {
  const auto found = std::find(allowed.begin(), allowed.end(), text);
  if (found != allowed.end()) return static_cast<size_t>(found - allowed.begin());
  std::string list;
  for (const auto& word : allowed) list += (list.empty() ? "" : ", ") + word;
  throw UsageError(option + " takes " + list + ", not \"" + text + "\"");
}

inline Settings Parse(const std::vector<std::string>& arguments) {
  Settings settings;
  for (size_t i = 0; i < arguments.size(); i++) {
    const auto& argument = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 == arguments.size()) throw UsageError(argument + " needs a value");
      return arguments[++i];
    };
    const auto number = [&](uint64_t most) { return ParseNumber(argument, value(), most); };
    if (argument == "--dir") settings.dir = value();
    else if (argument == "--value-bytes") settings.value_bytes = number(kMostValueBytes);
    else if (argument == "--threads") settings.threads = number(1024);
    else if (argument == "--per-batch") settings.per_batch = number(1024);
    else if (argument == "--ops") settings.ops = number(1'000'000'000);
    else if (argument == "--live-bytes") settings.live_bytes = number(100'000'000'000);
    else if (argument == "--write-buffer-bytes") {
      settings.write_buffer_bytes = number(uint64_t{1} << 36);
      if (settings.write_buffer_bytes < 1024 * 1024) {
        throw UsageError(argument + " takes 1048576 to 68719476736");
      }
    } else if (argument == "--blobs") settings.blobs = true;
    else if (argument == "--drop-caches") settings.drop_caches = true;
    else if (argument == "--payload")
      settings.words = ParseChoice(argument, value(), {"random", "words"}) == 1;
    else if (argument == "--compression")
      settings.compression =
          static_cast<Codec>(ParseChoice(argument, value(), {"none", "lz4", "zstd"}));
    else if (argument == "--seconds") settings.seconds = ParseSeconds(value());
    else if (argument == "--repeat") settings.repeat = number(1000);
    else if (argument.rfind("-", 0) == 0) throw UsageError("unknown option " + argument);
    else if (settings.job.empty()) settings.job = argument;
    else throw UsageError("one job at a time, not also " + argument);
  }
  const std::vector<std::string> jobs = {
      "store",       "synced",               "synced-handed",      "load-borrowed",
      "load-copied", "load-borrowed-cached", "load-copied-cached", "load-cold",
      "load-cold-handed", "enumerate",       "enumerate-handed",   "remove",
      "churn",       "all"};
  if (settings.job.empty()) throw UsageError("which job?");
  if (std::find(jobs.begin(), jobs.end(), settings.job) == jobs.end()) {
    throw UsageError("unknown job " + settings.job);
  }
  return settings;
}
