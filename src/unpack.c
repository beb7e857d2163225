/* Bytes into values.
 *
 * No length is believed before the bytes are there, and no size of a table before the message is
 * long enough for what it announces.
 *
 * SPDX-License-Identifier: MIT */
#include "unpack.h"

#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

typedef struct unpacker {
  jr_values *v;
  lua_State *L;
  const char *at, *end;
  int refs; /* the stack's index of the list of tables and functions; 0 = none is kept */
  lua_Integer ids;
  uint32_t index; /* which of the message's values is being read */
  int depth;
  bool is_call;  /* the first value is a function to be called */
  size_t budget; /* how many values tables may still announce: each takes at least a byte */
} unpacker;

static int unpack_value(unpacker *u);

static size_t left(const unpacker *u) {
  return (size_t)(u->end - u->at);
}

/* Copies the next `len` bytes. */
static bool get(unpacker *u, void *to, size_t len) {
  if (left(u) < len) return false;
  memcpy(to, u->at, len);
  u->at += len;
  return true;
}

/* Lends the next `len` bytes, or NULL. */
static const char *borrow(unpacker *u, size_t len) {
  if (left(u) < len) return NULL;
  u->at += len;
  return u->at - len;
}

/* Numbers the table or function on top. */
static void note(unpacker *u) {
  if (!u->refs) return;
  lua_pushvalue(u->L, -1);
  lua_rawseti(u->L, u->refs, ++u->ids);
}

static int unpack_integer(unpacker *u) {
  lua_Integer value;
  if (!get(u, &value, sizeof value)) return UV_EINVAL;
  lua_pushinteger(u->L, value);
  return 0;
}

static int unpack_float(unpacker *u) {
  lua_Number value;
  if (!get(u, &value, sizeof value)) return UV_EINVAL;
  lua_pushnumber(u->L, value);
  return 0;
}

static int unpack_text(unpacker *u, bool is_small) {
  uint32_t len = 0;
  uint8_t small;
  if (is_small) {
    if (!get(u, &small, sizeof small)) return UV_EINVAL;
    len = small;
  } else if (!get(u, &len, sizeof len)) {
    return UV_EINVAL;
  }
  const char *text = borrow(u, len);
  if (!text) return UV_EINVAL;
  lua_pushlstring(u->L, text, len);
  return 0;
}

static int unpack_ref(unpacker *u) {
  uint32_t id;
  if (!get(u, &id, sizeof id) || id == 0 || id > u->ids) return UV_EINVAL;
  lua_rawgeti(u->L, u->refs, id);
  return 0;
}

/* ---- tables -------------------------------------------------------------------------------- */

static bool is_key(lua_State *L) {
  if (lua_isnil(L, -1)) return false;
  return lua_type(L, -1) != LUA_TNUMBER || !isnan(lua_tonumber(L, -1));
}

static int unpack_pair(unpacker *u) {
  if (unpack_value(u) < 0 || !is_key(u->L) || unpack_value(u) < 0) return UV_EINVAL;
  lua_rawset(u->L, -3);
  return 0;
}

static int unpack_table(unpacker *u, enum jr_tag tag) {
  uint32_t counts[2];
  if (!get(u, counts, sizeof counts)) return UV_EINVAL;
  size_t announced = counts[0] + (size_t)counts[1] * 2;
  if (announced > u->budget) return UV_EINVAL;
  u->budget -= announced;
  lua_createtable(u->L, (int)counts[0], (int)counts[1]);
  note(u);
  for (uint32_t i = 1; i <= counts[0]; i++) {
    if (unpack_value(u) < 0) return UV_EINVAL;
    lua_rawseti(u->L, -2, i);
  }
  for (uint32_t i = 0; i < counts[1]; i++)
    if (unpack_pair(u) < 0) return UV_EINVAL;
  if (tag == JR_TAG_TABLE) return 0;
  lua_rawgeti(u->L, LUA_REGISTRYINDEX, u->v->metatable_ref);
  if (!lua_istable(u->L, -1)) return UV_EINVAL;
  lua_setmetatable(u->L, -2);
  return 0;
}

/* ---- functions ----------------------------------------------------------------------------- */

/* Makes upvalue `n` of the function on top this state's globals. One that is reused has them
 * already, unless the script assigned to _ENV. */
static int unpack_env(unpacker *u, int n) {
  lua_State *L = u->L;
  if (!lua_getupvalue(L, -1, n)) return UV_EINVAL;
  lua_pushglobaltable(L);
  bool is_set = lua_rawequal(L, -1, -2);
  lua_replace(L, -2);
  if (!is_set) return jr_code_set_upvalue(&u->v->functions, L, n) ? 0 : UV_EINVAL;
  lua_pop(L, 1);
  return 0;
}

static int unpack_join(unpacker *u, int n) {
  uint64_t first;
  if (!u->refs || !get(u, &first, sizeof first)) return UV_EINVAL;
  int place = (int)(first & 0xFF);
  lua_rawgeti(u->L, u->refs, (lua_Integer)(first >> 8));
  bool is_good = lua_isfunction(u->L, -1) && !lua_iscfunction(u->L, -1) &&
                 lua_getupvalue(u->L, -1, place) != NULL;
  if (!is_good || !lua_getupvalue(u->L, -3, n)) return UV_EINVAL;
  lua_pop(u->L, 2);
  lua_upvaluejoin(u->L, -2, n, -1, place);
  lua_pop(u->L, 1);
  return 0;
}

