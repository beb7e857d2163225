/* The C side of http.fetch; options, errors and their words are lua/jobrun/http/fetch.lua.
 *
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include <lauxlib.h>

#include "fetch.h"
#include "glue.h"
#include "headers.h"

int jr_open_fetch(lua_State *L);

#define FETCH_META "jobrun.http.fetch"

static jr_fetch *check_fetch(lua_State *L) {
  jr_fetch *r = *(jr_fetch **)luaL_checkudata(L, 1, FETCH_META);
  luaL_argcheck(L, r, 1, "the request was closed");
  return r;
}

/* close(request), and its __gc: when the runtime is closed its fetcher has gone before Lua. */
static int fetch_close(lua_State *L) {
  jr_fetch **handle = luaL_checkudata(L, 1, FETCH_META);
  if (*handle) jr_fetch_free(*handle);
  *handle = NULL;
  return 0;
}

/* new(url, method, body|nil, max_body, timeout_s, connect_timeout_s, redirects, socket|nil,
 * streams, {header lines}) → request; nil, why: there is no libcurl */
static int fetch_new(lua_State *L) {
  jr_fetcher *f;
  const char *why = NULL;
  jr_fetch_options o = {.url = luaL_checkstring(L, 1), .method = luaL_checkstring(L, 2)};
  o.body = luaL_optlstring(L, 3, NULL, &o.body_len);
  o.max_body = (size_t)luaL_checkinteger(L, 4);
  o.timeout_ms = (long)(luaL_checknumber(L, 5) * 1000 + 0.999);
  o.connect_timeout_ms = (long)(luaL_checknumber(L, 6) * 1000 + 0.999);
  o.redirects = (long)luaL_checkinteger(L, 7);
  o.socket = luaL_optstring(L, 8, NULL);
  o.streams = lua_toboolean(L, 9);
  luaL_checktype(L, 10, LUA_TTABLE);
  int status = jr_fetcher_get(jr_of(L), &f, &why);
  if (status == UV_ENOENT) {
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
  }
  jr_fetch **handle = lua_newuserdatauv(L, sizeof *handle, 0);
  *handle = NULL;
  luaL_setmetatable(L, FETCH_META);
  if (status == 0) status = jr_fetch_new(f, &o, handle);
  for (lua_Integer i = 1; status == 0 && lua_rawgeti(L, 10, i) == LUA_TSTRING; i++) {
    status = jr_fetch_header(*handle, lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  if (status < 0) return jr_raise_status(L, "http.fetch", status);
  lua_settop(L, 11);
  return 1;
}

static void cancel(jr_wait *w) {
  jr_fetch_stop(jr_container_of(w, jr_fetch, wait));
  jr_wake(w, UV_ECANCELED);
}

static const jr_wait_ops fetch_ops = {.name = "http.fetch", .cancel = cancel};
static const jr_wait_ops read_ops = {.name = "http body", .cancel = cancel};

static const char *what_failed(const jr_fetch *r) {
  if (r->no_memory) return "no_memory";
  if (r->is_too_large) return "too_large";
  return r->has_large_head ? "large_head" : "curl";
}

/* nil, what went wrong, libcurl's code, its text */
static int push_failure(lua_State *L, const jr_fetch *r) {
  const char *text = *r->error ? r->error : r->fetcher->curl->easy_strerror(r->result);
  lua_pushnil(L);
  lua_pushstring(L, what_failed(r));
  lua_pushinteger(L, r->result);
  lua_pushstring(L, text);
  return 4;
}

/* One line of the head, into the table on top. */
static void set_field(lua_State *L, const char *line, size_t len) {
  const char *colon = memchr(line, ':', len), *end = line + len;
  if (!colon || colon == line) return;
  const char *value = colon + 1;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  while (end > value && strchr(" \t\r\n", end[-1])) end--;
  jr_headers_add(L, line, (size_t)(colon - line), value, (size_t)(end - value), "set-cookie", "\n");
}

static void push_headers(lua_State *L, const jr_buf *head) {
  const char *line = head->data, *end = line + head->len;
  lua_newtable(L);
  while (line < end) {
    const char *lf = memchr(line, '\n', (size_t)(end - line));
    size_t len = lf ? (size_t)(lf - line) : (size_t)(end - line);
    if (line != head->data) set_field(L, line, len); /* the first is the status line */
    line += len + 1;
  }
}

/* status, headers, url; or a failure, unless there is something of a stream to read before it */
static int push_response(lua_State *L, const jr_fetch *r) {
  bool has_some = r->streams && r->body.len > 0;
  if (r->is_done && r->result != 0 && !has_some) return push_failure(L, r);
  lua_pushinteger(L, jr_fetch_status(r));
  push_headers(L, &r->head);
  lua_pushstring(L, jr_fetch_url(r));
  return 3;
}

static int on_response(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  jr_unpark(L);
  return push_response(L, check_fetch(L));
}

/* perform(request) → status, headers, url; or nil, kind, code, text (suspends until the response is
 * whole; of one that streams: until its body begins) */
static int fetch_perform(lua_State *L) {
  jr_fetch *r = check_fetch(L);
  jr_check_park(L, "http.fetch");
  int status = jr_fetch_start(r);
  if (status < 0) return jr_raise_status(L, "http.fetch", status);
  r->wait.ops = &fetch_ops;
  return jr_park_k(L, &r->wait, 0, on_response);
}

/* body(request) → its bytes */
static int fetch_body(lua_State *L) {
  jr_fetch *r = check_fetch(L);
  lua_pushlstring(L, r->body.data, r->body.len);
  return 1;
}

static int read_piece(lua_State *L);

static int on_piece(lua_State *L, int status, lua_KContext ctx) {
  (void)status;
  (void)ctx;
  jr_unpark(L);
  return read_piece(L);
}

/* read(request) → the next piece of the body; nothing at its end; or a failure (suspends) */
static int read_piece(lua_State *L) {
  jr_fetch *r = check_fetch(L);
  if (r->body.len > 0) {
    lua_pushlstring(L, r->body.data, r->body.len);
    jr_fetch_taken(r);
    return 1;
  }
  if (r->is_done) return r->result == 0 ? 0 : push_failure(L, r);
  jr_check_park(L, "http body");
  if (!r->is_running || jr_wait_is_open(&r->wait))
    return jr_raise(L, "usage", 0, 1,
                    "http.fetch: another task reads this body, or it was given up");
  r->wait.ops = &read_ops;
  return jr_park_k(L, &r->wait, 0, on_piece);
}

/* version() → libcurl's, or nil, why it cannot be used */
static int fetch_version(lua_State *L) {
  jr_fetcher *f;
  const char *why = NULL;
  int status = jr_fetcher_get(jr_of(L), &f, &why);
  if (status == UV_ENOMEM) return jr_raise_status(L, "http.fetch", status);
  lua_pushstring(L, status == 0 ? f->curl->version() : NULL);
  lua_pushstring(L, why);
  return 2;
}

int jr_open_fetch(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"new", fetch_new},   {"perform", fetch_perform}, {"body", fetch_body},
      {"read", read_piece}, {"close", fetch_close},     {"version", fetch_version},
      {NULL, NULL}};
  luaL_newmetatable(L, FETCH_META);
  lua_pushcfunction(L, fetch_close);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 1);
  luaL_newlib(L, functions);
  return 1;
}
