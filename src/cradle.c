/* Where tasks come from: coroutines to run in, and the line they were spawned at.
 *
 * A coroutine is made once, anchored in a slot of one table, and used by one task after another:
 * making one costs ten times what a spawn does otherwise, and it would be garbage.
 *
 * SPDX-License-Identifier: MIT */
#include "cradle.h"

#include <string.h>

#include <lauxlib.h>

#include "glue.h"
#include "rt.h"

enum { MAX_SITES = 4096, SITE_SIZE = LUA_IDSIZE };

static const char anchors_key, site_key;

/* ---- spawn sites --------------------------------------------------------------------------- */

/* The interned short source of a spawn site. Long-lived programs have few sources; past the
 * bound, and where memory is out, it is site 0, "?". */
static uint16_t site_of(jobrun *rt, const char *source) {
  for (uint16_t i = rt->sites_len; i-- > 0;)
    if (strcmp(rt->sites[i], source) == 0) return i;
  if (rt->sites_len == MAX_SITES) return 0;
  size_t old = rt->sites_len * sizeof *rt->sites;
  char **grown = jr_mem_realloc(&rt->mem, rt->sites, old, old + sizeof *rt->sites);
  if (!grown) return 0;
  rt->sites = grown;
  char *copy = jr_mem_alloc(&rt->mem, SITE_SIZE);
  if (!copy) {
    rt->sites = jr_mem_realloc(&rt->mem, grown, old + sizeof *grown, old);
    return 0;
  }
  strncpy(copy, source, SITE_SIZE);
  rt->sites[rt->sites_len] = copy;
  return rt->sites_len++;
}

/* Looks the source up and remembers the function it belongs to, as the next spawn is likely from
 * the same; the registry keeps that function alive, so its address is safe to compare. Takes the
 * function off the stack; true if it is a script's. */
static bool find_site(lua_State *L, jobrun *rt) {
  lua_Debug ar;
  lua_pushvalue(L, -1);
  lua_getinfo(L, ">S", &ar);
  bool is_script = *ar.what != 'C' && !jr_is_own_source(ar.source);
  if (is_script) {
    rt->site_fn = lua_topointer(L, -1);
    rt->site = site_of(rt, ar.short_src);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &site_key);
  } else {
    lua_pop(L, 1);
  }
  return is_script;
}

/* The first frame outwards that is a script's. */
void jr_site_note(lua_State *L, jobrun *rt, jr_task *t) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) { /* 0 is the C function that spawns */
    lua_getinfo(L, "fl", &ar);
    if (lua_topointer(L, -1) == rt->site_fn)
      lua_pop(L, 1);
    else if (!find_site(L, rt))
      continue;
    t->spawn_line = ar.currentline;
    t->spawn_site = rt->site;
    return;
  }
}

void jr_site_name(jobrun *rt, jr_task *t, const char *what) {
  t->spawn_line = 0;
  t->spawn_site = site_of(rt, what);
}

/* ---- coroutines ---------------------------------------------------------------------------- */

/* A finished coroutine waits for the next spawn in a chain through its extra space, which holds
 * the runtime otherwise, with its slot as the only value on its stack: an idle one costs nothing
 * more than itself. */
static void make_idle(jobrun *rt, lua_State *co, int32_t slot) {
  lua_settop(co, 0);
  lua_pushinteger(co, slot);
  *(lua_State **)lua_getextraspace(co) = rt->idle_co;
  rt->idle_co = co;
}

static lua_State *take_idle(jobrun *rt, int32_t *slot) {
  lua_State *co = rt->idle_co;
  rt->idle_co = *(lua_State **)lua_getextraspace(co);
  *(jobrun **)lua_getextraspace(co) = rt;
  *slot = (int32_t)lua_tointeger(co, 1);
  lua_settop(co, 0);
  return co;
}

/* A new coroutine, anchored in `slot`. Pushes nothing. */
static lua_State *anchor_new(lua_State *L, int32_t slot) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &anchors_key);
  lua_State *co = lua_newthread(L);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
  return co;
}

lua_State *jr_cradle_take(lua_State *L, jobrun *rt, int32_t *slot) {
  if (rt->idle_co) return take_idle(rt, slot);
  lua_State *co = anchor_new(L, rt->slots + 1);
  *slot = ++rt->slots;
  return co;
}

static int replace_escaped(lua_State *L) {
  int32_t slot = *(int32_t *)lua_touserdata(L, 1);
  make_idle(jr_of(L), anchor_new(L, slot), slot);
  return 0;
}

/* Where memory is out, an escaped one's slot stays unused. */
void jr_cradle_give_back(jobrun *rt, lua_State *co, int32_t slot, bool escaped) {
  lua_settop(co, 0);
  if (escaped)
    jr_call_protected(rt, replace_escaped, &slot);
  else
    make_idle(rt, co, slot);
}

/* ---- opening ------------------------------------------------------------------------------- */

void jr_cradle_open(lua_State *L) {
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
  site_of(jr_of(L), "?");
}

void jr_cradle_fini(jobrun *rt) {
  for (uint16_t i = 0; i < rt->sites_len; i++) jr_mem_free(&rt->mem, rt->sites[i], SITE_SIZE);
  jr_mem_free(&rt->mem, rt->sites, rt->sites_len * sizeof *rt->sites);
}
