/* The rest of the embedding API: threads and poll loops of the host's, its waits, its jobs.
 *
 * A wait of the host's (jobrun_wait) ends twice: for its task, which was woken or went on without
 * it, and for the host, whose jobrun_wait_done has arrived on the loop's thread. The later of the
 * two frees it. So a host may take as long as it likes to make an end of what was cancelled; only
 * jobrun_free has to wait for it, or to say that it cannot.
 *
 *   begin ── start ──┬── jobrun_wait_done, any thread ── on_arrival ──┬── free
 *                    └── on_cancel, or woken ── on_let_go ────────────┘
 *
 * `data` belongs to the wait from the call on: every way out of here passes `drop` once.
 *
 * SPDX-License-Identifier: MIT */
#include "jobrun.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "glue.h"
#include "host.h"
#include "jobs.h"
#include "post.h"
#include "rt.h"
#include "status.h"
#include "work.h"

#define SETTLE_NS (10 * JR_SEC)

enum { NAME_SIZE = 256, BUSY_SIZE = 256 };

/* Made when it is first needed. */
typedef struct jr_embed {
  jr_trade trade;
  jobrun *rt;
  jr_list waits;
  uv_thread_t thread; /* of jobrun_start_thread */
  uv_sem_t may_begin; /* posted once the runtime belongs to it */
  bool has_thread;
  int outcome; /* of the thread's jobrun_run */
  void (*on_run)(void *data, const jobrun_run_info *run);
  void *on_run_data;
  char busy[BUSY_SIZE];
} jr_embed;

struct jobrun_wait {
  jr_wait wait;
  jr_wait_ops wait_ops; /* its own, as each kind has its own name */
  jr_post post;
  jr_list link;
  jobrun *rt;
  const jobrun_wait_ops *ops;
  void *data;
  int status;           /* of jobrun_wait_done */
  _Atomic bool is_told; /* jobrun_wait_done was called */
  bool is_over;         /* and has arrived */
  bool is_let_go;       /* by its task */
  bool is_counted;      /* among the operations of the outside world */
};

static jr_embed *embed_of(jobrun *rt);

/* ---- waits of the host's -------------------------------------------------------------------- */

static jobrun_wait *wait_of(jr_wait *w) {
  return jr_container_of(w, jobrun_wait, wait);
}

static void count(jobrun_wait *hw) {
  hw->is_counted = true;
  jr_op_begin(hw->rt);
}

static void count_no_more(jobrun_wait *hw) {
  if (hw->is_counted) jr_op_end(hw->rt);
  hw->is_counted = false;
}

static void wait_free(jobrun_wait *hw) {
  count_no_more(hw);
  jr_list_remove(&hw->link);
  if (hw->ops->drop) hw->ops->drop(hw->data);
  jr_mem_free(&hw->rt->mem, hw, sizeof *hw);
}

static void on_arrival(jobrun *rt, jr_post *post) {
  jobrun_wait *hw = jr_container_of(post, jobrun_wait, post);
  (void)rt;
  count_no_more(hw);
  hw->is_over = true;
  if (hw->is_let_go)
    wait_free(hw);
  else
    jr_wake(&hw->wait, hw->status);
}

void jobrun_wait_done(jobrun_wait *wait, int status) {
  jobrun *rt = wait->rt;
  if (atomic_exchange(&wait->is_told, true)) {
    jr_logf(&rt->log, JR_LOG_ERROR, "jobrun_wait_done was called twice for a wait '%s'",
            wait->ops->name);
    return;
  }
  wait->status = status;
  jr_post_put(rt, &wait->post);
}

static int on_push(lua_State *L, jr_wait *w) {
  jobrun_wait *hw = wait_of(w);
  int n = hw->ops->push ? hw->ops->push(L, w->status, hw->data) : w->status < 0 ? w->status : 0;
  return n < 0 ? jr_raise_status(L, hw->ops->name, n) : n;
}

