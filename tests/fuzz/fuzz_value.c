/* libFuzzer harness: a plain reader (data only) of any bytes. What it makes of them must be packed
 * again without a failure.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -iquote src … tests/fuzz/fuzz_value.c
 * libjobrun.a
 *
 * SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <lauxlib.h>
#include <uv.h>

#include "pack.h"
#include "unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { MEMORY = 64 << 20 };

typedef struct input {
  jr_values values;
  const char *bytes;
  size_t len;
  jr_buf again;
} input;

static int unpack_and_pack(lua_State *L) {
  input *in = lua_touserdata(L, 1);
  luaL_newmetatable(L, "error");
  jr_values_open(&in->values, L);
  int top = lua_gettop(L);
  int n = jr_values_unpack(&in->values, L, in->bytes, in->len);
  if (lua_gettop(L) != top + (n < 0 ? 0 : n)) abort();
  if (n >= 0 && jr_values_pack(&in->values, L, top + 1, n, JR_VALUES_RESULTS, &in->again) < 0)
    abort();
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len) {
  jr_mem mem, buf_mem;
  jr_mem_init(&mem, NULL, NULL, MEMORY);
  jr_mem_init(&buf_mem, NULL, NULL, 0);
  lua_State *L = lua_newstate(jr_mem_lua_alloc, &mem);
  if (!L) return 0;
  input in = {.bytes = (const char *)bytes, .len = len};
  jr_values_init(&in.values, &mem, false);
  jr_buf_init(&in.again, &buf_mem);
  lua_pushcfunction(L, unpack_and_pack);
  lua_pushlightuserdata(L, &in);
  lua_pcall(L, 1, 0, 0);
  lua_close(L);
  jr_values_fini(&in.values);
  jr_buf_fini(&in.again);
  if (mem.used || buf_mem.used) abort();
  return 0;
}
