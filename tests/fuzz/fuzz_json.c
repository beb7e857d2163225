/* libFuzzer harness: any bytes as JSON text, by the Lua binding. What is taken is written, and must
 * be taken again and written the same.
 *
 *   make B=build-fuzz CC=clang CFLAGS="-g -O1 -fsanitize=fuzzer-no-link,address,undefined" \
 *     build-fuzz/libjobrun.a
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -iquote src
 * tests/fuzz/fuzz_json.c \ build-fuzz/libjobrun.a $(pkg-config --cflags --libs lua5.4 libuv) -lm
 *
 * SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>

#include "glue.h"
#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);
int jr_open_json(lua_State *L);

static jr_mem mem;
static lua_State *state;

static void open_state(void) {
  jr_mem_init(&mem, NULL, NULL, 0);
  state = lua_newstate(jr_mem_lua_alloc, &mem);
  *(void **)lua_getextraspace(state) = NULL;
  jr_errors_open(state);
  luaL_requiref(state, "json", jr_open_json, 0);
}

/* json.NAME of the value on top, which it replaces. */
static int call(const char *name, int replace) {
  int nargs = strcmp(name, "encode") == 0 ? 4 : 2;
  lua_getfield(state, 1, name);
  lua_insert(state, -2);
  if (nargs == 4) {
    lua_pushinteger(state, replace ? 2 : 0);
    lua_pushboolean(state, !replace);
  }
  lua_pushboolean(state, replace);
  return lua_pcall(state, nargs, 1, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  if (!state) open_state();
  if (len == 0) return 0;
  int replace = bytes[0] & 1;
  lua_settop(state, 1);
  lua_pushlstring(state, (const char *)bytes + 1, len - 1);
  if (call("decode", replace) != LUA_OK) return 0;
  if (call("encode", replace) != LUA_OK) abort();
  lua_pushvalue(state, -1);
  if (call("decode", 0) != LUA_OK) abort();
  if (call("encode", replace) != LUA_OK) abort();
  if (!replace && !lua_rawequal(state, -1, -2)) abort(); /* unsorted with replace */
  return 0;
}
