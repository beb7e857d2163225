/* The door: opens a runtime in order and closes it in the opposite one; loading and running.
 *
 * A runtime that is freed while its script runs is stopped first (life.c), with no grace. Then the
 * trades close, then our handles, the loop is turned until they are gone, and only then is Lua
 * closed: a handle's close callback may still look for it.
 *
 * SPDX-License-Identifier: MIT */
#include "host.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>
#include <uv.h>

#include "dump.h"
#include "glue.h"
#include "jobrun.h"
#include "lib.h"
#include "life.h"
#include "post.h"
#include "rt.h"
#include "service.h"
#include "status.h"
#include "watchdog.h"

/* ---- errors -------------------------------------------------------------------------------- */

int jr_host_fail(jobrun *rt, int status, const char *fmt, ...) {
  char text[512];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  jr_life_error(rt, text, strlen(text));
  return status;
}

bool jr_host_is_mine(const jobrun *rt) {
  uv_thread_t self = uv_thread_self(), thread = atomic_load(&rt->thread);
  return uv_thread_equal(&self, &thread);
}

/* The text of the last error belongs to the runtime's thread; elsewhere there is one thing to say.
 */
const char *jobrun_last_error(const jobrun *rt) {
  if (!jr_host_is_mine(rt))
    return "this runtime belongs to another thread: from here use jobrun_post, jobrun_stop or "
           "jobrun_wait_done; and jobrun_join first if jobrun_start_thread was called";
  return rt->error ? rt->error : "";
}

int jr_host_check(jobrun *rt, const char *call) {
  if (!jr_host_is_mine(rt)) return JR_ETHREAD;
  if (rt->closed)
    return jr_host_fail(
        rt, JR_ECLOSED,
        "%s: this runtime is being freed: call jobrun_free again until it returns 0", call);
  return 0;
}

const char *jobrun_strerror(int status) {
  return jr_status_text(status);
}

const char *jobrun_err_name(int status) {
  return jr_status_name(status);
}

const char *jobrun_version(void) {
  return JOBRUN_VERSION;
}

void jobrun_log(jobrun *rt, int level, const char *text) {
  if (level >= JR_LOG_DEBUG && level < JR_LOG_OFF)
    jr_log_line(&rt->log, (jr_log_level)level, text, strlen(text));
}

/* Runs fn(L) protected; its error becomes the last one. */
static int protect(jobrun *rt, lua_CFunction fn, void *data) {
  lua_State *L = rt->L;
  if (!lua_checkstack(L, 6)) return UV_ENOMEM;
  int top = lua_gettop(L);
  lua_pushcfunction(L, fn);
  lua_pushlightuserdata(L, data);
  int status = lua_pcall(L, 1, 0, 0);
  if (status == LUA_OK) return 0;
  const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
  if (!text) text = luaL_tolstring(L, -1, NULL);
  jr_life_error(rt, text, strlen(text));
  lua_settop(L, top);
  return status == LUA_ERRMEM ? UV_ENOMEM : JR_ESCRIPT;
}

/* ---- from other threads -------------------------------------------------------------------- */

static void on_wake(uv_async_t *async) {
  jobrun *rt = async->data;
  bool was_running = rt->running;
  rt->running = true;
  if (atomic_exchange(&jr_host_of(rt)->dump_asked, false)) jr_dump_tasks(rt);
  jr_posts_run(rt);
  rt->running = was_running;
}

/* A jobrun_post on its way. */
typedef struct parcel {
  jr_post post;
  void (*fn)(jobrun *rt, void *data);
  void *data;
} parcel;

static void open_parcel(jobrun *rt, jr_post *post) {
  parcel *p = jr_container_of(post, parcel, post);
  p->fn(rt, p->data);
  jr_mem_shared_free(&rt->mem, p, sizeof *p);
}

int jobrun_post(jobrun *rt, void (*fn)(jobrun *rt, void *data), void *data) {
  parcel *p = jr_mem_shared_alloc(&rt->mem, sizeof *p);
  if (!p) return UV_ENOMEM;
  *p = (parcel){.post.fn = open_parcel, .fn = fn, .data = data};
  int status = jr_post_offer(rt, &p->post);
  if (status < 0) jr_mem_shared_free(&rt->mem, p, sizeof *p);
  return status;
}

int jobrun_stop(jobrun *rt, double grace_s) {
  jr_host *h = jr_host_of(rt);
  if (grace_s >= 0 && grace_s < 9e9) atomic_store(&h->asked_grace_ns, (int64_t)(grace_s * 1e9));
  atomic_fetch_add(&h->stops, 1);
  return uv_async_send(&rt->post);
}

