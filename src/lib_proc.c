/* Child processes for Lua: the module "jobrun.core.proc". Flat, checked values only; what users
 * write is made into them by lua/jobrun/process.lua, and its head says what it all means.
 *
 * `run` is a loop in C that calls Lua handlers, line by line, and may be suspended at two places:
 * in a handler (lua_pcallk) and while it waits for lines (jr_park_k). Its state lies in the process
 * and in fixed places of its stack. The waiting task is woken once for a batch of lines, not for
 * each.
 *
 * SPDX-License-Identifier: MIT */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "glue.h"
#include "proc.h"
#include "status.h"
#include "wait.h"

int jr_open_proc(lua_State *L);

#define PROC_META "jobrun.process"

enum { MAX_LIMITS = 16, IOPRIO_CLASS_SHIFT = 13 };

/* What a handle is in Lua. */
typedef struct handle {
  jr_proc *p;
  uint8_t mode[JR_PROC_FDS];
  bool ran;
  int ionice; /* as ioprio_set(2) takes it */
  int limit_count;
  jr_spawn_limit limits[MAX_LIMITS];
  jr_slice slice; /* how long it has handed out lines in one go */
  int last_fd;    /* run: whose lines come first; a stream is left when it has none */
  int both_fd;    /* run: its line is on the stack and still has to go to its handler; 0 = none */
} handle;

enum { MODE_NULL, MODE_INHERIT, MODE_LINES, MODE_CAPTURE, MODE_PULL };

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

static handle *check_handle(lua_State *L) {
  return luaL_checkudata(L, 1, PROC_META);
}

static jr_stream *check_stream(lua_State *L, const handle *h, int arg) {
  lua_Integer fd = luaL_checkinteger(L, arg);
  luaL_argcheck(L, fd > 0 && fd < JR_PROC_FDS && h->p->streams[fd], arg, "no pipe there");
  return h->p->streams[fd];
}

static bool is_running(const jr_proc *p) {
  return p->phase == JR_PROC_LIVE || p->phase == JR_PROC_GONE;
}

/* False where a clean-up or an iterator has to do without waiting. */
static bool may_wait(lua_State *L) {
  const jobrun *rt = jr_of(L);
  return rt->cur && lua_isyieldable(L) && rt->no_park == 0;
}

/* ---- describing and starting --------------------------------------------------------------- */

/* new() → handle */
static int proc_new(lua_State *L) {
  jr_procs *procs = lua_touserdata(L, lua_upvalueindex(1));
  handle *h = lua_newuserdatauv(L, sizeof *h, 0);
  *h = (handle){.last_fd = 1};
  luaL_setmetatable(L, PROC_META);
  h->p = jr_proc_new(procs);
  if (!h->p) jr_raise_status(L, "process", UV_ENOMEM);
  return 1;
}

/* stream(handle, fd, mode, keep, limit, fflog): what the child finds at fd, 1 to 7 */
static int proc_stream(lua_State *L) {
  handle *h = check_handle(L);
  int fd = (int)luaL_checkinteger(L, 2);
  uint8_t mode = (uint8_t)luaL_checkinteger(L, 3);
  luaL_argcheck(L, fd > 0 && fd < JR_PROC_FDS && !h->p->streams[fd], 2, "no such fd");
  luaL_argcheck(L, h->p->phase == JR_PROC_NEW, 1, "already started");
  h->mode[fd] = mode;
  h->p->stdio[fd] = mode == MODE_NULL ? JR_STDIO_NULL : JR_STDIO_INHERIT;
  if (mode < MODE_LINES) return 0;
  jr_stream *s = jr_proc_add_stream(h->p, fd, (uint32_t)luaL_checkinteger(L, 4),
                                    (size_t)luaL_checkinteger(L, 5));
  if (!s) jr_raise_status(L, "process", UV_ENOMEM);
  s->is_fflog = lua_toboolean(L, 6);
  s->hold = mode != MODE_CAPTURE;
  if (mode == MODE_PULL) s->taker = &s->reader;
  return 0;
}

static handle *check_new(lua_State *L, int arg) {
  handle *h = luaL_checkudata(L, arg, PROC_META);
  luaL_argcheck(L, h->p->phase == JR_PROC_NEW, arg, "already started");
  return h;
}

