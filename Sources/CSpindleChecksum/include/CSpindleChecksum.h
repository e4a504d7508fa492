#ifndef CSPINDLE_CHECKSUM_H
#define CSPINDLE_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/// Extends a CRC-32C (Castagnoli, as in RFC 3720) over `count` more bytes. `crc` is the checksum of
/// the bytes before, 0 at the start. `bytes` may be null when `count` is 0.
///
/// Uses the processor's crc32 instruction where it has one; that is asked once, when the library
/// is loaded.
uint32_t spindle_crc32c_extend(uint32_t crc, const void *bytes, size_t count);

/// The table-driven implementation, for the test that compares the two.
uint32_t spindle_crc32c_extend_portable(uint32_t crc, const void *bytes, size_t count);

#endif
