// Peers, entries and hashes of the op-log's baselines.
#pragma once

#include <openssl/sha.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "raw_database.h"
#include "raw_oplog_settings.h"
#include "raw_run.h"

constexpr uint64_t kPeersOfApply = 16;
constexpr uint64_t kPeersOfCursors = 10'000;
constexpr uint64_t kEntriesAPeer = 10;
constexpr uint64_t kPage = 256;
constexpr size_t kPeerBytes = 16;
constexpr size_t kCellBytes = 24;

using Hash = std::array<char, SHA256_DIGEST_LENGTH>;

inline void PutBigEndian64(uint64_t value, char* out) {
  for (int i = 0; i < 8; i++) out[i] = static_cast<char>(value >> (56 - 8 * i));
}

inline uint64_t BigEndian64(const char* in) {
  uint64_t value = 0;
  for (int i = 0; i < 8; i++) value = value << 8 | static_cast<unsigned char>(in[i]);
  return value;
}

inline std::array<char, kPeerBytes> PeerNumber(uint64_t number) {
  std::array<char, kPeerBytes> peer;
  PutBigEndian64(Mix(number), peer.data());
  PutBigEndian64(number, peer.data() + 8);
  return peer;
}

inline std::array<char, kCellBytes> CellNumber(uint64_t number) {
  std::array<char, kCellBytes> cell{};
  PutBigEndian64(Mix(number), cell.data());
  PutBigEndian64(number, cell.data() + 8);
  return cell;
}

inline Hash HashOf(const std::string& bytes) {
  Hash hash;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(hash.data()));
  return hash;
}

// The chain's head with one more entry in it.
inline Hash Link(const Hash& head, const char* peer, uint64_t index, uint64_t timestamp,
                 const char* cell, const rocksdb::Slice& value) {
  std::string content(1, 1);
  content.reserve(80 + value.size());
  content.append(peer, kPeerBytes);
  char number[8];
  PutBigEndian64(index, number);
  content.append(number, 8);
  PutBigEndian64(timestamp, number);
  content.append(number, 8);
  content.append(cell, kCellBytes);
  content.append(value.data(), value.size());
  const Hash entry = HashOf(content);
  std::string link(1, 2);
  link.append(head.data(), head.size());
  link.append(entry.data(), entry.size());
  return HashOf(link);
}

// Where a peer's log ends, and the last timestamp given out; what a careful program keeps in memory.
struct LogEnd {
  uint64_t next = 0;
  Hash head{};
};

struct OpLogResult {
  OpLogRun run;
  uint64_t ops = 0;
  double seconds = 0;
  std::vector<uint32_t> latencies;
};

inline void Print(OpLogResult result) {
  std::ostringstream out;
  out.setf(std::ios::fixed);
  out.precision(3);
  out << "{\"job\":\"" << result.run.job << "\",\"batch\":" << result.run.batch
      << ",\"threads\":" << result.run.threads << ",\"valueBytes\":" << result.run.value_bytes
      << ",\"ops\":" << result.ops << ",\"seconds\":" << result.seconds;
  out.precision(1);
  out << ",\"opsPerSecond\":" << static_cast<double>(result.ops) / result.seconds;
  out.precision(3);
  out << ",\"p50us\":" << Percentile(result.latencies, 0.50)
      << ",\"p99us\":" << Percentile(result.latencies, 0.99);
  std::cout << out.str() << "}" << std::endl;
}

// Calls `op` with the first number of each batch on `threads` threads until the ops or the seconds
// are used up.
inline OpLogResult MeasureBatches(const OpLogRun& run, uint64_t threads,
                                  const std::function<void(uint64_t, uint64_t)>& op) {
  std::vector<std::vector<uint32_t>> latencies(threads);
  std::atomic<uint64_t> next{0}, done{0};
  const uint64_t ops = run.Ops();
  const auto start = OnThreads(threads, [&](uint64_t thread, Clock::time_point begin) {
    latencies[thread].reserve(ops / run.batch / threads + 1024);
    const auto end = begin + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(run.seconds));
    auto before = Clock::now();
    while (before < end) {
      const uint64_t first = next.fetch_add(run.batch, std::memory_order_relaxed);
      if (first >= ops) return;
      const uint64_t count = std::min(run.batch, ops - first);
      op(first, count);
      done.fetch_add(count, std::memory_order_relaxed);
      const auto after = Clock::now();
      const auto nanoseconds = std::chrono::nanoseconds(after - before).count();
      latencies[thread].push_back(
          static_cast<uint32_t>(std::min<int64_t>(nanoseconds, UINT32_MAX)));
      before = after;
    }
  });
  OpLogResult result{run, done.load(), SecondsSince(start), {}};
  for (const auto& each : latencies) {
    result.latencies.insert(result.latencies.end(), each.begin(), each.end());
  }
  return result;
}

// What a program does for each job; exec is synced, too, where the job says so.
struct OpLogJobs {
  void (*apply)(const OpLogRun&);
  void (*exec)(const OpLogRun&);
  void (*read)(const OpLogRun&);
  void (*cursors)(const OpLogRun&);
  // Null where no other thread could help.
  void (*read_handed)(const OpLogRun&) = nullptr;

  void RunOne(const OpLogRun& run) const {
    if (run.job == "apply") apply(run);
    else if (run.job == "read") read(run);
    else if (run.job == "cursors") cursors(run);
    else if (run.job == "read-handed" && read_handed != nullptr) read_handed(run);
    else if (run.job == "read-handed") throw UsageError("read-handed is RocksDB's alone");
    else exec(run);
  }
};

// The command line of both programs.
inline int OpLogMain(int count, char** arguments, const OpLogJobs& jobs) {
  const std::string program = arguments[0];
  try {
    const std::vector<std::string> words(arguments + 1, arguments + count);
    if (std::find(words.begin(), words.end(), "--help") != words.end()) {
      std::cout << "usage: " << program << " " << kOpLogHelp;
      return 0;
    }
    const OpLogRun settings = ParseOpLogRun(words);
    WarnOfMemoryDisk(program, settings.dir);
    const auto runs =
        settings.job == "all" ? AllOpLogRuns(settings) : std::vector<OpLogRun>{settings};
    for (uint64_t i = 0; i < settings.repeat; i++) {
      for (const auto& run : runs) jobs.RunOne(run);
    }
    return 0;
  } catch (const UsageError& error) {
    std::cerr << program << ": " << error.what() << "; see --help\n";
    return 64;
  } catch (const std::exception& error) {
    std::cerr << program << ": " << error.what() << "\n";
    return 1;
  }
}
