/* The tree of tasks as text.
 *
 *   3 tasks
 *     main  waiting for await since 2.1 s at script.lua:9
 *       script.lua:4  waiting for sleep since 0.6 s at script.lua:5
 *       nightly  ready
 *
 * SPDX-License-Identifier: MIT */
#include "dump.h"

#include <stdio.h>

#include <lauxlib.h>

#include "buf.h"
#include "glue.h"
#include "rt.h"

enum { MAX_LINES = 1000, MAX_INDENT = 32, PLACE = LUA_IDSIZE + 16 };

/* The innermost line of the script on a suspended task's stack: "script.lua:5", or "". */
static void write_place(lua_State *co, char place[PLACE]) {
  lua_Debug ar;
  *place = '\0';
  for (int level = 0; lua_getstack(co, level, &ar); level++) {
    lua_getinfo(co, "Sl", &ar);
    if (ar.currentline <= 0 || jr_is_own_source(ar.source)) continue;
    snprintf(place, PLACE, "%s:%d", ar.short_src, ar.currentline);
    return;
  }
}

static double seconds_parked(const jobrun *rt, const jr_task *t) {
  uint32_t now_ms = (uint32_t)(((int64_t)uv_hrtime() - rt->start_ns) / JR_MS);
  return (now_ms - t->since_ms) / 1e3;
}

/* Calls fn for each task, owners first, until it returns false. Pre-order without recursion; newest
 * children come first. */
static void each_task(jobrun *rt, bool (*fn)(void *data, const jr_task *t, int depth), void *data) {
  int depth = 0;
  for (const jr_task *t = rt->root;;) {
    if (t->children.first) {
      t = jr_container_of(t->children.first, jr_task, sibling);
      depth++;
    } else {
      while (t->parent && !t->sibling.next) {
        t = t->parent;
        depth--;
      }
      if (!t->parent) return;
      t = jr_container_of(t->sibling.next, jr_task, sibling);
    }
    if (!fn(data, t, depth)) return;
  }
}

/* ---- as text ------------------------------------------------------------------------------- */

typedef struct page {
  jr_buf text;
  jobrun *rt;
  int lines;
} page;

static bool add_task(void *data, const jr_task *t, int depth) {
  page *p = data;
  jr_buf *out = &p->text;
  lua_State *L = p->rt->L;
  char place[PLACE];
  if (++p->lines > MAX_LINES) {
    jr_buf_addf(out, "\n  … and %u more", p->rt->tasks - MAX_LINES);
    return false;
  }
  jr_buf_addf(out, "\n%*s", 2 * (depth < MAX_INDENT ? depth : MAX_INDENT), "");
  jr_task_push_name(L, t);
  jr_buf_addf(out, "%s  %s", lua_tostring(L, -1), jr_task_status(t));
  lua_pop(L, 1);
  if (t->cancelled) jr_buf_adds(out, ", cancelled,");
  if (t->state != JR_TASK_WAITING) return true;
  write_place(t->co, place);
  jr_buf_addf(out, " for %s since %.1f s%s%s", t->wait->ops->name, seconds_parked(p->rt, t),
              *place ? " at " : "", place);
  return true;
}

static int dump(lua_State *L) {
  page *p = lua_touserdata(L, 1);
  luaL_checkstack(L, 8, NULL);
  jr_buf_addf(&p->text, "%u tasks", p->rt->tasks);
  each_task(p->rt, add_task, p);
  return 0;
}

void jr_dump_tasks(jobrun *rt) {
  page p = {.rt = rt};
  jr_buf_init(&p.text, &rt->mem);
  jr_call_protected(rt, dump, &p);
  if (!p.text.failed && p.text.data) jr_log_line(&rt->log, JR_LOG_INFO, p.text.data, p.text.len);
  jr_buf_fini(&p.text);
}

/* ---- as tables ----------------------------------------------------------------------------- */

static bool push_task(void *data, const jr_task *t, int depth) {
  lua_State *L = data;
  lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
  char place[PLACE] = "";
  if (n == MAX_LINES) return false;
  lua_createtable(L, 0, 6);
  jr_task_push_name(L, t);
  lua_setfield(L, -2, "name");
  lua_pushstring(L, jr_task_status(t));
  lua_setfield(L, -2, "status");
  lua_pushinteger(L, depth);
  lua_setfield(L, -2, "depth");
  if (t->state == JR_TASK_WAITING) {
    lua_pushstring(L, t->wait->ops->name);
    lua_setfield(L, -2, "operation");
    lua_pushnumber(L, seconds_parked(jr_of(L), t));
    lua_setfield(L, -2, "since");
    write_place(t->co, place);
  }
  if (*place) {
    lua_pushstring(L, place);
    lua_setfield(L, -2, "at");
  }
  lua_rawseti(L, -2, n + 1);
  return true;
}

void jr_dump_push(lua_State *L) {
  luaL_checkstack(L, 8, NULL);
  lua_newtable(L);
  each_task(jr_of(L), push_task, L);
}
