/* THE WAIST: tasks, and the one kind of wait. The only caller of lua_resume for a task.
 *
 *   spawn ──> READY ──pump──> RUNNING ──park──> WAITING
 *               ^                │                 │
 *               │                │ return, error   │ jr_wake
 *               │                v                 │
 *               │          waits for its children  │
 *               │                │                 │
 *               │                v                 │
 *               │      DONE | FAILED | CANCELLED   │
 *               └──────────────────────────────────┘
 *
 * Who may do what. Only the pump resumes, outside of any uv callback's depth of Lua: a uv callback
 * marks a task ready (jr_wake) and returns. A task leaves WAITING by jr_wake alone, so each park
 * has one wake and one drop. Everything here runs on the loop's thread.
 *
 * The trampoline. A task's coroutine runs `trampoline(task, handler, fn, ...)`, which calls fn by
 * lua_pcallk. A coroutine that dies of an uncaught error is not unwound by Lua, and closing it
 * from outside runs its to-be-closed variables where they cannot wait; under the pcallk they run
 * inside the task and may. The task's userdata is the trampoline's first argument: the running
 * coroutine's own stack keeps its handle alive, which costs nothing to set up or to undo.
 *
 * Ownership. A task belongs to its parent and does not end before its children did. A child that
 * fails while nobody waits for it gives its error to the parent as its *cause*: the parent and its
 * other children are cancelled, each of their waits raises from then on (level-triggered: a pcall
 * that swallows it meets it again at the next wait), and the parent ends with the cause as its
 * error. At a supervisor (the root) a failure is logged and goes no further.
 *
 * SPDX-License-Identifier: MIT */
#include "task.h"

#include <stddef.h>
#include <string.h>

#include <lauxlib.h>

#include "glue.h"
#include "rt.h"
#include "status.h"

/* A turn of the loop resumes for at most this long, then I/O has its turn. The clock is read once
 * in CLOCK_EVERY resumes. */
enum { CLOCK_EVERY = 64, MAX_SITES = 4096, SITE_SIZE = LUA_IDSIZE };
#define TURN_BUDGET_NS (JR_MS / 2)

#define TASK_META "jobrun.task"

static const char anchors_key, causes_key, meta_key, names_key, site_key;

/* Where things lie on a task's stack, as seen from the trampoline. */
enum { AT_TASK = 1, AT_HANDLER = 2, AT_BODY = 3 };

/* ---- run queue ----------------------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* its being active is what keeps the poll from blocking */
}

static void enqueue(jobrun *rt, jr_task *t) {
  t->state = JR_TASK_READY;
  t->next = NULL;
  if (rt->ready_first) {
    rt->ready_last->next = t;
  } else {
    rt->ready_first = t;
    uv_idle_start(&rt->idle, on_idle);
  }
  rt->ready_last = t;
}

static jr_task *dequeue(jobrun *rt) {
  jr_task *t = rt->ready_first;
  rt->ready_first = t->next;
  return t;
}

/* ---- waits --------------------------------------------------------------------------------- */

bool jr_wait_is_open(const jr_wait *w) {
  return w->task && w->task->wait == w && w->task->state == JR_TASK_WAITING;
}

void jr_wake(jr_wait *w, int status) {
  if (!jr_wait_is_open(w)) return;
  jobrun *rt = jr_of(w->task->co);
  w->status = status;
  jr_timer_stop(rt, &w->task->timer);
  enqueue(rt, w->task);
}

static void cancel_wait(jr_wait *w) {
  if (w->ops->cancel)
    w->ops->cancel(w);
  else
    jr_wake(w, UV_ECANCELED);
}

/* The task lets go of its wait: after it was woken, or when it dies in it. */
static void detach_wait(jr_task *t) {
  jr_wait *w = t->wait;
  if (!w) return;
  t->wait = NULL;
  w->task = NULL;
  if (w->ops->drop) w->ops->drop(w);
}

static void on_timer(jobrun *rt, jr_timer *timer);

/* A failure on its way from one task to another: a table {error, traceback}. Replaces the error on
 * top by it, and back; the traceback is then on record for the task that runs. */
static void pack_failure(lua_State *L) {
  lua_createtable(L, 2, 0);
  jr_traceback_of(L, -2);
  lua_rawseti(L, -2, 2);
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
}

static void unpack_failure(lua_State *L) {
  lua_rawgeti(L, -1, 1);
  if (lua_rawgeti(L, -2, 2) == LUA_TSTRING)
    jr_traceback_keep(L, -2);
  else
    lua_pop(L, 1);
  lua_remove(L, -2);
}

