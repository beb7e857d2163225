/* Following a child process to its end: `run` and `close` of the module
 * "jobrun.core.proc". `run` is a loop in C that calls Lua handlers, line by line.
 *
 * `run` may be suspended at two places: in a handler (lua_pcallk) and while it waits for lines
 * (jr_park_k). Its state lies in the handle and in fixed places of its stack. The waiting task is
 * woken once for a batch of lines, not for each.
 *
 * SPDX-License-Identifier: MIT */
#include <signal.h>
#include <string.h>

#include "lib_handle.h"
#include "rt.h"
#include "status.h"

/* The stack of `run`: the handler of fd n is at AT_FD + n. */
enum {
  AT_HANDLE = 1,
  AT_NOTE = 2,
  AT_FD = 2,
  AT_TRACE = 10,
  AT_LINE = 11,
  AT_LEVEL = 12,
  AT_TOP = 12
};

static void cancel_run(jr_wait *w) {
  jr_proc_cancel(jr_container_of(w, jr_proc, wait));
}

static const jr_wait_ops run_ops = {.name = "process", .cancel = cancel_run};

static void push_signal_name(lua_State *L, int sig) {
  const char *name = sigabbrev_np(sig);
  if (name)
    lua_pushfstring(L, "SIG%s", name);
  else
    lua_pushfstring(L, "SIG%d", sig);
}

static void set_number(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

static void set_flag(lua_State *L, const char *key, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, key);
}

static int push_result(lua_State *L, const jr_proc *p) {
  lua_createtable(L, 0, 8);
  if (p->exit_code >= 0) {
    lua_pushinteger(L, p->exit_code);
    lua_setfield(L, -2, "exit_code");
  }
  if (p->signal) {
    push_signal_name(L, p->signal);
    lua_setfield(L, -2, "signal");
  }
  set_number(L, "elapsed", (double)(p->end_ns - p->start_ns) / 1e9);
  set_number(L, "cpu", (double)p->cpu_ns / 1e9);
  lua_pushinteger(L, (lua_Integer)p->max_rss);
  lua_setfield(L, -2, "max_rss");
  set_flag(L, "pipe_held", p->pipe_held);
  set_flag(L, "stopped", p->stopped);
  set_flag(L, "timed_out", p->timed_out);
  return 1;
}

/* Pushes the handler of `fd` and its arguments; returns how many. */
static int push_handler(lua_State *L, int fd, const jr_line *line) {
  lua_pushvalue(L, AT_FD + fd);
  lua_pushlstring(L, line->text, line->len);
  if (line->level < 0) return 1;
  jr_push_level(L, line->level);
  return 2;
}

/* The note comes first; if there is a handler too, the line is kept for it. */
static int push_note(lua_State *L, jr_handle *h, int fd, const jr_line *line) {
  lua_pushlstring(L, line->text, line->len);
  lua_replace(L, AT_LINE);
  jr_push_level(L, line->level);
  lua_replace(L, AT_LEVEL);
  if (!lua_isnil(L, AT_FD + fd)) h->both_fd = fd;
  lua_pushvalue(L, AT_NOTE);
  lua_pushvalue(L, AT_LINE);
  lua_pushvalue(L, AT_LEVEL);
  lua_pushinteger(L, fd);
  return 3;
}

static int push_kept(lua_State *L, jr_handle *h) {
  lua_pushvalue(L, AT_FD + h->both_fd);
  lua_pushvalue(L, AT_LINE);
  lua_pushvalue(L, AT_LEVEL);
  h->both_fd = 0;
  return 2;
}

/* Takes lines of one stream until one is somebody's: pushes the call and returns the number of
 * its arguments, 0 if none is left. */
static int push_call_of(lua_State *L, jr_handle *h, int fd) {
  jr_stream *s = h->p->streams[fd];
  bool has_handler = !lua_isnil(L, AT_FD + fd), has_note = !lua_isnil(L, AT_NOTE);
  jr_line line;
  if (!s || s->taker != &h->p->wait) return 0;
  while (jr_stream_next(s, &line)) {
    if (has_note && line.is_notable) return push_note(L, h, fd, &line);
    if (has_handler) return push_handler(L, fd, &line);
  }
  return 0;
}

static int push_call(lua_State *L, jr_handle *h) {
  if (h->p->discards) return 0;
  if (h->both_fd) return push_kept(L, h);
  for (int i = 0; i < JR_PROC_FDS; i++) {
    int fd = (h->last_fd + i) % JR_PROC_FDS;
    int nargs = push_call_of(L, h, fd);
    if (nargs == 0) continue;
    h->last_fd = fd;
    return nargs;
  }
  return 0;
}

static int run_more(lua_State *L, int status, lua_KContext ctx);

static int on_run_woken(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  jr_unpark(L);
  return run_more(L, LUA_OK, ctx);
}

/* Parks until there are lines or the process is over. A task that was cancelled while it was not
 * parked here has not told the process yet. */
