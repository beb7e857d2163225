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

#include "cradle.h"
#include "failure.h"
#include "glue.h"
#include "rt.h"
#include "status.h"
#include "tune.h"
#include "wait.h"

#define TASK_META "jobrun.task"

static const char meta_key, names_key;

/* Where things lie on a task's stack, as seen from the trampoline. */
enum { NAME_SIZE = 256 };

enum { AT_TASK = 1, AT_HANDLER = 2, AT_BODY = 3 };

/* ---- run queue ----------------------------------------------------------------------------- */

static void on_idle(uv_idle_t *idle) {
  (void)idle; /* its being active is what keeps the poll from blocking */
}

void jr_task_enqueue(jobrun *rt, jr_task *t) {
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
  if (t->state == JR_TASK_WAITING) jr_wait_cancel(t->wait);
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

void jr_task_cancel_with(lua_State *L, jr_task *task, int index) {
  if (jr_task_is_done(task) || task->cancelled) return;
  jr_cause_set(L, task, index);
  jr_task_cancel(task, "a child failed");
}

/* ---- the end of a task --------------------------------------------------------------------- */

static void end_wait_cancel(jr_wait *w) {
  (void)w; /* the children were cancelled first; their end is what is waited for */
}

static const jr_wait_ops children_ops = {.name = "children", .cancel = end_wait_cancel};

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
    jr_cause_add(L, parent, index);
  else if (parent->cancelled)
    return; /* it failed while it was being cancelled: its parent is leaving already */
  else
    jr_task_cancel_with(L, parent, index);
}

/* The part of the end that cannot fail. */
static void leave(jobrun *rt, jr_task *t, jr_state state, lua_State *L) {
  jr_task *parent = t->parent;
  jr_wait_detach(t);
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

/* With the error on top of a stack that has the task at AT_TASK. */
static int finish_failed(lua_State *L, jobrun *rt, jr_task *t) {
  bool is_cancelled = t->cancelled && jr_error_is(L, -1, "cancelled");
  if (!is_cancelled) jr_failure_extend(L, t);
  lua_pushvalue(L, -1);
  jr_failure_pack(L);
  lua_setiuservalue(L, AT_TASK, 1);
  if (!is_cancelled && jr_chain_is_empty(&t->watches)) pass_to_parent(L, t, -1);
  jr_cause_forget(L, t);
  leave(rt, t, is_cancelled ? JR_TASK_CANCELLED : JR_TASK_FAILED, L);
  return 0;
}

static int finish(lua_State *L, int lua_status, lua_KContext failed) {
  (void)lua_status;
  jobrun *rt = jr_of(L);
  jr_task *t = lua_touserdata(L, AT_TASK);
  jr_wait_detach(t);
  if (t->has_cause) {
    jr_cause_push(L, t);
    return finish_failed(L, rt, t);
  }
  if (failed) return finish_failed(L, rt, t);
  store_results(L);
  leave(rt, t, JR_TASK_DONE, L);
  return 0;
}

/* The end of a task is a wait too: one that was cancelled in it, so that its children did not do
 * their work, did not do its own. */
static int after_children(lua_State *L, int status, lua_KContext failed) {
  jr_task *t = lua_touserdata(L, AT_TASK);
  if (failed || !t->cancelled || t->has_cause) return finish(L, status, failed);
  jr_wait_detach(t);
  jr_cause_push(L, t);
  return finish_failed(L, jr_of(L), t);
}

static int after_body(lua_State *L, int status, lua_KContext ctx) {
  (void)ctx;
  jr_task *t = lua_touserdata(L, AT_TASK);
  bool failed = status != LUA_OK && status != LUA_YIELD;
  if (jr_chain_is_empty(&t->children)) return finish(L, LUA_OK, failed);
  if (failed) {
    if (!t->has_cause && !(t->cancelled && jr_error_is(L, -1, "cancelled"))) jr_cause_set(L, t, -1);
    jr_task_cancel(t, "its parent failed");
  }
  t->own.ops = &children_ops;
  return jr_park_k(L, &t->own, failed, after_children);
}

static int trampoline(lua_State *L) {
  jr_task *t = lua_touserdata(L, AT_TASK);
  if (t->cancelled && !t->begins) { /* before it ever ran: it never will */
    lua_settop(L, AT_HANDLER);
    jr_cause_push(L, t);
    return after_body(L, LUA_ERRRUN, 0);
  }
  int status = lua_pcallk(L, lua_gettop(L) - AT_BODY, LUA_MULTRET, AT_HANDLER, 0, after_body);
  return after_body(L, status, 0);
}

/* ---- spawning ------------------------------------------------------------------------------ */

static void init_task(jr_task *t, jr_task *parent, int flags) {
  *t = (jr_task){.parent = parent,
                 .shielded = flags & JR_SPAWN_SHIELD,
                 .begins = (flags & JR_SPAWN_BEGINS) != 0,
                 .supervisor = (flags & JR_SPAWN_SUPERVISOR) != 0,
                 .timer.fire = jr_wait_on_timer};
}

jr_task *jr_spawn(lua_State *L, jr_task *parent, int nargs, int flags) {
  jobrun *rt = jr_of(L);
  if (!parent) parent = rt->root;
  if (rt->phase == JR_PHASE_END)
    jr_raise(
        L, "closed", JR_ECLOSED, 1,
        "spawn: this event loop is closed, the script has ended: start tasks before, or in an on.stop hook");
  if (rt->tasks >= JR_MAX_TASKS)
    jr_raise(L, "limit", JR_ELIMIT, 1,
             "spawn: %d tasks are alive, which is the limit (does one spawn for ever?)",
             JR_MAX_TASKS);
  luaL_checkstack(L, 6, "spawn");
  jr_task *t = lua_newuserdatauv(L, sizeof *t, 1);
  init_task(t, parent, flags);
  lua_rawgetp(L, LUA_REGISTRYINDEX, &meta_key);
  lua_setmetatable(L, -2);
  t->co = jr_cradle_take(L, rt, &t->slot);
  if (!lua_checkstack(t->co, nargs + 8)) {
    jr_cradle_give_back(rt, t->co, t->slot, false);
    t->state = JR_TASK_FAILED;
    jr_raise_status(L, "spawn", UV_ENOMEM);
  }
  jr_site_note(L, rt, t);
  lua_pushcfunction(t->co, trampoline);
  lua_pushvalue(L, -1);
  lua_xmove(L, t->co, 1);
  lua_pushcfunction(t->co, jr_message_handler);
  lua_insert(L, -(nargs + 2));
  lua_xmove(L, t->co, nargs + 1);
  jr_chain_push(&parent->children, &t->sibling);
  if (parent->cancelled && !t->shielded) cancel_one(t, parent->reason);
  if (rt->declares) cancel_one(t, intern_reason(rt, "the script is only looked at, not run"));
  rt->tasks++;
  rt->spawned++;
  jr_task_enqueue(rt, t);
  return t;
}

struct spawn_request {
  int ref, flags;
  int (*push_args)(lua_State *L, void *data);
  void *data;
  jr_task *task;
};

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

static int pass_crash(lua_State *L) {
  jr_task *t = lua_touserdata(L, 1);
  luaL_checkstack(L, 8, NULL);
  lua_pushvalue(t->co, -1);
  lua_xmove(t->co, L, 1);
  jr_cause_forget(L, t);
  if (jr_chain_is_empty(&t->watches)) pass_to_parent(L, t, -1);
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
  jr_call_protected(rt, pass_crash, t);
  int top = lua_gettop(rt->L);
  if (lua_checkstack(rt->L, 4)) lua_xmove(co, rt->L, 1); /* where the watches look for it */
  leave(rt, t, JR_TASK_FAILED, rt->L);
  lua_settop(rt->L, top);
  lua_resetthread(co);
}

static void resume(jobrun *rt, jr_task *t) {
  lua_State *co = t->co;
  int32_t slot = t->slot;
  int results, args = lua_status(co) == LUA_YIELD ? 0 : lua_gettop(co) - 1;
  if (JR_TUNE_GC_EVERY && rt->resumed % (JR_TUNE_GC_EVERY + 1) == JR_TUNE_GC_EVERY)
    lua_gc(rt->L, LUA_GCCOLLECT);
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
    jr_task_enqueue(rt, t);
    return;
  }
  if (status != LUA_OK) on_crash(rt, t);
  bool escaped = t->escaped;
  t->co = NULL;
  jr_cradle_give_back(rt, co, slot, escaped);
}

