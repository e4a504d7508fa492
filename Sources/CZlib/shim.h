#ifndef SPINDLE_CZLIB_SHIM_H
#define SPINDLE_CZLIB_SHIM_H

#include <zlib.h>

/* inflateInit2 is a macro, which Swift cannot import. 15 + 16: any window, gzip header only. */
static inline int spindle_inflate_init(z_stream *stream) {
  return inflateInit2(stream, 15 + 16);
}

#endif
