/* The C side of http.listen: servers, and the exchanges their requests are answered through. What
 * a request means and what is answered is decided in lua/jobrun/http/.
 *
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>

#include <lauxlib.h>

#include "glue.h"
#include "headers.h"
#include "httpserver.h"
#include "rt.h"
#include "status.h"

int jr_open_http(lua_State *L);

#define SERVER_META   "jobrun.http.server"
#define EXCHANGE_META "jobrun.http.exchange"

static const char entry_key; /* its address is the registry's key for the entry function's ref */

/* ---- a request, as the arguments of the function that answers it --------------------------------
 */

static void push_part(lua_State *L, const char *data, jr_http_part part) {
  lua_pushlstring(L, data + part.at, part.len);
}

/* Host as the target has it, if it has one. */
static void push_headers(lua_State *L, const char *data, const jr_http_head *h) {
  lua_createtable(L, 0, h->fields);
  for (const jr_http_field *f = h->field; f < h->field + h->fields; f++)
    jr_headers_add(L, data + f->name.at, f->name.len, data + f->value.at, f->value.len, "cookie",
                   "; "); /* RFC 9113 §8.2.3 */
  if (h->host.at > h->target.at) return;
  push_part(L, data, h->host);
  lua_setfield(L, -2, "host");
}

/* exchange, what the server serves, method, target, headers, body, remote */
static int push_request(lua_State *L, void *exchange) {
  jr_http_exchange *x = exchange;
  const jr_http_conn *c = x->conn;
  const char *data = c->in.data;
  luaL_checkstack(L, 12, NULL);
  jr_http_exchange **handle = lua_newuserdatauv(L, sizeof *handle, 0);
  *handle = x;
  luaL_setmetatable(L, EXCHANGE_META);
  x->owners++;
  lua_rawgeti(L, LUA_REGISTRYINDEX, jr_http_server_of(c)->site_ref);
  push_part(L, data, c->head.method);
  push_part(L, data, c->head.target);
  push_headers(L, data, &c->head);
  lua_pushlstring(L, c->body.data, c->body.len);
  lua_pushstring(L, c->remote);
  return 7;
}

/* ---- responses ----------------------------------------------------------------------------- */

static jr_http_exchange *check_exchange(lua_State *L) {
  return *(jr_http_exchange **)luaL_checkudata(L, 1, EXCHANGE_META);
}

static int exchange_gc(lua_State *L) {
  jr_http_exchange_unref(check_exchange(L), jr_of(L));
  return 0;
}

/* The list {name, value, …} at `index`, checked by response.lua. */
static void add_fields(lua_State *L, int index, jr_buf *out) {
  for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, index); i < n; i += 2) {
    size_t len, value_len;
    lua_rawgeti(L, index, i);
    lua_rawgeti(L, index, i + 1);
    const char *name = lua_tolstring(L, -2, &len), *value = lua_tolstring(L, -1, &value_len);
    jr_http_reply_field(out, name, len, value, value_len);
    lua_pop(L, 2);
  }
}

static const jr_wait_ops write_ops = {.name = "http write"};

static int on_written(lua_State *L, int status, lua_KContext is_last) {
  (void)status;
  const jr_http_exchange *x = check_exchange(L);
  if (jr_unpark(L) < 0 && !is_last)
    return jr_raise(L, "broken_pipe", UV_EPIPE, 0, "%s: the client is gone", x->name);
  return 0;
}

/* Waits while the client is slower than what is written. */
static int settle(lua_State *L, jr_http_exchange *x, bool is_last) {
  if (!jr_http_exchange_is_full(x)) return 0;
  x->wait.ops = &write_ops;
  return jr_park_k(L, &x->wait, is_last, on_written);
}

static void check_turn(lua_State *L, const jr_http_exchange *x) {
  jr_check_park(L, "http write");
  if (jr_wait_is_open(&x->wait))
    jr_raise(L, "usage", 0, 1, "%s: another task writes this response", x->name);
}

