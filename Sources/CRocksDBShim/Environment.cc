#include <rocksdb/env.h>

#include <memory>

#include "CHandles.h"
#include "GuardFileSystem.h"

struct spindle_rocks_env_t {
  std::shared_ptr<spindle::GuardFileSystem> system;
  std::unique_ptr<rocksdb::Env> env;
  rocksdb_env_t handle;
};

namespace {

spindle::GuardState& GuardOf(const spindle_rocks_env_t* env) { return *env->system->state; }

}  // namespace

extern "C" {

spindle_rocks_env_t* spindle_rocks_env_create(void) {
  try {
    auto result = std::make_unique<spindle_rocks_env_t>();
    result->system = std::make_shared<spindle::GuardFileSystem>();
    result->env = rocksdb::NewCompositeEnv(result->system);
    // `is_default` keeps a mistaken rocksdb_env_destroy from deleting what `env` owns.
    result->handle = rocksdb_env_t{result->env.get(), true};
    return result.release();
  } catch (...) {
    return nullptr;
  }
}

void spindle_rocks_env_destroy(spindle_rocks_env_t* env) { delete env; }

rocksdb_env_t* spindle_rocks_env_handle(spindle_rocks_env_t* env) { return &env->handle; }

int spindle_rocks_env_wal_failed(const spindle_rocks_env_t* env) {
  return GuardOf(env).wals.failed() ? 1 : 0;
}

int spindle_rocks_env_wal_failure(const spindle_rocks_env_t* env, int* kind, uint64_t* log_number,
                                  int* no_space, char** text) {
  spindle::WalRegistry::Failure failure;
  try {
    failure = GuardOf(env).wals.failure();
  } catch (...) {
    // The text could not be copied; that something failed must still be told.
    failure.kind = SPINDLE_ROCKS_WAL_APPEND_FAILED;
  }
  if (kind != nullptr) *kind = failure.kind;
  if (log_number != nullptr) *log_number = failure.log_number;
  if (no_space != nullptr) *no_space = failure.no_space ? 1 : 0;
  if (text != nullptr) {
    *text = failure.kind == SPINDLE_ROCKS_WAL_OK ? nullptr : spindle::CopyText(failure.text);
  }
  return failure.kind;
}

int spindle_rocks_env_retire_failed_wal(spindle_rocks_env_t* env, char** errptr) {
  spindle::GuardState& guard = GuardOf(env);
  const bool retired =
      spindle::Guarded(errptr, [&] { return guard.wals.RetireFailed(guard.faults); });
  return retired ? 0 : -1;
}

int spindle_rocks_env_clear_wal_failure(spindle_rocks_env_t* env) {
  return GuardOf(env).wals.Clear() ? 0 : -1;
}

int spindle_rocks_env_sync_wals(spindle_rocks_env_t* env, char** errptr) {
  return spindle::Guarded(errptr, [&] { return env->system->SyncWals(); }) ? 0 : -1;
}

size_t spindle_rocks_env_wal_sizes(const spindle_rocks_env_t* env, uint64_t* log_numbers,
                                   uint64_t* appended, uint64_t* synced, size_t capacity) {
  return GuardOf(env).wals.Sizes(log_numbers, appended, synced, capacity);
}

void spindle_rocks_env_totals(const spindle_rocks_env_t* env, spindle_rocks_env_totals_t* totals) {
  const spindle::GuardState& guard = GuardOf(env);
  totals->wal_bytes_written = guard.wals.bytes_written.load(std::memory_order_relaxed);
  totals->wal_syncs = guard.wals.syncs.load(std::memory_order_relaxed);
  totals->other_bytes_written = guard.other_bytes_written.load(std::memory_order_relaxed);
}

int spindle_rocks_env_inject(spindle_rocks_env_t* env, int operation, uint64_t skip_count,
                             int64_t fail_count, int error, uint64_t partial_bytes) {
  const bool armed =
      GuardOf(env).faults.Arm(operation, skip_count, fail_count, error, partial_bytes);
  return armed ? 0 : -1;
}

void spindle_rocks_env_clear_faults(spindle_rocks_env_t* env) { GuardOf(env).faults.Clear(); }

uint64_t spindle_rocks_env_fault_count(const spindle_rocks_env_t* env, int operation) {
  return GuardOf(env).faults.Count(operation);
}

void spindle_rocks_env_hold_tables(spindle_rocks_env_t* env, int held) {
  GuardOf(env).tables_held.store(held != 0, std::memory_order_relaxed);
}

void spindle_rocks_env_set_sync_delay_us(spindle_rocks_env_t* env, uint32_t microseconds) {
  GuardOf(env).sync_delay_us.store(microseconds, std::memory_order_relaxed);
}

}  // extern "C"
