/* Values into bytes.
 *
 * The walk must not raise, for it writes into memory that belongs to no Lua object: it calls
 * nothing of Lua's API that may (no string is made, no table grown, no metamethod run). How it came
 * to a value is kept as a chain of steps on the C stack, so that a refusal can tell the path at no
 * cost to those that are not refused.
 *
 * SPDX-License-Identifier: MIT */
#include "pack.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "status.h"

enum { HEAD = 5, FUNCTION_HEAD = 14 };

typedef struct packer {
  jr_values *v;
  lua_State *L;
  jr_buf *out;
  size_t start; /* of the message in `out` */
  jr_values_role role;
  uint32_t ids;
  int depth;
  bool has_refs;
} packer;

/* How the walk came to a value, innermost first. `index` is where on the stack the table's key or
 * the upvalue's function lies, or which of the values it is. */
typedef struct step {
  const struct step *up;
  enum { AT_VALUE, AT_FIELD, AT_KEY, AT_UPVALUE } kind;
  int index;
  const char *name;
} step;

static int pack_value(packer *p, int index, const step *at);

/* ---- refusals ------------------------------------------------------------------------------ */

static void say(packer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(packer *p, const char *fmt, ...) {
  size_t len = strlen(p->v->error);
  va_list args;
  va_start(args, fmt);
  vsnprintf(p->v->error + len, JR_VALUES_ERROR - len, fmt, args);
  va_end(args);
}

static void say_key(packer *p, int index, bool first) {
  switch (lua_type(p->L, index)) {
  case LUA_TSTRING:
    say(p, "%s%.60s", first ? "" : ".", lua_tostring(p->L, index));
    break;
  case LUA_TNUMBER:
    say(p, "[%.14g]", lua_tonumber(p->L, index));
    break;
  default:
    say(p, "[%s]", luaL_typename(p->L, index));
  }
}

static void say_value(packer *p, int index, bool is_last) {
  if (p->role == JR_VALUES_RESULTS)
    say(p, "result %d", index + 1);
  else if (index > 0)
    say(p, "argument %d", index);
  else if (is_last)
    say(p, "the function");
}

static void say_path(packer *p, const step *at, const step *next) {
  if (at->up) say_path(p, at->up, at);
  bool goes_on = at->up && at->up->kind == AT_FIELD;
  if (p->v->error[0] && !(at->kind == AT_FIELD && goes_on)) say(p, ", ");
  switch (at->kind) {
  case AT_VALUE:
    say_value(p, at->index, !next);
    break;
  case AT_KEY:
    say(p, "a key");
    break;
  case AT_UPVALUE:
    say(p, "upvalue '%s'", at->name);
    break;
  case AT_FIELD:
    if (!goes_on) say(p, "field '");
    say_key(p, at->index, !goes_on);
    if (!next || next->kind != AT_FIELD) say(p, "'");
  }
}

/* The innermost function on the way, as " of function at script.lua:12". */
static void say_function(packer *p, const step *at) {
  char name[JR_CODE_NAME];
  while (at && at->kind != AT_UPVALUE) at = at->up;
  if (!at) return;
  jr_code_name(p->L, at->index, name);
  say(p, " of %s", name);
}

static int put_text(packer *p, const char *text, size_t len);

static int refuse(packer *p, const char *type, const step *at) {
  if (p->role == JR_VALUES_FAILURE) return put_text(p, type, strlen(type));
  p->v->error[0] = 0;
  say_path(p, at, NULL);
  say(p, " (%s)", type);
  say_function(p, at);
  say(p, p->role == JR_VALUES_CALL ? " cannot travel to a worker thread"
                                   : " cannot travel back from a worker thread");
  return JR_EUSAGE;
}

static int refuse_depth(packer *p, const step *at) {
  if (p->role == JR_VALUES_FAILURE) return put_text(p, "…", strlen("…"));
  const step *root = at;
  while (root->up) root = root->up;
  p->v->error[0] = 0;
  say_path(p, root, NULL);
  say(p, ": tables and functions nested deeper than %d cannot travel", JR_VALUES_DEPTH);
  return JR_ELIMIT;
}

static int refuse_size(packer *p) {
  p->v->error[0] = 0;
  say(p, "the values of one call take more than %d MiB", JR_VALUES_BYTES >> 20);
  return JR_ELIMIT;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Room for a tag and `len` bytes behind it, all counted as written; NULL = no memory. */
static inline char *put_tag(packer *p, enum jr_tag tag, size_t len) {
  jr_buf *out = p->out;
  bool has_room = out->cap - out->len > len;
  char *to = has_room ? out->data + out->len : jr_buf_reserve(out, len + 1);
  if (!to) return NULL;
  to[0] = (char)tag;
  out->len += len + 1;
  return to + 1;
}

static inline int put(packer *p, enum jr_tag tag, const void *bytes, size_t len) {
  char *to = put_tag(p, tag, len);
  if (!to) return UV_ENOMEM;
  if (len) memcpy(to, bytes, len);
  return 0;
}

static bool is_too_big(const packer *p, size_t more) {
  return more > JR_VALUES_BYTES || p->out->len - p->start > JR_VALUES_BYTES - more;
}

static int put_text(packer *p, const char *text, size_t len) {
  uint32_t size = (uint32_t)len;
  uint8_t small = (uint8_t)len;
  if (is_too_big(p, len)) return refuse_size(p);
  bool is_small = len <= UINT8_MAX;
  size_t head = is_small ? sizeof small : sizeof size;
  char *to = put_tag(p, is_small ? JR_TAG_STRING : JR_TAG_LONG_STRING, head + len);
  if (!to) return UV_ENOMEM;
  if (is_small)
    memcpy(to, &small, sizeof small);
  else
    memcpy(to, &size, sizeof size);
  memcpy(to + head, text, len);
  return 0;
}

static int put_name(packer *p, const jr_name *name) {
  if (is_too_big(p, name->module_len + name->field_len)) return refuse_size(p);
  uint32_t sizes[2] = {(uint32_t)name->module_len,
                       name->field ? (uint32_t)name->field_len : UINT32_MAX};
  int status = put(p, JR_TAG_NAME, sizes, sizeof sizes);
  jr_buf_add(p->out, name->module, name->module_len);
  if (name->field) jr_buf_add(p->out, name->field, name->field_len);
  return p->out->failed ? UV_ENOMEM : status;
}

static int pack_number(packer *p, int index) {
  if (lua_isinteger(p->L, index)) {
    lua_Integer value = lua_tointeger(p->L, index);
    return put(p, JR_TAG_INTEGER, &value, sizeof value);
  }
  lua_Number value = lua_tonumber(p->L, index);
  return put(p, JR_TAG_FLOAT, &value, sizeof value);
}

static int pack_string(packer *p, int index) {
  size_t len;
  const char *text = lua_tolstring(p->L, index, &len);
  return put_text(p, text, len);
}

/* A table or function that was met before, as a JR_TAG_REF. False if it was not. */
static bool pack_seen(packer *p, const void *ptr, int *status) {
  uint64_t id;
  if (!jr_ptrmap_get(&p->v->seen, ptr, &id)) return false;
  uint32_t id32 = (uint32_t)id;
  p->has_refs = true;
  *status = put(p, JR_TAG_REF, &id32, sizeof id32);
  return true;
}

static int see(packer *p, const void *ptr) {
  return jr_ptrmap_put(&p->v->seen, ptr, ++p->ids);
}

/* ---- tables -------------------------------------------------------------------------------- */

/* Walks the table once. While the keys come as 1, 2, 3 … only the values are written; from the
 * first other key on, pairs. The two counts are filled in at the end. */
static int pack_fields(packer *p, int index, const step *at, uint32_t counts[2]) {
  lua_State *L = p->L;
  int status = 0;
  step field = {.up = at, .kind = AT_FIELD, .index = lua_gettop(L) + 1};
  for (lua_pushnil(L); status == 0 && lua_next(L, index); lua_pop(L, 1)) {
    bool in_array = counts[1] == 0 && lua_isinteger(L, -2) &&
                    lua_tointeger(L, -2) == (lua_Integer)counts[0] + 1;
    if (!in_array) {
      step key = {.up = at, .kind = AT_KEY};
      status = pack_value(p, field.index, &key);
      if (status < 0) break;
    }
    status = pack_value(p, field.index + 1, &field);
    if (status == 0 && is_too_big(p, 0)) status = refuse_size(p);
    counts[in_array ? 0 : 1]++;
  }
  lua_settop(L, field.index - 1);
  return status;
}

static bool is_error(const jr_values *v, lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, v->metatable_ref);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 1);
  return same;
}