/* drops(handle, fd): lines that wait for too long are left out */
static int proc_drops(lua_State *L) {
  check_stream(L, check_new(L, 1), 2)->drops = true;
  return 0;
}

/* connect(from, to): from's stdout is to's stdin */
static int proc_connect(lua_State *L) {
  int status = jr_proc_connect(check_new(L, 1)->p, check_new(L, 2)->p);
  return status < 0 ? jr_raise_status(L, "pipe", status) : 0;
}

/* input_pipe(handle): its stdin is what `write` gives */
static int proc_input_pipe(lua_State *L) {
  check_new(L, 1)->p->stdio[0] = JR_STDIO_PIPE;
  return 0;
}

/* ionice(handle, class, level) */
static int proc_ionice(lua_State *L) {
  handle *h = check_new(L, 1);
  h->ionice = (int)(luaL_checkinteger(L, 2) << IOPRIO_CLASS_SHIFT | luaL_checkinteger(L, 3));
  return 0;
}

static rlim_t check_limit(lua_State *L, int arg) {
  lua_Integer n = luaL_checkinteger(L, arg);
  return n < 0 ? RLIM_INFINITY : (rlim_t)n;
}

/* rlimit(handle, name, soft, hard); -1 = unlimited */
static int proc_rlimit(lua_State *L) {
  static const char *const names[] = {"as",     "core",  "cpu", "data",  "fsize", "memlock",
                                      "nofile", "nproc", "rss", "stack", NULL};
  static const int resources[] = {RLIMIT_AS,    RLIMIT_CORE,    RLIMIT_CPU,    RLIMIT_DATA,
                                  RLIMIT_FSIZE, RLIMIT_MEMLOCK, RLIMIT_NOFILE, RLIMIT_NPROC,
                                  RLIMIT_RSS,   RLIMIT_STACK};
  handle *h = check_new(L, 1);
  int resource = resources[luaL_checkoption(L, 2, NULL, names)];
  luaL_argcheck(L, h->limit_count < MAX_LIMITS, 2, "too many");
  h->limits[h->limit_count++] = (jr_spawn_limit){resource, {check_limit(L, 3), check_limit(L, 4)}};
  return 0;
}

/* Lists of strings come packed, each with a zero behind it. */
static size_t count_packed(const char *packed, size_t len) {
  size_t n = 0;
  for (const char *p = packed; p < packed + len; p += strlen(p) + 1) n++;
  return n;
}

/* A list of pointers in memory that Lua frees; left on the stack. */
static char **new_list(lua_State *L, size_t n) {
  return lua_newuserdatauv(L, (n + 1) * sizeof(char *), 0);
}

static char **check_argv(lua_State *L, int arg) {
  size_t len, i = 0;
  const char *packed = luaL_checklstring(L, arg, &len);
  char **list = new_list(L, count_packed(packed, len));
  for (const char *p = packed; p < packed + len; p += strlen(p) + 1)
    list[i++] = (char *)(uintptr_t)p; /* exec takes them so; nobody writes */
  list[i] = NULL;
  return list;
}

static bool is_changed(const char *entry, const char *changes, size_t len) {
  for (const char *p = changes; p < changes + len; p += strlen(p) + 1) {
    size_t name = strcspn(p, "=");
    if (strncmp(entry, p, name) == 0 && entry[name] == '=') return true;
  }
  return false;
}

/* The environment with the changes, "K=V" or "K" (removed), packed at `arg`; ours if it is nil. */
static char **check_env(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return environ;
  size_t len, old = 0, i = 0;
  const char *changes = luaL_checklstring(L, arg, &len);
  while (environ[old]) old++;
  char **list = new_list(L, old + count_packed(changes, len));
  for (char **e = environ; *e; e++)
    if (!is_changed(*e, changes, len)) list[i++] = *e;
  for (const char *p = changes; p < changes + len; p += strlen(p) + 1)
    if (strchr(p, '=')) list[i++] = (char *)(uintptr_t)p;
  list[i] = NULL;
  return list;
}

static const char *path_in(char *const *env) {
  for (; *env; env++)
    if (strncmp(*env, "PATH=", 5) == 0) return *env + 5;
  return NULL;
}

