/* Child processes for Lua: the module "jobrun.core.proc". Flat, checked values only; what users
 * write is made into them by lua/jobrun/process.lua, and its head says what it all means.
 *
 * SPDX-License-Identifier: MIT */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lib_handle.h"
#include "rt.h"
#include "status.h"

int jr_open_proc(lua_State *L);

enum { IOPRIO_CLASS_SHIFT = 13 };

/* ---- describing and starting --------------------------------------------------------------- */

/* new() → jr_handle */
static int proc_new(lua_State *L) {
  jr_procs *procs = lua_touserdata(L, lua_upvalueindex(1));
  jr_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
  *h = (jr_handle){.last_fd = 1};
  luaL_setmetatable(L, JR_HANDLE_META);
  h->p = jr_proc_new(procs);
  if (!h->p) jr_raise_status(L, "process", UV_ENOMEM);
  return 1;
}

/* stream(handle, fd, mode, keep, limit, fflog): what the child finds at fd, 1 to 7 */
static int proc_stream(lua_State *L) {
  jr_handle *h = jr_handle_check(L);
  int fd = (int)luaL_checkinteger(L, 2);
  uint8_t mode = (uint8_t)luaL_checkinteger(L, 3);
  luaL_argcheck(L, fd > 0 && fd < JR_PROC_FDS && !h->p->streams[fd], 2, "no such fd");
  luaL_argcheck(L, h->p->phase == JR_PROC_NEW, 1, "already started");
  h->mode[fd] = mode;
  h->p->stdio[fd] = mode == JR_MODE_NULL ? JR_STDIO_NULL : JR_STDIO_INHERIT;
  if (mode < JR_MODE_LINES) return 0;
  jr_stream *s = jr_proc_add_stream(h->p, fd, (uint32_t)luaL_checkinteger(L, 4),
                                    (size_t)luaL_checkinteger(L, 5));
  if (!s) jr_raise_status(L, "process", UV_ENOMEM);
  s->is_fflog = lua_toboolean(L, 6);
  s->hold = mode != JR_MODE_CAPTURE;
  if (mode == JR_MODE_PULL) s->taker = &s->reader;
  return 0;
}

static jr_handle *check_new(lua_State *L, int arg) {
  jr_handle *h = luaL_checkudata(L, arg, JR_HANDLE_META);
  luaL_argcheck(L, h->p->phase == JR_PROC_NEW, arg, "already started");
  return h;
}

/* drops(handle, fd): lines that wait for too long are left out */
static int proc_drops(lua_State *L) {
  jr_handle_stream(L, check_new(L, 1), 2)->drops = true;
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
  jr_handle *h = check_new(L, 1);
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
  jr_handle *h = check_new(L, 1);
  int resource = resources[luaL_checkoption(L, 2, NULL, names)];
  luaL_argcheck(L, h->limit_count < JR_MAX_LIMITS, 2, "too many");
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
  jr_handle *h = check_new(L, 1);
  int status = jr_proc_open_input(h->p, luaL_checkstring(L, 2));
  if (status < 0) return push_failure(L, status, JR_STEP_FDS);
  lua_pushboolean(L, true);
  return 1;
}

/* start(handle, argv, env, stdin, cwd, user, umask, nice, grace) → pid; or nil, kind, code, step,
 * text. A task that was cancelled starts nothing, and where nothing can wait, nothing can follow.
 */
static int proc_start(lua_State *L) {
  jr_handle *h = jr_handle_check(L);
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

/* ---- looking, ending ----------------------------------------------------------------------- */

/* stop(handle [, grace]) */
static int proc_stop(lua_State *L) {
  jr_proc *p = jr_handle_check(L)->p;
  jr_proc_stop(p, lua_isnoneornil(L, 2) ? p->grace_ns : jr_check_duration(L, 2, "grace"));
  return 0;
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
  jr_handle *h = jr_handle_check(L);
  const char *name = luaL_checkstring(L, 2);
  int sig = signal_from(name);
  if (sig < 0) return jr_raise(L, "usage", 0, 1, "signal: there is no signal '%s'", name);
  lua_pushboolean(L, jr_proc_signal(h->p, sig) == 0);
  return 1;
}

static int proc_is_running(lua_State *L) {
  lua_pushboolean(L, jr_proc_is_running(jr_handle_check(L)->p));
  return 1;
}

/* elapsed(handle) → seconds since the start, at most until the end */
static int proc_elapsed(lua_State *L) {
  const jr_proc *p = jr_handle_check(L)->p;
  int64_t end = p->end_ns ? p->end_ns : (int64_t)uv_hrtime();
  lua_pushnumber(L, p->start_ns ? (double)(end - p->start_ns) / 1e9 : 0);
  return 1;
}

static int proc_gc(lua_State *L) {
  jr_handle *h = jr_handle_check(L);
  if (h->p) jr_proc_unhold(h->p);
  h->p = NULL;
  return 0;
}

/* litter(path) → id, or nil if there is no room: a file to be removed if we are killed */
static int proc_litter(lua_State *L) {
  jr_procs *procs = lua_touserdata(L, lua_upvalueindex(1));
  const char *path = luaL_checkstring(L, 1);
  uint32_t id;
  jr_litter *litter = jr_warden_litter(&procs->warden);
  if (!litter || jr_litter_add(litter, path, &id) < 0) return 0;
  lua_pushinteger(L, id);
  return 1;
}

/* forget_litter(id) */
static int proc_forget_litter(lua_State *L) {
  jr_procs *procs = lua_touserdata(L, lua_upvalueindex(1));
  lua_Integer id = luaL_checkinteger(L, 1);
  luaL_argcheck(L, id >= 0 && id < JR_LITTER_NAMES, 1, "no such file");
  jr_litter_forget(jr_warden_litter(&procs->warden), (uint32_t)id);
  return 0;
}

int jr_open_proc(lua_State *L) {
  static const luaL_Reg functions[] = {{"new", proc_new},
                                       {"stream", proc_stream},
                                       {"start", proc_start},
                                       {"stop", proc_stop},
                                       {"signal", proc_signal},
                                       {"is_running", proc_is_running},
                                       {"elapsed", proc_elapsed},
                                       {"drops", proc_drops},
                                       {"connect", proc_connect},
                                       {"input_pipe", proc_input_pipe},
                                       {"input_file", proc_input_file},
                                       {"ionice", proc_ionice},
                                       {"rlimit", proc_rlimit},
                                       {"litter", proc_litter},
                                       {"forget_litter", proc_forget_litter},
                                       {NULL, NULL}};
  jr_procs *procs;
  if (jr_procs_open(jr_of(L), &procs) < 0) jr_raise_status(L, "process", UV_ENOMEM);
  luaL_newmetatable(L, JR_HANDLE_META);
  lua_pushcfunction(L, proc_gc);
  lua_setfield(L, -2, "__gc");
  lua_newtable(L);
  luaL_setfuncs(L, jr_follow_functions, 0);
  luaL_setfuncs(L, jr_pipe_functions, 0);
  lua_pushlightuserdata(L, procs);
  luaL_setfuncs(L, functions, 1);
  return 1;
}