static int unpack_upvalue(unpacker *u, int n, bool is_new) {
  if (left(u) == 0) return UV_EINVAL;
  if (*u->at == JR_TAG_ENV || *u->at == JR_TAG_JOIN)
    return *u->at++ == JR_TAG_ENV ? unpack_env(u, n) : unpack_join(u, n);
  if (unpack_value(u) < 0) return UV_EINVAL;
  if (!is_new) return jr_code_set_upvalue(&u->v->functions, u->L, n) ? 0 : UV_EINVAL;
  if (lua_setupvalue(u->L, -2, n)) return 0;
  return UV_EINVAL;
}

static int unpack_function(unpacker *u) {
  jr_code_text text;
  uint32_t len;
  uint8_t upvalues, flags;
  bool is_call = u->is_call && u->depth == 1 && u->index == 0;
  if (!get(u, &text.hash, 8) || !get(u, &len, 4) || !get(u, &upvalues, 1) || !get(u, &flags, 1))
    return UV_EINVAL;
  text.len = len;
  text.bytes = borrow(u, len);
  if (!text.bytes) return UV_EINVAL;
  bool may_reuse = flags & JR_FUNCTION_ENV || (is_call && !u->refs);
  jr_code_push(&u->v->functions, u->L, &text, may_reuse);
  note(u);
  for (int n = 1; n <= upvalues; n++)
    if (unpack_upvalue(u, n, !may_reuse) < 0) return UV_EINVAL;
  return 0;
}

/* ---- any value ----------------------------------------------------------------------------- */

static int unpack_name(unpacker *u) {
  uint32_t sizes[2];
  if (!get(u, sizes, sizeof sizes)) return UV_EINVAL;
  jr_name name = {.module_len = sizes[0]};
  name.module = borrow(u, sizes[0]);
  if (!name.module) return UV_EINVAL;
  if (sizes[1] != UINT32_MAX) {
    name.field_len = sizes[1];
    name.field = borrow(u, sizes[1]);
    if (!name.field) return UV_EINVAL;
  }
  jr_names_push(&u->v->names, u->L, &name);
  return 0;
}

static int unpack_c_function(unpacker *u) {
  lua_CFunction fn;
  if (!get(u, &fn, sizeof fn)) return UV_EINVAL;
  lua_pushcfunction(u->L, fn);
  return 0;
}

static int unpack_pointer(unpacker *u) {
  void *pointer;
  if (!get(u, &pointer, sizeof pointer)) return UV_EINVAL;
  lua_pushlightuserdata(u->L, pointer);
  return 0;
}

static int unpack_nested(unpacker *u, enum jr_tag tag) {
  if (u->depth == JR_VALUES_DEPTH) return UV_EINVAL;
  luaL_checkstack(u->L, JR_VALUES_SLOTS, "too many nested values");
  u->depth++;
  int status = tag == JR_TAG_FUNCTION ? unpack_function(u) : unpack_table(u, tag);
  u->depth--;
  return status;
}

/* Pushes one value; on failure anything may be on the stack. */
static int unpack_value(unpacker *u) {
  uint8_t tag;
  if (!get(u, &tag, 1)) return UV_EINVAL;
  if (tag >= JR_TAG_CODE && !u->v->code) return UV_EINVAL;
  switch (tag) {
  case JR_TAG_NIL:
    lua_pushnil(u->L);
    return 0;
  case JR_TAG_FALSE:
  case JR_TAG_TRUE:
    lua_pushboolean(u->L, tag == JR_TAG_TRUE);
    return 0;
  case JR_TAG_INTEGER:
    return unpack_integer(u);
  case JR_TAG_FLOAT:
    return unpack_float(u);
  case JR_TAG_STRING:
  case JR_TAG_LONG_STRING:
    return unpack_text(u, tag == JR_TAG_STRING);
  case JR_TAG_TABLE:
  case JR_TAG_ERROR:
  case JR_TAG_FUNCTION:
    return unpack_nested(u, tag);
  case JR_TAG_REF:
    return unpack_ref(u);
  case JR_TAG_NAME:
    return unpack_name(u);
  case JR_TAG_C_FUNCTION:
    return unpack_c_function(u);
  case JR_TAG_POINTER:
    return unpack_pointer(u);
  default:
    return UV_EINVAL;
  }
}

static int unpack_all(unpacker *u, uint32_t count) {
  for (u->index = 0; u->index < count; u->index++)
    if (unpack_value(u) < 0) return UV_EINVAL;
  return u->at == u->end ? 0 : UV_EINVAL;
}

int jr_values_unpack(jr_values *v, lua_State *L, const char *bytes, size_t len) {
  unpacker u = {.v = v, .L = L, .at = bytes, .end = bytes + len, .budget = len};
  uint8_t flags;
  uint32_t count;
  int top = lua_gettop(L);
  if (len > INT_MAX || !get(&u, &flags, 1) || !get(&u, &count, sizeof count) || count > left(&u))
    return UV_EINVAL;
  luaL_checkstack(L, (int)count + JR_VALUES_SLOTS, "too many values");
  u.is_call = flags & JR_HEAD_CALL;
  if (flags & JR_HEAD_REFS) {
    lua_newtable(L);
    u.refs = lua_gettop(L);
  }
  if (unpack_all(&u, count) < 0) {
    lua_settop(L, top);
    return UV_EINVAL;
  }
  if (u.refs) lua_remove(L, u.refs);
  return (int)count;
}
