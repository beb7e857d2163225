/* Prints the statements of the store that are for both engines, a line each: its name, a tab, its
 * text. For tests/store_sql_test.lua.
 *
 * SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "storesql.h"

int main(void) {
#define X(name, text) puts(#name "\t" text);
  JR_SQL_LIST(X)
#undef X
#define X(name, word, text) puts(word "\t" text);
  JR_SQL_QUERIES(X)
#undef X
  return 0;
}
