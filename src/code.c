/* Functions on their way between Lua states.
 *
 * SPDX-License-Identifier: MIT */
#include "code.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

/* Each call of this chunk returns a closure with a variable that nothing else has. */
static const char cell_source[] = "local value return function() return value end";

void jr_code_init(jr_code *code, jr_mem *mem) {
  memset(code, 0, sizeof *code);
  code->mem = mem;
  for (int i = 0; i < JR_CODE_SLOTS; i++) jr_buf_init(&code->dumps[i].bytes, mem);
}

/* Pushes a table with a place for each slot, so that filling one never asks for memory. */
static void push_slots(lua_State *L) {
  lua_createtable(L, JR_CODE_SLOTS, 0);
  for (int i = 1; i <= JR_CODE_SLOTS; i++) {
    lua_pushboolean(L, false);
    lua_rawseti(L, -2, i);
  }
}

void jr_code_open(jr_code *code, lua_State *L) {
  push_slots(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "v");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  code->dumped_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  push_slots(L);
  code->compiled_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  if (luaL_loadbufferx(L, cell_source, sizeof cell_source - 1, "=cell", "t") != LUA_OK)
    lua_error(L);
  code->cell_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

void jr_code_fini(jr_code *code) {
  for (int i = 0; i < JR_CODE_SLOTS; i++) {
    jr_buf_fini(&code->dumps[i].bytes);
    jr_mem_free(code->mem, code->compiled[i].bytes, code->compiled[i].len);
    code->compiled[i].bytes = NULL;
  }
}

/* ---- sending ------------------------------------------------------------------------------- */

static unsigned slot_of(const void *ptr) {
  return (unsigned)((uint64_t)(uintptr_t)ptr * UINT64_C(0x9E3779B97F4A7C15) >> 40) % JR_CODE_SLOTS;
}

/* Eight bytes at a time; equal hashes are told apart by the bytes, so speed is what counts. */
static uint64_t hash_of(const char *bytes, size_t len) {
  uint64_t hash = len, word;
  for (; len >= sizeof word; bytes += sizeof word, len -= sizeof word) {
    memcpy(&word, bytes, sizeof word);
    hash = ((hash << 29 | hash >> 35) ^ word) * UINT64_C(0x9E3779B97F4A7C15);
  }
  word = 0;
  memcpy(&word, bytes, len);
  hash = ((hash << 29 | hash >> 35) ^ word) * UINT64_C(0x9E3779B97F4A7C15);
  return hash ^ hash >> 32;
}

static int write_bytes(lua_State *L, const void *bytes, size_t len, void *buf) {
  (void)L;
  jr_buf_add(buf, bytes, len);
  return ((jr_buf *)buf)->failed;
}

void jr_code_name(lua_State *L, int index, char name[JR_CODE_NAME]) {
  lua_Debug ar;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">S", &ar);
  snprintf(name, JR_CODE_NAME, "function at %s:%d", ar.short_src, ar.linedefined);
}

static int count_upvalues(lua_State *L, int index) {
  lua_Debug ar;
  lua_pushvalue(L, index);
  lua_getinfo(L, ">u", &ar);
  return ar.nups;
}

const jr_dump *jr_code_find(jr_code *code, lua_State *L, int index) {
  unsigned slot = slot_of(lua_topointer(L, index));
  index = lua_absindex(L, index);
  if (code->dumps[slot].bytes.len == 0) return NULL;
  lua_rawgeti(L, LUA_REGISTRYINDEX, code->dumped_ref);
  lua_rawgeti(L, -1, slot + 1);
  bool found = lua_rawequal(L, -1, index);
  lua_pop(L, 2);
  return found ? &code->dumps[slot] : NULL;
}

const jr_dump *jr_code_dump(jr_code *code, lua_State *L, int index) {
  unsigned slot = slot_of(lua_topointer(L, index));
  jr_dump *dump = &code->dumps[slot];
  index = lua_absindex(L, index);
  dump->bytes.len = 0;
  dump->bytes.failed = false;
  lua_pushvalue(L, index);
  lua_dump(L, write_bytes, &dump->bytes, 0);
  if (dump->bytes.failed) {
    jr_buf_fini(&dump->bytes);
    lua_pop(L, 1);
    return NULL;
  }
  dump->hash = hash_of(dump->bytes.data, dump->bytes.len);
  dump->upvalues = count_upvalues(L, index);
  jr_code_name(L, index, dump->name);
  lua_rawgeti(L, LUA_REGISTRYINDEX, code->dumped_ref);
  lua_insert(L, -2);
  lua_rawseti(L, -2, slot + 1);
  lua_pop(L, 1);
  return dump;
}

void jr_code_release(jr_code *code, const jr_dump *dump) {
  if (dump->bytes.cap > JR_CODE_KEEP_BYTES) jr_buf_fini(&code->dumps[dump - code->dumps].bytes);
}

/* ---- receiving ----------------------------------------------------------------------------- */

static void compile(lua_State *L, const jr_code_text *text) {
  if (luaL_loadbufferx(L, text->bytes, text->len, "=blocking", "b") != LUA_OK) lua_error(L);
}

/* Keeps the function on top in a slot, in place of what was there. */
static void keep(jr_code *code, lua_State *L, unsigned slot, const jr_code_text *text) {
  jr_compiled *place = &code->compiled[slot];
  jr_mem_free(code->mem, place->bytes, place->len);
  place->bytes = NULL;
  if (text->len > JR_CODE_KEEP_BYTES) return;
  place->bytes = jr_mem_alloc(code->mem, text->len);
  if (!place->bytes) return; /* then it is compiled again next time */
  memcpy(place->bytes, text->bytes, text->len);
  place->len = text->len;
  place->hash = text->hash;
  lua_rawgeti(L, LUA_REGISTRYINDEX, code->compiled_ref);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, slot + 1);
  lua_pop(L, 1);
}

static bool is_kept(const jr_compiled *place, const jr_code_text *text) {
  return place->bytes && place->hash == text->hash && place->len == text->len &&
         memcmp(place->bytes, text->bytes, text->len) == 0;
}

void jr_code_push(jr_code *code, lua_State *L, const jr_code_text *text, bool may_reuse) {
  unsigned slot = (unsigned)text->hash % JR_CODE_SLOTS;
  if (may_reuse && is_kept(&code->compiled[slot], text)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, code->compiled_ref);
    lua_rawgeti(L, -1, slot + 1);
    lua_replace(L, -2);
    return;
  }
  compile(L, text);
  if (may_reuse) keep(code, L, slot, text);
}

bool jr_code_set_upvalue(const jr_code *code, lua_State *L, int n) {
  if (!lua_getupvalue(L, -2, n)) {
    lua_pop(L, 1);
    return false;
  }
  lua_pop(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, code->cell_ref);
  lua_call(L, 0, 1);
  lua_upvaluejoin(L, -3, n, -1, 1);
  lua_pop(L, 1);
  lua_setupvalue(L, -2, n);
  return true;
}
