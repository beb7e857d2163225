/* JSON for the Lua side: text to values and back, in one pass each, straight from and to Lua's own.
 *
 * Reading: the members of an array or object gather on the Lua stack, GATHER at most, so that a
 * small table is made in its final size. Writing: a table is walked in the order lua_next gives, as
 * long as its keys are 1, 2, 3 …; only where they are not is it looked at again. Both go MAX_DEPTH
 * levels deep, which bounds the C stack and catches a table that contains itself.
 *
 * No metamethod is called, so nothing here suspends or comes back in: one buffer per Lua state,
 * kept between calls, is enough. A call does not let other tasks run; see lua/jobrun/json.lua for
 * what that costs.
 *
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "buf.h"
#include "glue.h"
#include "json.h"

int jr_open_json(lua_State *L);

#define BUFFER_META "jobrun.json.buffer"

enum {
  MAX_DEPTH = 128,
  GATHER = 64,           /* stack slots of one array or object */
  KEEP_BYTES = 64 * 1024 /* the buffer's room between calls */
};

static const char array_key; /* its address is the key of the arrays' metatable in the registry */

/* The state's own buffer, the functions' upvalue. */
static jr_buf *get_buffer(lua_State *L) {
  jr_buf *b = lua_touserdata(L, lua_upvalueindex(1));
  b->len = 0;
  b->failed = false;
  return b;
}

static void trim(jr_buf *b) {
  if (b->cap > KEEP_BYTES) jr_buf_fini(b);
}

static int buffer_gc(lua_State *L) {
  jr_buf_fini(lua_touserdata(L, 1));
  return 0;
}

static void set_array_meta(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
  lua_setmetatable(L, -2);
}

/* ---- reading ------------------------------------------------------------------------------- */

typedef struct reader {
  lua_State *L;
  const char *start, *at, *end;
  jr_buf *scratch;
  bool replace;
  int depth;
} reader;

static void read_value(reader *r);

/* Raises kind "json" with the line and column of r->at. */
static void refuse(reader *r, const char *wrong) {
  int line, column;
  jr_json_place(r->start, (size_t)(r->at - r->start), &line, &column);
  trim(r->scratch);
  jr_error_push(r->L, "json", 0, 1, "json.decode: line %d, column %d: %s", line, column, wrong);
  lua_pushinteger(r->L, line);
  lua_setfield(r->L, -2, "line");
  lua_pushinteger(r->L, column);
  lua_setfield(r->L, -2, "column");
  lua_pushinteger(r->L, r->at - r->start);
  lua_setfield(r->L, -2, "offset");
  lua_pushstring(r->L, wrong);
  lua_setfield(r->L, -2, "reason");
  lua_error(r->L);
}

/* "expected X, got 'c'" */
static void refuse_here(reader *r, const char *expected) {
  char text[160];
  unsigned char c = r->at < r->end ? (unsigned char)*r->at : 0;
  if (r->at >= r->end)
    snprintf(text, sizeof text, "expected %s, but the text ends here", expected);
  else if (c >= 0x20 && c < 0x7F)
    snprintf(text, sizeof text, "expected %s, got '%c'", expected, c);
  else
    snprintf(text, sizeof text, "expected %s, got byte 0x%02X", expected, c);
  refuse(r, text);
}

static void skip_space(reader *r) {
  while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
    r->at++;
}

static void read_string(reader *r) {
  const char *text, *wrong;
  size_t len;
  r->at++;
  wrong = jr_json_read_string(&r->at, r->end, r->replace, r->scratch, &text, &len);
  if (wrong) refuse(r, wrong);
  lua_pushlstring(r->L, text, len);
}

static void read_number(reader *r) {
  jr_json_number n;
  const char *wrong = jr_json_read_number(&r->at, r->end, &n);
  if (wrong) refuse(r, wrong);
  if (n.is_integer)
    lua_pushinteger(r->L, n.integer);
  else
    lua_pushnumber(r->L, n.real);
}

static void read_word(reader *r, const char *word, size_t len) {
  if ((size_t)(r->end - r->at) < len || memcmp(r->at, word, len) != 0)
    refuse_here(r, "a value (string, number, true, false, null, [ or {)");
  r->at += len;
}

