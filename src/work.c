/* Blocking calls: a task waits while a function runs on a worker thread.
 *
 * A call ends twice: for its task (it was woken, or cancelled) and for the pool (it came back). The
 * later of the two frees it. While a task waits it is *pending*: the virtual clock stands still for
 * it and a closing executor waits for it; one that was given up holds up neither.
 *
 * SPDX-License-Identifier: MIT */
#include "work.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "glue.h"
#include "pack.h"
#include "status.h"
#include "tune.h"
#include "unpack.h"

enum { SCRATCH_MAX = 64 * 1024, DEFAULT_MAX = 32, DEFAULT_MORE = 4 };

#define IDLE_NS (10 * JR_SEC)
/* Lua code that was given up needs a moment to notice, and nobody wants to wait for ever. */
#define SETTLE_LEAST_NS (1 * JR_SEC)
#define SETTLE_MOST_NS  (10 * JR_SEC)

typedef struct works {
  jr_trade trade;
  jobrun *rt;
  jr_crew crew;
  uv_async_t async;
  jr_list all;     /* calls */
  jr_list closers; /* tasks in jr_executor_close */
  jr_pool *standard;
  jr_entry *spare; /* calls for reuse, linked by `next` */
  uint32_t spare_len;
  jr_values values;
  jr_buf scratch; /* jr_work_pack's */
  char busy[200];
} works;

struct jr_work {
  jr_wait wait;
  jr_entry entry;
  works *works;
  jr_list all;
  jr_mem mem; /* the message's door: `room` first, then blocks that may cross threads */
  bool is_pending;
  bool is_back;    /* from the pool */
  bool is_dropped; /* by its task */
  char room[JR_TUNE_MESSAGE];
};

static const char works_key; /* registry: the works of a runtime */

static works *works_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &works_key);
  works *ws = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return ws;
}

static works *works_of_pool(const jr_pool *pool) {
  return jr_container_of(jr_pool_crew(pool), works, crew);
}

static jr_work *work_of(jr_wait *w) {
  return jr_container_of(w, jr_work, wait);
}

/* ---- a call's memory ------------------------------------------------------------------------ */

/* The message's allocator: the call's own room, until it gets too small. */
static void *message_alloc(void *data, void *ptr, size_t old_size, size_t new_size) {
  jr_work *work = data;
  jr_mem *mem = &work->works->rt->mem;
  bool in_room = ptr == work->room;
  void *block = NULL;
  if (new_size > 0 && new_size <= JR_TUNE_MESSAGE && (!ptr || in_room)) return work->room;
  if (new_size > 0) {
    block = jr_mem_shared_alloc(mem, new_size);
    if (!block) return NULL;
    if (ptr) memcpy(block, ptr, old_size < new_size ? old_size : new_size);
  }
  if (!in_room) jr_mem_shared_free(mem, ptr, old_size);
  return block;
}

static const jr_wait_ops wait_ops;

static jr_work *work_alloc(works *ws) {
  if (!ws->spare) return jr_mem_alloc(&ws->rt->mem, sizeof(jr_work));
  jr_work *work = jr_container_of(ws->spare, jr_work, entry);
  ws->spare = work->entry.next;
  ws->spare_len--;
  return work;
}

static jr_work *work_new(jr_pool *pool, const jr_call_ops *ops, void *data) {
  works *ws = works_of_pool(pool);
  jr_work *work = work_alloc(ws);
  if (!work) return NULL;
  memset(work, 0, offsetof(jr_work, room));
  work->wait.ops = &wait_ops;
  work->works = ws;
  work->entry.pool = pool;
  work->entry.call.ops = ops;
  work->entry.call.data = data;
  jr_mem_init(&work->mem, message_alloc, work, 0);
  work->entry.call.message =
      (jr_buf){.mem = &work->mem, .data = work->room, .cap = JR_TUNE_MESSAGE};
  jr_list_init(&work->entry.link);
  jr_list_append(&ws->all, &work->all);
  jr_pool_ref(pool);
  return work;
}

static void work_free(jr_work *work) {
  works *ws = work->works;
  jr_buf_fini(&work->entry.call.message);
  jr_list_remove(&work->all);
  jr_pool_unref(work->entry.pool);
  if (ws->spare_len == JR_TUNE_SPARE_CALLS) {
    jr_mem_free(&ws->rt->mem, work, sizeof *work);
    return;
  }
  work->entry.next = ws->spare;
  ws->spare = &work->entry;
  ws->spare_len++;
}

static void work_drop(jr_work *work) {
  const jr_call_ops *ops = work->entry.call.ops;
  if (ops && ops->drop) ops->drop(work->entry.call.data);
  work_free(work);
}

