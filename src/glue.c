/* Glue between C and Lua: error objects, tracebacks, checked arguments.
 *
 * A traceback belongs to the point where an error was raised, so the message handler takes it
 * there. In an error object it is a field. A string raised by a script must stay that string; its
 * traceback is kept in a table with weak keys, by the coroutine of the task that raised it,
 * together with the value, so a stale one is never shown for another error.
 *
 * SPDX-License-Identifier: MIT */
#include "glue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "duration.h"
#include "rt.h"
#include "status.h"

#define ERROR_META "jobrun.error"

static const char tracebacks_key; /* its address is the key in the registry */

/* ---- error objects ------------------------------------------------------------------------- */

const char *jr_kind_of(int status) {
  switch (status) {
  case UV_ENOENT:
    return "not_found";
  case UV_EACCES:
  case UV_EPERM:
  case UV_EROFS:
    return "permission";
  case UV_EEXIST:
    return "exists";
  case UV_ENOSPC:
    return "no_space";
  case UV_ENOMEM:
    return "no_memory";
  case UV_ETIMEDOUT:
    return "timeout";
  case UV_ECANCELED:
    return "cancelled";
  case UV_EPIPE:
    return "broken_pipe";
  case UV_EINVAL:
  case JR_EUSAGE:
    return "usage";
  case JR_ECLOSED:
    return "closed";
  case JR_ELIMIT:
    return "limit";
  default:
    return "system";
  }
}

static void set_string(lua_State *L, const char *key, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

bool jr_is_own_source(const char *source) {
  return strncmp(source, "@jobrun/", 8) == 0 || strcmp(source, "@jobrun.lua") == 0;
}

static void set_place(lua_State *L, const char *source, int line) {
  lua_pushfstring(L, "%s:%d", source, line);
  lua_setfield(L, -2, "where");
}

/* Where the current task, or one that owns it, was spawned. */
static void set_spawn_site(lua_State *L) {
  const jobrun *rt = jr_of(L);
  for (const jr_task *t = rt ? rt->cur : NULL; t; t = t->parent)
    if (t->spawn_line > 0) {
      set_place(L, rt->sites[t->spawn_site], (int)t->spawn_line);
      return;
    }
}

/* Sets `where` of the error object on top: the first Lua function from `level` outwards that is
 * not one of our own modules, as the user's line is the one to look at. A task of ours has none of
 * them on its stack. */
static void set_where(lua_State *L, int level) {
  lua_Debug ar;
  for (int at = level; at > 0 && lua_getstack(L, at, &ar); at++) {
    lua_getinfo(L, "Sl", &ar);
    if (ar.currentline <= 0 || jr_is_own_source(ar.source)) continue;
    set_place(L, ar.short_src, ar.currentline);
    return;
  }
  if (level > 0) set_spawn_site(L);
}

void jr_error_push(lua_State *L, const char *kind, int code, int level, const char *fmt, ...) {
  char message[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  luaL_checkstack(L, 4, NULL);
  lua_createtable(L, 0, 4);
  set_string(L, "kind", kind);
  set_string(L, "message", message);
  if (code) set_string(L, "code", jr_status_name(code));
  set_where(L, level);
  luaL_setmetatable(L, ERROR_META);
}

int jr_raise(lua_State *L, const char *kind, int code, int level, const char *fmt, ...) {
  char message[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(message, sizeof message, fmt, args);
  va_end(args);
  jr_error_push(L, kind, code, level, "%s", message);
  lua_error(L);
  __builtin_unreachable();
}

int jr_raise_status(lua_State *L, const char *op, int status) {
  jr_error_push(L, jr_kind_of(status), status, 1, "%s: %s", op, jr_status_text(status));
  set_string(L, "op", op);
  lua_error(L);
  __builtin_unreachable();
}

bool jr_error_is(lua_State *L, int index, const char *kind) {
  if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
  luaL_getmetatable(L, ERROR_META);
  bool ours = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  if (!ours || !kind) return ours;
  lua_getfield(L, index, "kind");
  const char *has = lua_tostring(L, -1);
  bool same = has && strcmp(has, kind) == 0;
  lua_pop(L, 1);
  return same;
}

static int error_tostring(lua_State *L) {
  lua_getfield(L, 1, "where");
  lua_getfield(L, 1, "message");
  if (!lua_isstring(L, -1)) {
    lua_pop(L, 1);
    lua_getfield(L, 1, "kind");
  }
  const char *message = luaL_tolstring(L, -1, NULL);
  if (lua_isstring(L, -3)) lua_pushfstring(L, "%s: %s", lua_tostring(L, -3), message);
  return 1;
}

/* err.new{kind=, message=, …}: gives the table the metatable of errors and, unless it has one or
 * says `level = 0`, the place of the first line outside jobrun's own modules. */
static int error_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_Integer level = luaL_optinteger(L, 2, 1);
  lua_settop(L, 1);
  if (lua_getfield(L, 1, "where") == LUA_TNIL && level > 0) {
    lua_pop(L, 1);
    set_where(L, (int)level);
  }
  lua_settop(L, 1);
  luaL_setmetatable(L, ERROR_META);
  return 1;
}

/* err.is(value [, kind]) → boolean */
static int error_is(lua_State *L) {
  lua_pushboolean(L, jr_error_is(L, 1, luaL_optstring(L, 2, NULL)));
  return 1;
}

/* A table that is no object of anybody's, error{message = "…"}, is what it says. */
static int value_text(lua_State *L) {
  if (lua_istable(L, 1) && luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL) {
    lua_pushliteral(L, "message");
    lua_rawget(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING) return 1;
  }
  luaL_tolstring(L, 1, NULL);
  return 1;
}

/* What tostring makes of it; it never raises. */
static void push_message(lua_State *L, int index) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, NULL);
  lua_pushcfunction(L, value_text);
  lua_pushvalue(L, index);
  if (lua_pcall(L, 1, 1, 0) != LUA_OK) { /* a script's own __tostring raised */
    lua_pushfstring(L, "(error object is a %s value, and its __tostring failed: %s)",
                    luaL_typename(L, index), lua_isstring(L, -1) ? lua_tostring(L, -1) : "?");
    lua_remove(L, -2);
  }
}