/* The error a cancelled task sees: its cause if a child failed, else a fresh object. */
static void push_cause(lua_State *L, jr_task *t) {
  luaL_checkstack(L, 8, NULL);
  if (t->has_cause) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
    lua_rawgetp(L, -1, t);
    lua_remove(L, -2);
    unpack_failure(L);
  } else {
    jr_error_push(L, "cancelled", UV_ECANCELED, 1, "cancelled: %s", jr_of(L)->reasons[t->reason]);
  }
}

static int raise_cause(lua_State *L, jr_task *t) {
  push_cause(L, t);
  return lua_error(L);
}

/* Pushes "table.sort" for the function on top if package.loaded knows it, else nil; pops it. */
static void push_library_name(lua_State *L) {
  int fn = lua_gettop(L);
  luaL_checkstack(L, 8, NULL);
  lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  for (lua_pushnil(L); lua_next(L, fn + 1); lua_settop(L, fn + 2)) {
    if (!lua_istable(L, -1) || lua_type(L, -2) != LUA_TSTRING) continue;
    for (lua_pushnil(L); lua_next(L, fn + 3); lua_pop(L, 1)) {
      if (!lua_rawequal(L, -1, fn) || lua_type(L, -2) != LUA_TSTRING) continue;
      lua_pushfstring(L, "%s.%s", lua_tostring(L, fn + 2), lua_tostring(L, -2));
      lua_replace(L, fn);
      lua_settop(L, fn);
      return;
    }
  }
  lua_settop(L, fn - 1);
  lua_pushnil(L);
}

/* Pushes the name of the C function that a wait cannot pass, for the error message. */
static const char *push_barrier(lua_State *L) {
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    lua_getinfo(L, "f", &ar);
    bool is_c = lua_iscfunction(L, -1);
    if (!is_c) {
      lua_pop(L, 1);
      continue;
    }
    push_library_name(L);
    const char *name = lua_tostring(L, -1);
    if (name && strcmp(name, "_G.pcall") != 0 && strcmp(name, "_G.xpcall") != 0 &&
        strncmp(name, "jobrun.", 7) != 0)
      return name;
    lua_pop(L, 1);
  }
  lua_pushliteral(L, "a metamethod");
  return lua_tostring(L, -1);
}

void jr_check_park(lua_State *L, const char *op) {
  jobrun *rt = jr_of(L);
  jr_task *t = rt->cur;
  if (t && t->cancelled) raise_cause(L, t);
  if (t && lua_isyieldable(L) && rt->no_park == 0) return;
  if (!t) jr_raise(L, "usage", 0, 1, "%s can wait only inside a task (use spawn)", op);
  jr_raise(L, "usage", 0, 1,
           "%s cannot wait here: %s, on the stack, is a C function that cannot be suspended", op,
           push_barrier(L));
}

static void begin_wait(lua_State *L, jr_wait *w) {
  jobrun *rt = jr_of(L);
  jr_task *t = rt->cur;
  detach_wait(t); /* one whose push raised */
  w->task = t;
  w->status = 0;
  t->wait = w;
  t->since_ms = rt->turn_ms;
  t->expired = false;
  t->state = JR_TASK_WAITING;
  rt->parking = true;
}

int jr_park_k(lua_State *L, jr_wait *w, lua_KContext ctx, lua_KFunction k) {
  begin_wait(L, w);
  return lua_yieldk(L, 0, ctx, k);
}

/* UV_ECANCELED means one of two things: the task was cancelled, or its deadline passed. */
static int status_of(const jr_task *t) {
  int status = t->wait->status;
  return status == UV_ECANCELED && t->expired && !t->cancelled ? UV_ETIMEDOUT : status;
}

int jr_unpark(lua_State *L) {
  jr_task *t = jr_of(L)->cur;
  int status = status_of(t);
  detach_wait(t);
  if (status == UV_ECANCELED && t->cancelled) raise_cause(L, t);
  return status;
}

static int on_woken(lua_State *L, int lua_status, lua_KContext ctx) {
  (void)lua_status;
  (void)ctx;
  jr_task *t = jr_of(L)->cur;
  jr_wait *w = t->wait;
  w->status = status_of(t);
  if (w->status == UV_ECANCELED && t->cancelled) {
    detach_wait(t);
    return raise_cause(L, t);
  }
  if (!w->ops->push && w->status < 0) {
    int status = w->status;
    const char *op = w->ops->name;
    detach_wait(t);
    return jr_raise_status(L, op, status);
  }
  int results = w->ops->push ? w->ops->push(L, w) : 0;
  detach_wait(t);
  return results < 0 ? lua_error(L) : results;
}

int jr_park(lua_State *L, jr_wait *w) {
  return jr_park_k(L, w, 0, on_woken);
}