static bool has_name(packer *p, int index, bool may_be_old, jr_name *name) {
  return p->v->code && jr_names_find(&p->v->names, p->L, index, may_be_old, name);
}

static int pack_table(packer *p, int index, const step *at) {
  lua_State *L = p->L;
  const void *ptr = lua_topointer(L, index);
  enum jr_tag tag = JR_TAG_TABLE;
  jr_name name;
  int status;
  if (pack_seen(p, ptr, &status)) return status;
  if (has_name(p, index, true, &name)) return put_name(p, &name);
  if (lua_getmetatable(L, index)) {
    if (is_error(p->v, L)) tag = JR_TAG_ERROR;
    lua_pop(L, 1);
    if (tag == JR_TAG_TABLE && has_name(p, index, false, &name)) return put_name(p, &name);
    if (tag == JR_TAG_TABLE) return refuse(p, "table with a metatable", at);
  }
  if (see(p, ptr) < 0) return UV_ENOMEM;
  uint32_t counts[2] = {0, 0};
  size_t place = p->out->len + 1;
  if (put(p, tag, counts, sizeof counts) < 0) return UV_ENOMEM;
  status = pack_fields(p, index, at, counts);
  if (status == 0) memcpy(p->out->data + place, counts, sizeof counts);
  return status;
}

