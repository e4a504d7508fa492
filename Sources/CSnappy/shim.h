#ifndef SPINDLE_CSNAPPY_SHIM_H
#define SPINDLE_CSNAPPY_SHIM_H

#include <snappy-c.h>

#endif