int jr_park_until(lua_State *L, jr_wait *w, int64_t due_ns) {
  jobrun *rt = jr_of(L);
  begin_wait(L, w);
  if (due_ns != INT64_MAX && jr_timer_start(rt, &w->task->timer, due_ns) < 0) {
    rt->parking = false;
    rt->cur->state = JR_TASK_RUNNING;
    detach_wait(rt->cur);
    return jr_raise_status(L, "timeout", UV_ENOMEM);
  }
  return lua_yieldk(L, 0, 0, on_woken);
}

/* ---- cancelling ---------------------------------------------------------------------------- */

static jr_task *task_of_sibling(jr_link *node) {
  return jr_container_of(node, jr_task, sibling);
}

/* The first child from `node` on that is not shielded, or NULL. */
static jr_task *reachable_from(jr_link *node) {
  for (; node; node = node->next)
    if (!task_of_sibling(node)->shielded) return task_of_sibling(node);
  return NULL;
}

static jr_task *deepest(jr_task *t) {
  for (jr_task *child; (child = reachable_from(t->children.first));) t = child;
  return t;
}

/* Reasons are few and static; past the bound one shares the first's text. */
static uint8_t intern_reason(jobrun *rt, const char *reason) {
  uint8_t i = 0;
  while (i < JR_MAX_REASONS && rt->reasons[i] && rt->reasons[i] != reason) i++;
  if (i == JR_MAX_REASONS) return 0;
  rt->reasons[i] = reason;
  return i;
}

static void cancel_one(jr_task *t, uint8_t reason) {
  if (t->cancelled) return;
  t->cancelled = true;
  t->reason = reason;
  if (t->state == JR_TASK_WAITING) cancel_wait(t->wait);
}

/* Children before parents, without recursion: a chain of tasks may be a million deep. */
void jr_task_cancel(jr_task *task, const char *reason) {
  if (jr_task_is_done(task)) return;
  uint8_t why = intern_reason(jr_of(task->co), reason);
  for (jr_task *t = deepest(task);;) {
    cancel_one(t, why);
    if (t == task) return;
    jr_task *next = reachable_from(t->sibling.next);
    t = next ? deepest(next) : t->parent;
  }
}

static void set_cause(lua_State *L, jr_task *t, int index) {
  index = lua_absindex(L, index);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_pushvalue(L, index);
  pack_failure(L);
  lua_rawsetp(L, -2, t);
  lua_pop(L, 1);
  t->has_cause = true;
}

void jr_task_cancel_with(lua_State *L, jr_task *task, int index) {
  if (jr_task_is_done(task) || task->cancelled) return;
  set_cause(L, task, index);
  jr_task_cancel(task, "a child failed");
}

