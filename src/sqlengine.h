/* SQLite as the engine of a store (store.h): an embedded file, one process at a time.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_SQLENGINE_H
#define JR_SQLENGINE_H

#include "store.h"

extern const jr_store_engine jr_sqlite_engine;

#endif