/* ---- the two ends of a call ----------------------------------------------------------------- */

static void begin_pending(jr_work *work) {
  work->is_pending = true;
  jr_pool_pending(work->entry.pool, 1);
  jr_op_begin(work->works->rt);
}

static void wake_closers(works *ws, const jr_pool *pool);

static void end_pending(jr_work *work) {
  if (!work->is_pending) return;
  work->is_pending = false;
  jr_op_end(work->works->rt);
  if (jr_pool_pending(work->entry.pool, -1) == 0) wake_closers(work->works, work->entry.pool);
}

/* The pool has nothing to do with it any more. */
static void come_back(jr_work *work, int status) {
  end_pending(work);
  work->is_back = true;
  if (work->is_dropped)
    work_drop(work);
  else
    jr_wake(&work->wait, status);
}

static void on_async(uv_async_t *async) {
  works *ws = jr_container_of(async, works, async);
  for (jr_entry *next, *entry = jr_crew_take_done(&ws->crew); entry; entry = next) {
    next = entry->next;
    come_back(jr_container_of(entry, jr_work, entry), 0);
  }
  jr_crew_reap(&ws->crew);
}

static void on_cancel(jr_wait *w) {
  jr_work *work = work_of(w);
  if (jr_pool_withdraw(&work->entry) == JR_ENTRY_QUEUED) {
    come_back(work, UV_ECANCELED);
  } else {
    end_pending(work);
    jr_wake(w, UV_ECANCELED);
  }
}

static void on_drop(jr_wait *w) {
  jr_work *work = work_of(w);
  if (work->is_back)
    work_drop(work);
  else
    work->is_dropped = true;
}

/* ---- results -------------------------------------------------------------------------------- */

/* Pushes the worker's traceback with the caller's behind it. */
static void push_traceback(lua_State *L, const char *of_worker) {
  luaL_traceback(L, L, NULL, 0);
  const char *of_caller = strchr(lua_tostring(L, -1), '\n');
  lua_pushfstring(L, "%s\ncalled on a worker thread from:%s", of_worker,
                  of_caller ? of_caller : " ?");
  lua_replace(L, -2);
}

/* The error and its traceback lie on the stack: leaves the error. */
static int push_failure(lua_State *L) {
  luaL_checkstack(L, 8, NULL);
  if (lua_isstring(L, -1)) {
    push_traceback(L, lua_tostring(L, -1));
    jr_traceback_keep(L, -3);
  }
  lua_pop(L, 1);
  return -1;
}

static int on_push(lua_State *L, jr_wait *w) {
  jr_work *work = work_of(w);
  jr_call *call = &work->entry.call;
  int status = w->status < 0 ? w->status : call->status;
  if (status < 0 && status != JR_ESCRIPT) return jr_raise_status(L, w->ops->name, status);
  if (call->ops) return call->ops->push ? call->ops->push(L, call->data) : 0;
  int n = jr_values_unpack(&work->works->values, L, call->message.data, call->message.len);
  if (n < 0) return jr_raise_status(L, w->ops->name, n);
  return status < 0 ? push_failure(L) : n;
}

static const jr_wait_ops wait_ops = {
    .name = "blocking", .push = on_push, .cancel = on_cancel, .drop = on_drop};

/* ---- starting a call ------------------------------------------------------------------------ */

/* A worker looks for modules where the script does, as that stands when the worker is made. */
static void note_paths(lua_State *L, jr_crew *crew) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_getfield(L, -1, "package");
  if (lua_istable(L, -1)) {
    lua_getfield(L, -1, "path");
    lua_getfield(L, -2, "cpath");
    if (lua_isstring(L, -1) && lua_isstring(L, -2))
      jr_crew_set_paths(crew, lua_tostring(L, -2), lua_tostring(L, -1));
    lua_pop(L, 2);
  }
  lua_pop(L, 2);
}

/* Makes a worker for a call that was put. On failure the call is gone. */
static void grow(lua_State *L, jr_work *work) {
  note_paths(L, jr_pool_crew(work->entry.pool));
  int status = jr_pool_grow(&work->entry);
  if (status == 0) return;
  end_pending(work);
  work_drop(work);
  jr_raise_status(L, wait_ops.name, status);
}

int jr_work_start(lua_State *L, jr_work *work) {
  begin_pending(work);
  if (jr_pool_put(&work->entry)) grow(L, work);
  return jr_park(L, &work->wait);
}

static void check_open(lua_State *L, const jr_pool *pool, const char *op) {
  if (jr_pool_is_ended(pool))
    jr_raise(L, "closed", JR_ECLOSED, 1, "%s: executor '%s' is closed", op, jr_pool_name(pool));
}