int jobrun_dump_tasks(jobrun *rt) {
  atomic_store(&jr_host_of(rt)->dump_asked, true);
  return uv_async_send(&rt->post);
}

/* ---- opening ------------------------------------------------------------------------------- */

static int panic(lua_State *L) {
  jobrun *rt = jr_of(L);
  const char *text = lua_tostring(L, -1);
  if (rt) jr_logf(&rt->log, JR_LOG_ERROR, "unprotected error in Lua: %s", text ? text : "?");
  return 0;
}

static int open_lua(lua_State *L) {
  jobrun *rt = lua_touserdata(L, 1);
  jr_libs_open(L);
  jr_tasks_open(rt);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "jobrun.life");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "advance");
  jr_host_of(rt)->life_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static void adopt_opts(jobrun *rt, const jobrun_opts *o) {
  jr_mem_init(&rt->mem, o->alloc, o->alloc_data, o->memory_limit);
  jr_mem_keep_spares(&rt->mem, &rt->spares);
  jr_log_init(&rt->log, (jr_log_host)o->log, o->log_data, (jr_log_level)o->log_level,
              (jr_log_format)o->log_format, (jr_log_color)o->log_color);
  jr_list_init(&rt->trades);
  jr_list_init(&rt->posts);
  rt->thread = uv_thread_self();
}

static int copy_url(jobrun *rt, const char *url) {
  if (url) rt->store_url = jr_mem_dup(&rt->mem, url, strlen(url));
  return url && !rt->store_url ? UV_ENOMEM : 0;
}

static int open_loop(jobrun *rt, struct uv_loop_s *loop) {
  rt->loop = loop;
  if (loop) return 0;
  rt->loop = jr_mem_alloc(&rt->mem, sizeof *rt->loop);
  if (!rt->loop) return UV_ENOMEM;
  int status = uv_loop_init(rt->loop);
  if (status < 0) {
    jr_mem_free(&rt->mem, rt->loop, sizeof *rt->loop);
    rt->loop = NULL;
  }
  rt->own_loop = status == 0;
  return status;
}

static int open_post(jobrun *rt) {
  int status = uv_async_init(rt->loop, &rt->post, on_wake);
  if (status < 0) return status;
  rt->post.data = rt;
  rt->open_uv++;
  uv_unref((uv_handle_t *)&rt->post);
  return 0;
}

static int open_all(jobrun *rt, const jobrun_opts *o) {
  int status = copy_url(rt, o->store);
  if (status == 0) status = open_loop(rt, o->loop);
  if (status < 0) return status;
  if ((status = jr_clock_open(rt, o->flags & JOBRUN_VIRTUAL_CLOCK, o->virtual_epoch_ns)) < 0)
    return status;
  if ((status = open_post(rt)) < 0) return status;
  if (o->flags & JOBRUN_SERVICE && (status = jr_service_open(rt)) < 0) return status;
  rt->L = lua_newstate(jr_mem_lua_alloc, &rt->mem);
  if (!rt->L) return UV_ENOMEM;
  lua_atpanic(rt->L, panic);
  *(jobrun **)lua_getextraspace(rt->L) = rt;
  return protect(rt, open_lua, rt);
}

int jobrun_new(jobrun **out, const jobrun_opts *opts) {
  jobrun_opts o = JOBRUN_OPTS_INIT;
  if (opts) memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
  jr_alloc_fn alloc = o.alloc;
  jr_mem door;
  jr_mem_init(&door, alloc, o.alloc_data, 0);
  jobrun *rt = jr_mem_zalloc(&door, sizeof *rt);
  jr_host *h = jr_mem_zalloc(&door, sizeof *h);
  if (!rt || !h || uv_mutex_init(&rt->post_lock) != 0) {
    jr_mem_free(&door, rt, sizeof *rt);
    jr_mem_free(&door, h, sizeof *h);
    return UV_ENOMEM;
  }
  rt->host = h;
  adopt_opts(rt, &o);
  jr_clock_init(rt);
  jr_life_init(rt);
  atomic_init(&h->asked_grace_ns, -1);
  h->main_ref = h->life_ref = LUA_NOREF;
  h->watches = o.flags & JOBRUN_WATCHDOG;
  h->stall_ns = o.stall_ns;
  if (o.grace_s >= 0 && o.grace_s < 9e9) rt->grace_ns = (int64_t)(o.grace_s * 1e9);
  int status = open_all(rt, &o);
  if (status < 0) {
    jobrun_free(rt);
    return status == JR_ESCRIPT ? UV_ENOMEM : status;
  }
  *out = rt;
  return 0;
}

