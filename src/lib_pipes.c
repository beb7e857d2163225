/* The streams of a child process one by one, for the module "jobrun.core.proc": lines pulled by an
 * iterator, bytes written, what was kept.
 *
 * SPDX-License-Identifier: MIT */
#include "lib_handle.h"
#include "rt.h"

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
  jr_handle *h = lua_touserdata(L, lua_upvalueindex(1));
  jr_stream *s = lua_touserdata(L, lua_upvalueindex(2));
  jr_line line;
  bool has_more = jr_lines_unread(&s->lines) > 0;
  if (has_more && jr_slice_is_over(jr_of(L), &h->slice) && jr_handle_may_wait(L))
    return give_way_between(L);
  if (jr_stream_next(s, &line)) {
    lua_pushlstring(L, line.text, line.len);
    if (line.level < 0) return 1;
    jr_push_level(L, line.level);
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
  jr_handle *h = jr_handle_check(L);
  jr_stream *s = jr_handle_stream(L, h, 2);
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
  jr_feed *f = jr_proc_feed(((jr_handle *)ctx)->p);
  if (status == LUA_YIELD) jr_unpark(L);
  if (jr_feed_is_busy(f)) return jr_park_k(L, &f->writer, ctx, on_written);
  lua_pushboolean(L, f->fd >= 0);
  return 1;
}

/* write(handle, bytes): suspends until the pipe has taken them */
static int proc_write(lua_State *L) {
  jr_handle *h = jr_handle_check(L);
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
  jr_feed *f = jr_proc_feed(jr_handle_check(L)->p);
  if (f) jr_feed_end(f);
  return 0;
}

/* ---- what was kept ------------------------------------------------------------------------- */

/* tail(handle, fd) → lines, levels */
static int proc_tail(lua_State *L) {
  const jr_tail *t = &jr_handle_stream(L, jr_handle_check(L), 2)->tail;
  lua_createtable(L, (int)t->len, 0);
  lua_createtable(L, (int)t->len, 0);
  for (uint32_t i = 0; i < t->len; i++) {
    const jr_tail_slot *slot = jr_tail_get(t, i);
    lua_pushlstring(L, slot->text, slot->len);
    lua_rawseti(L, -3, (lua_Integer)i + 1);
    if (slot->mark < 0)
      lua_pushboolean(L, false);
    else
      jr_push_level(L, slot->mark);
    lua_rawseti(L, -2, (lua_Integer)i + 1);
  }
  return 2;
}

/* dropped(handle, fd) → how many lines were left out */
static int proc_dropped(lua_State *L) {
  const jr_stream *s = jr_handle_stream(L, jr_handle_check(L), 2);
  lua_pushinteger(L, (lua_Integer)s->dropped);
  return 1;
}

/* captured(handle, fd) → bytes, was it cut */
static int proc_captured(lua_State *L) {
  const jr_stream *s = jr_handle_stream(L, jr_handle_check(L), 2);
  lua_pushlstring(L, s->capture.data ? s->capture.data : "", s->capture.len);
  lua_pushboolean(L, s->is_cut);
  return 2;
}

/* capture(handle, fd, limit): lines that wait to be pulled, and all bytes to come, are captured */
static int proc_capture(lua_State *L) {
  jr_stream *s = jr_handle_stream(L, jr_handle_check(L), 2);
  lua_Integer limit = luaL_checkinteger(L, 3);
  luaL_argcheck(L, limit >= 0, 3, "negative");
  if (s->hold) jr_stream_capture(s, (size_t)limit);
  return 0;
}

const luaL_Reg jr_pipe_functions[] = {{"lines", proc_lines},       {"write", proc_write},
                                      {"finish", proc_finish},     {"tail", proc_tail},
                                      {"captured", proc_captured}, {"capture", proc_capture},
                                      {"dropped", proc_dropped},   {NULL, NULL}};
