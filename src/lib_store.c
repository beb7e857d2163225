/* The C side of the store: operations of Lua tasks, as cells in and rows out.
 *
 * What becomes of a row is the verb's business: QUERY gives a list of tables by column name; the
 * others give the values before the first row as results, and then, where there are any, a list
 * of lists. The words are lua/jobrun/store.lua and queue.lua.
 *
 * An operation belongs to its task and to the store, and goes when both have let go: one that was
 * cancelled is done all the same.
 *
 * SPDX-License-Identifier: MIT */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "glue.h"
#include "lib.h"
#include "rt.h"
#include "sqlengine.h"
#include "status.h"
#include "store.h"

int jr_open_store(lua_State *L);

#define STORE_META "jobrun.store"

/* The userdata; `store` is NULL once it was closed. */
typedef struct store_handle {
  jr_store *store;
} store_handle;

typedef struct store_call {
  jr_wait wait;
  jr_store_op *op;
  jr_mem *mem;
  int owners; /* the task, the store */
} store_call;

/* ---- results ------------------------------------------------------------------------------- */

static void push_cell(lua_State *L, const jr_cell *cell) {
  if (cell->type == JR_CELL_INTEGER)
    lua_pushinteger(L, cell->integer);
  else if (cell->type == JR_CELL_TEXT)
    lua_pushlstring(L, cell->text, cell->len);
  else
    lua_pushnil(L);
}

/* The cells up to the next row, into the table on top. */
static bool fill_row(lua_State *L, const jr_cells *out, size_t *at) {
  jr_cell cell;
  for (lua_Integer i = 1; jr_cells_next(out, at, &cell); i++) {
    if (cell.type == JR_CELL_ROW) return true;
    push_cell(L, &cell);
    lua_rawseti(L, -2, i);
  }
  return false;
}

/* A row as a table by the names in the list at `names`. */
static bool fill_record(lua_State *L, int names, const jr_cells *out, size_t *at) {
  jr_cell cell;
  for (lua_Integer i = 1; jr_cells_next(out, at, &cell); i++) {
    if (cell.type == JR_CELL_ROW) return true;
    lua_rawgeti(L, names, i);
    push_cell(L, &cell);
    lua_rawset(L, -3);
  }
  return false;
}

static int push_rows(lua_State *L, const jr_cells *out) {
  size_t at = 0;
  int n = 0;
  jr_cell cell;
  bool more = false;
  while (!more && jr_cells_next(out, &at, &cell)) {
    more = cell.type == JR_CELL_ROW;
    if (!more) push_cell(L, &cell);
    if (!more) n++;
  }
  if (!more) return n;
  lua_newtable(L);
  for (lua_Integer i = 1; more; i++) {
    lua_createtable(L, 12, 0);
    more = fill_row(L, out, &at);
    lua_rawseti(L, -2, i);
  }
  return n + 1;
}

static int push_records(lua_State *L, const jr_cells *out) {
  size_t at = 0;
  jr_cell cell;
  jr_cells_next(out, &at, &cell);
  lua_newtable(L);
  bool more = fill_row(L, out, &at);
  int names = lua_gettop(L);
  lua_newtable(L);
  for (lua_Integer i = 1; more; i++) {
    lua_newtable(L);
    more = fill_record(L, names, out, &at);
    lua_rawseti(L, -2, i);
  }
  return 1;
}

static const char *kind_of(int status) {
  return status == JR_ECORRUPT ? "corrupt" : status == UV_EBUSY ? "busy" : jr_kind_of(status);
}

static int push_failure(lua_State *L, const jr_store_op *op) {
  size_t at = 0;
  jr_cell text = {.text = "the store failed", .len = 16};
  jr_cells_next(&op->out, &at, &text);
  lua_pushlstring(L, text.text ? text.text : "", text.len);
  jr_error_push(L, kind_of(op->status), op->status, 1, "%s", lua_tostring(L, -1));
  lua_pushliteral(L, "store");
  lua_setfield(L, -2, "op");
  return -1;
}

static int push_answer(lua_State *L, jr_wait *w) {
  store_call *call = jr_container_of(w, store_call, wait);
  const jr_store_op *op = call->op;
  if (op->status < 0) return push_failure(L, op);
  luaL_checkstack(L, 16, "store");
  return op->verb == JR_VERB_QUERY ? push_records(L, &op->out) : push_rows(L, &op->out);
}