/* ---- closing ------------------------------------------------------------------------------- */

static void turn_until_closed(jobrun *rt) {
  while (rt->open_uv > 0) uv_run(rt->loop, UV_RUN_ONCE);
}

static void free_args(jobrun *rt) {
  jr_host *h = jr_host_of(rt);
  for (int i = 0; i < h->argc; i++) jr_mem_free(&rt->mem, h->argv[i], strlen(h->argv[i]) + 1);
  jr_mem_free(&rt->mem, h->argv, (size_t)h->argc * sizeof *h->argv);
  h->argv = NULL;
  h->argc = 0;
}

/* A runtime that never reached its end is stopped first, with no grace. */
static void bring_to_end(jobrun *rt) {
  if (!rt->root || !rt->idle.data || rt->phase == JR_PHASE_END) return;
  if (rt->tasks == 0 && rt->children == 0 && rt->operations == 0) return;
  rt->request_stop(rt, 0);
  uv_ref((uv_handle_t *)&rt->post);
  while (rt->phase != JR_PHASE_END) uv_run(rt->loop, UV_RUN_ONCE);
}

static void each_trade_back(jobrun *rt, bool closing) {
  for (jr_list *it = rt->trades.prev, *prev; it != &rt->trades; it = prev) {
    prev = it->prev;
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    if (closing && trade->close) trade->close(rt, trade);
    if (closing) continue;
    jr_list_remove(it);
    if (trade->free) trade->free(rt, trade);
  }
}

/* A thread that still runs, or is still to answer, uses the runtime's memory: then nothing can be
 * freed. */
static int settle(jobrun *rt) {
  char text[400] = "";
  size_t len = 0;
  JR_LIST_EACH (it, &rt->trades) {
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    const char *what = NULL;
    if (!trade->settle || trade->settle(rt, trade, &what) == 0) continue;
    if (len < sizeof text)
      len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", len ? ", and " : "", what);
  }
  if (!len) return 0;
  return jr_host_fail(rt, UV_EBUSY,
                      "jobrun_free: given up, but it still runs: %s. Nothing was freed: call "
                      "jobrun_free again later",
                      text);
}

/* No more calls from outside; then what must be over before anything can be freed. */
static int close_door(jobrun *rt) {
  int64_t asked = rt->closed ? -1 : atomic_load(&jr_host_of(rt)->asked_grace_ns);
  int64_t grace_ns = asked >= 0 ? asked : rt->grace_ns;
  bring_to_end(rt);
  rt->grace_ns = grace_ns; /* what was given up has it too */
  rt->phase = JR_PHASE_END;
  rt->closed = true;
  jr_posts_refuse(rt);
  rt->running = true; /* while functions that were posted run */
  jr_posts_run(rt);
  int status = settle(rt);
  rt->running = false;
  return status;
}

int jobrun_free(jobrun *rt) {
  if (!rt) return 0;
  if (!jr_host_is_mine(rt)) return JR_ETHREAD;
  if (rt->running || rt->cur)
    return jr_host_fail(rt, JR_ERUNNING,
                        "jobrun_free from inside the runtime: call jobrun_stop, let jobrun_run or "
                        "the loop return, then free");
  jr_host *h = jr_host_of(rt);
  int busy = close_door(rt);
  if (busy < 0) return busy;
  each_trade_back(rt, true);
  if (rt->root) jr_tasks_close(rt);
  jr_clock_close(rt);
  if (rt->post.data) uv_close((uv_handle_t *)&rt->post, jr_uv_closed);
  if (rt->loop) turn_until_closed(rt);
  if (rt->L) lua_close(rt->L);
  each_trade_back(rt, false);
  jr_tasks_fini(rt);
  jr_clock_fini(rt);
  free_args(rt);
  jr_life_error(rt, "", 0);
  if (rt->store_url) jr_mem_free(&rt->mem, rt->store_url, strlen(rt->store_url) + 1);
  jr_mem_free(&rt->mem, rt->error, rt->error_size);
  if (rt->own_loop && uv_loop_close(rt->loop) == 0)
    jr_mem_free(&rt->mem, rt->loop, sizeof *rt->loop);
  uv_mutex_destroy(&rt->post_lock);
  jr_mem_drop_spares(&rt->mem);
  jr_mem door = rt->mem;
  door.limit = 0;
  if (rt->mem.used || rt->mem.shared)
    jr_logf(&rt->log, JR_LOG_ERROR, "jobrun_free: %zu bytes were not given back",
            rt->mem.used + rt->mem.shared);
  jr_mem_free(&door, h, sizeof *h);
  jr_mem_free(&door, rt, sizeof *rt);
  return 0;
}

