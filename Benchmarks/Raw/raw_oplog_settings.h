// What the command lines of the op-log's two baselines may say; both take the same.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "raw_numbers.h"

constexpr char kOpLogHelp[] = R"(JOB [options]

Each job has a fresh database that is removed afterwards; one JSON object a line on stdout:
  apply    entries of 16 peers in turn, buffered, --batch of them a commit
  exec     entries of one peer by --threads callers, one a commit, buffered
  synced   the same, durable when a call returns
  read     every entry of one peer, decoded, in pages of 256
  read-handed
           the same with each page walked by another thread, RocksDB alone; not one of all
  cursors  the next index of each of 10,000 peers with 10 entries each
  all      every job above at its usual sizes

An entry sets one of --cells cells to a value: its row is stored under (peer, index), which must be
free; the cell is read, compared and replaced; the clock's register is replaced; two SHA-256 link
the row into its peer's chain. All of it is one commit.

Options:
  --dir DIR        where the databases are made; the disk measured. The default is "."
  --batch N        1 to 4096 entries a commit. The default is 1
  --threads N      1 to 64 callers of exec and synced. The default is 1
  --value-bytes N  1 to 1048576. The default is 100
  --cells N        1 to 10000000 cells. The default is 10000
  --ops N          entries of a run. The default is 200000; synced: 20000
  --seconds S      a run ends here though ops are left. The default is 5
  --repeat N       print every run N times. The default is 1
  --help           this text

Fields: opsPerSecond counts entries (cursors: peers); p50us and p99us time one call.
Exit 0 ok, 1 failed, 64 usage.
)";

struct OpLogRun {
  std::string job;
  std::string dir = ".";
  uint64_t batch = 1;
  uint64_t threads = 1;
  uint64_t value_bytes = 100;
  uint64_t cells = 10'000;
  uint64_t ops = 0;  // 0: by the job.
  double seconds = 5;
  uint64_t repeat = 1;

  uint64_t Ops() const {
    if (ops > 0) return ops;
    return job == "synced" ? 20'000 : 200'000;
  }
};

inline OpLogRun ParseOpLogRun(const std::vector<std::string>& arguments) {
  OpLogRun run;
  for (size_t i = 0; i < arguments.size(); i++) {
    const auto& argument = arguments[i];
    const auto value = [&]() -> const std::string& {
      if (i + 1 == arguments.size()) throw UsageError(argument + " needs a value");
      return arguments[++i];
    };
    const auto number = [&](uint64_t most) { return ParseNumber(argument, value(), most); };
    if (argument == "--dir") run.dir = value();
    else if (argument == "--batch") run.batch = number(4096);
    else if (argument == "--threads") run.threads = number(64);
    else if (argument == "--value-bytes") run.value_bytes = number(1 << 20);
    else if (argument == "--cells") run.cells = number(10'000'000);
    else if (argument == "--ops") run.ops = number(1'000'000'000);
    else if (argument == "--seconds") run.seconds = ParseSeconds(value());
    else if (argument == "--repeat") run.repeat = number(1000);
    else if (argument.rfind("-", 0) == 0) throw UsageError("unknown option " + argument);
    else if (run.job.empty()) run.job = argument;
    else throw UsageError("one job at a time, not also " + argument);
  }
  const std::vector<std::string> jobs = {"apply",       "exec",    "synced", "read",
                                         "read-handed", "cursors", "all"};
  if (run.job.empty()) throw UsageError("which job?");
  if (std::find(jobs.begin(), jobs.end(), run.job) == jobs.end()) {
    throw UsageError("unknown job " + run.job);
  }
  return run;
}

// Every job at its usual sizes.
inline std::vector<OpLogRun> AllOpLogRuns(const OpLogRun& settings) {
  std::vector<OpLogRun> runs;
  const auto add = [&](const char* job, uint64_t batch, uint64_t threads) {
    OpLogRun run = settings;
    run.job = job;
    run.batch = batch;
    run.threads = threads;
    runs.push_back(run);
  };
  add("apply", 1, 1);
  add("apply", 256, 1);
  for (const char* job : {"exec", "synced"}) {
    for (const uint64_t threads : {1, 16}) add(job, 1, threads);
  }
  add("read", 256, 1);
  add("cursors", 1, 1);
  return runs;
}