/* A further failure joins the first one's list, if that is an object to hold one. */
static void add_to_errors(lua_State *L, jr_task *t, int index) {
  index = lua_absindex(L, index);
  push_cause(L, t);
  if (jr_error_is(L, -1, NULL) && !lua_rawequal(L, -1, index)) {
    if (lua_getfield(L, -1, "errors") != LUA_TTABLE) {
      lua_pop(L, 1);
      lua_newtable(L);
      lua_pushvalue(L, -1);
      lua_setfield(L, -3, "errors");
    }
    lua_pushvalue(L, index);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ---- the end of a task --------------------------------------------------------------------- */

static void end_wait_cancel(jr_wait *w) {
  (void)w; /* the children were cancelled first; their end is what is waited for */
}

static const jr_wait_ops children_ops = {.name = "children", .cancel = end_wait_cancel};

static void append_spawn_sites(lua_State *L, const jr_task *t) {
  jobrun *rt = jr_of(L);
  for (; t->parent; t = t->parent) {
    if (t->spawn_line <= 0) continue;
    lua_pushfstring(L, "\nspawned at %s:%d", rt->sites[t->spawn_site], (int)t->spawn_line);
    lua_concat(L, 2);
  }
}

/* Makes the traceback on record for the error on top reach back to where the task was spawned. */
static void extend_traceback(lua_State *L, const jr_task *t) {
  jr_traceback_of(L, -1);
  if (lua_isstring(L, -1) && !strstr(lua_tostring(L, -1), "\nspawned at ")) {
    append_spawn_sites(L, t);
    jr_traceback_keep(L, -2);
  } else {
    lua_pop(L, 1);
  }
}

static void log_failure(lua_State *L, jobrun *rt, int index) {
  jr_error_text(L, index);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  jr_log_line(&rt->log, JR_LOG_ERROR, text, len);
  lua_pop(L, 1);
  rt->failed = true;
}

/* Hands a failure nobody waits for to the parent. May raise (memory). */
static void pass_to_parent(lua_State *L, jr_task *t, int index) {
  jr_task *parent = t->parent;
  if (parent->supervisor)
    log_failure(L, jr_of(L), index);
  else if (parent->has_cause)
    add_to_errors(L, parent, index);
  else if (parent->cancelled)
    return; /* it failed while it was being cancelled: its parent is leaving already */
  else
    jr_task_cancel_with(L, parent, index);
}

/* The part of the end that cannot fail. */
static void leave(jobrun *rt, jr_task *t, jr_state state, lua_State *L) {
  jr_task *parent = t->parent;
  detach_wait(t);
  jr_timer_stop(rt, &t->timer);
  t->state = (uint8_t)state;
  jr_chain_remove(&t->sibling);
  rt->tasks--;
  while (!jr_chain_is_empty(&t->watches)) {
    jr_watch *watch = jr_container_of(t->watches.first, jr_watch, link);
    jr_chain_remove(&watch->link);
    watch->on_end(watch, t, L);
  }
  if (jr_chain_is_empty(&parent->children) && parent->wait && parent->wait->ops == &children_ops)
    jr_wake(parent->wait, 0);
}

/* Stores what lies from AT_BODY to the top as the task's results. */
static void store_results(lua_State *L) {
  int n = lua_gettop(L) - AT_BODY + 1;
  if (n <= 0) return;
  lua_createtable(L, n, 1);
  lua_insert(L, AT_BODY);
  for (int i = n; i >= 1; i--) lua_rawseti(L, AT_BODY, i);
  lua_pushinteger(L, n);
  lua_setfield(L, AT_BODY, "n");
  lua_setiuservalue(L, AT_TASK, 1);
}

static void forget_cause(lua_State *L, jr_task *t) {
  if (!t->has_cause) return;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_pushnil(L);
  lua_rawsetp(L, -2, t);
  lua_pop(L, 1);
  t->has_cause = false;
}

/* With the error on top of a stack that has the task at AT_TASK. */
static int finish_failed(lua_State *L, jobrun *rt, jr_task *t) {
  bool is_cancelled = t->cancelled && jr_error_is(L, -1, "cancelled");
  if (!is_cancelled) extend_traceback(L, t);
  lua_pushvalue(L, -1);
  pack_failure(L);
  lua_setiuservalue(L, AT_TASK, 1);
  if (!is_cancelled && jr_chain_is_empty(&t->watches)) pass_to_parent(L, t, -1);
  forget_cause(L, t);
  leave(rt, t, is_cancelled ? JR_TASK_CANCELLED : JR_TASK_FAILED, L);
  return 0;
}

static int finish(lua_State *L, int lua_status, lua_KContext failed) {
  (void)lua_status;
  jobrun *rt = jr_of(L);
  jr_task *t = lua_touserdata(L, AT_TASK);
  detach_wait(t);
  if (t->has_cause) {
    push_cause(L, t);
    return finish_failed(L, rt, t);
  }
  if (failed) return finish_failed(L, rt, t);
  store_results(L);
  leave(rt, t, JR_TASK_DONE, L);
  return 0;
}

static int after_body(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  jr_task *t = lua_touserdata(L, AT_TASK);
  bool failed = status != LUA_OK && status != LUA_YIELD;
  if (jr_chain_is_empty(&t->children)) return finish(L, LUA_OK, failed);
  if (failed) {
    if (!t->has_cause && !(t->cancelled && jr_error_is(L, -1, "cancelled"))) set_cause(L, t, -1);
    jr_task_cancel(t, "its parent failed");
  }
  t->own.ops = &children_ops;
  return jr_park_k(L, &t->own, failed, finish);
}

static int trampoline(lua_State *L) {
  jr_task *t = lua_touserdata(L, AT_TASK);
  if (t->cancelled) { /* before it ever ran: it never will */
    lua_settop(L, AT_HANDLER);
    push_cause(L, t);
    return after_body(L, LUA_ERRRUN, 0);
  }
  int status = lua_pcallk(L, lua_gettop(L) - AT_BODY, LUA_MULTRET, AT_HANDLER, 0, after_body);
  return after_body(L, status, 0);
}

/* ---- spawning ------------------------------------------------------------------------------ */

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
  bool is_script = *ar.what != 'C' && strncmp(ar.source, "@jobrun", 7) != 0;
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
static void note_spawn_site(lua_State *L, jobrun *rt, jr_task *t) {
  lua_Debug ar;
  for (int level = 0; lua_getstack(L, level, &ar); level++) {
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

int jr_call_protected(jobrun *rt, lua_CFunction fn, void *data) {
  lua_State *L = rt->L;
  if (!lua_checkstack(L, 4)) return UV_ENOMEM;
  lua_pushcfunction(L, fn);
  lua_pushlightuserdata(L, data);
  int status = lua_pcall(L, 1, 0, 0);
  if (status == LUA_OK) return 0;
  const char *text = lua_tostring(L, -1);
  jr_logf(&rt->log, JR_LOG_ERROR, "%s", text ? text : "error in a protected call");
  lua_pop(L, 1);
  return status == LUA_ERRMEM ? UV_ENOMEM : JR_ESCRIPT;
}

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

static lua_State *take_coroutine(lua_State *L, jobrun *rt, int32_t *slot) {
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

/* One that escaped belongs to whoever has it now: its slot gets a fresh one. Where memory is out
 * it stays anchored and unused. */
static void give_back(jobrun *rt, lua_State *co, int32_t slot, bool escaped) {
  lua_settop(co, 0);
  if (escaped)
    jr_call_protected(rt, replace_escaped, &slot);
  else
    make_idle(rt, co, slot);
}

static void init_task(jr_task *t, jr_task *parent, int flags) {
  *t = (jr_task){.parent = parent,
                 .shielded = flags & JR_SPAWN_SHIELD,
                 .supervisor = (flags & JR_SPAWN_SUPERVISOR) != 0,
                 .timer.fire = on_timer};
}

jr_task *jr_spawn(lua_State *L, jr_task *parent, int nargs, int flags) {
  jobrun *rt = jr_of(L);
  if (!parent) parent = rt->root;
  if (rt->phase == JR_PHASE_END)
    jr_raise(
        L, "closed", JR_ECLOSED, 1,
        "spawn: this event loop is closed, the script has ended: start tasks before, or in an on.stop hook");
  luaL_checkstack(L, 6, "spawn");
  jr_task *t = lua_newuserdatauv(L, sizeof *t, 1);
  init_task(t, parent, flags);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key);
  lua_setmetatable(L, -2);
  t->co = take_coroutine(L, rt, &t->slot);
  if (!lua_checkstack(t->co, nargs + 8)) {
    give_back(rt, t->co, t->slot, false);
    t->state = JR_TASK_FAILED;
    jr_raise_status(L, "spawn", UV_ENOMEM);
  }
  note_spawn_site(L, rt, t);
  lua_pushcfunction(t->co, trampoline);
  lua_pushvalue(L, -1);
  lua_xmove(L, t->co, 1);
  lua_pushcfunction(t->co, jr_message_handler);
  lua_insert(L, -(nargs + 2));
  lua_xmove(L, t->co, nargs + 1);
  jr_chain_push(&parent->children, &t->sibling);
  if (parent->cancelled && !t->shielded) cancel_one(t, parent->reason);
  rt->tasks++;
  rt->spawned++;
  enqueue(rt, t);
  return t;
}

struct spawn_request {
  int ref, flags;
  int (*push_args)(lua_State *L, void *data);
  void *data;
  jr_task *task;
};

static int spawn_protected(lua_State *L) {
  struct spawn_request *q = lua_touserdata(L, 1);
  lua_rawgeti(L, LUA_REGISTRYINDEX, q->ref);
  int nargs = q->push_args ? q->push_args(L, q->data) : 0;
  q->task = jr_spawn(L, NULL, nargs, q->flags);
  return 0;
}

int jr_spawn_ref(jobrun *rt, int fn_ref, int (*push_args)(lua_State *L, void *data), void *data,
                 int flags, jr_task **out) {
  struct spawn_request q = {.ref = fn_ref, .flags = flags, .push_args = push_args, .data = data};
  int status = jr_call_protected(rt, spawn_protected, &q);
  if (status == 0) *out = q.task;
  return status;
}

void jr_watch_start(jr_task *task, jr_watch *watch) {
  jr_chain_push(&task->watches, &watch->link);
}

void jr_watch_stop(jr_watch *watch) {
  jr_chain_remove(&watch->link);
}

void jr_task_detach(jr_task *task) {
  jr_task *old = task->parent, *root = old;
  if (jr_task_is_done(task)) return;
  while (root->parent) root = root->parent;
  jr_chain_remove(&task->sibling);
  jr_chain_push(&root->children, &task->sibling);
  task->parent = root;
  if (jr_chain_is_empty(&old->children) && old->wait && old->wait->ops == &children_ops)
    jr_wake(old->wait, 0);
}

/* ---- the pump ------------------------------------------------------------------------------ */

struct crash {
  jr_task *task;
  lua_State *co;
};

static int pass_crash(lua_State *L) {
  struct crash *crash = lua_touserdata(L, 1);
  luaL_checkstack(L, 8, NULL);
  lua_xmove(crash->co, L, 1);
  forget_cause(L, crash->task);
  if (jr_chain_is_empty(&crash->task->watches)) pass_to_parent(L, crash->task, -1);
  return 0;
}

/* The trampoline itself raised (out of memory, as a rule): the error is on top of the dead
 * coroutine, whose stack still holds the task. It has to end in order all the same; its children,
 * cancelled, go to the root. */
static void on_crash(jobrun *rt, jr_task *t) {
  lua_State *co = t->co;
  while (!jr_chain_is_empty(&t->children)) {
    jr_task *child = task_of_sibling(t->children.first);
    jr_task_cancel(child, "its parent failed");
    jr_task_detach(child);
  }
  jr_call_protected(rt, pass_crash, &(struct crash){t, co});
  leave(rt, t, JR_TASK_FAILED, rt->L);
  lua_resetthread(co);
}

static void resume(jobrun *rt, jr_task *t) {
  lua_State *co = t->co;
  int32_t slot = t->slot;
  int results, args = lua_status(co) == LUA_YIELD ? 0 : lua_gettop(co) - 1;
  t->state = JR_TASK_RUNNING;
  rt->cur = t;
  rt->resumed++;
  rt->running_co = co;
  int status = lua_resume(co, rt->L, args, &results);
  rt->running_co = NULL;
  rt->cur = NULL;
  if (rt->watchdog.logged && lua_gethookmask(co)) lua_sethook(co, NULL, 0, 0);
  if (status == LUA_YIELD && rt->parking) {
    rt->parking = false;
    return;
  }
  if (status == LUA_YIELD) {
    /* Some C library yielded to a scheduler that is not there; its next wait tells it. */
    lua_pop(co, results);
    if (!t->cancelled) jr_task_cancel(t, "a C library yielded outside a coroutine of its own");
    enqueue(rt, t);
    return;
  }
  if (status != LUA_OK) on_crash(rt, t);
  bool escaped = t->escaped;
  t->co = NULL;
  give_back(rt, co, slot, escaped);
}

static int64_t look_at_clock(jobrun *rt) {
  int64_t now = (int64_t)uv_hrtime();
  rt->turn_ms = (uint32_t)((now - rt->start_ns) / JR_MS);
  return now;
}

bool jr_pump(jobrun *rt) {
  if (!rt->ready_first || rt->cur) return false; /* cur: a script turned the loop by itself */
  int64_t end = look_at_clock(rt) + TURN_BUDGET_NS;
  for (unsigned n = 1; rt->ready_first; n++) {
    resume(rt, dequeue(rt));
    if (n % CLOCK_EVERY == 0 && look_at_clock(rt) >= end) break;
  }
  if (!rt->ready_first) uv_idle_stop(&rt->idle);
  return rt->ready_first != NULL;
}

/* ---- sleep, yield, await ------------------------------------------------------------------- */

static const jr_wait_ops sleep_ops = {.name = "sleep"};
static const jr_wait_ops yield_ops = {.name = "yield"};

static void on_timer(jobrun *rt, jr_timer *timer) {
  (void)rt;
  jr_task *t = jr_container_of(timer, jr_task, timer);
  if (t->state != JR_TASK_WAITING) return;
  if (t->wait->ops == &sleep_ops) {
    jr_wake(t->wait, 0);
  } else {
    t->expired = true;
    cancel_wait(t->wait);
  }
}

int jr_task_sleep(lua_State *L, int64_t ns) {
  jr_check_park(L, "sleep");
  jobrun *rt = jr_of(L);
  rt->cur->own.ops = &sleep_ops;
  return jr_park_until(L, &rt->cur->own, jr_clock_now(rt) + ns);
}

int jr_task_yield(lua_State *L) {
  jr_check_park(L, "yield");
  jr_task *t = jr_of(L)->cur;
  t->own.ops = &yield_ops;
  begin_wait(L, &t->own);
  jr_wake(&t->own, 0);
  return lua_yieldk(L, 0, 0, on_woken);
}

jr_task *jr_task_check(lua_State *L, int arg) {
  jr_task *t = luaL_testudata(L, arg, TASK_META);
  if (!t)
    jr_raise(L, "usage", 0, 1, "bad argument #%d: expected a task, got %s", arg,
             luaL_typename(L, arg));
  return t;
}

/* Waiting for another task. The target's handle is at index 1 of the waiting function's stack. */
typedef struct jr_join {
  jr_wait wait;
  jr_watch watch;
  jobrun *rt;
  jr_task *target;
  jr_timer grace; /* shield: its end */
  int64_t grace_ns;
  bool timed_out;
} jr_join;

static jr_join *join_of(jr_wait *w) {
  return jr_container_of(w, jr_join, wait);
}

static void on_target_end(jr_watch *watch, jr_task *task, lua_State *L) {
  (void)task;
  (void)L;
  jr_wake(&jr_container_of(watch, jr_join, watch)->wait, 0);
}

/* Pushes the outcome of the finished task at index 1. */
static int push_outcome(lua_State *L, jr_task *target) {
  luaL_checkstack(L, 8, NULL);
  lua_getiuservalue(L, 1, 1);
  if (target->state != JR_TASK_DONE) {
    if (lua_istable(L, -1))
      unpack_failure(L);
    else
      lua_pushstring(L, "not enough memory");
    return -1;
  }
  if (lua_isnil(L, -1)) return 0;
  int table = lua_gettop(L);
  lua_getfield(L, table, "n");
  int n = (int)lua_tointeger(L, -1);
  luaL_checkstack(L, n, "too many results");
  for (int i = 1; i <= n; i++) lua_rawgeti(L, table, i);
  return n;
}

static int join_push(lua_State *L, jr_wait *w) {
  jr_join *j = join_of(w);
  bool is_cancelled = j->target->state == JR_TASK_CANCELLED;
  if (w->status == UV_ETIMEDOUT || (j->timed_out && is_cancelled)) {
    jr_error_push(L, "timeout", UV_ETIMEDOUT, 1, "timed out");
    return -1;
  }
  return push_outcome(L, j->target);
}

static void join_drop(jr_wait *w) {
  jr_join *j = join_of(w);
  jr_watch_stop(&j->watch);
  jr_timer_stop(j->rt, &j->grace);
  jr_mem_free(&j->rt->mem, j, sizeof *j);
}

/* The caller of timeout() and scope() stays until the child has ended; the child is told by the
 * flow of cancellation from parent to child, or here when the deadline passed. */
static void run_child_cancel(jr_wait *w) {
  jr_join *j = join_of(w);
  if (w->task->cancelled && j->grace_ns > 0 && !jr_heap_holds(&j->grace.node)) {
    if (jr_timer_start(j->rt, &j->grace, jr_clock_now(j->rt) + j->grace_ns) == 0) return;
  } else if (!w->task->cancelled) {
    j->timed_out = true;
  }
  jr_task_cancel(j->target, j->timed_out ? "timed out" : j->rt->reasons[w->task->reason]);
}

static void on_grace_over(jobrun *rt, jr_timer *timer) {
  (void)rt;
  jr_task_cancel(jr_container_of(timer, jr_join, grace)->target, "the grace of a shield is over");
}

static const jr_wait_ops await_ops = {.name = "await", .push = join_push, .drop = join_drop};
static const jr_wait_ops run_child_ops = {
    .name = "child", .push = join_push, .cancel = run_child_cancel, .drop = join_drop};

static jr_join *join_new(lua_State *L, const jr_wait_ops *ops, jr_task *target) {
  jobrun *rt = jr_of(L);
  jr_join *j = jr_mem_zalloc(&rt->mem, sizeof *j);
  if (!j) jr_raise_status(L, ops->name, UV_ENOMEM);
  j->wait.ops = ops;
  j->watch.on_end = on_target_end;
  j->grace.fire = on_grace_over;
  j->rt = rt;
  j->target = target;
  jr_watch_start(target, &j->watch);
  return j;
}

int jr_task_await(lua_State *L, int64_t due_ns) {
  jr_task *target = jr_task_check(L, 1);
  jobrun *rt = jr_of(L);
  jr_check_park(L, "await");
  if (jr_task_is_done(target)) {
    int n = push_outcome(L, target);
    return n < 0 ? lua_error(L) : n;
  }
  for (jr_task *t = rt->cur; t; t = t->parent)
    if (t == target)
      jr_raise(
          L, "usage", JR_EDEADLOCK, 1,
          t == rt->cur
              ? "await: a task cannot wait for itself"
              : "await: a task cannot wait for the task that owns it (that one ends only after its children)");
  return jr_park_until(L, &join_new(L, &await_ops, target)->wait, due_ns);
}

int jr_task_run_child(lua_State *L, int nargs, int flags, int64_t due_ns, int64_t grace_ns) {
  jobrun *rt = jr_of(L);
  if (!(flags & JR_SPAWN_SHIELD)) jr_check_park(L, "timeout");
  bool was_cancelled = rt->cur->cancelled;
  jr_task *child = jr_spawn(L, rt->cur, nargs, flags);
  lua_insert(L, 1);
  lua_settop(L, 1);
  jr_join *j = join_new(L, &run_child_ops, child);
  j->grace_ns = grace_ns;
  if (was_cancelled && jr_timer_start(rt, &j->grace, jr_clock_now(rt) + grace_ns) < 0)
    jr_task_cancel(child, "out of memory");
  return jr_park_until(L, &j->wait, due_ns);
}

jr_task *jr_task_current(lua_State *L) {
  return jr_of(L)->cur;
}

/* Names are rare, so they have a table of their own, with weak keys: task → name. */
void jr_task_set_name(lua_State *L, int arg) {
  jr_task_check(L, arg)->named = true;
  lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key);
  lua_insert(L, -2);
  lua_pushvalue(L, arg);
  lua_insert(L, -2);
  lua_rawset(L, -3);
  lua_pop(L, 1);
}

/* Pushes the given name, found by the task's address, or nil. */
static void push_given_name(lua_State *L, const jr_task *task) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &names_key);
  int names = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, names); lua_pop(L, 1)) {
    if (lua_touserdata(L, -2) != task) continue;
    lua_replace(L, names);
    lua_settop(L, names);
    return;
  }
  lua_pushnil(L);
  lua_replace(L, names);
}