static int check_write(lua_State *L, const jr_http_exchange *x, int status) {
  if (status == UV_EPIPE)
    return jr_raise(L, "broken_pipe", status, 0, "%s: the client is gone", x->name);
  if (status == UV_EMSGSIZE)
    return jr_raise(L, "usage", status, 0, "%s: the body has %s bytes than its Content-Length says",
                    x->name, x->conn ? "more" : "fewer");
  return status < 0 ? jr_raise_status(L, x->name, status) : 0;
}

/* begins with (exchange, status, fields, length or nil, closes): false where the client is gone */
static bool begin(lua_State *L, jr_http_exchange *x, int64_t length) {
  luaL_checktype(L, 3, LUA_TTABLE);
  jr_buf *out = jr_http_exchange_begin(x, (int)luaL_checkinteger(L, 2));
  if (!out) return false;
  add_fields(L, 3, out);
  jr_http_exchange_open(x, length, lua_toboolean(L, 5));
  return true;
}

/* reply(exchange, status, fields, length, closes, body): all of a response. Without a body it has
 * the length said, as HEAD is answered, or none. (suspends until it is sent) */
static int exchange_reply(lua_State *L) {
  jr_http_exchange *x = check_exchange(L);
  size_t len = 0;
  const char *body = luaL_optlstring(L, 6, "", &len);
  check_turn(L, x);
  int64_t length = lua_isnoneornil(L, 6) ? luaL_optinteger(L, 4, 0) : (int64_t)len;
  if (!begin(L, x, length)) return 0;
  int status = jr_http_exchange_write(x, body, len);
  if (status == 0) status = jr_http_exchange_end(x);
  if (status < 0 && status != UV_EPIPE) return check_write(L, x, status);
  return settle(L, x, true);
}

/* begin(exchange, status, fields, length, closes, is_endless): a response that is written piece by
 * piece; an endless one ends with its client, and with the server. False: the client is gone. */
static int exchange_begin(lua_State *L) {
  jr_http_exchange *x = check_exchange(L);
  check_turn(L, x);
  x->is_endless = lua_toboolean(L, 6);
  if (x->is_endless && x->conn && (x->conn->saw_end || x->conn->site->stops))
    jr_http_conn_close(x->conn);
  lua_pushboolean(L, begin(L, x, luaL_optinteger(L, 4, -1)));
  return 1;
}

/* write(exchange, bytes) (suspends) */
static int exchange_write(lua_State *L) {
  jr_http_exchange *x = check_exchange(L);
  size_t len;
  const char *data = luaL_checklstring(L, 2, &len);
  check_turn(L, x);
  check_write(L, x, jr_http_exchange_write(x, data, len));
  return settle(L, x, false);
}

/* finish(exchange): the body is whole (suspends until it is sent) */
static int exchange_finish(lua_State *L) {
  jr_http_exchange *x = check_exchange(L);
  check_turn(L, x);
  check_write(L, x, jr_http_exchange_end(x));
  return settle(L, x, true);
}

/* ---- servers ------------------------------------------------------------------------------- */

static jr_http_server *check_server(lua_State *L) {
  return *(jr_http_server **)luaL_checkudata(L, 1, SERVER_META);
}

static int server_gc(lua_State *L) {
  jr_http_server *s = check_server(L);
  if (s) jr_http_server_free(s);
  return 0;
}

/* All servers of a runtime have one entry function, which stays. */
static int entry_ref(lua_State *L, int index) {
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &entry_key) == LUA_TNIL) {
    lua_pop(L, 1);
    lua_pushvalue(L, index);
    lua_pushinteger(L, luaL_ref(L, LUA_REGISTRYINDEX));
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &entry_key);
  }
  int ref = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return ref;
}

static uint64_t check_ms(lua_State *L, int arg) {
  return (uint64_t)(luaL_checknumber(L, arg) * 1000 + 0.5);
}

/* server(entry, site, is_background, max_connections, max_body, idle_s, head_s, body_s, write_s) →
 * server */