static void enter(reader *r) {
  if (++r->depth > MAX_DEPTH) refuse(r, "nested more than 128 levels deep");
  luaL_checkstack(r->L, GATHER + 8, "json.decode");
  r->at++;
  skip_space(r);
}

/* Behind a member: true if there is another one, after its comma. */
static bool has_more(reader *r, char closing) {
  skip_space(r);
  if (r->at < r->end && *r->at == ',') {
    r->at++;
    skip_space(r);
    return true;
  }
  if (r->at >= r->end || *r->at != closing)
    refuse_here(r, closing == ']' ? "',' or ']'" : "',' or '}'");
  r->at++;
  r->depth--;
  return false;
}

/* Moves the items from `base` up into their table, which then stands at `base`; the first time it
 * is made, in the size it has so far. */
static void flush_array(lua_State *L, int base, lua_Integer *done) {
  if (*done == 0) {
    lua_createtable(L, lua_gettop(L) - base + 1, 0);
    lua_insert(L, base);
  }
  int n = lua_gettop(L) - base;
  for (int i = n; i > 0; i--) lua_rawseti(L, base, *done + i);
  *done += n;
}

static bool is_closed_at_once(reader *r, char closing) {
  if (r->at >= r->end || *r->at != closing) return false;
  r->at++;
  r->depth--;
  lua_createtable(r->L, 0, 0);
  return true;
}

static void read_items(reader *r) {
  int base = lua_gettop(r->L) + 1, room = GATHER;
  lua_Integer done = 0;
  do {
    read_value(r);
    if (--room > 0) continue;
    flush_array(r->L, base, &done);
    room = GATHER;
  } while (has_more(r, ']'));
  if (done == 0 || room < GATHER) flush_array(r->L, base, &done);
}

static void read_array(reader *r) {
  enter(r);
  if (!is_closed_at_once(r, ']')) read_items(r);
  set_array_meta(r->L);
}

/* As flush_array; the later of two equal keys wins. */
static void flush_object(lua_State *L, int base, bool *made) {
  if (!*made) {
    lua_createtable(L, 0, (lua_gettop(L) - base + 1) / 2);
    lua_insert(L, base);
    *made = true;
  }
  for (int at = base + 1, top = lua_gettop(L); at < top; at += 2) {
    lua_pushvalue(L, at);
    lua_pushvalue(L, at + 1);
    lua_rawset(L, base);
  }
  lua_settop(L, base);
}

static void read_member(reader *r) {
  if (r->at >= r->end || *r->at != '"') refuse_here(r, "a key in quotes");
  read_string(r);
  skip_space(r);
  if (r->at >= r->end || *r->at != ':') refuse_here(r, "':'");
  r->at++;
  skip_space(r);
  read_value(r);
}

static void read_object(reader *r) {
  int base = lua_gettop(r->L) + 1, room = GATHER / 2;
  bool made = false;
  enter(r);
  if (is_closed_at_once(r, '}')) return;
  do {
    read_member(r);
    if (--room > 0) continue;
    flush_object(r->L, base, &made);
    room = GATHER / 2;
  } while (has_more(r, '}'));
  if (!made || room < GATHER / 2) flush_object(r->L, base, &made);
}

static void read_value(reader *r) {
  switch (r->at < r->end ? *r->at : '\0') {
  case '"':
    read_string(r);
    break;
  case '{':
    read_object(r);
    break;
  case '[':
    read_array(r);
    break;
  case 't':
    read_word(r, "true", 4);
    lua_pushboolean(r->L, true);
    break;
  case 'f':
    read_word(r, "false", 5);
    lua_pushboolean(r->L, false);
    break;
  case 'n':
    read_word(r, "null", 4);
    lua_pushlightuserdata(r->L, NULL);
    break;
  default:
    if (r->at < r->end && (*r->at == '-' || (*r->at >= '0' && *r->at <= '9')))
      read_number(r);
    else
      refuse_here(r, "a value (string, number, true, false, null, [ or {)");
  }
}