/* ---- functions ----------------------------------------------------------------------------- */

/* The first meeting with a variable remembers the function and the place; later ones are joined. */
static int pack_upvalue(packer *p, int function, uint32_t id, int n, const char *name,
                        const step *at) {
  uint64_t first;
  void *variable = lua_upvalueid(p->L, function, n);
  if (jr_ptrmap_get(&p->v->seen, variable, &first)) {
    p->has_refs = true;
    return put(p, JR_TAG_JOIN, &first, sizeof first);
  }
  if (jr_ptrmap_put(&p->v->seen, variable, (uint64_t)id << 8 | (uint64_t)n) < 0) return UV_ENOMEM;
  step upvalue = {.up = at, .kind = AT_UPVALUE, .index = function, .name = name};
  return pack_value(p, lua_gettop(p->L), &upvalue);
}

static int pack_upvalues(packer *p, int function, int count, const step *at, uint8_t *flags) {
  uint32_t id = p->ids;
  for (int n = 1; n <= count; n++) {
    const char *name = lua_getupvalue(p->L, function, n);
    int status;
    if (strcmp(name, "_ENV") == 0) {
      status = put(p, JR_TAG_ENV, NULL, 0);
    } else {
      *flags = 0;
      status = pack_upvalue(p, function, id, n, name, at);
    }
    lua_pop(p->L, 1);
    if (status < 0) return status;
  }
  return 0;
}

static int put_code(packer *p, const jr_dump *dump, size_t *flags_place) {
  uint32_t len = (uint32_t)dump->bytes.len;
  if (is_too_big(p, dump->bytes.len)) return refuse_size(p);
  char *to = put_tag(p, JR_TAG_FUNCTION, FUNCTION_HEAD + len);
  if (!to) return UV_ENOMEM;
  memcpy(to, &dump->hash, 8);
  memcpy(to + 8, &len, 4);
  to[12] = (char)dump->upvalues;
  memcpy(to + FUNCTION_HEAD, dump->bytes.data, len);
  *flags_place = (size_t)(to + 13 - p->out->data);
  return 0;
}

static int pack_code(packer *p, int index, const step *at, const jr_dump *dump) {
  size_t flags_place = 0;
  uint8_t flags = JR_FUNCTION_ENV;
  int upvalues = dump->upvalues;
  if (see(p, lua_topointer(p->L, index)) < 0) return UV_ENOMEM;
  if (!at->up && at->index == 0 && p->role == JR_VALUES_CALL)
    memcpy(p->v->called, dump->name, sizeof p->v->called);
  int status = put_code(p, dump, &flags_place);
  jr_code_release(&p->v->functions, dump);
  if (status == 0) status = pack_upvalues(p, index, upvalues, at, &flags);
  if (status == 0) p->out->data[flags_place] = (char)flags;
  return status;
}