static int http_server(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  jr_http_server **handle = lua_newuserdatauv(L, sizeof *handle, 0);
  *handle = NULL;
  luaL_setmetatable(L, SERVER_META);
  int entry = entry_ref(L, 1);
  lua_pushvalue(L, 2);
  int site = luaL_ref(L, LUA_REGISTRYINDEX);
  int status = jr_http_server_new(jr_of(L), entry, site, push_request, handle);
  if (status < 0) {
    luaL_unref(L, LUA_REGISTRYINDEX, site);
    return jr_raise_status(L, "http.listen", status);
  }
  jr_http_server *s = *handle;
  s->is_background = lua_toboolean(L, 3);
  jr_of(L)->doors += s->is_background;
  s->max_conns = (unsigned)luaL_checkinteger(L, 4);
  s->site.body_bytes = (size_t)luaL_checkinteger(L, 5);
  for (int i = JR_HTTP_IDLE; i <= JR_HTTP_WRITE; i++) s->site.limit_ms[i] = check_ms(L, 6 + i);
  return 1;
}

/* nil, code, text */
static int push_status(lua_State *L, int status) {
  lua_pushnil(L);
  lua_pushstring(L, jr_status_name(status));
  lua_pushstring(L, jr_status_text(status));
  return 3;
}

/* tcp(server, address, port) → the port; nil, code, text */
static int server_tcp(lua_State *L) {
  jr_http_server *s = check_server(L);
  const char *ip = luaL_checkstring(L, 2);
  int port = (int)luaL_checkinteger(L, 3);
  int status = jr_of(L)->declares ? 0 : jr_http_server_tcp(s, ip, &port);
  if (status < 0) return push_status(L, status);
  lua_pushinteger(L, port);
  return 1;
}

/* unix(server, path, mode) → true; nil, code, text */
static int server_unix(lua_State *L) {
  jr_http_server *s = check_server(L);
  const char *path = luaL_checkstring(L, 2);
  unsigned mode = (unsigned)luaL_checkinteger(L, 3);
  int status = jr_of(L)->declares ? 0 : jr_http_server_unix(s, path, mode);
  if (status < 0) return push_status(L, status);
  lua_pushboolean(L, 1);
  return 1;
}

static int server_close(lua_State *L) {
  jr_http_server_close(check_server(L));
  return 0;
}

/* connections(server) → how many are open */
static int server_connections(lua_State *L) {
  lua_pushinteger(L, check_server(L)->site.count);
  return 1;
}

/* reason(status) → its words, or nil */
static int http_reason(lua_State *L) {
  const char *words = jr_http_reason((int)luaL_checkinteger(L, 1));
  lua_pushstring(L, *words ? words : NULL);
  return 1;
}

/* date(seconds) → the instant as header fields have it */
static int http_date(lua_State *L) {
  char text[JR_HTTP_DATE];
  jr_http_date(text, (int64_t)floor(luaL_checknumber(L, 1)));
  lua_pushstring(L, text);
  return 1;
}

int jr_open_http(lua_State *L) {
  static const luaL_Reg functions[] = {{"server", http_server},
                                       {"tcp", server_tcp},
                                       {"unix", server_unix},
                                       {"close", server_close},
                                       {"connections", server_connections},
                                       {"reply", exchange_reply},
                                       {"begin", exchange_begin},
                                       {"write", exchange_write},
                                       {"finish", exchange_finish},
                                       {"reason", http_reason},
                                       {"date", http_date},
                                       {NULL, NULL}};
  luaL_newmetatable(L, SERVER_META);
  lua_pushcfunction(L, server_gc);
  lua_setfield(L, -2, "__gc");
  luaL_newmetatable(L, EXCHANGE_META);
  lua_pushcfunction(L, exchange_gc);
  lua_setfield(L, -2, "__gc");
  lua_pop(L, 2);
  luaL_newlib(L, functions);
  return 1;
}
