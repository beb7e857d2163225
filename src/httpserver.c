/* An HTTP/1.1 server: its listeners, and a task for each request.
 *
 * A connection beyond the limit is not taken: libuv holds it and stops looking, so the kernel's
 * queue fills, and what cannot be served waits outside. It is taken when another has gone.
 *
 * SPDX-License-Identifier: MIT */
#include "httpserver.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "glue.h"
#include "status.h"

enum { BACKLOG = 511, RETRY_MS = 100 };

typedef struct listener {
  jr_list link;
  jr_http_server *server;
  union {
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } handle;
  bool holds;  /* a connection waits in it */
  char path[]; /* of the socket file; "" for TCP */
} listener;

static listener *listener_of(jr_list *node) {
  return jr_container_of(node, listener, link);
}

static void disown(jr_http_server *s) {
  jobrun *rt = s->site.rt;
  if (--s->owners > 0) return;
  jr_list_remove(&s->trade.link);
  jr_http_site_fini(&s->site);
  jr_mem_free(&rt->mem, s, sizeof *s);
}

/* Nothing of it is open any more: nobody will ask what it serves. */
static void let_go(jr_http_server *s) {
  if (--s->open > 0 || !s->closed) return;
  luaL_unref(s->site.rt->L, LUA_REGISTRYINDEX, s->site_ref);
  disown(s);
}

/* ---- accepting ----------------------------------------------------------------------------- */

/* Once, until it works again: this can come a thousand times a second. */
static void complain(jr_http_server *s, int status) {
  if (!s->has_complained)
    jr_logf(&s->site.rt->log, JR_LOG_WARN, "http: a connection could not be taken: %s%s",
            jr_status_text(status),
            status == UV_EMFILE ? " (raise `ulimit -n`, or lower max_connections)" : "");
  s->has_complained = true;
}

static void take_held(jr_http_server *s);

static void on_retry(uv_timer_t *timer) {
  take_held(jr_container_of(timer, jr_http_server, retry));
}

static void take(listener *l) {
  jr_http_server *s = l->server;
  l->holds = s->site.count >= s->max_conns;
  if (l->holds) return;
  s->open++;
  int status = jr_http_accept(&s->site, &l->handle.stream);
  if (status == 0) {
    s->has_complained = false;
    return;
  }
  complain(s, status);
  if (status != UV_ENOMEM) return; /* the connection is closed, and counted down with it */
  s->open--;
  l->holds = true;
  uv_timer_start(&s->retry, on_retry, RETRY_MS, 0);
}

static void take_held(jr_http_server *s) {
  if (s->closed) return;
  JR_LIST_EACH (it, &s->listeners)
    if (listener_of(it)->holds) take(listener_of(it));
}

static void on_connection(uv_stream_t *stream, int status) {
  listener *l = jr_container_of(stream, listener, handle);
  if (status < 0)
    complain(l->server, status);
  else
    take(l);
}

/* Also told of the site's own timer, the last to go. */
static void on_conn_closed(jr_http_site *site) {
  jr_http_server *s = jr_container_of(site, jr_http_server, site);
  take_held(s);
  if (s->closed && site->count == 0) jr_http_site_close(site);
  let_go(s);
}

/* ---- listeners ----------------------------------------------------------------------------- */

static void on_listener_closed(uv_handle_t *handle) {
  listener *l = jr_container_of(handle, listener, handle);
  jr_http_server *s = l->server;
  jr_uv_closed(handle);
  jr_list_remove(&l->link);
  jr_mem_free(&s->site.rt->mem, l, sizeof *l + strlen(l->path) + 1);
  let_go(s);
}

static void listener_close(listener *l) {
  if (uv_is_closing((uv_handle_t *)&l->handle.stream)) return;
  uv_close((uv_handle_t *)&l->handle.stream, on_listener_closed);
}

static int listener_new(jr_http_server *s, const char *path, listener **out) {
  if (s->closed) return UV_EINVAL;
  size_t len = strlen(path);
  listener *l = jr_mem_zalloc(&s->site.rt->mem, sizeof *l + len + 1);
  if (!l) return UV_ENOMEM;
  memcpy(l->path, path, len);
  l->server = s;
  jr_list_append(&s->listeners, &l->link);
  *out = l;
  return 0;
}