/* err.message(value) → what it says: its message, or what tostring makes of it, also where its
 * __tostring raises */
static int error_message(lua_State *L) {
  luaL_checkany(L, 1);
  push_message(L, 1);
  return 1;
}

/* err.text(value) → the error and its traceback, as the log shows it */
static int error_text(lua_State *L) {
  luaL_checkany(L, 1);
  jr_error_text(L, 1);
  return 1;
}

/* err.traceback(value) → string or nil */
static int error_traceback(lua_State *L) {
  luaL_checkany(L, 1);
  jr_traceback_of(L, 1);
  return 1;
}

static int open_error_module(lua_State *L) {
  static const luaL_Reg functions[] = {{"new", error_new},
                                       {"is", error_is},
                                       {"message", error_message},
                                       {"text", error_text},
                                       {"traceback", error_traceback},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}

void jr_errors_open(lua_State *L) {
  luaL_newmetatable(L, ERROR_META);
  lua_pushcfunction(L, error_tostring);
  lua_setfield(L, -2, "__tostring");
  lua_pop(L, 1);
  lua_createtable(L, 0, 0);
  lua_createtable(L, 0, 1);
  set_string(L, "__mode", "k");
  lua_setmetatable(L, -2);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &tracebacks_key);
  luaL_requiref(L, "jobrun.core.error", open_error_module, 0);
  lua_pop(L, 1);
}

/* ---- tracebacks ---------------------------------------------------------------------------- */

/* Pushes the coroutine under which tracebacks of the running code are kept. */
static void push_keeper(lua_State *L) {
  jobrun *rt = jr_of(L);
  lua_State *co = rt && rt->cur ? rt->cur->co : L;
  luaL_checkstack(L, 2, NULL);
  if (!lua_checkstack(co, 1)) luaL_error(L, "stack overflow");
  lua_pushthread(co);
  if (co != L) lua_xmove(co, L, 1);
}

void jr_traceback_of(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (jr_error_is(L, index, NULL)) {
    lua_getfield(L, index, "traceback");
    return;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tracebacks_key);
  push_keeper(L);
  lua_rawget(L, -2);
  bool found = false;
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, -1, 1);
    found = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
  }
  if (found)
    lua_rawgeti(L, -1, 2);
  else
    lua_pushnil(L);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

