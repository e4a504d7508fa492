#ifndef SPINDLE_CROCKSDB_SHIM_H
#define SPINDLE_CROCKSDB_SHIM_H

#include <rocksdb/c.h>

#endif