static void note_open(listener *l) {
  l->handle.stream.data = l->server->site.rt;
  l->server->site.rt->open_uv++;
  l->server->open++;
}

static int start(listener *l, int status) {
  if (status == 0) status = uv_listen(&l->handle.stream, BACKLOG, on_connection);
  if (status < 0) listener_close(l);
  return status;
}

static int address_from(const char *ip, int port, struct sockaddr_storage *out) {
  if (uv_ip4_addr(ip, port, (struct sockaddr_in *)out) == 0) return 0;
  return uv_ip6_addr(ip, port, (struct sockaddr_in6 *)out) == 0 ? 0 : UV_EINVAL;
}

static int port_of(const listener *l) {
  struct sockaddr_storage address;
  int len = sizeof address;
  if (uv_tcp_getsockname(&l->handle.tcp, (struct sockaddr *)&address, &len) < 0) return 0;
  return ntohs(((struct sockaddr_in *)&address)->sin_port); /* in the same place in both */
}

int jr_http_server_tcp(jr_http_server *s, const char *ip, int *port) {
  struct sockaddr_storage address;
  listener *l;
  int status = address_from(ip, *port, &address);
  if (status == 0) status = listener_new(s, "", &l);
  if (status < 0) return status;
  uv_tcp_init(s->site.rt->loop, &l->handle.tcp);
  note_open(l);
  status = start(l, uv_tcp_bind(&l->handle.tcp, (struct sockaddr *)&address, 0));
  if (status == 0) *port = port_of(l);
  return status;
}

/* Does a server still listen there? */
static bool is_alive(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  memcpy(address.sun_path, path, strlen(path));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return true;
  bool refused = connect(fd, (struct sockaddr *)&address, sizeof address) < 0 &&
                 (errno == ECONNREFUSED || errno == ENOENT);
  close(fd);
  return !refused;
}

static int clear_path(const char *path) {
  struct stat st;
  if (strlen(path) >= sizeof((struct sockaddr_un *)0)->sun_path) return UV_ENAMETOOLONG;
  if (lstat(path, &st) < 0) return errno == ENOENT ? 0 : -errno;
  if (!S_ISSOCK(st.st_mode) || is_alive(path)) return UV_EADDRINUSE;
  return unlink(path) < 0 ? -errno : 0;
}

/* libuv says EACCES where the folder does not exist. */
static bool has_folder(const char *path) {
  char folder[sizeof((struct sockaddr_un *)0)->sun_path];
  const char *slash = strrchr(path, '/');
  snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
  return access(folder, F_OK) == 0;
}

/* The file must never be there with other rights than `mode`. */
static int bind_pipe(listener *l, unsigned mode) {
  if (!has_folder(l->path)) return UV_ENOENT;
  mode_t before = umask((mode_t)(~mode & 0777));
  int status = uv_pipe_bind(&l->handle.pipe, l->path);
  umask(before);
  return status;
}

int jr_http_server_unix(jr_http_server *s, const char *path, unsigned mode) {
  listener *l;
  int status = clear_path(path);
  if (status == 0) status = listener_new(s, path, &l);
  if (status < 0) return status;
  uv_pipe_init(s->site.rt->loop, &l->handle.pipe, 0);
  note_open(l);
  return start(l, bind_pipe(l, mode));
}

/* ---- requests ------------------------------------------------------------------------------ */

/* Protected: (lightuserdata exchange, error) → logs it with its traceback. A client that went away
 * while it was written to is none of the operator's business. */
static int log_error(lua_State *L) {
  const jr_http_exchange *x = lua_touserdata(L, 1);
  bool went = jr_error_is(L, 2, "broken_pipe");
  jr_error_text(L, 2);
  jr_logf(&jr_of(L)->log, went ? JR_LOG_DEBUG : JR_LOG_ERROR, "%s: %s", x->name,
          lua_tostring(L, -1));
  return 0;
}

static void report(lua_State *L, jr_http_exchange *x) {
  if (lua_checkstack(L, 3)) {
    lua_pushcfunction(L, log_error);
    lua_pushlightuserdata(L, x);
    lua_pushvalue(L, -3);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) return;
    lua_pop(L, 1);
  }
  jr_logf(&jr_of(L)->log, JR_LOG_ERROR, "%s: %s", x->name, jr_status_text(UV_ENOMEM));
}