/* Packs the values from `first` on; on failure drops `work` (may be NULL) and raises. */
static void pack(lua_State *L, jr_pool *pool, int first, const char *op, jr_buf *out,
                 jr_work *work) {
  jr_values *values = &works_of_pool(pool)->values;
  int status = jr_values_pack(values, L, first, lua_gettop(L) - first + 1, JR_VALUES_CALL, out);
  if (status == 0) return;
  if (work) work_drop(work);
  if (status == UV_ENOMEM) jr_raise_status(L, op, status);
  jr_raise(L, jr_kind_of(status), status, 1, "%s: %s", op, values->error);
}

jr_work *jr_work_new(lua_State *L, jr_pool *pool, int first, const char *op) {
  check_open(L, pool, op);
  jr_work *work = work_new(pool, NULL, NULL);
  if (!work) jr_raise_status(L, op, UV_ENOMEM);
  pack(L, pool, first, op, &work->entry.call.message, work);
  memcpy(work->entry.call.name, work->works->values.called, sizeof work->entry.call.name);
  return work;
}

void jr_work_pack(lua_State *L, jr_pool *pool, int first, const char *op) {
  works *ws = works_of_pool(pool);
  check_open(L, pool, op);
  ws->scratch.len = 0;
  ws->scratch.failed = false;
  pack(L, pool, first, op, &ws->scratch, NULL);
  lua_pushlstring(L, ws->scratch.data, ws->scratch.len);
  lua_pushstring(L, ws->values.called);
  if (ws->scratch.cap > SCRATCH_MAX) jr_buf_fini(&ws->scratch);
}

jr_work *jr_work_packed(lua_State *L, jr_pool *pool, int bytes, int name) {
  size_t len, name_len;
  const char *message = luaL_checklstring(L, bytes, &len);
  const char *called = luaL_checklstring(L, name, &name_len);
  check_open(L, pool, "spawn");
  jr_work *work = work_new(pool, NULL, NULL);
  if (!work) jr_raise_status(L, "spawn", UV_ENOMEM);
  jr_call *call = &work->entry.call;
  jr_buf_add(&call->message, message, len);
  if (call->message.failed) {
    work_drop(work);
    jr_raise_status(L, "spawn", UV_ENOMEM);
  }
  if (name_len < sizeof call->name) memcpy(call->name, called, name_len + 1);
  return work;
}

int jr_work_c(lua_State *L, jr_pool *pool, const jr_call_ops *ops, void *data) {
  const char *name = ops->name; /* `ops` may lie in `data` */
  if (!pool) pool = jr_executor_default(L);
  jr_work *work = jr_pool_is_ended(pool) ? NULL : work_new(pool, ops, data);
  if (!work) {
    if (ops->drop) ops->drop(data);
    check_open(L, pool, name);
    return jr_raise_status(L, name, UV_ENOMEM);
  }
  snprintf(work->entry.call.name, sizeof work->entry.call.name, "%s", name);
  return jr_work_start(L, work);
}

/* ---- executors ------------------------------------------------------------------------------ */

jr_pool *jr_executor_new(lua_State *L, const char *name, uint32_t max, int64_t idle_ns) {
  jr_pool *pool = jr_pool_new(&works_of(L)->crew, name, max, idle_ns);
  if (!pool) jr_raise_status(L, "executor", UV_ENOMEM);
  return pool;
}

void jr_executor_release(jr_pool *pool) {
  jr_pool_end(pool);
  jr_pool_unref(pool);
}

jr_pool *jr_executor_default(lua_State *L) {
  jr_works_open(L); /* a host's C function may come before any word of ours */
  works *ws = works_of(L);
  if (!ws->standard) {
    uint32_t max = uv_available_parallelism() + DEFAULT_MORE;
    ws->standard = jr_executor_new(L, "default", max < DEFAULT_MAX ? max : DEFAULT_MAX, IDLE_NS);
  }
  return ws->standard;
}

/* A task in jr_executor_close. */
typedef struct closer {
  jr_wait wait;
  jr_list link;
  jr_mem *mem;
  jr_pool *pool;
} closer;

static closer *closer_of_link(jr_list *link) {
  return jr_container_of(link, closer, link);
}

static void closer_drop(jr_wait *w) {
  closer *c = jr_container_of(w, closer, wait);
  jr_list_remove(&c->link);
  jr_pool_unref(c->pool);
  jr_mem_free(c->mem, c, sizeof *c);
}

static const jr_wait_ops closer_ops = {.name = "executor:close", .drop = closer_drop};

