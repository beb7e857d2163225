/* A worker: one thread with a Lua state of its own.
 *
 * SPDX-License-Identifier: MIT */
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "glue.h"
#include "pack.h"
#include "status.h"
#include "unpack.h"

/* How many instructions the code of a call that was given up may run after it was told, to clean
 * up. */
enum { CLEANUP_INSTRUCTIONS = 1000000 };

/* On the Lua stack of a worker between calls. */
enum { AT_HANDLER = 1, AT_BODY = 2 };

static const char worker_key; /* its address is the key in the registry */

jr_worker *jr_worker_of(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &worker_key);
  jr_worker *w = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return w;
}

/* ---- interrupting -------------------------------------------------------------------------- */

static void on_hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  jr_worker_raise(L);
}

/* When the hook is to raise: at once, then after a while for to-be-closed variables to do their
 * work in, then at each instruction, so that code which catches the error comes to an end. */
static int instructions(const jr_worker *w) {
  return w->raised == 1 ? CLEANUP_INSTRUCTIONS : 1;
}

int jr_worker_raise(lua_State *L) {
  jr_worker *w = jr_worker_of(L);
  if (w->raised < 2) w->raised++;
  lua_sethook(L, on_hook, LUA_MASKCOUNT, instructions(w));
  return jr_raise(L, "cancelled", UV_ECANCELED, 0,
                  "cancelled: nobody waits for this blocking call any more");
}

/* Sets the hook; one that is set goes on counting. */
static void hook(const jr_worker *w, lua_State *L) {
  if (lua_gethook(L) == on_hook && w->raised < 2) return;
  lua_sethook(L, on_hook, LUA_MASKCOUNT, instructions(w));
}

/* Where Lua begins to run, the signal may have come already. */
static void look(const jr_worker *w, lua_State *L) {
  if (atomic_load_explicit(&w->told, memory_order_relaxed)) hook(w, L);
}

/* On the worker's own thread, anywhere. lua_sethook is made to be called so. */
static void on_signal(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)context;
  if (info->si_code != SI_QUEUE || info->si_pid != getpid()) return;
  jr_worker *w = info->si_value.sival_ptr;
  lua_State *L = atomic_load(&w->running);
  if (L) hook(w, L);
}

int jr_worker_signal(void) {
  enum { SKIP = 8 }; /* the first ones are what other libraries take */
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, old;
  sigemptyset(&action.sa_mask);
  for (int number = SIGRTMIN + SKIP; number <= SIGRTMAX; number++) {
    if (sigaction(number, NULL, &old) < 0) continue;
    bool is_ours = old.sa_flags & SA_SIGINFO && old.sa_sigaction == on_signal;
    bool is_free = !(old.sa_flags & SA_SIGINFO) && old.sa_handler == SIG_DFL;
    if (is_ours || (is_free && sigaction(number, &action, NULL) == 0)) return number;
  }
  return UV_EBUSY;
}

void jr_worker_interrupt(jr_worker *w) {
  atomic_store(&w->told, true);
  uv_cond_signal(&w->cond);
  pthread_sigqueue(w->thread, w->signal, (union sigval){.sival_ptr = w});
}

int jr_worker_sleep(jr_worker *w, int64_t ns) {
  uint64_t end = uv_hrtime() + (uint64_t)ns;
  uv_mutex_lock(w->lock);
  while (!atomic_load(&w->told)) {
    uint64_t now = uv_hrtime();
    if (now >= end) break;
    uv_cond_timedwait(&w->cond, w->lock, end - now);
  }
  uv_mutex_unlock(w->lock);
  return atomic_load(&w->told) ? UV_ECANCELED : 0;
}

/* ---- coroutines ---------------------------------------------------------------------------- */

/* A hook belongs to one coroutine, so the handler must know the innermost. These stand around the
 * stock functions; upvalues: the worker, the stock function. */

static lua_State *enter(jr_worker *w, lua_State *co) {
  lua_State *outer = atomic_exchange(&w->running, co);
  look(w, co);
  return outer;
}

static void leave(jr_worker *w, lua_State *outer) {
  atomic_store(&w->running, outer);
  look(w, outer);
}

