/* Values that travel by name.
 *
 * SPDX-License-Identifier: MIT */
#include "names.h"

#include <string.h>

#include <lauxlib.h>

#define WORDS "jobrun"

enum { BITS = JR_NAMES_WORDS * 64, SLOT_SIZE = 3 };

/* __newindex of package.loaded, called for keys it does not have. Upvalue: the names. */
static int on_new_module(lua_State *L) {
  jr_names *names = lua_touserdata(L, lua_upvalueindex(1));
  names->is_read = false;
  lua_settop(L, 3);
  lua_rawset(L, 1);
  return 0;
}

/* Watches the table on top, unless it has a metatable already: then it is read each time. */
static void watch(jr_names *names, lua_State *L) {
  lua_createtable(L, 0, 1);
  lua_pushlightuserdata(L, names);
  lua_pushcclosure(L, on_new_module, 1);
  lua_setfield(L, -2, "__newindex");
  lua_pushvalue(L, -1);
  names->watch_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  if (lua_getmetatable(L, -2))
    lua_pop(L, 2);
  else
    lua_setmetatable(L, -2);
}

void jr_names_open(jr_names *names, lua_State *L) {
  names->is_read = false;
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  watch(names, L);
  names->loaded_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  lua_getglobal(L, "require");
  names->require_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  /* Made with all its places, so that filling one never asks for memory. */
  lua_createtable(L, JR_NAMES_SLOTS * SLOT_SIZE, 0);
  for (int i = 1; i <= JR_NAMES_SLOTS * SLOT_SIZE; i++) {
    lua_pushboolean(L, false);
    lua_rawseti(L, -2, i);
  }
  names->slots_ref = luaL_ref(L, LUA_REGISTRYINDEX);
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

/* True while package.loaded, on top, has the metatable that tells of new entries. */
static bool is_watched(const jr_names *names, lua_State *L) {
  if (!lua_getmetatable(L, -1)) return false;
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->watch_ref);
  bool same = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return same;
}

/* Sees to it that the filter holds what package.loaded does now. */
static void read_names(jr_names *names, lua_State *L, bool may_be_old) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
  if (!names->is_read || !may_be_old || !is_watched(names, L)) {
    memset(names->filter, 0, sizeof names->filter);
    add_fields(names, L, true);
  }
  lua_pop(L, 1);
  names->is_read = names->is_checked = true;
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

/* ---- what was found lately ------------------------------------------------------------------ */

/* Pushes the table of slots; where in it the value at `index` would be. */
static int push_slots(const jr_names *names, lua_State *L, int index) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->slots_ref);
  return (int)(hash_of(lua_topointer(L, index)) >> 40) % JR_NAMES_SLOTS * SLOT_SIZE;
}

/* Keeps what was found about the value at `index` (nothing, if module is NULL), for a walk takes
 * microseconds. Short strings are interned, so pushing these again asks for no memory. */
static void remember(const jr_names *names, lua_State *L, int index, const jr_name *name) {
  enum { INTERNED = 40 };
  if (name->module_len > INTERNED || name->field_len > INTERNED) return;
  int slot = push_slots(names, L, index);
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, slot + 1);
  lua_pushlstring(L, name->module ? name->module : "", name->module_len);
  lua_rawseti(L, -2, slot + 2);
  lua_pushlstring(L, name->field ? name->field : "", name->field_len);
  lua_rawseti(L, -2, slot + 3);
  lua_pop(L, 1);
}

/* What was kept of it; false where nothing was. */
static bool recall(const jr_names *names, lua_State *L, int index, jr_name *out) {
  int slot = push_slots(names, L, index);
  lua_rawgeti(L, -1, slot + 1);
  bool known = lua_rawequal(L, -1, index);
  if (known) {
    lua_rawgeti(L, -2, slot + 2);
    out->module = lua_tolstring(L, -1, &out->module_len);
    lua_rawgeti(L, -3, slot + 3);
    out->field = lua_tolstring(L, -1, &out->field_len);
    if (out->field_len == 0) out->field = NULL;
    lua_pop(L, 2);
  }
  lua_pop(L, 2);
  return known;
}

/* True if the value at `index` still has that name. */
static bool is_still(const jr_names *names, lua_State *L, int index, const jr_name *name) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
  lua_pushlstring(L, name->module, name->module_len);
  bool is_table = lua_rawget(L, -2) == LUA_TTABLE;
  if (name->field && is_table) {
    lua_pushlstring(L, name->field, name->field_len);
    lua_rawget(L, -2);
    lua_replace(L, -2);
  }
  bool same = lua_rawequal(L, -1, index);
  lua_pop(L, 2);
  return same;
}

/* ---- finding -------------------------------------------------------------------------------- */

bool jr_names_find(jr_names *names, lua_State *L, int index, bool may_be_old, jr_name *out) {
  if (!lua_checkstack(L, 8)) return false;
  if (!names->is_checked || !may_be_old) read_names(names, L, may_be_old);
  if (!filter_has(names, lua_topointer(L, index))) return false;
  index = lua_absindex(L, index);
  *out = (jr_name){0};
  if (recall(names, L, index, out) && out->module_len && is_still(names, L, index, out))
    return true;
  *out = (jr_name){0};
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
  bool found = find_field(L, index, true, out);
  if (!found) found = find_key(L, index, &out->module, &out->module_len);
  lua_pop(L, 1);
  if (found) remember(names, L, index, out);
  return found;
}

static bool is_light(lua_State *L, int function) {
  if (!lua_getupvalue(L, function, 1)) return true;
  lua_pop(L, 1);
  return false;
}

/* That a function is nobody's field is kept too, but not of a closure: it would keep its upvalues
 * alive. */
bool jr_names_find_member(jr_names *names, lua_State *L, int index, jr_name *out) {
  if (!lua_checkstack(L, 8)) return false;
  *out = (jr_name){0};
  index = lua_absindex(L, index);
  if (recall(names, L, index, out)) return out->module_len > 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, names->loaded_ref);
  bool found = find_field(L, index, true, out) || find_field(L, index, false, out);
  lua_pop(L, 1);
  if (found || is_light(L, index)) remember(names, L, index, out);
  return found;
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