static int wait_for_lines(lua_State *L, jr_handle *h) {
  jr_proc *p = h->p;
  if (!jr_proc_is_running(p)) {
    if (p->discards)
      jr_check_park(L, "process"); /* cancelled, but the end of a pipe woke it first */
    if (p->status < 0) return jr_raise_status(L, "process", p->status);
    return push_result(L, p);
  }
  if (jr_task_current(L)->cancelled && !p->discards) jr_proc_cancel(p);
  return jr_park_k(L, &p->wait, (lua_KContext)h, on_run_woken);
}

/* With a handler's error at AT_LINE: raises it when the process is over. */
static int raise_when_over(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  jr_handle *h = (jr_handle *)ctx;
  if (status == LUA_YIELD) jr_unpark(L);
  if (jr_proc_is_running(h->p)) return jr_park_k(L, &h->p->wait, ctx, raise_when_over);
  lua_settop(L, AT_LINE);
  return lua_error(L);
}

static int fail_run(lua_State *L, jr_handle *h) {
  lua_replace(L, AT_LINE);
  jr_proc_cancel(h->p);
  return raise_when_over(L, LUA_OK, (lua_KContext)h);
}

/* After a turn of the loop. A task that was cancelled meanwhile tells the process. */
static int on_way_given(lua_State *L, int status, lua_KContext ctx) {
  jr_handle *h = (jr_handle *)ctx;
  (void)status;
  if (jr_task_current(L)->cancelled && !h->p->discards) jr_proc_cancel(h->p);
  jr_unpark(L);
  return run_more(L, LUA_OK, ctx);
}

/* The loop. A storm of lines lets others run between two of them. `status` is that of the handler
 * that ended while this function was suspended. */
static int run_more(lua_State *L, int status, lua_KContext ctx) {
  jr_handle *h = (jr_handle *)ctx;
  for (;;) {
    if (status != LUA_OK && status != LUA_YIELD) return fail_run(L, h);
    if (jr_slice_is_over(h->p->rt, &h->slice)) return jr_give_way_k(L, ctx, on_way_given);
    int nargs = push_call(L, h);
    if (nargs == 0) return wait_for_lines(L, h);
    status = lua_pcallk(L, nargs, 0, AT_TRACE, ctx, run_more);
  }
}

/* Lines that nobody asked for are not held. */
static void assign_streams(lua_State *L, jr_handle *h) {
  bool has_note = !lua_isnil(L, AT_NOTE);
  for (int fd = 1; fd < JR_PROC_FDS; fd++) {
    jr_stream *s = h->p->streams[fd];
    if (!s || h->mode[fd] != JR_MODE_LINES) continue;
    if (!lua_isnil(L, AT_FD + fd) || (has_note && s->is_fflog))
      s->taker = &h->p->wait;
    else
      jr_stream_release(s);
  }
}

/* run(handle, timeout, note, fn1, …, fn7) → result; suspends. timeout in seconds, or nil */
static int proc_run(lua_State *L) {
  jr_handle *h = jr_handle_check(L);
  jr_check_park(L, "process");
  if (h->ran || h->p->phase == JR_PROC_NEW)
    return jr_raise(L, "usage", 0, 1, "process: run it once, after the start");
  lua_settop(L, 10);
  if (!lua_isnil(L, 2)) {
    int64_t due = (int64_t)uv_hrtime() + jr_check_duration(L, 2, "timeout");
    jr_proc_set_deadline(h->p, due);
  }
  lua_remove(L, 2);
  lua_pushcfunction(L, jr_message_handler);
  lua_settop(L, AT_TOP);
  h->ran = true;
  h->p->wait.ops = &run_ops;
  assign_streams(L, h);
  return run_more(L, LUA_OK, (lua_KContext)h);
}

/* Raises nothing in a cancelled task: what else there is to clean up has its turn. */
static int on_closed(lua_State *L, int status, lua_KContext ctx) {
  jr_proc *p = ((jr_handle *)ctx)->p;
  if (status == LUA_YIELD) jr_wait_detach(jr_task_current(L));
  return jr_proc_is_running(p) ? jr_park_k(L, &p->wait, ctx, on_closed) : 0;
}

/* close(handle): forgets one that was not started; ends a live one and waits until it is gone,
 * where one can wait. This is a clean-up: it waits in a cancelled task too. */
static int proc_close(lua_State *L) {
  jr_handle *h = jr_handle_check(L);
  jr_proc_forget(h->p);
  if (!jr_proc_is_running(h->p)) return 0;
  jr_proc_cancel(h->p);
  if (!jr_handle_may_wait(L) || jr_wait_is_open(&h->p->wait)) return 0;
  h->p->wait.ops = &run_ops;
  return on_closed(L, LUA_OK, (lua_KContext)h);
}

const luaL_Reg jr_follow_functions[] = {{"run", proc_run}, {"close", proc_close}, {NULL, NULL}};