static void on_task_end(jr_watch *watch, jr_task *task, lua_State *L) {
  jr_http_exchange *x = jr_container_of(watch, jr_http_exchange, watch);
  if (task->state == JR_TASK_FAILED) report(L, x);
  jr_http_exchange_abandon(x, task->state == JR_TASK_CANCELLED ? 503 : 500);
  jr_http_exchange_unref(x, jr_of(L));
}

static void on_name(jr_watch *watch, char *text, size_t size) {
  const jr_http_exchange *x = jr_container_of(watch, jr_http_exchange, watch);
  snprintf(text, size, "http %s", x->name);
}

static void begin(jr_http_server *s, jr_http_exchange *x) {
  jobrun *rt = s->site.rt;
  jr_task *task = NULL;
  x->watch = (jr_watch){.on_end = on_task_end, .name = on_name};
  int status = jr_spawn_ref(rt, s->entry_ref, s->push, x, JR_SPAWN_OBSERVED, &task);
  jr_http_exchange_start(x, task);
  if (status == 0) return;
  jr_logf(&rt->log, JR_LOG_ERROR, "%s: not answered: %s", x->name, jr_status_text(status));
  jr_http_exchange_abandon(x, 503);
  jr_http_exchange_unref(x, rt);
}

static void before_pump(jobrun *rt, jr_trade *trade) {
  jr_http_server *s = jr_container_of(trade, jr_http_server, trade);
  (void)rt;
  while (!jr_list_is_empty(&s->site.ready)) {
    jr_http_exchange *x =
        jr_http_exchange_new(jr_container_of(s->site.ready.next, jr_http_conn, due));
    if (x) begin(s, x);
  }
}

/* ---- life ---------------------------------------------------------------------------------- */

static bool is_busy(jobrun *rt, jr_trade *trade) {
  const jr_http_server *s = jr_container_of(trade, jr_http_server, trade);
  (void)rt;
  return !s->closed && !s->is_background && !jr_list_is_empty(&s->listeners);
}

static void on_retry_closed(uv_handle_t *handle) {
  jr_http_server *s = jr_container_of(handle, jr_http_server, retry);
  jr_uv_closed(handle);
  let_go(s);
}

static void stop_listening(jr_http_server *s) {
  if (s->closed) return;
  s->closed = true;
  s->site.rt->doors -= s->is_background;
  JR_LIST_EACH_SAFE (it, &s->listeners) listener_close(listener_of(it));
  uv_close((uv_handle_t *)&s->retry, on_retry_closed);
}

void jr_http_server_close(jr_http_server *s) {
  stop_listening(s);
  s->site.stops = true;
  JR_LIST_EACH_SAFE (it, &s->site.conns) jr_http_conn_stop(jr_container_of(it, jr_http_conn, link));
  if (s->site.count == 0) jr_http_site_close(&s->site);
}

static void stop_trade(jobrun *rt, jr_trade *trade) {
  (void)rt;
  jr_http_server_close(jr_container_of(trade, jr_http_server, trade));
}

static void close_trade(jobrun *rt, jr_trade *trade) {
  jr_http_server *s = jr_container_of(trade, jr_http_server, trade);
  (void)rt;
  stop_listening(s);
  jr_http_site_close(&s->site);
}

void jr_http_server_free(jr_http_server *s) {
  jr_http_server_close(s);
  disown(s);
}

int jr_http_server_new(jobrun *rt, int entry_ref, int site_ref,
                       int (*push)(lua_State *L, void *exchange), jr_http_server **out) {
  jr_http_server *s = jr_mem_zalloc(&rt->mem, sizeof *s);
  if (!s) return UV_ENOMEM;
  int status = jr_http_site_init(&s->site, rt);
  if (status < 0) {
    jr_mem_free(&rt->mem, s, sizeof *s);
    return status;
  }
  s->site.on_closed = on_conn_closed;
  s->entry_ref = entry_ref;
  s->site_ref = site_ref;
  s->push = push;
  jr_list_init(&s->listeners);
  uv_timer_init(rt->loop, &s->retry);
  s->retry.data = rt;
  rt->open_uv++;
  s->open = 2; /* both timers */
  s->owners = 2;
  s->trade = (jr_trade){
      .stop = stop_trade, .is_busy = is_busy, .before_pump = before_pump, .close = close_trade};
  jr_list_append(&rt->trades, &s->trade.link);
  *out = s;
  return 0;
}