/* ---- waiting ------------------------------------------------------------------------------- */

static void disown(store_call *call) {
  if (--call->owners > 0) return;
  jr_store_op_free(call->op);
  jr_mem_free(call->mem, call, sizeof *call);
}

static void on_drop(jr_wait *w) {
  disown(jr_container_of(w, store_call, wait));
}

static const jr_wait_ops call_ops = {.name = "store", .push = push_answer, .drop = on_drop};
static const jr_wait_ops loading_ops = {/* of LIMIT, which opens a queue: a script that does so
                                           first still declares */
                                        .name = "store",
                                        .push = push_answer,
                                        .drop = on_drop,
                                        .loads = true};

static void on_done(jr_store_op *op) {
  store_call *call = op->data;
  jr_wake(&call->wait, 0);
  disown(call);
}

static store_handle *check_store(lua_State *L) {
  store_handle *h = luaL_checkudata(L, 1, STORE_META);
  if (!h->store || jr_store_is_closing(h->store))
    jr_raise(L, "closed", JR_ECLOSED, 1, "the store was closed");
  return h;
}

/* Raises without memory. */
static store_call *new_call(lua_State *L, jr_store *store, int verb) {
  jr_mem *mem = &jr_of(L)->mem;
  store_call *call = jr_mem_alloc(mem, sizeof *call);
  jr_store_op *op = call ? jr_store_op_new(store, (jr_verb)verb) : NULL;
  if (!op) {
    if (call) jr_mem_free(mem, call, sizeof *call);
    jr_raise_status(L, "store", UV_ENOMEM);
  }
  *call = (store_call){.wait.ops = verb == JR_VERB_LIMIT ? &loading_ops : &call_ops,
                       .op = op,
                       .mem = mem,
                       .owners = 2};
  op->done = on_done;
  op->data = call;
  return call;
}

/* Appends the value at `index`. */
static void add_value(lua_State *L, jr_cells *in, int index) {
  size_t len;
  const char *text;
  switch (lua_type(L, index)) {
  case LUA_TNUMBER:
    jr_cells_add_integer(in, lua_isinteger(L, index) ? lua_tointeger(L, index)
                                                     : (int64_t)lua_tonumber(L, index));
    break;
  case LUA_TBOOLEAN:
    jr_cells_add_integer(in, lua_toboolean(L, index));
    break;
  case LUA_TSTRING:
    text = lua_tolstring(L, index, &len);
    jr_cells_add_text(in, text, len);
    break;
  default:
    jr_cells_add_null(in);
  }
}

/* store:call(verb, ...): see store.h for what each takes and gives; `now` is added */
static int store_do(lua_State *L) {
  store_handle *h = check_store(L);
  int verb = (int)luaL_checkinteger(L, 2), n = lua_gettop(L);
  luaL_argcheck(L, verb >= 0 && verb < JR_VERBS, 2, "no verb");
  jr_check_park(L, "store");
  store_call *call = new_call(L, h->store, verb);
  jr_cells *in = &call->op->in;
  jr_cells_add_integer(in, jr_clock_wall(jr_of(L)) / JR_MS);
  for (int i = 3; i <= n; i++) add_value(L, in, i);
  jr_store_submit(h->store, call->op);
  return jr_park(L, &call->wait);
}

/* ---- life ---------------------------------------------------------------------------------- */

/* Ends a store that nobody waits for. Without memory it is left to jobrun_free. */
static void end_store(store_handle *h) {
  jr_store_op *op = h->store ? jr_store_op_new(h->store, JR_VERB_CLOSE) : NULL;
  if (!op) return;
  op->done = jr_store_op_free;
  jr_store_submit(h->store, op);
  h->store = NULL;
}

/* The handle is at index 4. */
static int push_store(lua_State *L, jr_wait *w) {
  const store_call *call = jr_container_of(w, store_call, wait);
  lua_pushvalue(L, 4);
  if (call->op->status == 0) return 1;
  end_store(lua_touserdata(L, 4));
  return push_failure(L, call->op);
}

static const jr_wait_ops open_ops = {
    .name = "store", .push = push_store, .drop = on_drop, .loads = true};

