/* Values that travel by name.
 *
 * SPDX-License-Identifier: MIT */
#include "names.h"

#include <string.h>

#include <lauxlib.h>

#define WORDS "jobrun"

enum { BITS = JR_NAMES_WORDS * 64, SLOT_SIZE = 3 };

void jr_names_open(jr_names *names, lua_State *L) {
  names->is_read = false;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  names->loaded_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_getglobal(L, "require");
  names->require_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  /* Made with all its places, so that filling one never asks for memory. */
  lua_createtable(L, JR_NAMES_MEMBERS * SLOT_SIZE, 0);
  for (int i = 1; i <= JR_NAMES_MEMBERS * SLOT_SIZE; i++) {
    lua_pushboolean(L, false);
    lua_rawseti(L, -2, i);
  }
  names->members_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* ---- the filter ---------------------------------------------------------------------------- */

static uint64_t hash_of(const void *ptr) {
  return (uint64_t)(uintptr_t)ptr * UINT64_C(0x9E3779B97F4A7C15);
}

static bool has_bit(const jr_names *names, unsigned bit) {
  return names->filter[bit / 64] >> bit % 64 & 1;
}

static void set_bit(jr_names *names, unsigned bit) {
  names->filter[bit / 64] |= UINT64_C(1) << bit % 64;
}

static void filter_add(jr_names *names, const void *ptr) {
  uint64_t hash = hash_of(ptr);
  set_bit(names, (unsigned)(hash >> 32) % BITS);
  set_bit(names, (unsigned)(hash >> 48) % BITS);
}

static bool filter_has(const jr_names *names, const void *ptr) {
  uint64_t hash = hash_of(ptr);
  return has_bit(names, (unsigned)(hash >> 32) % BITS) &&
         has_bit(names, (unsigned)(hash >> 48) % BITS);
}

/* ---- walks --------------------------------------------------------------------------------- */

static bool is_words(lua_State *L, int key) {
  size_t len;
  if (lua_type(L, key) != LUA_TSTRING) return false;
  const char *text = lua_tolstring(L, key, &len);
  return len == strlen(WORDS) && memcmp(text, WORDS, len) == 0;
}

/* Adds the values of the table on top, and if it has one named "jobrun", that one's fields too. */
static void add_fields(jr_names *names, lua_State *L, bool is_loaded) {
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    int type = lua_type(L, -1);
    if (type != LUA_TTABLE && type != LUA_TFUNCTION && type != LUA_TUSERDATA) continue;
    filter_add(names, lua_topointer(L, -1));
    if (is_loaded && type == LUA_TTABLE && is_words(L, -2)) add_fields(names, L, false);
  }
}

static void read_names(jr_names *names, lua_State *L) {
  memset(names->filter, 0, sizeof names->filter);
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
  add_fields(names, L, true);
  lua_pop(L, 1);
  names->is_read = true;
}

/* The key under which the table on top has the value at `index`; false where it has not. */
static bool find_key(lua_State *L, int index, const char **key, size_t *len) {
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, index)) continue;
    *key = lua_tolstring(L, -2, len);
    lua_pop(L, 2);
    return true;
  }
  return false;
}

/* Goes through the loaded modules (only "jobrun" if `words_only`) for a field that is the value at
 * `index`. */
static bool find_field(lua_State *L, int index, bool words_only, jr_name *out) {
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_type(L, -1) != LUA_TTABLE || lua_type(L, -2) != LUA_TSTRING) continue;
    if (words_only && !is_words(L, -2)) continue;
    if (!find_key(L, index, &out->field, &out->field_len)) continue;
    out->module = lua_tolstring(L, -2, &out->module_len);
    lua_pop(L, 2);
    return true;
  }
  return false;
}

bool jr_names_find(jr_names *names, lua_State *L, int index, jr_name *out) {
  if (!lua_checkstack(L, 8)) return false;
  if (!names->is_read) read_names(names, L);
  if (!filter_has(names, lua_topointer(L, index))) return false;
  *out = (jr_name){0};
  index = lua_absindex(L, index);
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
  bool found =
      find_key(L, index, &out->module, &out->module_len) || find_field(L, index, true, out);
  lua_pop(L, 1);
  return found;
}

/* ---- members ------------------------------------------------------------------------------- */

/* Remembers for the C function at `index`, in its slot of the table on top, what was found: going
 * through all fields of all modules takes 20 µs. That a light C function is nobody's field is
 * remembered too; a closure in the same case is not, as that would keep its upvalues alive. Short
 * strings are interned, so pushing these again asks for no memory. */
static void remember(lua_State *L, int index, int slot, const jr_name *name) {
  enum { INTERNED = 40 };
  if (name->module_len > INTERNED || name->field_len > INTERNED) return;
  if (!name->module && lua_getupvalue(L, index, 1)) {
    lua_pop(L, 1);
    return;
  }
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, slot + 1);
  lua_pushlstring(L, name->module ? name->module : "", name->module_len);
  lua_rawseti(L, -2, slot + 2);
  lua_pushlstring(L, name->module ? name->field : "", name->field_len);
  lua_rawseti(L, -2, slot + 3);
}

/* What is remembered of it. */
static bool recall(lua_State *L, int index, int slot, jr_name *out) {
  lua_rawgeti(L, -1, slot + 1);
  bool known = lua_rawequal(L, -1, index);
  lua_pop(L, 1);
  if (!known) return false;
  lua_rawgeti(L, -1, slot + 2);
  out->module = lua_tolstring(L, -1, &out->module_len);
  lua_rawgeti(L, -2, slot + 3);
  out->field = lua_tolstring(L, -1, &out->field_len);
  lua_pop(L, 2);
  return true;
}

bool jr_names_find_member(jr_names *names, lua_State *L, int index, jr_name *out) {
  if (!lua_checkstack(L, 8)) return false;
  *out = (jr_name){0};
  index = lua_absindex(L, index);
  int slot = (int)(hash_of(lua_topointer(L, index)) >> 40) % JR_NAMES_MEMBERS * SLOT_SIZE;
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->members_ref);
  if (!recall(L, index, slot, out)) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
    if (!find_field(L, index, true, out)) find_field(L, index, false, out);
    lua_pop(L, 1);
    remember(L, index, slot, out);
  }
  lua_pop(L, 1);
  return out->module_len > 0;
}

/* ---- the other side ------------------------------------------------------------------------ */

/* Replaces the module's name on top by the module. */
static void push_module(const jr_names *names, lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
  lua_pushvalue(L, -2);
  if (lua_rawget(L, -2) == LUA_TNIL) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, names->require_ref);
    lua_pushvalue(L, -4);
    lua_call(L, 1, 1);
    lua_replace(L, -2);
  }
  lua_replace(L, -3);
  lua_pop(L, 1);
}

void jr_names_push(const jr_names *names, lua_State *L, const jr_name *name) {
  luaL_checkstack(L, 8, NULL);
  lua_pushlstring(L, name->module, name->module_len);
  push_module(names, L);
  if (!name->field) return;
  lua_pushlstring(L, name->field, name->field_len);
  lua_pushvalue(L, -1);
  if (lua_gettable(L, -3) == LUA_TNIL)
    luaL_error(L, "there is no '%s' in a module of that name here", lua_tostring(L, -2));
  lua_replace(L, -3);
  lua_pop(L, 1);
}
