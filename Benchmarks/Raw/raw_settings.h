// What the command line of the baseline may say.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "raw_numbers.h"

constexpr char kHelp[] = R"(usage: raw_store JOB [options]
       raw_store --print-options

Jobs, each in a fresh database that is removed afterwards; one JSON object a line on stdout:
  inline       buffered (WAL on, sync off), one put a WriteBatch, a new WriteBatch an op
  group        buffered, 64 puts a WriteBatch: what a lane that coalesces callers can do
  conditional  buffered, one put a WriteBatch after a Get that must miss, both under one mutex
  synced       sync=true, one put a WriteBatch
  beside       inline puts alone, then inline puts while another thread puts with sync=true
  all          every job above

Options:
  --dir DIR            where the databases are made; the disk measured. The default is "."
  --value-bytes N,..   1 to 8388608. The default is 256,1024,4096,65536;
                       synced: 256,1024,4096; beside: 256
  --threads N,..       1 to 1024 callers at once. The default is 1; synced: 1,16,64
                       (beside always has one inline thread and one synced)
  --ops N              ops of a run. The default is 100000, but at most 1 GiB of values
  --seconds S          a run ends here though ops are left. The default is 5
  --repeat N           print every run N times. The default is 1
  --stats              attach a rocksdb::Statistics and report its tickers; costs speed
  --print-options      print the options in force, read back from an open database
  --help               this text

Fields: opsPerSecond counts puts. p50us and p99us time one call of DB::Write (conditional: with the
lock and the Get; group: a whole batch) and include one clock reading, about 25 ns. fsyncs counts
the WAL syncs of the timed part; RocksDB counts them with or without --stats.

Keys are 16 bytes and rise like UUIDv7; values are incompressible, drawn before timing from a seeded
generator. Close and the flush of the last memtable are not timed. A run that is interrupted leaves
its directory raw-store-XXXXXX behind.

Example: raw_store synced --dir /var/tmp --threads 64 --value-bytes 1024 --repeat 3
Exit 0 ok, 1 failed, 64 usage.
)";

constexpr uint64_t kMostValueBytes = 8 * 1024 * 1024;

struct Settings {
  std::string job;
  std::string dir = ".";
  std::vector<uint64_t> value_bytes;  // Empty: the job's default.
  std::vector<uint64_t> threads;      // Empty: the job's default.
  uint64_t ops = 0;                   // 0: by the size of the values.
  double seconds = 5;
  uint64_t repeat = 1;
  bool stats = false;
  bool print_options = false;
};

inline Settings Parse(const std::vector<std::string>& arguments) {
  Settings settings;
  for (size_t i = 0; i < arguments.size(); i++) {
    const auto& argument = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 == arguments.size()) throw UsageError(argument + " needs a value");
      return arguments[++i];
    };
    const auto list = [&](uint64_t most) { return ParseList(argument, value(), most); };
    if (argument == "--dir") settings.dir = value();
    else if (argument == "--value-bytes") settings.value_bytes = list(kMostValueBytes);
    else if (argument == "--threads") settings.threads = list(1024);
    else if (argument == "--ops") settings.ops = ParseNumber(argument, value(), 1'000'000'000);
    else if (argument == "--seconds") settings.seconds = ParseSeconds(value());
    else if (argument == "--repeat") settings.repeat = ParseNumber(argument, value(), 1000);
    else if (argument == "--stats") settings.stats = true;
    else if (argument == "--print-options") settings.print_options = true;
    else if (argument.rfind("-", 0) == 0) throw UsageError("unknown option " + argument);
    else if (settings.job.empty()) settings.job = argument;
    else throw UsageError("one job at a time, not also " + argument);
  }
  const std::vector<std::string> jobs = {"inline", "group",  "conditional",
                                         "synced", "beside", "all"};
  if (settings.job.empty() && settings.print_options) return settings;
  if (settings.job.empty()) throw UsageError("which job?");
  if (std::find(jobs.begin(), jobs.end(), settings.job) == jobs.end()) {
    throw UsageError("unknown job " + settings.job);
  }
  if (settings.job == "beside" && !settings.threads.empty()) {
    throw UsageError("beside always has two threads; leave --threads out");
  }
  return settings;
}
