// The spool's records as the baseline makes and checks them: 12 bytes of header with the CRC-32C of
// header and body, and the body, which is the payload as it is or compressed behind its length.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>

#include <lz4.h>
#include <zstd.h>

#include <rocksdb/slice.h>

extern "C" {
#include "CSpindleChecksum.h"
}

enum class Codec : char { none = 0, lz4 = 1, zstd = 2 };

constexpr size_t kHeaderBytes = 12;
constexpr size_t kLengthBytes = 4;
// The level that Spindle takes.
constexpr int kZstdLevel = 1;

inline void PutBigEndian(uint32_t value, char* out) {
  for (int i = 0; i < 4; i++) out[i] = static_cast<char>(value >> (24 - 8 * i));
}

inline uint32_t BigEndian(const char* in) {
  uint32_t value = 0;
  for (int i = 0; i < 4; i++) value = value << 8 | static_cast<unsigned char>(in[i]);
  return value;
}

inline uint32_t MaskedChecksum(const char* header, const rocksdb::Slice& body) {
  const uint32_t plain = spindle_crc32c_extend(spindle_crc32c_extend(0, header, 8), body.data(),
                                               body.size());
  return (plain >> 15 | plain << 17) + 0xa282ead8u;
}

// A record before it is written; the body is the payload itself or `packed`.
struct Record {
  char header[kHeaderBytes];
  std::string packed;
  rocksdb::Slice body;
};

// Compresses where that saves at least 1/16, as Spindle does.
inline Codec Compress(const rocksdb::Slice& payload, Codec codec, std::string* packed) {
  const size_t most = payload.size() - (payload.size() + 15) / 16;
  if (codec == Codec::none || most <= kLengthBytes) return Codec::none;
  packed->resize(most);
  char* const out = packed->data() + kLengthBytes;
  const size_t room = most - kLengthBytes;
  size_t written = 0;
  if (codec == Codec::lz4) {
    written = static_cast<size_t>(LZ4_compress_default(payload.data(), out,
                                                       static_cast<int>(payload.size()),
                                                       static_cast<int>(room)));
  } else {
    thread_local const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(
        ZSTD_createCCtx(), &ZSTD_freeCCtx);
    written = ZSTD_compressCCtx(context.get(), out, room, payload.data(), payload.size(),
                                kZstdLevel);
    if (ZSTD_isError(written)) written = 0;
  }
  if (written == 0) return Codec::none;
  PutBigEndian(static_cast<uint32_t>(payload.size()), packed->data());
  packed->resize(kLengthBytes + written);
  return codec;
}

inline void MakeRecord(const rocksdb::Slice& payload, Codec wanted, Record* record) {
  const Codec codec = Compress(payload, wanted, &record->packed);
  record->body = codec == Codec::none ? payload : rocksdb::Slice(record->packed);
  char* const header = record->header;
  header[0] = 1;
  header[1] = static_cast<char>(codec);
  header[2] = header[3] = 0;
  PutBigEndian(static_cast<uint32_t>(record->body.size()), header + 4);
  PutBigEndian(MaskedChecksum(header, record->body), header + 8);
}

// The body of a record, in place, after every check.
inline rocksdb::Slice BodyOf(const rocksdb::Slice& record) {
  if (record.size() < kHeaderBytes || record[0] != 1 || record[1] < 0 || record[1] > 2 ||
      record[2] != 0 || record[3] != 0) {
    throw std::runtime_error("a record's header is damaged");
  }
  const rocksdb::Slice body(record.data() + kHeaderBytes, record.size() - kHeaderBytes);
  if (BigEndian(record.data() + 4) != body.size() ||
      BigEndian(record.data() + 8) != MaskedChecksum(record.data(), body)) {
    throw std::runtime_error("a record's checksum is wrong");
  }
  return body;
}

// The payload of a compressed body.
inline std::string Decompress(Codec codec, const rocksdb::Slice& body) {
  if (body.size() < kLengthBytes) throw std::runtime_error("a compressed record is too short");
  std::string payload(BigEndian(body.data()), '\0');
  const char* const in = body.data() + kLengthBytes;
  const size_t bytes = body.size() - kLengthBytes;
  size_t written = 0;
  if (codec == Codec::lz4) {
    const int found = LZ4_decompress_safe(in, payload.data(), static_cast<int>(bytes),
                                          static_cast<int>(payload.size()));
    written = found < 0 ? 0 : static_cast<size_t>(found);
  } else {
    thread_local const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(
        ZSTD_createDCtx(), &ZSTD_freeDCtx);
    written = ZSTD_decompressDCtx(context.get(), payload.data(), payload.size(), in, bytes);
  }
  if (written != payload.size()) throw std::runtime_error("a compressed record is damaged");
  return payload;
}

// The payload of a record, copied or decompressed.
inline std::string PayloadOf(const rocksdb::Slice& record) {
  const rocksdb::Slice body = BodyOf(record);
  const auto codec = static_cast<Codec>(record[1]);
  return codec == Codec::none ? body.ToString() : Decompress(codec, body);
}