/* decode(text, replace) → value */
static int decode(lua_State *L) {
  size_t len;
  if (lua_type(L, 1) != LUA_TSTRING)
    return jr_raise(L, "usage", 0, 1, "json.decode: expected a string, got %s",
                    luaL_typename(L, 1));
  const char *text = lua_tolstring(L, 1, &len);
  reader r = {.L = L, .start = text, .at = text, .end = text + len, .scratch = get_buffer(L)};
  r.replace = lua_toboolean(L, 2);
  skip_space(&r);
  read_value(&r);
  skip_space(&r);
  if (r.at < r.end) refuse_here(&r, "the end of the text");
  trim(r.scratch);
  return 1;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Where in the value we are, for messages. */
typedef struct place {
  const struct place *up;
  const char *key; /* NULL: an index */
  lua_Integer index;
} place;

typedef struct writer {
  lua_State *L;
  jr_buf *out;
  int depth, indent; /* indent: spaces a level, 0 = on one line */
  bool sorted, replace;
} writer;

static void write_value(writer *w, int index, const place *at);

/* "jobs[3].name": from the outside in, cut where it gets long. */
static void push_path(jr_buf *b, const place *at) {
  if (!at) return;
  if (at->up) push_path(b, at->up);
  if (b->len > 300) return;
  if (at->key)
    jr_buf_addf(b, "%s%.60s", b->len ? "." : "", at->key);
  else
    jr_buf_addf(b, "[%lld]", (long long)at->index);
}

static void refuse_value(writer *w, const place *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));

static void refuse_value(writer *w, const place *at, const char *fmt, ...) {
  char wrong[300], path[400];
  va_list args;
  va_start(args, fmt);
  vsnprintf(wrong, sizeof wrong, fmt, args);
  va_end(args);
  w->out->len = 0; /* the text so far is of no use: room for the path */
  push_path(w->out, at);
  snprintf(path, sizeof path, "%.*s", (int)w->out->len, w->out->len ? w->out->data : "");
  trim(w->out);
  jr_raise(w->L, "usage", 0, 1, "json.encode: %s%s%s", path, *path ? ": " : "", wrong);
}

static void write_line(writer *w) {
  if (!w->indent) return;
  jr_buf_adds(w->out, "\n");
  for (int i = w->depth * w->indent; i > 0; i--) jr_buf_add(w->out, " ", 1);
}

static void write_string(writer *w, int index, const place *at, const char *what) {
  size_t len, bad;
  const char *text = lua_tolstring(w->L, index, &len);
  if (!jr_json_write_string(w->out, text, len, w->replace, &bad))
    refuse_value(w, at,
                 "%s is not UTF-8 (byte %zu): encode binary data, as base64 for example, or say "
                 "invalid=\"replace\"",
                 what, bad + 1);
}

static void write_number(writer *w, int index, const place *at) {
  if (lua_isinteger(w->L, index)) {
    jr_json_write_integer(w->out, lua_tointeger(w->L, index));
    return;
  }
  double value = lua_tonumber(w->L, index);
  if (!isfinite(value))
    refuse_value(w, at, "%s has no JSON form", isnan(value) ? "NaN" : "an infinity");
  jr_json_write_real(w->out, value);
}

static void enter_table(writer *w, const place *at) {
  if (++w->depth > MAX_DEPTH)
    refuse_value(w, at, "nested more than 128 levels deep: does a table contain itself?");
  luaL_checkstack(w->L, 8, "json.encode");
}

static void write_item(writer *w, const place *at, lua_Integer i) {
  place here = {at, NULL, i};
  if (i > 1) jr_buf_add(w->out, ",", 1);
  write_line(w);
  write_value(w, lua_gettop(w->L), &here);
}

/* The key on top is not the next of a list. */
static void refuse_key(writer *w, const place *at, lua_Integer n) {
  lua_State *L = w->L;
  if (lua_type(L, -1) == LUA_TSTRING)
    refuse_value(w, at,
                 "a table is a list or an object, and this one has items and the key '%.60s'",
                 lua_tostring(L, -1));
  refuse_value(w, at, "a list has the keys 1 to %lld and no others, and this one has %.60s",
               (long long)n, luaL_tolstring(L, -1, NULL));
}

