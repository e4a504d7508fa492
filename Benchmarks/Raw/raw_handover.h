// Work done by another thread while the caller waits for it.
#pragma once

#include <semaphore.h>

#include <exception>
#include <functional>
#include <thread>
#include <utility>

class Handover {
 public:
  Handover() {
    sem_init(&work_, 0, 0);
    sem_init(&done_, 0, 0);
    thread_ = std::thread([this] { Loop(); });
  }

  ~Handover() {
    work_to_do_ = nullptr;
    sem_post(&work_);
    thread_.join();
    sem_destroy(&work_);
    sem_destroy(&done_);
  }

  Handover(const Handover&) = delete;
  Handover& operator=(const Handover&) = delete;

  // One caller at a time. Rethrows what the work throws.
  void Run(const std::function<void()>& work) {
    work_to_do_ = &work;
    sem_post(&work_);
    Wait(&done_);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  static void Wait(sem_t* semaphore) {
    while (sem_wait(semaphore) != 0) {
    }
  }

  void Loop() {
    while (true) {
      Wait(&work_);
      if (work_to_do_ == nullptr) return;
      try {
        (*work_to_do_)();
      } catch (...) {
        failure_ = std::current_exception();
      }
      sem_post(&done_);
    }
  }

  sem_t work_, done_;
  // Handed over by the semaphores; null ends the thread.
  const std::function<void()>* work_to_do_ = nullptr;
  std::exception_ptr failure_;
  std::thread thread_;
};