void jr_task_push_name(lua_State *L, const jr_task *task) {
  luaL_checkstack(L, 6, NULL);
  if (task->named)
    push_given_name(L, task);
  else if (task->spawn_line > 0)
    lua_pushfstring(L, "%s:%d", jr_of(L)->sites[task->spawn_site], (int)task->spawn_line);
  else
    lua_pushliteral(L, "main");
}

const char *jr_task_status(const jr_task *task) {
  static const char *const names[] = {"ready", "running", "waiting", "done", "failed", "cancelled"};
  return names[task->state];
}

/* ---- the loop's hooks ---------------------------------------------------------------------- */

/* Before the poll: run what is ready, let virtual time jump if nothing is, tell the kernel the
 * next deadline. */
static void on_prepare(uv_prepare_t *prepare) {
  jobrun *rt = prepare->data;
  rt->on_turn(rt);
  jr_clock_arm(rt);
}

/* After the poll: what it made ready runs without waiting for the next turn. */
static void on_check(uv_check_t *check) {
  jobrun *rt = check->data;
  rt->on_turn(rt);
}

void jr_uv_closed(uv_handle_t *handle) {
  ((jobrun *)handle->data)->open_uv--;
}

static void adopt(jobrun *rt, uv_handle_t *handle) {
  handle->data = rt;
  rt->open_uv++;
  uv_unref(handle);
}