static void on_cancel(jr_wait *w) {
  jobrun_wait *hw = wait_of(w);
  count_no_more(hw);
  if (hw->ops->cancel) hw->ops->cancel(hw, hw->data);
  jr_wake(w, UV_ECANCELED);
}

static void on_let_go(jr_wait *w) {
  jobrun_wait *hw = wait_of(w);
  hw->is_let_go = true;
  if (hw->is_over) wait_free(hw);
}

static jobrun_wait *wait_new(jobrun *rt, const jobrun_wait_ops *ops, void *data) {
  jr_embed *embed = embed_of(rt);
  jobrun_wait *hw = embed ? jr_mem_zalloc(&rt->mem, sizeof *hw) : NULL;
  if (!hw) return NULL;
  hw->wait_ops =
      (jr_wait_ops){.name = ops->name, .push = on_push, .cancel = on_cancel, .drop = on_let_go};
  hw->wait.ops = &hw->wait_ops;
  hw->post.fn = on_arrival;
  hw->rt = rt;
  hw->ops = ops;
  hw->data = data;
  jr_list_append(&embed->waits, &hw->link);
  return hw;
}

/* As jr_check_park, with `data` dropped before it raises. */
static void check_may_wait(lua_State *L, const char *name, void (*drop)(void *data), void *data) {
  if (jr_of(L) && jr_may_park(L)) return;
  if (drop) drop(data);
  if (!jr_of(L))
    jr_raise(L, "usage", 0, 1, "%s waits in the script's tasks only, not in a blocking call", name);
  jr_check_park(L, name);
}

int jobrun_wait_begin(lua_State *L, const jobrun_wait_ops *ops, void *data) {
  check_may_wait(L, ops->name, ops->drop, data);
  jobrun_wait *hw = wait_new(jr_of(L), ops, data);
  if (!hw) {
    if (ops->drop) ops->drop(data);
    return jr_raise_status(L, ops->name, UV_ENOMEM);
  }
  count(hw);
  int status = ops->start(hw, data);
  if (status >= 0) return jr_park(L, &hw->wait);
  wait_free(hw);
  return jr_raise_status(L, ops->name, status);
}

/* ---- blocking calls of the host's ----------------------------------------------------------- */

typedef struct host_call {
  jr_call_ops call_ops; /* its own, as each kind has its own name */
  const jobrun_work_ops *ops;
  void *data;
  jr_mem *mem;
  int status;
} host_call;

int jobrun_flag_is_set(const jobrun_flag *flag) {
  return atomic_load((const _Atomic bool *)flag);
}

static void call_run(void *data, const _Atomic bool *given_up) {
  host_call *call = data;
  call->status = call->ops->run(call->data, (const jobrun_flag *)(uintptr_t)given_up);
}

static int call_push(lua_State *L, void *data) {
  const host_call *call = data;
  int status = call->status;
  int n = call->ops->push ? call->ops->push(L, status, call->data) : status < 0 ? status : 0;
  return n < 0 ? jr_raise_status(L, call->ops->name, n) : n;
}

static void call_drop(void *data) {
  host_call *call = data;
  if (call->ops->drop) call->ops->drop(call->data);
  jr_mem_free(call->mem, call, sizeof *call);
}

static host_call *call_new(jobrun *rt, const jobrun_work_ops *ops, void *data) {
  host_call *call = jr_mem_alloc(&rt->mem, sizeof *call);
  if (!call) return NULL;
  *call = (host_call){.ops = ops, .data = data, .mem = &rt->mem};
  call->call_ops =
      (jr_call_ops){.name = ops->name, .run = call_run, .push = call_push, .drop = call_drop};
  return call;
}

/* Protected: (light pointer to a jr_pool *), which becomes the default executor. */
static int find_executor(lua_State *L) {
  *(jr_pool **)lua_touserdata(L, 1) = jr_executor_default(L);
  return 0;
}

