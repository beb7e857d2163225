/* What a script may ask of its runtime: the time, the log, its figures, its end.
 *
 * SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <string.h>

#include <lauxlib.h>

#include "dump.h"
#include "glue.h"
#include "jobnews.h"
#include "lib.h"
#include "notify.h"
#include "rt.h"
#include "runs.h"

int jr_open_host(lua_State *L);

/* now() → seconds since 1970 UTC */
static int host_now(lua_State *L) {
  lua_pushnumber(L, (lua_Number)jr_clock_wall(jr_of(L)) / 1e9);
  return 1;
}

/* monotonic() → seconds of the steady clock */
static int host_monotonic(lua_State *L) {
  lua_pushnumber(L, (lua_Number)jr_clock_now(jr_of(L)) / 1e9);
  return 1;
}

/* is_virtual() → boolean */
static int host_is_virtual(lua_State *L) {
  lua_pushboolean(L, jr_of(L)->clock.is_virtual);
  return 1;
}

/* skip(ns), step(ns): of the virtual clock, see clock.h */
static int host_skip(lua_State *L) {
  jr_clock_skip(jr_of(L), luaL_checkinteger(L, 1));
  return 0;
}

static int host_step(lua_State *L) {
  jr_clock_step(jr_of(L), luaL_checkinteger(L, 1));
  return 0;
}

/* declare(on): from now on whatever would wait raises kind "declare" */
static int host_declare(lua_State *L) {
  jr_of(L)->declares = lua_toboolean(L, 1);
  return 0;
}

/* is_looking() → boolean: is the script only looked at? */
static int host_is_looking(lua_State *L) {
  lua_pushboolean(L, jr_of(L)->declares);
  return 1;
}

/* hold(n): loading is not over before as many have been taken back, by a negative n */
static int host_hold(lua_State *L) {
  jr_of(L)->holds += (int)luaL_checkinteger(L, 1);
  return 0;
}

/* is_loading(task) → boolean: does a main chunk wait for what is part of loading, such as a store?
 */
static int host_is_loading(lua_State *L) {
  const jr_task *t = jr_task_check(L, 1);
  lua_pushboolean(L, (t->wait && t->wait->ops->loads) || jr_of(L)->holds > 0);
  return 1;
}

/* is_exiting() → boolean: was os.exit called? */
static int host_is_exiting(lua_State *L) {
  lua_pushboolean(L, jr_of(L)->exits);
  return 1;
}

/* log(level, text): about the job's run that the current task belongs to, if any */
static int host_log(lua_State *L) {
  jobrun *rt = jr_of(L);
  int level = jr_log_level_from(luaL_checkstring(L, 1));
  const jr_run *run = jr_run_of(rt->cur);
  if (level < 0) return jr_raise(L, "usage", 0, 1, "log: unknown level '%s'", lua_tostring(L, 1));
  jr_log_event line = {.level = (jr_log_level)level};
  line.text = luaL_checklstring(L, 2, &line.len);
  if (run)
    jr_run_log(run, &line);
  else
    jr_log_put(&rt->log, &line);
  return 0;
}

/* log_style() → has stderr colours, are its log lines text */
static int host_log_style(lua_State *L) {
  const jr_log *log = &jr_of(L)->log;
  lua_pushboolean(L, log->colored);
  lua_pushboolean(L, log->format == JR_LOG_TEXT);
  return 2;
}

/* notify(text): to the service manager, if this is a service */
static int host_notify(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  int status = jr_of(L)->is_service ? jr_notify(text, len) : 0;
  return status < 0 ? jr_raise_status(L, "notify", status) : 0;
}

/* monotonic_usec() → of CLOCK_MONOTONIC, by which the service manager counts */
static int host_monotonic_usec(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000 + now.tv_nsec / 1000);
  return 1;
}

/* Open descriptors, without those that come with a first use and stay: the wall clock's timerfd and
 * the loop's inotify. */
static int count_fds(const jobrun *rt) {
  DIR *dir = opendir("/proc/self/fd");
  if (!dir) return -1;
  int n = 0;
  while (readdir(dir)) n++;
  closedir(dir);
  n -= 3; /* ".", ".." and the directory's own */
  return n - (rt->clock.wall.fd >= 0) - (rt->loop->inotify_fd >= 0);
}

static void set_count(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

/* stats() → {tasks, operations, children, fds, memory, shared, spawned, resumed} */
static int host_stats(lua_State *L) {
  jobrun *rt = jr_of(L);
  lua_createtable(L, 0, 8);
  set_count(L, "tasks", rt->tasks);
  set_count(L, "operations", rt->operations);
  set_count(L, "children", rt->children);
  set_count(L, "fds", (uint64_t)count_fds(rt));
  set_count(L, "memory", rt->mem.used);
  set_count(L, "shared", atomic_load(&rt->mem.shared));
  set_count(L, "spawned", rt->spawned);
  set_count(L, "resumed", rt->resumed);
  return 1;
}

/* tasks() → the tree of tasks, see jr_dump_push */
static int host_tasks(lua_State *L) {
  jr_dump_push(L);
  return 1;
}

/* source(file) → the text of one of jobrun's own Lua files ("jobrun/every.lua"), or nil; without a
 * file the list of their names */
static int host_source(lua_State *L) {
  const char *file = luaL_optstring(L, 1, NULL);
  lua_settop(L, 1);
  if (!file) lua_newtable(L);
  for (const jr_embedded *e = jr_embedded_files; e->name; e++) {
    if (!file) {
      lua_pushstring(L, e->name);
      lua_rawseti(L, 2, e - jr_embedded_files + 1);
    } else if (strcmp(e->name, file) == 0) {
      lua_pushlstring(L, e->start, (size_t)(e->end - e->start));
      break;
    }
  }
  return lua_gettop(L) - 1;
}

/* exit([code]), which is os.exit: ends the script in order, as SIGTERM does, with that status; the
 * calling task goes no further */
static int host_exit(lua_State *L) {
  jobrun *rt = jr_of(L);
  int code = lua_isboolean(L, 1) ? !lua_toboolean(L, 1) : (int)luaL_optinteger(L, 1, 0);
  rt->exit_code = code;
  rt->exits = true;
  rt->request_stop(rt, -1);
  if (rt->cur) jr_task_cancel(rt->cur, "os.exit");
  if (rt->cur) jr_check_park(L, "os.exit");
  return 0;
}

/* fail(error): what a job does in --fail mode, and an error nobody can take */
static int host_fail(lua_State *L) {
  jobrun *rt = jr_of(L);
  luaL_checkany(L, 1);
  jr_error_text(L, 1);
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  jr_log_line(&rt->log, JR_LOG_ERROR, text, len);
  rt->failed = true;
  return 0;
}

int jr_open_host(lua_State *L) {
  static const luaL_Reg functions[] = {{"now", host_now},
                                       {"monotonic", host_monotonic},
                                       {"is_virtual", host_is_virtual},
                                       {"skip", host_skip},
                                       {"step", host_step},
                                       {"is_looking", host_is_looking},
                                       {"is_exiting", host_is_exiting},
                                       {"hold", host_hold},
                                       {"is_loading", host_is_loading},
                                       {"declare", host_declare},
                                       {"log", host_log},
                                       {"log_style", host_log_style},
                                       {"notify", host_notify},
                                       {"monotonic_usec", host_monotonic_usec},
                                       {"stats", host_stats},
                                       {"tasks", host_tasks},
                                       {"source", host_source},
                                       {"exit", host_exit},
                                       {"fail", host_fail},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
