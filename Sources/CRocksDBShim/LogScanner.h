#pragma once

#include <cstddef>
#include <cstdint>

namespace spindle {

/// Follows the bytes appended to a WAL and knows where its last whole record ends.
///
/// A record may be cut into fragments, and RocksDB may hand them over in several appends, so the
/// end of the last successful append is not always the end of a record. The format is public:
/// blocks of 32 KiB, fragments of {crc 4, length 2, type 1, payload}, and zeros where fewer bytes
/// than a header remain in a block.
class LogScanner {
 public:
  /// Offset behind the last whole record. Meaningless once `valid()` is false.
  uint64_t record_end() const { return record_end_; }

  /// False after bytes that are no log this scanner knows (recycled files have another header).
  bool valid() const { return valid_; }

  void Invalidate() { valid_ = false; }

  void Feed(const char* data, size_t size) {
    size_t at = 0;
    while (valid_ && at < size) {
      if (payload_left_ > 0) {
        const size_t taken = payload_left_ < size - at ? payload_left_ : size - at;
        payload_left_ -= taken;
        at += taken;
        offset_ += taken;
        if (payload_left_ == 0) EndFragment();
        continue;
      }
      const size_t block_left = kBlockSize - offset_ % kBlockSize;
      if (header_size_ == 0 && block_left < kHeaderSize) {
        const size_t taken = block_left < size - at ? block_left : size - at;
        at += taken;
        offset_ += taken;
        continue;
      }
      header_[header_size_++] = static_cast<unsigned char>(data[at++]);
      offset_ += 1;
      if (header_size_ == kHeaderSize) EndHeader();
    }
  }

 private:
  static constexpr size_t kBlockSize = 32 * 1024;
  static constexpr size_t kHeaderSize = 7;
  static constexpr unsigned char kFull = 1;
  static constexpr unsigned char kLast = 4;

  void EndHeader() {
    header_size_ = 0;
    type_ = header_[6];
    payload_left_ = static_cast<size_t>(header_[4]) | static_cast<size_t>(header_[5]) << 8;
    if (type_ < kFull || type_ > kLast) valid_ = false;
    if (payload_left_ == 0) EndFragment();
  }

  void EndFragment() {
    if (type_ == kFull || type_ == kLast) record_end_ = offset_;
  }

  uint64_t offset_ = 0;
  uint64_t record_end_ = 0;
  size_t payload_left_ = 0;
  size_t header_size_ = 0;
  unsigned char header_[kHeaderSize] = {};
  unsigned char type_ = 0;
  bool valid_ = true;
};

}  // namespace spindle