/* Items of which lua_next gave number `from` out of order: are the keys 1 … n, and no others? */
static void write_rest(writer *w, int index, const place *at, lua_Integer from) {
  lua_State *L = w->L;
  lua_Integer n = 0;
  lua_Integer length = (lua_Integer)lua_rawlen(L, index);
  for (lua_pushnil(L); lua_next(L, index); n++) {
    lua_pop(L, 1);
    lua_Integer key = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
    if (key < 1 || key > length) refuse_key(w, at, length);
  }
  if (n != length) refuse_value(w, at, "a list with holes: use json.null for what is not there");
  for (lua_Integer i = from; i <= length; i++) {
    lua_rawgeti(L, index, i);
    write_item(w, at, i);
    lua_pop(L, 1);
  }
}

static void write_array(writer *w, int index, const place *at) {
  lua_State *L = w->L;
  lua_Integer i = 1;
  jr_buf_add(w->out, "[", 1);
  for (lua_pushnil(L); lua_next(L, index); i++) {
    if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) != i) {
      lua_pop(L, 2);
      write_rest(w, index, at, i);
      break;
    }
    write_item(w, at, i);
    lua_pop(L, 1);
  }
  w->depth--;
  if (lua_rawlen(L, index) > 0) write_line(w);
  jr_buf_add(w->out, "]", 1);
}

/* The key at `key`, its value on top. */
static void write_member(writer *w, int key, const place *at, bool first) {
  place here = {at, lua_tostring(w->L, key), 0};
  if (!first) jr_buf_add(w->out, ",", 1);
  write_line(w);
  write_string(w, key, &here, "the key");
  jr_buf_add(w->out, ": ", w->indent ? 2 : 1);
  write_value(w, lua_gettop(w->L), &here);
}

static void check_key(writer *w, int key, const place *at) {
  lua_State *L = w->L;
  if (lua_type(L, key) == LUA_TSTRING) return;
  if (lua_isinteger(L, key))
    refuse_value(
        w, at,
        "a table is a list (keys from 1, no holes) or an object (names), and this one has the "
        "key %lld",
        (long long)lua_tointeger(L, key));
  refuse_value(w, at, "keys must be strings, and this table has a %s", luaL_typename(L, key));
}

typedef struct sort_key {
  const char *text;
  size_t len;
  int index;
} sort_key;

static int compare_keys(const void *a, const void *b) {
  const sort_key *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
  return order ? order : (x->len > y->len) - (x->len < y->len);
}

static void sort_keys(sort_key *keys, int n) {
  if (n > 12) {
    qsort(keys, (size_t)n, sizeof *keys, compare_keys);
    return;
  }
  for (int i = 1; i < n; i++) {
    sort_key key = keys[i];
    int j = i;
    for (; j > 0 && compare_keys(&keys[j - 1], &key) > 0; j--) keys[j] = keys[j - 1];
    keys[j] = key;
  }
}

/* Keys and their strings stay on the Lua stack; many of them need a list of their own there too. */
static void write_sorted(writer *w, int index, const place *at) {
  enum { FEW = 32 };
  lua_State *L = w->L;
  sort_key few[FEW], *keys = few;
  int n = 0, cap = FEW, base = lua_gettop(L) + 1;
  lua_pushnil(L); /* the list's place */
  for (lua_pushnil(L); lua_next(L, index);) {
    lua_pop(L, 1);
    check_key(w, lua_gettop(L), at);
    if (n == cap) {
      sort_key *more = lua_newuserdatauv(L, 2 * (size_t)cap * sizeof *more, 0);
      memcpy(more, keys, (size_t)cap * sizeof *more);
      lua_replace(L, base);
      keys = more;
      cap *= 2;
    }
    keys[n].text =
        lua_tolstring(L, -1, &keys[n].len); /* alive as long as the table is not changed */
    n++;
  }
  sort_keys(keys, n);
  for (int i = 0; i < n; i++) {
    lua_pushlstring(L, keys[i].text, keys[i].len);
    lua_pushvalue(L, -1);
    lua_rawget(L, index);
    write_member(w, lua_gettop(L) - 1, at, i == 0);
    lua_pop(L, 2);
  }
  lua_settop(L, base - 1);
}

static void write_unsorted(writer *w, int index, const place *at) {
  lua_State *L = w->L;
  bool first = true;
  for (lua_pushnil(L); lua_next(L, index); first = false) {
    check_key(w, lua_gettop(L) - 1, at);
    write_member(w, lua_gettop(L) - 1, at, first);
    lua_pop(L, 1);
  }
}

