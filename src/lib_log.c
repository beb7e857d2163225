/* The log as scripts read it: the module "jobrun.core.log".
 *
 * The ring of events is opened when the module is loaded, by the first reader. Those who follow
 * wait in a queue; an event on the loop's thread wakes them, one of another thread is posted.
 *
 * SPDX-License-Identifier: MIT */
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>
#include <uv.h>

#include "fields.h"
#include "glue.h"
#include "lib_sync.h"
#include "logring.h"
#include "post.h"
#include "rt.h"

int jr_open_log(lua_State *L);

typedef struct log_reader {
  jr_trade trade;
  jobrun *rt;
  jr_list *queue; /* of those who follow */
  jr_post post;
  atomic_bool is_posted;
  jr_log_ring ring;
} log_reader;

static const char queue_key; /* registry: the queue */

static log_reader *reader_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- waking -------------------------------------------------------------------------------- */

static void on_post(jobrun *rt, jr_post *post) {
  log_reader *reader = jr_container_of(post, log_reader, post);
  (void)rt;
  atomic_store(&reader->is_posted, false);
  jr_queue_wake(reader->queue, INT64_MAX);
}

/* Any thread. */
static void on_event(void *data) {
  log_reader *reader = data;
  uv_thread_t self = uv_thread_self(), loop = atomic_load(&reader->rt->thread);
  if (uv_thread_equal(&self, &loop))
    jr_queue_wake(reader->queue, INT64_MAX);
  else if (!atomic_exchange(&reader->is_posted, true))
    jr_post_put(reader->rt, &reader->post);
}

/* ---- for Lua ------------------------------------------------------------------------------- */

static void set_text(lua_State *L, const char *key, const char *text) {
  if (!text) return;
  lua_pushstring(L, text);
  lua_setfield(L, -2, key);
}

/* A copy, made under the ring's lock, where Lua must not raise. */
typedef struct copy {
  jr_log_event event;
  char text[JR_LOG_KEPT_TEXT], name[256];
} copy;

static void copy_event(void *data, const jr_log_event *event) {
  copy *c = data;
  c->event = *event;
  memcpy(c->text, event->text, event->len);
  if (!event->name) return;
  strncpy(c->name, event->name, sizeof c->name - 1);
  c->name[sizeof c->name - 1] = '\0';
  c->event.name = c->name;
}

static void push_event(lua_State *L, const copy *c, uint64_t number) {
  const jr_log_event *e = &c->event;
  lua_createtable(L, 0, 10);
  lua_pushinteger(L, (lua_Integer)number);
  lua_setfield(L, -2, "seq");
  jr_push_seconds(L, e->wall_ns);
  lua_setfield(L, -2, "ts");
  set_text(L, "level", jr_log_level_name(e->level));
  lua_pushlstring(L, c->text, e->len);
  lua_setfield(L, -2, "msg");
  set_text(L, "name", e->name);
  set_text(L, "event", e->event);
  set_text(L, "outcome", e->outcome);
  if (e->run) {
    lua_pushinteger(L, (lua_Integer)e->run);
    lua_setfield(L, -2, "run");
  }
  if (e->has_duration) {
    jr_push_seconds(L, e->duration_ns);
    lua_setfield(L, -2, "duration_s");
  }
  if (e->has_exit_code) {
    lua_pushinteger(L, e->exit_code);
    lua_setfield(L, -2, "exit_code");
  }
}

/* next(after) → the first event whose number is greater, or nil */
static int log_next(lua_State *L) {
  copy c;
  uint64_t after = (uint64_t)luaL_checkinteger(L, 1);
  uint64_t number = jr_log_ring_read(&reader_of(L)->ring, after, copy_event, &c);
  if (number == 0) return 0;
  push_event(L, &c, number);
  return 1;
}

/* last() → the number of the newest event, 0 if there was none */
static int log_last(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)jr_log_ring_last(&reader_of(L)->ring));
  return 1;
}

/* ---- its life ------------------------------------------------------------------------------ */

/* All threads have ended, all posts were called. */
static void close_reader(jobrun *rt, jr_trade *trade) {
  (void)trade;
  atomic_store(&rt->log.ring, NULL);
}

static void free_reader(jobrun *rt, jr_trade *trade) {
  log_reader *reader = jr_container_of(trade, log_reader, trade);
  atomic_store(&rt->log.ring, NULL);
  jr_log_ring_fini(&reader->ring);
  jr_mem_free(&rt->mem, reader, sizeof *reader);
}

static log_reader *new_reader(lua_State *L) {
  jobrun *rt = jr_of(L);
  jr_list *queue = jr_queue_push_new(L);
  log_reader *reader = jr_mem_alloc(&rt->mem, sizeof *reader);
  if (!reader) return NULL;
  reader->trade = (jr_trade){.close = close_reader, .free = free_reader};
  reader->rt = rt;
  reader->queue = queue;
  reader->post = (jr_post){.fn = on_post};
  atomic_init(&reader->is_posted, false);
  if (jr_log_ring_init(&reader->ring, on_event, reader) < 0) {
    jr_mem_free(&rt->mem, reader, sizeof *reader);
    return NULL;
  }
  jr_list_append(&rt->trades, &reader->trade.link);
  return reader;
}

int jr_open_log(lua_State *L) {
  static const luaL_Reg functions[] = {{"next", log_next}, {"last", log_last}, {NULL, NULL}};
  if (!jr_of(L))
    return jr_raise(L, "usage", 0, 1, "the log is read in the script, not in a blocking call");
  luaL_newlibtable(L, functions);
  log_reader *reader = new_reader(L);
  if (!reader) return jr_raise_status(L, "log", UV_ENOMEM);
  lua_pushvalue(L, -1);
  lua_rawsetp(L, LUA_REGISTRYINDEX, &queue_key); /* whoever drops the module, it is woken */
  lua_setfield(L, -2, "queue");
  lua_pushlightuserdata(L, reader);
  luaL_setfuncs(L, functions, 1);
  atomic_store(&jr_of(L)->log.ring, &reader->ring);
  return 1;
}