void jr_tasks_open(jobrun *rt) {
  lua_State *L = rt->L;
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &anchors_key);
  lua_newtable(L);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &causes_key);
  lua_newtable(L);
  lua_createtable(L, 0, 1);
  lua_pushliteral(L, "k");
  lua_setfield(L, -2, "__mode");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &names_key);
  luaL_newmetatable(L, TASK_META);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &meta_key);
  rt->root = jr_mem_alloc(&rt->mem, sizeof *rt->root);
  if (!rt->root) jr_raise_status(L, "jobrun_new", UV_ENOMEM);
  init_task(rt->root, NULL, JR_SPAWN_SUPERVISOR);
  rt->root->state = JR_TASK_WAITING;
  rt->root->co = L;
  site_of(rt, "?");
  rt->start_ns = (int64_t)uv_hrtime();
  intern_reason(rt, "cancelled");
  uv_prepare_init(rt->loop, &rt->prepare);
  adopt(rt, (uv_handle_t *)&rt->prepare);
  uv_prepare_start(&rt->prepare, on_prepare);
  uv_check_init(rt->loop, &rt->check);
  adopt(rt, (uv_handle_t *)&rt->check);
  uv_check_start(&rt->check, on_check);
  uv_idle_init(rt->loop, &rt->idle);
  adopt(rt, (uv_handle_t *)&rt->idle);
}

void jr_tasks_close(jobrun *rt) {
  if (!rt->idle.data) return;
  uv_close((uv_handle_t *)&rt->prepare, jr_uv_closed);
  uv_close((uv_handle_t *)&rt->check, jr_uv_closed);
  uv_close((uv_handle_t *)&rt->idle, jr_uv_closed);
}

void jr_tasks_fini(jobrun *rt) {
  for (uint16_t i = 0; i < rt->sites_len; i++) jr_mem_free(&rt->mem, rt->sites[i], SITE_SIZE);
  jr_mem_free(&rt->mem, rt->sites, rt->sites_len * sizeof *rt->sites);
  jr_mem_free(&rt->mem, rt->root, sizeof *rt->root);
}