static int co_resume(lua_State *L) {
  jr_worker *w = lua_touserdata(L, lua_upvalueindex(1));
  lua_State *co = lua_tothread(L, 1);
  luaL_argexpected(L, co, 1, "coroutine");
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  lua_State *outer = enter(w, co);
  lua_call(L, lua_gettop(L) - 1, LUA_MULTRET); /* never raises */
  leave(w, outer);
  return lua_gettop(L);
}

/* Upvalues: the worker, what the stock wrap returned, its coroutine. */
static int wrap_call(lua_State *L) {
  jr_worker *w = lua_touserdata(L, lua_upvalueindex(1));
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  lua_State *outer = enter(w, lua_tothread(L, lua_upvalueindex(3)));
  int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
  leave(w, outer);
  return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

static int co_wrap(lua_State *L) {
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_getupvalue(L, 2, 1); /* the stock function keeps its coroutine there */
  lua_pushcclosure(L, wrap_call, 3);
  return 1;
}

static void override(lua_State *L, jr_worker *w, const char *name, lua_CFunction fn) {
  lua_pushlightuserdata(L, w);
  lua_getfield(L, -2, name);
  lua_pushcclosure(L, fn, 2);
  lua_setfield(L, -2, name);
}

static void open_coroutines(lua_State *L, jr_worker *w) {
  lua_getglobal(L, "coroutine");
  override(L, w, "resume", co_resume);
  override(L, w, "wrap", co_wrap);
  lua_pop(L, 1);
}

/* ---- the Lua state ------------------------------------------------------------------------- */

static int run_body(lua_State *L);

static void set_path(lua_State *L, const char *field, const char *path) {
  if (!path) return;
  lua_pushstring(L, path);
  lua_setfield(L, -2, field);
}

static int open_protected(lua_State *L) {
  jr_worker *w = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_pushlightuserdata(L, w);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &worker_key);
  lua_pushcfunction(L, w->furnish);
  lua_call(L, 0, 0);
  open_coroutines(L, w);
  lua_getglobal(L, "package");
  set_path(L, "path", w->path);
  set_path(L, "cpath", w->cpath);
  jr_error_push(L, "usage", 0, 0, "any, for its metatable");
  lua_getmetatable(L, -1);
  jr_values_open(&w->values, L);
  lua_settop(L, 0);
  return 0;
}

static int open_state(jr_worker *w) {
  w->L = lua_newstate(jr_mem_lua_alloc, &w->mem);
  if (!w->L) return UV_ENOMEM;
  *(void **)lua_getextraspace(w->L) = NULL; /* no runtime: jr_of tells the two kinds apart by it */
  lua_pushcfunction(w->L, open_protected);
  lua_pushlightuserdata(w->L, w);
  if (lua_pcall(w->L, 1, 0, 0) != LUA_OK) {
    const char *text = lua_tostring(w->L, -1);
    jr_logf(w->log, JR_LOG_ERROR, "a worker's Lua state does not open: %s", text ? text : "?");
    lua_close(w->L);
    w->L = NULL;
    return UV_ENOMEM;
  }
  lua_pushcfunction(w->L, jr_message_handler);
  lua_pushcfunction(w->L, run_body);
  return 0;
}

static void close_state(jr_worker *w) {
  if (w->L) lua_close(w->L);
  w->L = NULL;
  jr_values_fini(&w->values);
}

/* ---- running a call ------------------------------------------------------------------------ */

/* Protected: takes function and arguments out of the message, calls, puts the results in. */
static int run_body(lua_State *L) {
  jr_worker *w = lua_touserdata(L, 1);
  jr_buf *message = &w->call->message;
  lua_settop(L, 0);
  int n = jr_values_unpack(&w->values, L, message->data, message->len);
  if (n < 1) return luaL_error(L, "a blocking call arrived spoilt");
  lua_call(L, n - 1, LUA_MULTRET);
  message->len = 0;
  int status = jr_values_pack(&w->values, L, 1, lua_gettop(L), JR_VALUES_RESULTS, message);
  if (status == JR_EUSAGE || status == JR_ELIMIT)
    jr_raise(L, jr_kind_of(status), status, 0, "%s", w->values.error);
  return status < 0 ? luaL_error(L, "not enough memory") : 0;
}