/* nil, kind, code, step, text. libuv does not know all that exec may say (ENOEXEC). */
static int push_failure(lua_State *L, int status, jr_spawn_step step) {
  bool is_plain = status == UV_ENOENT || status == UV_EACCES || status == UV_EPERM;
  bool is_known = strcmp(jr_status_name(status), "UNKNOWN") != 0;
  lua_pushnil(L);
  lua_pushstring(L, is_plain ? jr_kind_of(status) : "spawn");
  lua_pushstring(L, is_known ? jr_status_name(status) : strerrorname_np(-status));
  lua_pushstring(L, jr_spawn_step_name(step));
  lua_pushstring(L, is_known ? jr_status_text(status) : strerrordesc_np(-status));
  return 5;
}

/* stdin: nil, a string or true. The string stays on the stack until the start is over. */
static void set_input(lua_State *L, jr_proc *p, int arg) {
  if (lua_type(L, arg) == LUA_TSTRING) {
    p->input = lua_tolstring(L, arg, &p->input_len);
    p->stdio[0] = JR_STDIO_PIPE;
  } else if (lua_toboolean(L, arg)) {
    p->stdio[0] = JR_STDIO_INHERIT;
  }
}

/* input_file(handle, path) → true; or nil, kind, code, step, text */
static int proc_input_file(lua_State *L) {
  handle *h = check_new(L, 1);
  int status = jr_proc_open_input(h->p, luaL_checkstring(L, 2));
  if (status < 0) return push_failure(L, status, JR_STEP_FDS);
  lua_pushboolean(L, true);
  return 1;
}

/* start(handle, argv, env, stdin, cwd, user, umask, nice, grace) → pid; or nil, kind, code, step,
 * text. A task that was cancelled starts nothing, and where nothing can wait, nothing can follow.
 */
static int proc_start(lua_State *L) {
  handle *h = check_handle(L);
  jr_proc *p = h->p;
  jr_check_park(L, "process");
  char path[4096];
  jr_spawn_user user;
  jr_spawn_step step = JR_STEP_EXEC;
  lua_settop(L, 9);
  luaL_argcheck(L, p->phase == JR_PROC_NEW, 1, "already started");
  jr_spawn_spec spec = {.argv = check_argv(L, 2),
                        .envp = check_env(L, 3),
                        .cwd = luaL_optstring(L, 5, NULL),
                        .has_umask = !lua_isnil(L, 7),
                        .umask = (mode_t)luaL_optinteger(L, 7, 0),
                        .nice = (int)luaL_optinteger(L, 8, 0),
                        .ionice = h->ionice,
                        .limits = h->limits,
                        .limit_count = h->limit_count,
                        .path = path};
  p->grace_ns = jr_check_duration(L, 9, "grace");
  const char *user_name = luaL_optstring(L, 6, NULL);
  luaL_argcheck(L, spec.argv[0], 2, "no program");
  set_input(L, p, 4);
  int status = jr_spawn_find_program(spec.argv[0], path_in(spec.envp), path, sizeof path);
  if (status < 0) return push_failure(L, status, JR_STEP_EXEC);
  if (user_name) status = jr_spawn_find_user(user_name, &user);
  if (status < 0) return push_failure(L, status, JR_STEP_USER);
  if (user_name) spec.user = &user;
  status = jr_proc_start(p, &spec, &step);
  if (status < 0) return push_failure(L, status, step);
  lua_pushinteger(L, p->pid);
  return 1;
}

/* ---- run ----------------------------------------------------------------------------------- */

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

static void push_level(lua_State *L, int level) {
  if (level < 0)
    lua_pushnil(L);
  else
    lua_pushstring(L, jr_fflevel_name((jr_fflevel)level));
}

/* Pushes the handler of `fd` and its arguments; returns how many. */
static int push_handler(lua_State *L, int fd, const jr_line *line) {
  lua_pushvalue(L, AT_FD + fd);
  lua_pushlstring(L, line->text, line->len);
  if (line->level < 0) return 1;
  push_level(L, line->level);
  return 2;
}

/* The note comes first; if there is a handler too, the line is kept for it. */
static int push_note(lua_State *L, handle *h, int fd, const jr_line *line) {
  lua_pushlstring(L, line->text, line->len);
  lua_replace(L, AT_LINE);
  push_level(L, line->level);
  lua_replace(L, AT_LEVEL);
  if (!lua_isnil(L, AT_FD + fd)) h->both_fd = fd;
  lua_pushvalue(L, AT_NOTE);
  lua_pushvalue(L, AT_LINE);
  lua_pushvalue(L, AT_LEVEL);
  lua_pushinteger(L, fd);
  return 3;
}