static bool is_empty(lua_State *L, int index) {
  lua_pushnil(L);
  if (!lua_next(L, index)) return true;
  lua_pop(L, 2);
  return false;
}

static void write_object(writer *w, int index, const place *at) {
  bool empty = is_empty(w->L, index);
  jr_buf_add(w->out, "{", 1);
  if (w->sorted)
    write_sorted(w, index, at);
  else
    write_unsorted(w, index, at);
  w->depth--;
  if (!empty) write_line(w);
  jr_buf_add(w->out, "}", 1);
}

static bool is_array(lua_State *L, int index) {
  if (lua_rawlen(L, index) > 0) return true;
  if (!lua_getmetatable(L, index)) return false;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &array_key);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

static void write_table(writer *w, int index, const place *at) {
  enter_table(w, at);
  if (is_array(w->L, index))
    write_array(w, index, at);
  else
    write_object(w, index, at);
}

static bool is_null(lua_State *L, int index) {
  return lua_islightuserdata(L, index) && !lua_touserdata(L, index);
}

static void write_value(writer *w, int index, const place *at) {
  lua_State *L = w->L;
  switch (lua_type(L, index)) {
  case LUA_TNIL:
    jr_buf_add(w->out, "null", 4);
    break;
  case LUA_TBOOLEAN:
    jr_buf_adds(w->out, lua_toboolean(L, index) ? "true" : "false");
    break;
  case LUA_TNUMBER:
    write_number(w, index, at);
    break;
  case LUA_TSTRING:
    write_string(w, index, at, "the string");
    break;
  case LUA_TTABLE:
    write_table(w, index, at);
    break;
  default:
    if (!is_null(L, index)) refuse_value(w, at, "a %s has no JSON form", luaL_typename(L, index));
    jr_buf_add(w->out, "null", 4);
  }
  if (w->out->failed) jr_raise_status(L, "json.encode", UV_ENOMEM);
}

/* encode(value, indent, sorted, replace) → text */
static int encode(lua_State *L) {
  luaL_checkany(L, 1);
  writer w = {.L = L, .out = get_buffer(L)};
  w.indent = (int)luaL_optinteger(L, 2, 0);
  w.sorted = lua_isnoneornil(L, 3) || lua_toboolean(L, 3);
  w.replace = lua_toboolean(L, 4);
  lua_settop(L, 1);
  write_value(&w, 1, NULL);
  lua_pushlstring(L, w.out->data, w.out->len);
  trim(w.out);
  return 1;
}

/* array([table]) → the table, written as a list even when it is empty */
static int array(lua_State *L) {
  if (lua_isnoneornil(L, 1)) {
    lua_settop(L, 0);
    lua_newtable(L);
  }
  if (!lua_istable(L, 1))
    return jr_raise(L, "usage", 0, 1, "json.array: expected a table, got %s", luaL_typename(L, 1));
  lua_settop(L, 1);
  set_array_meta(L);
  return 1;
}

/* is_array(value) → boolean: would it be written as a list? */
static int is_array_value(lua_State *L) {
  lua_pushboolean(L, lua_istable(L, 1) && is_array(L, 1));
  return 1;
}

/* valid_utf8(text) → boolean */
static int valid_utf8(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  lua_pushboolean(L, jr_utf8_valid(text, len) == len);
  return 1;
}

static void push_buffer(lua_State *L) {
  void *mem;
  lua_getallocf(L, &mem); /* of all our states, workers' too: jr_mem_lua_alloc */
  jr_buf_init(lua_newuserdatauv(L, sizeof(jr_buf), 0), mem);
  if (luaL_newmetatable(L, BUFFER_META)) {
    lua_pushcfunction(L, buffer_gc);
    lua_setfield(L, -2, "__gc");
  }
  lua_setmetatable(L, -2);
}

int jr_open_json(lua_State *L) {
  static const luaL_Reg functions[] = {{"encode", encode},         {"decode", decode},
                                       {"array", array},           {"is_array", is_array_value},
                                       {"valid_utf8", valid_utf8}, {NULL, NULL}};
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "json.array");
  lua_setfield(L, -2, "__name");
  lua_rawsetp(L, LUA_REGISTRYINDEX, &array_key);
  luaL_newlibtable(L, functions);
  push_buffer(L);
  luaL_setfuncs(L, functions, 1);
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  return 1;
}