/* An error value that has a metatable of the script's own travels as what tostring makes of it. */
static void make_movable(lua_State *L, int index) {
  bool is_object = lua_istable(L, index) || lua_isuserdata(L, index);
  if (!is_object || jr_error_is(L, index, NULL) || !luaL_getmetafield(L, index, "__tostring"))
    return;
  lua_pop(L, 1);
  luaL_tolstring(L, index, NULL);
  lua_replace(L, index);
}

/* Protected: puts the error value at index 2 and its traceback into the message. */
static int report_failure(lua_State *L) {
  jr_worker *w = lua_touserdata(L, 1);
  lua_settop(L, 2);
  jr_traceback_of(L, 2);
  make_movable(L, 2);
  w->call->message.len = 0;
  if (jr_values_pack(&w->values, L, 2, 2, JR_VALUES_FAILURE, &w->call->message) < 0) lua_error(L);
  return 0;
}

/* With the error value on top. */
static int report(jr_worker *w) {
  lua_State *L = w->L;
  lua_pushcfunction(L, report_failure);
  lua_insert(L, -2);
  lua_pushlightuserdata(L, w);
  lua_insert(L, -2);
  return lua_pcall(L, 2, 0, 0) == LUA_OK ? JR_ESCRIPT : UV_ENOMEM;
}

static int run_lua(jr_worker *w) {
  int status = w->L ? 0 : open_state(w);
  if (status < 0) return status;
  lua_State *L = w->L;
  lua_settop(L, AT_BODY);
  lua_pushvalue(L, AT_BODY);
  lua_pushlightuserdata(L, w);
  atomic_store(&w->running, L);
  look(w, L);
  int result = lua_pcall(L, 1, 0, AT_HANDLER);
  atomic_store(&w->running, NULL);
  return result == LUA_OK ? 0 : report(w);
}

static void run_call(jr_worker *w, jr_call *call) {
  w->call = call;
  if (call->ops) {
    call->ops->run(call->data, &call->given_up);
    call->status = 0;
  } else {
    call->status = run_lua(w);
  }
  w->call = NULL;
}

/* ---- the thread ---------------------------------------------------------------------------- */

int jr_worker_init(jr_worker *w, const jr_mem *mem) {
  jr_mem_init(&w->mem, mem->alloc, mem->data, mem->limit);
  jr_mem_keep_spares(&w->mem, &w->spares);
  jr_values_init(&w->values, &w->mem, true);
  atomic_init(&w->running, NULL);
  atomic_init(&w->told, false);
  return uv_cond_init(&w->cond);
}

int jr_worker_set_paths(jr_worker *w, const char *path, const char *cpath) {
  if (path && !(w->path = jr_mem_dup(&w->mem, path, strlen(path)))) return UV_ENOMEM;
  if (cpath && !(w->cpath = jr_mem_dup(&w->mem, cpath, strlen(cpath)))) return UV_ENOMEM;
  return 0;
}

void jr_worker_fini(jr_worker *w) {
  if (w->path) jr_mem_free(&w->mem, w->path, strlen(w->path) + 1);
  if (w->cpath) jr_mem_free(&w->mem, w->cpath, strlen(w->cpath) + 1);
  jr_mem_drop_spares(&w->mem);
  uv_cond_destroy(&w->cond);
}

/* Other signals are not blocked here: processes that a script starts from this thread would inherit
 * that. The kernel gives the main thread those of the process. */
static void thread_main(void *arg) {
  jr_worker *w = arg;
  sigset_t ours;
  sigemptyset(&ours);
  sigaddset(&ours, w->signal);
  pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
  for (jr_call *call = NULL; (call = w->owner->next(w, call));) run_call(w, call);
  close_state(w);
  w->owner->ended(w);
}

int jr_worker_start(jr_worker *w) {
  return uv_thread_create(&w->thread, thread_main, w);
}