static int64_t look_at_clock(jobrun *rt) {
  int64_t now = (int64_t)uv_hrtime();
  rt->turn_ms = (uint32_t)((now - rt->start_ns) / JR_MS);
  return now;
}

/* A turn of the loop resumes for at most JR_TUNE_TURN_NS, then I/O has its turn. */
bool jr_pump(jobrun *rt) {
  if (!rt->ready_first || rt->cur) return false; /* cur: a script turned the loop by itself */
  int64_t end = look_at_clock(rt) + JR_TUNE_TURN_NS;
  rt->gives_way = false;
  for (unsigned n = 1; rt->ready_first; n++) {
    resume(rt, dequeue(rt));
    if (rt->gives_way) break;
    if (n % JR_TUNE_RESUMES == 0 && look_at_clock(rt) >= end) break;
  }
  if (!rt->ready_first) uv_idle_stop(&rt->idle);
  return rt->ready_first != NULL;
}

/* ---- looking at a task --------------------------------------------------------------------- */

jr_task *jr_task_check(lua_State *L, int arg) {
  jr_task *t = luaL_testudata(L, arg, TASK_META);
  if (!t)
    jr_raise(L, "usage", 0, 1, "bad argument #%d: expected a task, got %s", arg,
             luaL_typename(L, arg));
  return t;
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

static jr_watch *naming_watch(const jr_task *task) {
  for (jr_link *it = task->watches.first; it; it = it->next) {
    jr_watch *watch = jr_container_of(it, jr_watch, link);
    if (watch->name) return watch;
  }
  return NULL;
}

void jr_task_push_name(lua_State *L, const jr_task *task) {
  char text[NAME_SIZE];
  jr_watch *watch;
  luaL_checkstack(L, 6, NULL);
  if (task->named) {
    push_given_name(L, task);
  } else if ((watch = naming_watch(task))) {
    watch->name(watch, text, sizeof text);
    lua_pushstring(L, text);
  } else if (task->spawn_line > 0) {
    lua_pushfstring(L, "%s:%d", jr_of(L)->sites[task->spawn_site], (int)task->spawn_line);
  } else if (task->spawn_site > 0) {
    lua_pushstring(L, jr_of(L)->sites[task->spawn_site]);
  } else {
    lua_pushliteral(L, "main");
  }
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
  jr_cradle_open(L);
  jr_failures_open(L);
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
  jr_cradle_fini(rt);
  jr_mem_free(&rt->mem, rt->root, sizeof *rt->root);
}