void jr_traceback_keep(lua_State *L, int index) {
  index = lua_absindex(L, index);
  if (jr_error_is(L, index, NULL)) {
    lua_setfield(L, index, "traceback");
    return;
  }
  lua_rawgetp(L, LUA_REGISTRYINDEX, &tracebacks_key);
  push_keeper(L);
  lua_createtable(L, 2, 0);
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, -4);
  lua_rawseti(L, -2, 2);
  lua_rawset(L, -3);
  lua_pop(L, 2);
}

static bool is_own_frame(const char *line) {
  static const char *const starts[] = {"\tjobrun/",
                                       "\tjobrun.lua:",
                                       "\t[C]: in function 'jobrun.core.",
                                       "\t[C]: in ?",
                                       "\t[C]: in function 'error'",
                                       "\t(...tail calls...)"};
  for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
    if (strncmp(line, starts[i], strlen(starts[i])) == 0) return true;
  return false;
}

/* Takes the lines of jobrun's own files out of the traceback on top: a user can do nothing there.
 * Who works on them, with JOBRUN_LUA, sees all. */
static void drop_own_frames(lua_State *L) {
  luaL_Buffer kept;
  if (getenv("JOBRUN_LUA")) return;
  int at = lua_gettop(L);
  const char *line = lua_tostring(L, at);
  luaL_buffinit(L, &kept);
  for (bool first = true; line; first = false) {
    const char *end = strchr(line, '\n');
    if (first || !is_own_frame(line)) {
      if (!first) luaL_addchar(&kept, '\n');
      luaL_addlstring(&kept, line, end ? (size_t)(end - line) : strlen(line));
    }
    line = end ? end + 1 : NULL;
  }
  luaL_pushresult(&kept);
  lua_replace(L, at);
}

/* Does it have a line of Lua, or only its head and C functions? */
static bool names_a_line(const char *traceback) {
  static const char c_frame[] = "\t[C]:";
  const char *line = strchr(traceback, '\n');
  while (line && strncmp(line + 1, c_frame, sizeof c_frame - 1) == 0) line = strchr(line + 1, '\n');
  return line != NULL;
}

/* A cancelled task's error needs no traceback: where it waited says nothing of why, and a tree of
 * 20 000 tasks is cancelled ten times as fast without. */
int jr_message_handler(lua_State *L) {
  if (jr_error_is(L, 1, "cancelled")) return 1;
  jr_traceback_of(L, 1);
  bool inherited = lua_isstring(L, -1);
  lua_pop(L, 1);
  if (inherited) return 1; /* raised in another task: it tells more than this stack */
  luaL_traceback(L, L, NULL, 1);
  drop_own_frames(L);
  if (names_a_line(lua_tostring(L, -1))) jr_traceback_keep(L, 1);
  lua_settop(L, 1);
  return 1;
}

void jr_error_text(lua_State *L, int index) {
  index = lua_absindex(L, index);
  push_message(L, index);
  const char *text = lua_tostring(L, -1);
  jr_traceback_of(L, index);
  if (lua_isstring(L, -1)) {
    lua_pushfstring(L, "%s\n%s", text, lua_tostring(L, -1));
    lua_replace(L, -3);
  }
  lua_pop(L, 1);
}

/* ---- arguments ----------------------------------------------------------------------------- */

static int64_t check_duration_text(lua_State *L, int arg, const char *what) {
  size_t len;
  int64_t ns;
  jr_duration_fault fault;
  const char *text = lua_tolstring(L, arg, &len);
  if (jr_duration_parse(text, len, &ns, &fault) < 0)
    jr_raise(
        L, "usage", 0, 1,
        "%s: expected a duration such as \"1h30m\", \"90s\" or \"250ms\", got \"%.60s\" (column %d: %s)",
        what, text, fault.column, fault.what);
  return ns;
}

int64_t jr_check_duration(lua_State *L, int arg, const char *what) {
  if (lua_type(L, arg) == LUA_TSTRING) return check_duration_text(L, arg, what);
  if (lua_type(L, arg) != LUA_TNUMBER)
    jr_raise(L, "usage", 0, 1, "%s: expected a duration (seconds, or \"1h30m\"), got %s", what,
             luaL_typename(L, arg));
  lua_Number seconds = lua_tonumber(L, arg);
  if (!(seconds >= 0) || seconds > 9.2e9)
    jr_raise(L, "usage", 0, 1, "%s: expected a duration of 0 to 9.2e9 seconds, got %g", what,
             seconds);
  return (int64_t)ceil(seconds * 1e9);
}