static jr_pool *executor_of(lua_State *L) {
  jr_pool *pool = NULL;
  if (!lua_checkstack(L, 2)) return NULL;
  lua_pushcfunction(L, find_executor);
  lua_pushlightuserdata(L, &pool);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) lua_pop(L, 1); /* memory */
  return pool;
}

int jobrun_work(lua_State *L, const jobrun_work_ops *ops, void *data) {
  check_may_wait(L, ops->name, ops->drop, data);
  jr_pool *pool = executor_of(L);
  host_call *call = pool ? call_new(jr_of(L), ops, data) : NULL;
  if (call) return jr_work_c(L, pool, &call->call_ops, call);
  if (ops->drop) ops->drop(data);
  return jr_raise_status(L, ops->name, UV_ENOMEM);
}

/* ---- a thread of its own -------------------------------------------------------------------- */

static void on_thread(void *data) {
  jr_embed *embed = data;
  uv_sem_wait(&embed->may_begin);
  embed->outcome = jobrun_run(embed->rt);
}

static int start_thread(jr_embed *embed) {
  int status = uv_sem_init(&embed->may_begin, 0);
  if (status < 0) return status;
  if ((status = uv_thread_create(&embed->thread, on_thread, embed)) < 0) {
    uv_sem_destroy(&embed->may_begin);
    return status;
  }
  embed->has_thread = true;
  atomic_store(&embed->rt->thread, embed->thread);
  uv_sem_post(&embed->may_begin);
  return 0;
}

int jobrun_start_thread(jobrun *rt) {
  int status = jr_host_check_run(rt, "jobrun_start_thread");
  if (status < 0) return status;
  if (!rt->own_loop)
    return jr_host_fail(rt, JR_EUSAGE,
                        "jobrun_start_thread: the loop is the host's, and so is its thread: leave "
                        "jobrun_opts.loop NULL, or run the loop on a thread of yours");
  jr_embed *embed = embed_of(rt);
  status = embed ? start_thread(embed) : UV_ENOMEM;
  return status < 0 ? jr_host_fail(rt, status, "jobrun_start_thread: %s", jr_status_text(status))
                    : 0;
}

int jobrun_join(jobrun *rt) {
  jr_embed *embed = rt->embed;
  bool is_mine = jr_host_is_mine(rt);
  if (!embed || !embed->has_thread)
    return is_mine ? jr_host_fail(rt, JR_EUSAGE,
                                  "jobrun_join: no thread runs: call jobrun_start_thread first")
                   : JR_ETHREAD;
  if (is_mine)
    return jr_host_fail(rt, JR_ETHREAD,
                        "jobrun_join on the runtime's own thread would wait for itself: call it on "
                        "another one");
  int status = uv_thread_join(&embed->thread);
  if (status < 0) return status;
  uv_sem_destroy(&embed->may_begin);
  embed->has_thread = false;
  atomic_store(&rt->thread, uv_thread_self());
  return embed->outcome;
}

/* ---- a poll loop of the host's -------------------------------------------------------------- */

int jobrun_backend_fd(const jobrun *rt) {
  return uv_backend_fd(rt->loop);
}