/* By name where it has one; by pointer if it is nothing but a pointer. */
static int pack_c_function(packer *p, int index, const step *at) {
  lua_State *L = p->L;
  jr_name name;
  if (jr_names_find_member(&p->v->names, L, index, &name)) return put_name(p, &name);
  if (lua_getupvalue(L, index, 1)) {
    lua_pop(L, 1);
    return refuse(p, "C function with upvalues", at);
  }
  lua_CFunction fn = lua_tocfunction(L, index);
  return put(p, JR_TAG_C_FUNCTION, &fn, sizeof fn);
}

/* True for the functions of our own modules, of which words are made without a trace in
 * package.loaded. */
static bool is_ours(lua_State *L, int index) {
  lua_Debug ar;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">S", &ar);
  return strstr(ar.source, "jobrun/") != NULL;
}

static int pack_function(packer *p, int index, const step *at) {
  int status;
  jr_name name;
  if (!p->v->code) return refuse(p, "function", at);
  if (lua_iscfunction(p->L, index)) return pack_c_function(p, index, at);
  if (pack_seen(p, lua_topointer(p->L, index), &status)) return status;
  const jr_dump *dump = jr_code_find(&p->v->functions, p->L, index);
  if (!dump) {
    if (has_name(p, index, !is_ours(p->L, index), &name)) return put_name(p, &name);
    dump = jr_code_dump(&p->v->functions, p->L, index);
  }
  return dump ? pack_code(p, index, at, dump) : UV_ENOMEM;
}

/* ---- any value ----------------------------------------------------------------------------- */

static int pack_other(packer *p, int index, const step *at) {
  void *pointer = lua_touserdata(p->L, index);
  int type = lua_type(p->L, index);
  jr_name name;
  if (type == LUA_TLIGHTUSERDATA && p->v->code)
    return put(p, JR_TAG_POINTER, &pointer, sizeof pointer);
  if (has_name(p, index, false, &name)) return put_name(p, &name);
  return refuse(p, lua_typename(p->L, type), at);
}

static int pack_nested(packer *p, int index, const step *at) {
  if (p->depth == JR_VALUES_DEPTH) return refuse_depth(p, at);
  bool has_slots = p->depth == 0 || lua_checkstack(p->L, JR_VALUES_SLOTS); /* 0: jr_values_pack */
  if (!has_slots) return UV_ENOMEM;
  p->depth++;
  int status = lua_istable(p->L, index) ? pack_table(p, index, at) : pack_function(p, index, at);
  p->depth--;
  return status;
}

/* `index` is absolute. */
static int pack_value(packer *p, int index, const step *at) {
  switch (lua_type(p->L, index)) {
  case LUA_TNIL:
    return put(p, JR_TAG_NIL, NULL, 0);
  case LUA_TBOOLEAN:
    return put(p, lua_toboolean(p->L, index) ? JR_TAG_TRUE : JR_TAG_FALSE, NULL, 0);
  case LUA_TNUMBER:
    return pack_number(p, index);
  case LUA_TSTRING:
    return pack_string(p, index);
  case LUA_TTABLE:
  case LUA_TFUNCTION:
    return pack_nested(p, index, at);
  default:
    return pack_other(p, index, at);
  }
}

int jr_values_pack(jr_values *v, lua_State *L, int first, int count, jr_values_role role,
                   jr_buf *out) {
  packer p = {.v = v, .L = L, .out = out, .start = out->len, .role = role};
  uint32_t n = (uint32_t)count;
  char *head = jr_buf_reserve(out, HEAD);
  if (!head) return UV_ENOMEM;
  memcpy(head + 1, &n, sizeof n);
  out->len += HEAD;
  first = lua_absindex(L, first);
  jr_names_begin(&v->names);
  int status = lua_checkstack(L, JR_VALUES_SLOTS) ? 0 : UV_ENOMEM;
  for (int i = 0; i < count && status == 0; i++) {
    step at = {.kind = AT_VALUE, .index = i};
    status = pack_value(&p, first + i, &at);
  }
  jr_ptrmap_clear(&v->seen);
  int flags = (p.has_refs ? JR_HEAD_REFS : 0) | (role == JR_VALUES_CALL ? JR_HEAD_CALL : 0);
  if (status == 0) out->data[p.start] = (char)flags;
  return status;
}