/* ---- loading ------------------------------------------------------------------------------- */

int jobrun_set_args(jobrun *rt, int argc, const char *const *argv) {
  jr_host *h = jr_host_of(rt);
  int status = jr_host_check(rt, "jobrun_set_args");
  if (status < 0) return status;
  free_args(rt);
  h->argv = jr_mem_zalloc(&rt->mem, (size_t)(argc ? argc : 1) * sizeof *h->argv);
  if (!h->argv) return UV_ENOMEM;
  if (argc == 0) {
    jr_mem_free(&rt->mem, h->argv, sizeof *h->argv);
    h->argv = NULL;
  }
  for (int i = 0; i < argc; i++) {
    h->argv[i] = jr_mem_dup(&rt->mem, argv[i], strlen(argv[i]));
    if (!h->argv[i]) {
      for (int j = 0; j < i; j++) jr_mem_free(&rt->mem, h->argv[j], strlen(h->argv[j]) + 1);
      jr_mem_free(&rt->mem, h->argv, (size_t)argc * sizeof *h->argv);
      h->argv = NULL;
      return UV_ENOMEM;
    }
  }
  h->argc = argc;
  return 0;
}

struct source {
  jobrun *rt;
  const char *path, *code, *name;
  size_t len;
  int status;
};

/* The global `arg`, as lua makes it. */
static void set_arg_table(lua_State *L, jr_host *h, const char *script) {
  lua_createtable(L, h->argc, 1);
  lua_pushstring(L, script);
  lua_rawseti(L, -2, 0);
  for (int i = 0; i < h->argc; i++) {
    lua_pushstring(L, h->argv[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setglobal(L, "arg");
}

/* Modules beside the script are found from wherever it is started. */
static void add_script_dir(lua_State *L, const char *path) {
  const char *slash = strrchr(path, '/');
  if (!slash) return;
  lua_getglobal(L, "package");
  lua_pushlstring(L, path, (size_t)(slash - path));
  const char *dir = lua_tostring(L, -1);
  lua_getfield(L, -2, "path");
  lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", dir, dir, lua_tostring(L, -1));
  lua_setfield(L, -4, "path");
  lua_pop(L, 3);
}

static int load_chunk(lua_State *L) {
  struct source *s = lua_touserdata(L, 1);
  jr_host *h = jr_host_of(s->rt);
  int loaded = s->path ? luaL_loadfilex(L, s->path, "t")
                       : luaL_loadbufferx(L, s->code, s->len, s->name, "t");
  s->status = loaded == LUA_OK          ? 0
              : loaded == LUA_ERRSYNTAX ? JR_ESYNTAX
              : loaded == LUA_ERRFILE   ? UV_ENOENT
                                        : UV_ENOMEM;
  if (loaded != LUA_OK) return lua_error(L);
  set_arg_table(L, h, s->path ? s->path : s->name);
  if (s->path) add_script_dir(L, s->path);
  luaL_unref(L, LUA_REGISTRYINDEX, h->main_ref);
  h->main_ref = luaL_ref(L, LUA_REGISTRYINDEX);
  return 0;
}

static int load(jobrun *rt, const char *call, struct source *s) {
  int status = jr_host_check(rt, call);
  if (status < 0) return status;
  if (rt->phase == JR_PHASE_END)
    return jr_host_fail(rt, JR_ECLOSED,
                        "%s: this runtime has ended: create another with jobrun_new", call);
  if (jr_host_of(rt)->main)
    return jr_host_fail(rt, JR_ERUNNING,
                        "%s: a script is loaded and running: one runtime runs one script", call);
  s->rt = rt;
  errno = 0;
  status = protect(rt, load_chunk, s);
  if (status < 0 && s->status == UV_ENOENT && errno) return uv_translate_sys_error(errno);
  return status < 0 && s->status < 0 ? s->status : status;
}

int jobrun_load_file(jobrun *rt, const char *path) {
  return load(rt, "jobrun_load_file", &(struct source){.path = path});
}

int jobrun_load_string(jobrun *rt, const char *code, size_t len, const char *name) {
  return load(rt, "jobrun_load_string", &(struct source){.code = code, .len = len, .name = name});
}

struct c_module {
  const char *name;
  const jobrun_reg *functions;
};

static int register_module(lua_State *L) {
  struct c_module *m = lua_touserdata(L, 1);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  lua_newtable(L);
  for (const jobrun_reg *r = m->functions; r->name; r++) {
    lua_pushcfunction(L, r->fn);
    lua_setfield(L, -2, r->name);
  }
  lua_setfield(L, -2, m->name);
  return 0;
}

int jobrun_register(jobrun *rt, const char *module, const jobrun_reg *functions) {
  int status = jr_host_check(rt, "jobrun_register");
  if (status < 0) return status;
  return protect(rt, register_module, &(struct c_module){module, functions});
}

/* ---- running ------------------------------------------------------------------------------- */

static int push_args(lua_State *L, void *data) {
  jr_host *h = data;
  luaL_checkstack(L, h->argc, "too many arguments");
  for (int i = 0; i < h->argc; i++) lua_pushstring(L, h->argv[i]);
  return h->argc;
}

static int start_main(jobrun *rt) {
  jr_host *h = jr_host_of(rt);
  if (h->main_ref == LUA_NOREF) return 0;
  int status = jr_spawn_ref(rt, h->main_ref, push_args, h, JR_SPAWN_OBSERVED, &h->main);
  if (status < 0)
    return jr_host_fail(rt, status, "the main task could not be started: out of memory");
  luaL_unref(rt->L, LUA_REGISTRYINDEX, h->main_ref);
  h->main_ref = LUA_NOREF;
  h->started = true;
  jr_watch_start(h->main, &h->main_watch);
  uv_ref((uv_handle_t *)&rt->post);
  return 0;
}

int jr_host_check_run(jobrun *rt, const char *call) {
  const char *why = NULL;
  int status = jr_host_check(rt, call);
  if (status < 0) return status;
  if (rt->running || rt->cur) {
    status = JR_ERUNNING;
    why = "this runtime is already running: a script waits by calling, a host by jobrun_post";
  } else if (rt->phase == JR_PHASE_END) {
    status = JR_ECLOSED;
    why = "this runtime has ended: create another with jobrun_new";
  } else if (jr_host_of(rt)->main_ref == LUA_NOREF && !jr_host_of(rt)->started) {
    status = JR_EUSAGE;
    why = "no script is loaded: call jobrun_load_file or jobrun_load_string first";
  }
  return status ? jr_host_fail(rt, status, "%s: %s", call, why) : 0;
}

bool jr_host_is_started(const jobrun *rt) {
  return jr_host_of(rt)->main_ref == LUA_NOREF;
}

static int outcome(jobrun *rt) {
  if (jr_host_of(rt)->main_failed) return JR_ESCRIPT;
  if (rt->failed && rt->exit_code == 0) rt->exit_code = 1;
  return 0;
}

int jobrun_run(jobrun *rt) {
  int status = jr_host_check_run(rt, "jobrun_run");
  if (status == 0) status = start_main(rt);
  if (status < 0) return status;
  rt->running = true;
  if (jr_host_of(rt)->watches) jr_watchdog_start(rt, jr_host_of(rt)->stall_ns);
  while (rt->phase != JR_PHASE_END) uv_run(rt->loop, UV_RUN_ONCE);
  jr_watchdog_stop(rt);
  rt->running = false;
  return outcome(rt);
}

int jobrun_step(jobrun *rt) {
  if (jr_host_is_mine(rt) && rt->phase == JR_PHASE_END) return outcome(rt);
  int status = jr_host_check_run(rt, "jobrun_step");
  if (status == 0) status = start_main(rt);
  if (status < 0) return status;
  rt->running = true;
  uv_run(rt->loop, UV_RUN_NOWAIT);
  rt->running = false;
  if (rt->phase != JR_PHASE_END) return 1;
  return outcome(rt);
}

/* ---- looking ------------------------------------------------------------------------------- */

lua_State *jobrun_lua(jobrun *rt) {
  return rt->L;
}

uv_loop_t *jobrun_loop(jobrun *rt) {
  return rt->loop;
}

int jobrun_exit_code(const jobrun *rt) {
  return rt->exit_code;
}

int jobrun_get_stats(const jobrun *rt, jobrun_stats *stats) {
  if (!jr_host_is_mine(rt)) return JR_ETHREAD;
  jobrun_stats s = {.size = sizeof s,
                    .memory_used = rt->mem.used + atomic_load(&rt->mem.shared),
                    .tasks = rt->tasks,
                    .operations = rt->operations,
                    .children = rt->children,
                    .spawned = rt->spawned,
                    .resumed = rt->resumed};
  if (stats->size > sizeof s) return JR_EUSAGE;
  s.size = stats->size;
  memcpy(stats, &s, stats->size);
  return 0;
}