int jobrun_backend_timeout(jobrun *rt) {
  if (!jr_host_is_mine(rt)) return JR_ETHREAD;
  if (rt->phase == JR_PHASE_END) return -1;
  if (!jr_host_is_started(rt)) return 0;
  if (!uv_loop_alive(rt->loop)) return -1; /* no script: libuv would say 0 */
  jr_clock_arm(rt);
  return uv_backend_timeout(rt->loop);
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static int64_t next_wall(const jr_job *job) {
  int64_t next = jr_job_next_ns(job);
  return next == JR_NEVER ? 0 : next;
}

static int show_job(const jr_job *job, int (*fn)(void *data, const jobrun_job *job), void *data) {
  char name[NAME_SIZE];
  jr_job_name(job, name, sizeof name);
  return fn(data, &(jobrun_job){.name = name,
                                .state = jr_job_state_name(job),
                                .id = job->id,
                                .running = job->going,
                                .next_ns = next_wall(job),
                                .last_start_ns = job->last_start_ns,
                                .last_end_ns = job->last_end_ns,
                                .runs = job->runs_started,
                                .failed = job->failed,
                                .skipped = job->skipped,
                                .missed = job->missed});
}

int jobrun_job_each(jobrun *rt, int (*fn)(void *data, const jobrun_job *job), void *data) {
  int status = jr_host_check(rt, "jobrun_job_each");
  jr_jobs *jobs = status < 0 ? NULL : jr_jobs_find(rt);
  if (!jobs) return status;
  JR_LIST_EACH_SAFE (it, &jobs->all) {
    status = show_job(jr_container_of(it, jr_job, link), fn, data);
    if (status != 0) return status;
  }
  return 0;
}

/* The job of that name; else a status, with the last error set. */
static int find_job(jobrun *rt, const char *call, const char *name, jr_job **out) {
  char other[NAME_SIZE];
  int status = jr_host_check(rt, call);
  if (status < 0) return status;
  jr_jobs *jobs = jr_jobs_find(rt);
  if (!jobs || jr_list_is_empty(&jobs->all))
    return jr_host_fail(rt, UV_ENOENT,
                        "%s: there is no job '%s', nor any other: jobs exist once the script has "
                        "declared them",
                        call, name);
  JR_LIST_EACH (it, &jobs->all) {
    *out = jr_container_of(it, jr_job, link);
    jr_job_name(*out, other, sizeof other);
    if (strcmp(other, name) == 0) return 0;
  }
  return jr_host_fail(rt, UV_ENOENT, "%s: there is no job '%s' (jobrun_job_each shows them)", call,
                      name);
}

int jobrun_job_trigger(jobrun *rt, const char *name) {
  static const char call[] = "jobrun_job_trigger";
  jr_job *job;
  jr_run *run;
  int status = find_job(rt, call, name, &job);
  if (status < 0) return status;
  status = jr_job_start(job, &run);
  if (status == UV_EBUSY)
    return jr_host_fail(rt, status, "%s: job '%s' is going already: run %llu has not ended", call,
                        name, (unsigned long long)run->record.id);
  if (status == JR_ECLOSED)
    return jr_host_fail(rt, status, "%s: the runtime is stopping: nothing new starts", call);
  return status < 0 ? jr_host_fail(rt, status, "%s: %s", call, jr_status_text(status)) : 0;
}

int jobrun_job_pause(jobrun *rt, const char *name, int paused) {
  static const char call[] = "jobrun_job_pause";
  jr_job *job;
  int status = find_job(rt, call, name, &job);
  if (status < 0) return status;
  status = paused ? jr_job_pause(job) : jr_job_resume(job);
  if (status == 0) uv_async_send(&rt->post); /* the script may have nothing to stay for now */
  return status < 0 ? jr_host_fail(rt, status, "%s: %s", call, jr_status_text(status)) : 0;
}

static void tell_run(void *data, const jr_run_record *r) {
  const jr_embed *embed = data;
  embed->on_run(embed->on_run_data, &(jobrun_run_info){.id = r->id,
                                                       .job = r->job,
                                                       .attempt = r->attempt,
                                                       .job_name = r->job_name,
                                                       .outcome = jr_outcome_name(r->outcome),
                                                       .due_ns = r->due_ns,
                                                       .late_ns = r->late_ns,
                                                       .started_ns = r->started_ns,
                                                       .ended_ns = r->ended_ns});
}

int jobrun_on_run(jobrun *rt, void (*fn)(void *data, const jobrun_run_info *run), void *data) {
  int status = jr_host_check(rt, "jobrun_on_run");
  jr_embed *embed = status < 0 ? NULL : embed_of(rt);
  if (status < 0) return status;
  if (!embed) return UV_ENOMEM;
  embed->on_run = fn;
  embed->on_run_data = data;
  rt->observer =
      fn ? (jr_run_sink){.begin = tell_run, .end = tell_run, .data = embed} : (jr_run_sink){0};
  return 0;
}

/* ---- memory --------------------------------------------------------------------------------- */

size_t jobrun_memory_used(const jobrun *rt) {
  return rt->mem.used + atomic_load(&rt->mem.shared);
}

int jobrun_set_memory_limit(jobrun *rt, size_t bytes) {
  int status = jr_host_check(rt, "jobrun_set_memory_limit");
  if (status < 0) return status;
  rt->mem.limit = bytes;
  return 0;
}

/* ---- its own life --------------------------------------------------------------------------- */

/* The first, from `node` on, that jobrun_wait_done has not ended, or NULL. */
static jobrun_wait *open_from(jr_embed *embed, jr_list *node) {
  for (; node != &embed->waits; node = node->next) {
    jobrun_wait *hw = jr_container_of(node, jobrun_wait, link);
    if (!hw->is_over) return hw;
  }
  return NULL;
}

static jobrun_wait *first_open(jr_embed *embed) {
  return open_from(embed, embed->waits.next);
}

/* "the host's wait 'a', wait 'b'" */
static void name_waits(jr_embed *embed) {
  size_t len = (size_t)snprintf(embed->busy, BUSY_SIZE, "the host's");
  const char *comma = "";
  for (jobrun_wait *hw = first_open(embed); hw && len < BUSY_SIZE;
       hw = open_from(embed, hw->link.next)) {
    len +=
        (size_t)snprintf(embed->busy + len, BUSY_SIZE - len, "%s wait '%s'", comma, hw->ops->name);
    comma = ",";
  }
}

/* Turns the loop for at most `ns`, until no wait is open. A host that calls jobrun_wait_done from a
 * callback on this loop is served too. */
static void turn_while_open(jr_embed *embed, int64_t ns) {
  uv_loop_t *loop = embed->rt->loop;
  struct pollfd fd = {.fd = uv_backend_fd(loop), .events = POLLIN};
  int64_t left, end = (int64_t)uv_hrtime() + ns;
  uv_ref((uv_handle_t *)&embed->rt->post); /* uv_run does nothing for a loop without any */
  while (uv_run(loop, UV_RUN_NOWAIT), first_open(embed)) {
    if ((left = end - (int64_t)uv_hrtime()) <= 0) break;
    int ms = (int)((left + JR_MS - 1) / JR_MS), timeout = uv_backend_timeout(loop);
    poll(&fd, 1, timeout >= 0 && timeout < ms ? timeout : ms);
  }
  uv_unref((uv_handle_t *)&embed->rt->post);
}

/* All tasks have ended, so what is open was given up: it has the grace to be done with. */
static int on_settle(jobrun *rt, jr_trade *trade, const char **what) {
  jr_embed *embed = jr_container_of(trade, jr_embed, trade);
  if (first_open(embed))
    turn_while_open(embed, rt->grace_ns < SETTLE_NS ? rt->grace_ns : SETTLE_NS);
  if (!first_open(embed)) return 0;
  name_waits(embed);
  *what = embed->busy;
  return UV_EBUSY;
}

/* What is left here was over before its task, which was abandoned. */
static void on_free(jobrun *rt, jr_trade *trade) {
  jr_embed *embed = jr_container_of(trade, jr_embed, trade);
  JR_LIST_EACH_SAFE (it, &embed->waits) wait_free(jr_container_of(it, jobrun_wait, link));
  rt->embed = NULL;
  jr_mem_free(&rt->mem, embed, sizeof *embed);
}

static jr_embed *embed_of(jobrun *rt) {
  if (rt->embed) return rt->embed;
  jr_embed *embed = jr_mem_zalloc(&rt->mem, sizeof *embed);
  if (!embed) return NULL;
  embed->rt = rt;
  embed->trade = (jr_trade){.settle = on_settle, .free = on_free};
  jr_list_init(&embed->waits);
  jr_list_append(&rt->trades, &embed->trade.link);
  return rt->embed = embed;
}