/* open(path, may_lose_last, is_reader) → store */
static int store_open(lua_State *L) {
  jobrun *rt = jr_of(L);
  const char *path = luaL_checkstring(L, 1);
  const jr_embedded *schema = jr_embedded_find("schema.sql");
  jr_store_opts opts = {.engine = &jr_sqlite_engine,
                        .path = path,
                        .schema = schema->start,
                        .schema_end = schema->end,
                        .may_lose_last = lua_toboolean(L, 2),
                        .is_reader = lua_toboolean(L, 3),
                        .now_ms = jr_clock_wall(rt) / JR_MS};
  lua_settop(L, 3);
  jr_check_park(L, "store");
  store_handle *h = lua_newuserdatauv(L, sizeof *h, 0);
  h->store = NULL;
  luaL_setmetatable(L, STORE_META);
  int status = jr_store_new(rt, &opts, &h->store);
  if (status < 0) return jr_raise_status(L, "store", status);
  store_call *call = new_call(L, h->store, JR_VERB_OPEN);
  call->wait.ops = &open_ops;
  jr_store_submit(h->store, call->op);
  return jr_park(L, &call->wait);
}

static const jr_wait_ops close_ops = {.name = "store", .drop = on_drop};

/* store:close(): what was given to it is done first; again: nothing */
static int store_close(lua_State *L) {
  store_handle *h = luaL_checkudata(L, 1, STORE_META);
  if (!h->store) return 0;
  jr_check_park(L, "store");
  store_call *call = new_call(L, h->store, JR_VERB_CLOSE);
  call->wait.ops = &close_ops;
  jr_store_submit(h->store, call->op);
  h->store = NULL;
  return jr_park(L, &call->wait);
}

static int store_gc(lua_State *L) {
  store_handle *h = lua_touserdata(L, 1);
  if (h->store && !jr_store_is_closing(h->store)) end_store(h);
  return 0;
}

/* store:id() → a new id */
static int store_id(lua_State *L) {
  const store_handle *h = check_store(L);
  lua_pushinteger(L, jr_store_id(h->store, jr_clock_wall(jr_of(L)) / JR_MS));
  return 1;
}

/* url() → the one that the host or the environment asks for, or nil; is it the host's? */
static int store_url(lua_State *L) {
  const jobrun *rt = jr_of(L);
  lua_pushstring(L, rt->store_url ? rt->store_url : getenv("JOBRUN_STORE"));
  lua_pushboolean(L, rt->store_url != NULL);
  return 2;
}

enum { MOST_LINKS = 40 };

/* target(path) → the file that `path` leads to by symbolic links, be it there or not */
static int store_target(lua_State *L) {
  char link[PATH_MAX];
  lua_settop(L, 1);
  for (int i = 0; i < MOST_LINKS; i++) {
    const char *from = luaL_checkstring(L, 1);
    ssize_t n = readlink(from, link, sizeof link);
    const char *slash = n > 0 && link[0] != '/' ? strrchr(from, '/') : NULL;
    if (n <= 0) break; /* it is none */
    lua_pushlstring(L, from, slash ? (size_t)(slash + 1 - from) : 0);
    lua_pushlstring(L, link, (size_t)n);
    lua_concat(L, 2);
    lua_replace(L, 1);
  }
  return 1;
}

/* is_there(path) → boolean: at once, as commands say what is wrong before anything waits */
static int store_is_there(lua_State *L) {
  lua_pushboolean(L, access(luaL_checkstring(L, 1), F_OK) == 0);
  return 1;
}

int jr_open_store(lua_State *L) {
  static const luaL_Reg functions[] = {{"open", store_open},
                                       {"url", store_url},
                                       {"target", store_target},
                                       {"is_there", store_is_there},
                                       {NULL, NULL}};
  static const luaL_Reg methods[] = {
      {"call", store_do}, {"close", store_close}, {"id", store_id}, {NULL, NULL}};
  static const char *const names[] = {
#define X(id, text) text,
      JR_STORE_VERBS(X)
#undef X
  };
  luaL_newmetatable(L, STORE_META);
  lua_pushcfunction(L, store_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  for (int i = 0; i < JR_VERBS; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, names[i]);
  }
  return 1;
}
