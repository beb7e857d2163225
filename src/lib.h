/* Opens the Lua side of a runtime: standard libraries, our C modules, the embedded Lua modules.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_H
#define JR_LIB_H

#include <stddef.h>

#include <lua.h>

/* One embedded file: of lua/ (module "jobrun.every" is "jobrun/every.lua"), or schema.sql. */
typedef struct jr_embedded {
  const char *name;
  const char *start;
  const char *end;
} jr_embedded;

/* Ends with an entry of NULLs. Made by the Makefile from lua/. */
extern const jr_embedded jr_embedded_files[];

/* The embedded file of that name, or NULL. */
const jr_embedded *jr_embedded_find(const char *name);

/* In a runtime's main state; may raise. Lua's standard library, the coroutine library with
 * waits, "jobrun.core.*", the searcher for embedded modules, and _G's fallback to the words. */
void jr_libs_open(lua_State *L);

/* In a worker's state, as a C function: the standard library, errors, the searcher, and what
 * jobrun.worker gives it. May raise. */
int jr_libs_open_worker(lua_State *L);

#endif
