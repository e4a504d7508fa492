// Batches of records on their way from one thread to another, through a bounded queue.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

// Payloads one behind the other; `ends` says where each ends.
struct PayloadBatch {
  std::string bytes;
  std::vector<size_t> ends;
};

class Channel {
 public:
  // At most `limit` payloads wait.
  explicit Channel(size_t limit) : limit_(limit) {}

  void Send(PayloadBatch batch) {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return waiting_ == 0 || waiting_ + batch.ends.size() <= limit_; });
    waiting_ += batch.ends.size();
    batches_.push_back(std::move(batch));
    moved_.notify_all();
  }

  void Close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    moved_.notify_all();
  }

  // False at the end.
  bool Take(PayloadBatch* batch) {
    std::unique_lock lock(mutex_);
    moved_.wait(lock, [&] { return !batches_.empty() || is_closed_; });
    if (batches_.empty()) return false;
    *batch = std::move(batches_.front());
    batches_.pop_front();
    waiting_ -= batch->ends.size();
    moved_.notify_all();
    return true;
  }

 private:
  const size_t limit_;
  std::mutex mutex_;
  std::condition_variable moved_;
  std::deque<PayloadBatch> batches_;
  size_t waiting_ = 0;
  bool is_closed_ = false;
};
