#include "FaultPlan.h"

#include <cerrno>
#include <cstring>

#include "CRocksDBShim.h"

namespace spindle {

static_assert(FaultPlan::kOperations == SPINDLE_ROCKS_FAULT_MANIFEST_SYNC + 1);

bool FaultPlan::Arm(int operation, uint64_t skip, int64_t fail, int error,
                    uint64_t partial) noexcept {
  if (operation < 0 || operation >= kOperations) return false;
  if (error != SPINDLE_ROCKS_FAULT_EIO && error != SPINDLE_ROCKS_FAULT_ENOSPC) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  Slot& slot = slots_[static_cast<size_t>(operation)];
  slot.skip = skip;
  slot.fail = fail;
  slot.fault = Fault{error, partial};
  const uint32_t bit = 1u << operation;
  if (fail == 0) {
    armed_.fetch_and(~bit);
  } else {
    armed_.fetch_or(bit);
  }
  return true;
}

void FaultPlan::Clear() noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  armed_.store(0);
}

std::optional<FaultPlan::Fault> FaultPlan::TakeArmed(int operation) noexcept {
  std::lock_guard<std::mutex> lock(mutex_);
  const uint32_t bit = 1u << operation;
  if ((armed_.load() & bit) == 0) return std::nullopt;
  Slot& slot = slots_[static_cast<size_t>(operation)];
  if (slot.skip > 0) {
    slot.skip -= 1;
    return std::nullopt;
  }
  if (slot.fail > 0) {
    slot.fail -= 1;
    if (slot.fail == 0) armed_.fetch_and(~bit);
  }
  slot.taken += 1;
  return slot.fault;
}

uint64_t FaultPlan::Count(int operation) const noexcept {
  if (operation < 0 || operation >= kOperations) return 0;
  std::lock_guard<std::mutex> lock(mutex_);
  return slots_[static_cast<size_t>(operation)].taken;
}

rocksdb::IOStatus FaultPlan::StatusOf(const Fault& fault, const char* action,
                                      const std::string& path) {
  const std::string context = std::string(action) + ": " + path;
  if (fault.error == SPINDLE_ROCKS_FAULT_ENOSPC) {
    rocksdb::IOStatus status = rocksdb::IOStatus::NoSpace(context, strerror(ENOSPC));
    status.SetRetryable(true);
    return status;
  }
  return rocksdb::IOStatus::IOError(context, strerror(EIO));
}

}  // namespace spindle
