/* The tree of tasks as text.
 *
 *   3 tasks
 *     main  waiting for await since 2.1 s at script.lua:9
 *       script.lua:4  waiting for sleep since 0.6 s at script.lua:5
 *       nightly  ready
 *
 * SPDX-License-Identifier: MIT */
#include "dump.h"

#include <lauxlib.h>

#include "buf.h"
#include "glue.h"
#include "rt.h"

enum { MAX_LINES = 1000, MAX_INDENT = 32 };

/* The innermost line of the script on a suspended task's stack. */
static void add_line(jr_buf *out, lua_State *co) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(co, level, &ar); level++) {
    lua_getinfo(co, "Sl", &ar);
    if (ar.currentline <= 0 || jr_is_own_source(ar.source)) continue;
    jr_buf_addf(out, " at %s:%d", ar.short_src, ar.currentline);
    return;
  }
}

static void add_task(jr_buf *out, jobrun *rt, const jr_task *t, int depth) {
  lua_State *L = rt->L;
  jr_buf_addf(out, "\n%*s", 2 * (depth < MAX_INDENT ? depth : MAX_INDENT), "");
  jr_task_push_name(L, t);
  jr_buf_addf(out, "%s  %s", lua_tostring(L, -1), jr_task_status(t));
  lua_pop(L, 1);
  if (t->cancelled) jr_buf_adds(out, ", cancelled,");
  if (t->state != JR_TASK_WAITING) return;
  uint32_t now_ms = (uint32_t)(((int64_t)uv_hrtime() - rt->start_ns) / JR_MS);
  jr_buf_addf(out, " for %s since %.1f s", t->wait->ops->name, (now_ms - t->since_ms) / 1e3);
  add_line(out, t->co);
}

/* Pre-order without recursion; newest children come first. */
static int dump(lua_State *L) {
  jr_buf *out = lua_touserdata(L, 1);
  jobrun *rt = jr_of(L);
  int depth = 0, lines = 0;
  luaL_checkstack(L, 8, NULL);
  jr_buf_addf(out, "%u tasks", rt->tasks);
  for (const jr_task *t = rt->root;;) {
    if (t->children.first) {
      t = jr_container_of(t->children.first, jr_task, sibling);
      depth++;
    } else {
      while (t->parent && !t->sibling.next) {
        t = t->parent;
        depth--;
      }
      if (!t->parent) return 0;
      t = jr_container_of(t->sibling.next, jr_task, sibling);
    }
    if (++lines > MAX_LINES) {
      jr_buf_addf(out, "\n  … and %u more", rt->tasks - MAX_LINES);
      return 0;
    }
    add_task(out, rt, t, depth);
  }
}

void jr_dump_tasks(jobrun *rt) {
  jr_buf out;
  jr_buf_init(&out, &rt->mem);
  jr_call_protected(rt, dump, &out);
  if (!out.failed && out.data) jr_log_line(&rt->log, JR_LOG_INFO, out.data, out.len);
  jr_buf_fini(&out);
}