static int push_kept(lua_State *L, handle *h) {
  lua_pushvalue(L, AT_FD + h->both_fd);
  lua_pushvalue(L, AT_LINE);
  lua_pushvalue(L, AT_LEVEL);
  h->both_fd = 0;
  return 2;
}

/* Takes lines of one stream until one is somebody's: pushes the call and returns the number of
 * its arguments, 0 if none is left. */
static int push_call_of(lua_State *L, handle *h, int fd) {
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

static int push_call(lua_State *L, handle *h) {
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
static int wait_for_lines(lua_State *L, handle *h) {
  jr_proc *p = h->p;
  if (!is_running(p)) {
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
  handle *h = (handle *)ctx;
  if (status == LUA_YIELD) jr_unpark(L);
  if (is_running(h->p)) return jr_park_k(L, &h->p->wait, ctx, raise_when_over);
  lua_settop(L, AT_LINE);
  return lua_error(L);
}

static int fail_run(lua_State *L, handle *h) {
  lua_replace(L, AT_LINE);
  jr_proc_cancel(h->p);
  return raise_when_over(L, LUA_OK, (lua_KContext)h);
}

/* After a turn of the loop. A task that was cancelled meanwhile tells the process. */
static int on_way_given(lua_State *L, int status, lua_KContext ctx) {
  handle *h = (handle *)ctx;
  (void)status;
  if (jr_task_current(L)->cancelled && !h->p->discards) jr_proc_cancel(h->p);
  jr_unpark(L);
  return run_more(L, LUA_OK, ctx);
}

/* The loop. A storm of lines lets others run between two of them. `status` is that of the handler
 * that ended while this function was suspended. */
static int run_more(lua_State *L, int status, lua_KContext ctx) {
  handle *h = (handle *)ctx;
  for (;;) {
    if (status != LUA_OK && status != LUA_YIELD) return fail_run(L, h);
    if (jr_slice_is_over(h->p->rt, &h->slice)) return jr_give_way_k(L, ctx, on_way_given);
    int nargs = push_call(L, h);
    if (nargs == 0) return wait_for_lines(L, h);
    status = lua_pcallk(L, nargs, 0, AT_TRACE, ctx, run_more);
  }
}

/* Lines that nobody asked for are not held. */
static void assign_streams(lua_State *L, handle *h) {
  bool has_note = !lua_isnil(L, AT_NOTE);
  for (int fd = 1; fd < JR_PROC_FDS; fd++) {
    jr_stream *s = h->p->streams[fd];
    if (!s || h->mode[fd] != MODE_LINES) continue;
    if (!lua_isnil(L, AT_FD + fd) || (has_note && s->is_fflog))
      s->taker = &h->p->wait;
    else
      jr_stream_release(s);
  }
}

/* run(handle, timeout, note, fn1, …, fn7) → result; suspends. timeout in seconds, or nil */
static int proc_run(lua_State *L) {
  handle *h = check_handle(L);
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

/* ---- lines --------------------------------------------------------------------------------- */

static const jr_wait_ops lines_ops = {.name = "lines"};

static int next_line(lua_State *L);

static int on_line_woken(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  jr_unpark(L);
  return next_line(L);
}

/* A reader that never waits gives way all the same. It takes part in cancellation, too. */
static int give_way_between(lua_State *L) {
  jr_check_park(L, "lines");
  return jr_give_way_k(L, 0, on_line_woken);
}

static int after_end(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  lua_settop(L, 0);
  return 0;
}

/* The iterator: → line, level; nil at the end. Its upvalues are the handle, which keeps the
 * stream alive, the stream, and a function to call at the end, or nil. */
static int next_line(lua_State *L) {
  handle *h = lua_touserdata(L, lua_upvalueindex(1));
  jr_stream *s = lua_touserdata(L, lua_upvalueindex(2));
  jr_line line;
  bool has_more = jr_lines_unread(&s->lines) > 0;
  if (has_more && jr_slice_is_over(jr_of(L), &h->slice) && may_wait(L)) return give_way_between(L);
  if (jr_stream_next(s, &line)) {
    lua_pushlstring(L, line.text, line.len);
    if (line.level < 0) return 1;
    push_level(L, line.level);
    return 2;
  }
  if (s->fd < 0) {
    if (lua_isnil(L, lua_upvalueindex(3))) return 0;
    lua_pushvalue(L, lua_upvalueindex(3));
    lua_callk(L, 0, 0, 0, after_end);
    return after_end(L, LUA_OK, 0);
  }
  jr_check_park(L, "lines");
  if (jr_wait_is_open(&s->reader))
    return jr_raise(L, "usage", 0, 1, "lines: another task waits for a line of this program");
  return jr_park_k(L, &s->reader, 0, on_line_woken);
}

/* lines(handle, fd [, at_end]) → iterator; fd was declared with mode pull */
static int proc_lines(lua_State *L) {
  handle *h = check_handle(L);
  jr_stream *s = check_stream(L, h, 2);
  luaL_argcheck(L, s->taker == &s->reader, 2, "its lines go elsewhere");
  s->reader.ops = &lines_ops;
  lua_settop(L, 3);
  lua_pushlightuserdata(L, s);
  lua_replace(L, 2);
  lua_pushcclosure(L, next_line, 3);
  return 1;
}

/* ---- writing ------------------------------------------------------------------------------- */

static const jr_wait_ops write_ops = {.name = "write"};

/* → true; false: nobody reads it any more */
static int on_written(lua_State *L, int status, lua_KContext ctx) {
  jr_feed *f = jr_proc_feed(((handle *)ctx)->p);
  if (status == LUA_YIELD) jr_unpark(L);
  if (jr_feed_is_busy(f)) return jr_park_k(L, &f->writer, ctx, on_written);
  lua_pushboolean(L, f->fd >= 0);
  return 1;
}

/* write(handle, bytes): suspends until the pipe has taken them */
static int proc_write(lua_State *L) {
  handle *h = check_handle(L);
  size_t len;
  const char *bytes = luaL_checklstring(L, 2, &len);
  jr_check_park(L, "write");
  jr_feed *f = jr_proc_feed(h->p);
  luaL_argcheck(L, f, 1, "its stdin is no pipe");
  if (jr_feed_is_busy(f))
    return jr_raise(L, "usage", 0, 1, "write: another task is writing to this program");
  f->writer.ops = &write_ops;
  int status = jr_feed_add(f, bytes, len);
  if (status < 0 && status != UV_EPIPE) return jr_raise_status(L, "write", status);
  return on_written(L, LUA_OK, (lua_KContext)h);
}

/* finish(handle): its stdin ends behind what was written */
static int proc_finish(lua_State *L) {
  jr_feed *f = jr_proc_feed(check_handle(L)->p);
  if (f) jr_feed_end(f);
  return 0;
}

/* ---- looking, ending ----------------------------------------------------------------------- */

/* tail(handle, fd) → lines, levels */
static int proc_tail(lua_State *L) {
  const jr_tail *t = &check_stream(L, check_handle(L), 2)->tail;
  lua_createtable(L, (int)t->len, 0);
  lua_createtable(L, (int)t->len, 0);
  for (uint32_t i = 0; i < t->len; i++) {
    const jr_tail_slot *slot = jr_tail_get(t, i);
    lua_pushlstring(L, slot->text, slot->len);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    if (slot->mark < 0)
      lua_pushboolean(L, false);
    else
      push_level(L, slot->mark);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 2;
}

/* dropped(handle, fd) → how many lines were left out */
static int proc_dropped(lua_State *L) {
  const jr_stream *s = check_stream(L, check_handle(L), 2);
  lua_pushinteger(L, (lua_Integer)s->dropped);
  return 1;
}

/* captured(handle, fd) → bytes, was it cut */
static int proc_captured(lua_State *L) {
  const jr_stream *s = check_stream(L, check_handle(L), 2);
  lua_pushlstring(L, s->capture.data ? s->capture.data : "", s->capture.len);
  lua_pushboolean(L, s->is_cut);
  return 2;
}

/* capture(handle, fd, limit): lines that wait to be pulled, and all bytes to come, are captured */
static int proc_capture(lua_State *L) {
  jr_stream *s = check_stream(L, check_handle(L), 2);
  lua_Integer limit = luaL_checkinteger(L, 3);
  luaL_argcheck(L, limit >= 0, 3, "negative");
  if (s->hold) jr_stream_capture(s, (size_t)limit);
  return 0;
}

/* stop(handle [, grace]) */
static int proc_stop(lua_State *L) {
  jr_proc *p = check_handle(L)->p;
  jr_proc_stop(p, lua_isnoneornil(L, 2) ? p->grace_ns : jr_check_duration(L, 2, "grace"));
  return 0;
}

/* Raises nothing in a cancelled task: what else there is to clean up has its turn. */
static int on_closed(lua_State *L, int status, lua_KContext ctx) {
  jr_proc *p = ((handle *)ctx)->p;
  if (status == LUA_YIELD) jr_wait_detach(jr_task_current(L));
  return is_running(p) ? jr_park_k(L, &p->wait, ctx, on_closed) : 0;
}

/* close(handle): forgets one that was not started; ends a live one and waits until it is gone,
 * where one can wait. This is a clean-up: it waits in a cancelled task too. */
static int proc_close(lua_State *L) {
  handle *h = check_handle(L);
  jr_proc_forget(h->p);
  if (!is_running(h->p)) return 0;
  jr_proc_cancel(h->p);
  if (!may_wait(L) || jr_wait_is_open(&h->p->wait)) return 0;
  h->p->wait.ops = &run_ops;
  return on_closed(L, LUA_OK, (lua_KContext)h);
}

static int signal_from(const char *name) {
  if (strncmp(name, "SIG", 3) == 0) name += 3;
  for (int sig = 1; sig < NSIG; sig++) {
    const char *known = sigabbrev_np(sig);
    if (known && strcmp(known, name) == 0) return sig;
  }
  return -1;
}

/* signal(handle, name) → was it sent */
static int proc_signal(lua_State *L) {
  handle *h = check_handle(L);
  const char *name = luaL_checkstring(L, 2);
  int sig = signal_from(name);
  if (sig < 0) return jr_raise(L, "usage", 0, 1, "signal: there is no signal '%s'", name);
  lua_pushboolean(L, jr_proc_signal(h->p, sig) == 0);
  return 1;
}

static int proc_is_running(lua_State *L) {
  lua_pushboolean(L, is_running(check_handle(L)->p));
  return 1;
}

/* elapsed(handle) → seconds since the start, at most until the end */
static int proc_elapsed(lua_State *L) {
  const jr_proc *p = check_handle(L)->p;
  int64_t end = p->end_ns ? p->end_ns : (int64_t)uv_hrtime();
  lua_pushnumber(L, p->start_ns ? (double)(end - p->start_ns) / 1e9 : 0);
  return 1;
}

static int proc_gc(lua_State *L) {
  handle *h = check_handle(L);
  if (h->p) jr_proc_unhold(h->p);
  h->p = NULL;
  return 0;
}

int jr_open_proc(lua_State *L) {
  static const luaL_Reg functions[] = {{"new", proc_new},
                                       {"stream", proc_stream},
                                       {"start", proc_start},
                                       {"run", proc_run},
                                       {"lines", proc_lines},
                                       {"tail", proc_tail},
                                       {"captured", proc_captured},
                                       {"capture", proc_capture},
                                       {"stop", proc_stop},
                                       {"close", proc_close},
                                       {"signal", proc_signal},
                                       {"is_running", proc_is_running},
                                       {"elapsed", proc_elapsed},
                                       {"drops", proc_drops},
                                       {"dropped", proc_dropped},
                                       {"connect", proc_connect},
                                       {"input_pipe", proc_input_pipe},
                                       {"input_file", proc_input_file},
                                       {"write", proc_write},
                                       {"finish", proc_finish},
                                       {"ionice", proc_ionice},
                                       {"rlimit", proc_rlimit},
                                       {NULL, NULL}};
  jr_procs *procs;
  if (jr_procs_open(jr_of(L), &procs) < 0) jr_raise_status(L, "process", UV_ENOMEM);
  luaL_newmetatable(L, PROC_META);
  lua_pushcfunction(L, proc_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlibtable(L, functions);
  lua_pushlightuserdata(L, procs);
  luaL_setfuncs(L, functions, 1);
  return 1;
}
