#ifndef SPINDLE_CLZ4_SHIM_H
#define SPINDLE_CLZ4_SHIM_H

#include <lz4.h>

#endif
