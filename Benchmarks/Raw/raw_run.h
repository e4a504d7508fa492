// What every measured run of the baseline needs: time, threads that start together, percentiles.
#pragma once

#include <sys/vfs.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <iostream>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;

inline double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Runs `body(i, start)` on `count` threads that all start together, and waits for them. Rethrows
// the first failure. Returns the start, which is the moment the threads were let go.
template <typename Body>
Clock::time_point OnThreads(uint64_t count, Body body) {
  std::atomic<uint64_t> ready{0};
  std::atomic<bool> go{false};
  Clock::time_point start;
  std::mutex failure_lock;
  std::exception_ptr failure;
  std::vector<std::thread> threads;
  const auto work = [&](uint64_t i) {
    ready++;
    while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
    try {
      if (threads.size() == count) body(i, start);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(failure_lock);
      if (!failure) failure = std::current_exception();
    }
  };
  try {
    for (uint64_t i = 0; i < count; i++) threads.emplace_back(work, i);
  } catch (...) {
    // The system gave fewer threads than asked for: those that exist must end before their state.
    go.store(true, std::memory_order_release);
    for (auto& thread : threads) thread.join();
    throw;
  }
  while (ready < count) std::this_thread::yield();
  start = Clock::now();
  go.store(true, std::memory_order_release);
  for (auto& thread : threads) thread.join();
  if (failure) std::rethrow_exception(failure);
  return start;
}

inline double Percentile(std::vector<uint32_t>& nanoseconds, double fraction) {
  if (nanoseconds.empty()) return 0;
  const auto rank = static_cast<size_t>(fraction * static_cast<double>(nanoseconds.size() - 1));
  std::nth_element(nanoseconds.begin(), nanoseconds.begin() + rank, nanoseconds.end());
  return nanoseconds[rank] / 1000.0;
}

inline void WarnOfMemoryDisk(const std::string& program, const std::string& dir) {
  constexpr long kTmpfs = 0x01021994;
  struct statfs facts;
  if (statfs(dir.c_str(), &facts) == 0 && facts.f_type == kTmpfs) {
    std::cerr << program << ": " << dir << " is in memory (tmpfs): an fsync there costs nothing, "
              << "so the synced figures mean nothing\n";
  }
}
