#include "CSpindleChecksum.h"

#include <string.h>

// CRC-32C, polynomial 0x1edc6f41, bits reflected: 0x82f63b78.
#define POLYNOMIAL 0x82f63b78u

// Bytes one of the three interleaved lanes takes before they are joined. crc32 has a latency of 3
// and a throughput of 1 per cycle, so three independent lanes keep the unit busy. The long lane
// amortises the join over big buffers; the short one serves what is left of them, and records of
// a few hundred bytes.
#define LONG_LANE 2048
#define SHORT_LANE 128

// slices[k][b]: the effect of byte b followed by k zero bytes.
static uint32_t slices[8][256];
// Advancing a checksum over a lane of zeros, one table per byte of the checksum.
static uint32_t long_shift[4][256];
static uint32_t short_shift[4][256];
static int accelerated;

static uint32_t advance_zeros(uint32_t crc, size_t count) {
  while (count-- > 0)
    crc = slices[0][crc & 0xff] ^ (crc >> 8);
  return crc;
}

static void fill_shift(uint32_t table[4][256], size_t lane) {
  // Advancing is linear, so the 32 single-bit checksums determine every entry.
  uint32_t bits[32];
  for (int bit = 0; bit < 32; bit++)
    bits[bit] = advance_zeros(UINT32_C(1) << bit, lane);
  for (int byte = 0; byte < 4; byte++)
    for (int value = 0; value < 256; value++) {
      uint32_t sum = 0;
      for (int bit = 0; bit < 8; bit++)
        if (value >> bit & 1)
          sum ^= bits[byte * 8 + bit];
      table[byte][value] = sum;
    }
}

// Runs when the library is loaded, before any other code can ask for a checksum, so the tables
// need no lock.
__attribute__((constructor)) static void fill_tables(void) {
  for (uint32_t value = 0; value < 256; value++) {
    uint32_t crc = value;
    for (int bit = 0; bit < 8; bit++)
      crc = (crc >> 1) ^ ((crc & 1) ? POLYNOMIAL : 0);
    slices[0][value] = crc;
  }
  for (int slice = 1; slice < 8; slice++)
    for (int value = 0; value < 256; value++) {
      uint32_t previous = slices[slice - 1][value];
      slices[slice][value] = slices[0][previous & 0xff] ^ (previous >> 8);
    }
  fill_shift(long_shift, LONG_LANE);
  fill_shift(short_shift, SHORT_LANE);
#if defined(__x86_64__)
  __builtin_cpu_init();
  accelerated = __builtin_cpu_supports("sse4.2") != 0;
#endif
}

uint32_t spindle_crc32c_extend_portable(uint32_t crc, const void *bytes, size_t count) {
  const uint8_t *next = bytes;
  crc = ~crc;
  while (count >= 8) {
    // Assembled byte by byte: the result is the same on either byte order.
    uint32_t low = crc ^ ((uint32_t)next[0] | (uint32_t)next[1] << 8 | (uint32_t)next[2] << 16 |
                          (uint32_t)next[3] << 24);
    crc = slices[7][low & 0xff] ^ slices[6][low >> 8 & 0xff] ^ slices[5][low >> 16 & 0xff] ^
          slices[4][low >> 24] ^ slices[3][next[4]] ^ slices[2][next[5]] ^ slices[1][next[6]] ^
          slices[0][next[7]];
    next += 8;
    count -= 8;
  }
  while (count-- > 0)
    crc = slices[0][(crc ^ *next++) & 0xff] ^ (crc >> 8);
  return ~crc;
}

#if defined(__x86_64__)

static inline uint64_t load64(const uint8_t *bytes) {
  uint64_t value;
  memcpy(&value, bytes, sizeof value);
  return value;
}

static inline uint64_t shift(uint32_t table[4][256], uint64_t crc) {
  return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
         table[3][crc >> 24 & 0xff];
}

__attribute__((target("sse4.2"))) static uint32_t extend_sse42(uint32_t initial,
                                                               const uint8_t *next, size_t count) {
  uint64_t crc = (uint32_t)~initial;
#define LANES(LANE, TABLE)                                                                         \
  while (count >= 3 * LANE) {                                                                      \
    uint64_t second = 0, third = 0;                                                                \
    for (const uint8_t *end = next + LANE; next < end; next += 8) {                                \
      crc = __builtin_ia32_crc32di(crc, load64(next));                                             \
      second = __builtin_ia32_crc32di(second, load64(next + LANE));                                \
      third = __builtin_ia32_crc32di(third, load64(next + 2 * LANE));                              \
    }                                                                                              \
    crc = shift(TABLE, crc) ^ second;                                                              \
    crc = shift(TABLE, crc) ^ third;                                                               \
    next += 2 * LANE;                                                                              \
    count -= 3 * LANE;                                                                             \
  }
  LANES(LONG_LANE, long_shift)
  LANES(SHORT_LANE, short_shift)
#undef LANES
  while (count >= 8) {
    crc = __builtin_ia32_crc32di(crc, load64(next));
    next += 8;
    count -= 8;
  }
  uint32_t rest = (uint32_t)crc;
  while (count-- > 0)
    rest = __builtin_ia32_crc32qi(rest, *next++);
  return ~rest;
}

#endif

uint32_t spindle_crc32c_extend(uint32_t crc, const void *bytes, size_t count) {
#if defined(__x86_64__)
  if (accelerated)
    return extend_sse42(crc, bytes, count);
#endif
  return spindle_crc32c_extend_portable(crc, bytes, count);
}
