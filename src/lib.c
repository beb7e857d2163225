/* Opens the Lua side: which C modules there are, and how the embedded Lua files are found.
 *
 * The files of lua/ lie in the binary as text, with their own names and lines. With JOBRUN_LUA=dir
 * in the environment they are read from that directory instead, so that they can be worked on
 * without a build.
 *
 * SPDX-License-Identifier: MIT */
#include "lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "co.h"
#include "glue.h"
#include "rt.h"

int jr_open_duration(lua_State *L);
int jr_open_task(lua_State *L);
int jr_open_host(lua_State *L);
int jr_open_fetch(lua_State *L);
int jr_open_fs(lua_State *L);
int jr_open_http(lua_State *L);
int jr_open_jobs(lua_State *L);
int jr_open_json(lua_State *L);
int jr_open_log(lua_State *L);
int jr_open_luv(lua_State *L);
int jr_open_metrics(lua_State *L);
int jr_open_proc(lua_State *L);
int jr_open_rule(lua_State *L);
int jr_open_store(lua_State *L);
int jr_open_sync(lua_State *L);
int jr_open_terminal(lua_State *L);
int jr_open_work(lua_State *L);
int jr_open_worker(lua_State *L);

/* clang-format off */
static const luaL_Reg modules[] = {
    {"jobrun.core.duration", jr_open_duration},
    {"jobrun.core.task", jr_open_task},
    {"jobrun.core.host", jr_open_host},
    {"jobrun.core.sync", jr_open_sync},
    {"jobrun.core.terminal", jr_open_terminal},
    {"jobrun.core.fetch", jr_open_fetch},
    {"jobrun.core.fs", jr_open_fs},
    {"jobrun.core.http", jr_open_http},
    {"jobrun.core.jobs", jr_open_jobs},
    {"jobrun.core.json", jr_open_json},
    {"jobrun.core.log", jr_open_log},
    {"jobrun.core.metrics", jr_open_metrics},
    {"jobrun.core.proc", jr_open_proc},
    {"jobrun.core.work", jr_open_work},
    {"jobrun.core.luv", jr_open_luv},
    {"jobrun.core.rule", jr_open_rule},
    {"jobrun.core.store", jr_open_store},
    {NULL, NULL},
};
/* clang-format on */

static const luaL_Reg worker_modules[] = {{"jobrun.core.duration", jr_open_duration},
                                          {"jobrun.core.json", jr_open_json},
                                          {"jobrun.core.worker", jr_open_worker},
                                          {NULL, NULL}};

/* "jobrun.every" → "jobrun/every.lua" */
static const char *push_file_name(lua_State *L, const char *module) {
  luaL_gsub(L, module, ".", "/");
  lua_pushliteral(L, ".lua");
  lua_concat(L, 2);
  return lua_tostring(L, -1);
}

static int load_named(lua_State *L, const char *text, size_t len, const char *file) {
  lua_pushfstring(L, "@%s", file);
  return luaL_loadbufferx(L, text, len, lua_tostring(L, -1), "t");
}

/* Under the embedded file's name, by which messages tell our lines from a script's. */
static int load_from_disk(lua_State *L, const char *dir, const char *file) {
  luaL_Buffer text;
  lua_pushfstring(L, "%s/%s", dir, file);
  FILE *f = fopen(lua_tostring(L, -1), "r");
  if (!f) return -1;
  luaL_buffinit(L, &text);
  for (size_t n; (n = fread(luaL_prepbuffer(&text), 1, LUAL_BUFFERSIZE, f)) > 0;)
    luaL_addsize(&text, n);
  fclose(f);
  luaL_pushresult(&text);
  return load_named(L, lua_tostring(L, -1), lua_rawlen(L, -1), file);
}

const jr_embedded *jr_embedded_find(const char *name) {
  for (const jr_embedded *e = jr_embedded_files; e->name; e++)
    if (strcmp(e->name, name) == 0) return e;
  return NULL;
}

static int load_embedded(lua_State *L, const char *file) {
  const jr_embedded *e = jr_embedded_find(file);
  return e ? load_named(L, e->start, (size_t)(e->end - e->start), file) : -1;
}

/* A package searcher: the loader and the file's name, or why it is not here. */
static int search_embedded(lua_State *L) {
  const char *module = luaL_checkstring(L, 1);
  if (strcmp(module, "luv") == 0) module = "jobrun.uv"; /* luv, on the runtime's loop */
  if (strncmp(module, "jobrun", 6) != 0) return 0;
  const char *file = push_file_name(L, module);
  const char *dir = getenv("JOBRUN_LUA");
  int status = dir ? load_from_disk(L, dir, file) : -1;
  if (status == -1) status = load_embedded(L, file);
  if (status == -1) {
    lua_pushfstring(L, "no embedded file '%s'", file);
    return 1;
  }
  if (status != LUA_OK) return luaL_error(L, "%s", lua_tostring(L, -1));
  lua_pushstring(L, file);
  return 2;
}

/* In front of the path searchers, so that no file in the working directory takes our place. */
static void add_searcher(lua_State *L) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers");
  for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
    lua_rawgeti(L, -1, i);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushcfunction(L, search_embedded);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 2);
}

static void preload(lua_State *L, const luaL_Reg *list) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (; list->name; list++) {
    lua_pushcfunction(L, list->func);
    lua_setfield(L, -2, list->name);
  }
  lua_pop(L, 1);
}

/* os.exit ends the script in order, so that nothing is left behind. */
static void replace_os_exit(lua_State *L) {
  lua_getglobal(L, "os");
  lua_getglobal(L, "require");
  lua_pushliteral(L, "jobrun.core.host");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "exit");
  lua_setfield(L, -3, "exit");
  lua_pop(L, 2);
}

/* _G's fallback is the table of the words: a script's own globals win, nothing is overwritten, and
 * the interpreter finds a word without calling anything. */
static void open_globals(lua_State *L) {
  lua_pushglobaltable(L);
  lua_createtable(L, 0, 1);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "jobrun");
  lua_call(L, 1, 1);
  lua_setfield(L, -2, "__index");
  lua_setmetatable(L, -2);
  lua_pop(L, 1);
}

/* One whose loaders may wait. */
static void replace_require(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "jobrun.require");
  lua_call(L, 1, 1);
  lua_setglobal(L, "require");
}

static void open_standard(lua_State *L) {
  luaL_openlibs(L);
  jr_errors_open(L);
  add_searcher(L);
}

int jr_libs_open_worker(lua_State *L) {
  open_standard(L);
  preload(L, worker_modules);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "jobrun.worker");
  lua_call(L, 1, 0);
  return 0;
}

void jr_libs_open(lua_State *L) {
  jr_of(L)->furnish_worker = jr_libs_open_worker;
  open_standard(L);
  jr_coroutines_open(L);
  preload(L, modules);
  replace_os_exit(L);
  replace_require(L);
  open_globals(L);
}