static void wake_closers(works *ws, const jr_pool *pool) {
  JR_LIST_EACH (it, &ws->closers)
    if (closer_of_link(it)->pool == pool) jr_wake(&closer_of_link(it)->wait, 0);
}

int jr_executor_close(lua_State *L, jr_pool *pool) {
  works *ws = works_of_pool(pool);
  jr_check_park(L, closer_ops.name);
  jr_pool_end(pool);
  if (jr_pool_pending(pool, 0) == 0) return 0;
  closer *c = jr_mem_zalloc(&ws->rt->mem, sizeof *c);
  if (!c) return jr_raise_status(L, closer_ops.name, UV_ENOMEM);
  c->wait.ops = &closer_ops;
  c->mem = &ws->rt->mem;
  c->pool = pool;
  jr_pool_ref(pool);
  jr_list_append(&ws->closers, &c->link);
  return jr_park(L, &c->wait);
}

/* ---- the runtime's life --------------------------------------------------------------------- */

/* All tasks have ended, so what still runs was given up and told: waits for it within the grace. */
static int on_settle(jobrun *rt, jr_trade *trade, const char **what) {
  works *ws = jr_container_of(trade, works, trade);
  jr_crew_end(&ws->crew);
  int64_t ns = rt->grace_ns > SETTLE_LEAST_NS ? rt->grace_ns : SETTLE_LEAST_NS;
  const jr_hand *hand = jr_crew_wait(&ws->crew, ns < SETTLE_MOST_NS ? ns : SETTLE_MOST_NS);
  on_async(&ws->async);
  if (!hand) return 0;
  jr_hand_describe(&ws->crew, hand, ws->busy, sizeof ws->busy);
  *what = ws->busy;
  return UV_EBUSY;
}

static void on_close(jobrun *rt, jr_trade *trade) {
  (void)rt;
  uv_close((uv_handle_t *)&jr_container_of(trade, works, trade)->async, jr_uv_closed);
}

static void on_free(jobrun *rt, jr_trade *trade) {
  works *ws = jr_container_of(trade, works, trade);
  JR_LIST_EACH_SAFE (it, &ws->all) work_drop(jr_container_of(it, jr_work, all));
  JR_LIST_EACH_SAFE (it, &ws->closers) closer_drop(&closer_of_link(it)->wait);
  if (ws->standard) jr_pool_unref(ws->standard);
  while (ws->spare) jr_mem_free(&rt->mem, work_alloc(ws), sizeof(jr_work));
  jr_values_fini(&ws->values);
  jr_buf_fini(&ws->scratch);
  jr_crew_fini(&ws->crew);
  jr_list_remove(&ws->trade.link);
  jr_mem_free(&rt->mem, ws, sizeof *ws);
}

static void works_init(works *ws, jobrun *rt) {
  ws->rt = rt;
  ws->crew.mem = &rt->mem;
  ws->crew.log = &rt->log;
  ws->crew.furnish = rt->furnish_worker;
  ws->crew.async = &ws->async;
  ws->trade = (jr_trade){.settle = on_settle, .close = on_close, .free = on_free};
  jr_list_init(&ws->all);
  jr_list_init(&ws->closers);
  jr_values_init(&ws->values, &rt->mem, true);
  jr_buf_init(&ws->scratch, &rt->mem);
}

/* 0 with the trade registered, or a negative status with nothing left open. */
static int works_new(jobrun *rt, works **out) {
  works *ws = jr_mem_zalloc(&rt->mem, sizeof *ws);
  if (!ws) return UV_ENOMEM;
  works_init(ws, rt);
  int status = jr_crew_init(&ws->crew);
  if (status < 0) goto no_crew;
  if ((status = uv_async_init(rt->loop, &ws->async, on_async)) < 0) goto no_async;
  ws->async.data = rt;
  rt->open_uv++;
  uv_unref((uv_handle_t *)&ws->async);
  jr_list_append(&rt->trades, &ws->trade.link);
  *out = ws;
  return 0;
no_async:
  jr_crew_fini(&ws->crew);
no_crew:
  jr_mem_free(&rt->mem, ws, sizeof *ws);
  return status;
}

void jr_works_open(lua_State *L) {
  works *ws = works_of(L);
  if (ws) return;
  int status = works_new(jr_of(L), &ws);
  if (status < 0) jr_raise_status(L, "executor", status);
  jr_error_push(L, "usage", 0, 0, "any, for its metatable");
  lua_getmetatable(L, -1);
  jr_values_open(&ws->values, L);
  lua_pop(L, 1);
  lua_pushlightuserdata(L, ws);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &works_key);
}
