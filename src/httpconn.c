/* Connections of an HTTP/1.1 server.
 *
 *   WAIT ─> HEAD ─> BODY ─> READY ─> ANSWER ─┬─> WAIT   (kept alive)
 *     └────────┴───────┴── refused ──────────┴─> LINGER ─> CLOSED
 *
 * `advance` moves a connection as far as the bytes it has go. A response goes out at once, with
 * write(2) from here; what the kernel does not take is libuv's to send, and while that is under way
 * (`is_sending`) more is collected in `out`. A connection that is to end is shut down on our side
 * first and read until the client's end, for two seconds: a close with unread bytes would make the
 * kernel throw away what we said (RFC 9112 §9.6).
 *
 * Deadlines: each kind has one length, so a list per kind, in the order of beginning, has the next
 * one in front; one timer of the loop stands for the earliest. It is moved only forward in time,
 * and a deadline that was met costs no system call.
 *
 * SPDX-License-Identifier: MIT */
#include "httpconn.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "status.h"
#include "tune.h"

enum {
  SCRATCH = 64 * 1024,
  AHEAD = JR_TUNE_FIRST_READ * 16, /* bytes of later requests that are taken */
  FULL = 256 * 1024,
  SMALL = 16 * 1024, /* a body that goes into one buffer with its head */
  KEEP = 2 * 1024,   /* of a buffer's room, between requests */
  LINGER_BYTES = 1024 * 1024
};

static void advance(jr_http_conn *c);

/* ---- deadlines ----------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

static void arm(jr_http_site *site, uint64_t due_ms) {
  uint64_t now = uv_now(site->rt->loop);
  if (uv_is_active((uv_handle_t *)&site->timer) && site->armed_ms <= due_ms) return;
  site->armed_ms = due_ms;
  uv_timer_start(&site->timer, on_timer, due_ms > now ? due_ms - now : 0, 0);
}

static void set_deadline(jr_http_conn *c, jr_http_limit limit) {
  jr_http_site *site = c->site;
  jr_list_remove(&c->timed);
  c->limit = limit;
  c->due_ms = uv_now(site->rt->loop) + site->limit_ms[limit];
  jr_list_append(&site->timed[limit], &c->timed);
  arm(site, c->due_ms);
}

static void clear_deadline(jr_http_conn *c) {
  jr_list_remove(&c->timed);
}

/* ---- states -------------------------------------------------------------------------------- */

/* The virtual clock waits for bytes that are under way. */
static void count_operation(jr_http_conn *c) {
  bool counts = c->state == JR_CONN_HEAD || c->state == JR_CONN_BODY ||
                (c->is_sending && c->state != JR_CONN_CLOSED);
  if (counts && !c->counts) jr_op_begin(c->site->rt);
  if (!counts && c->counts) jr_op_end(c->site->rt);
  c->counts = counts;
}

static void set_state(jr_http_conn *c, jr_http_state state) {
  c->state = state;
  count_operation(c);
}

static size_t pending(const jr_http_conn *c) {
  return c->out.len + (c->is_sending ? c->sending.len : 0);
}

static void trim(jr_buf *b) {
  b->len = 0;
  b->failed = false;
  if (b->cap > KEEP) jr_buf_fini(b);
}

/* ---- reading ------------------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  jr_http_conn *c = jr_container_of(handle, jr_http_conn, handle);
  (void)suggested;
  *buf = uv_buf_init(c->site->scratch, SCRATCH);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void read_on(jr_http_conn *c) {
  if (c->reads || c->saw_end || c->state == JR_CONN_CLOSED) return;
  c->reads = uv_read_start(&c->handle.stream, on_alloc, on_read) == 0;
}

static void read_off(jr_http_conn *c) {
  if (c->reads) uv_read_stop(&c->handle.stream);
  c->reads = false;
}

static void on_end(jr_http_conn *c) {
  c->saw_end = true;
  read_off(c);
  bool has_exchange = c->state == JR_CONN_READY || c->state == JR_CONN_ANSWER;
  if (!has_exchange || (c->exchange && c->exchange->is_endless)) jr_http_conn_close(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  jr_http_conn *c = jr_container_of(stream, jr_http_conn, handle);
  if (n == 0) return;
  if (n == UV_EOF) {
    on_end(c);
    return;
  }
  if (n < 0) {
    jr_http_conn_close(c);
    return;
  }
  if (c->state == JR_CONN_LINGER) {
    c->at += (size_t)n;
    if (c->at > LINGER_BYTES) jr_http_conn_close(c);
    return;
  }
  jr_buf_add(&c->in, buf->base, (size_t)n);
  if (c->in.failed) {
    jr_logf(&c->site->rt->log, JR_LOG_ERROR, "http: %s: %s: the connection was closed", c->remote,
            jr_status_text(UV_ENOMEM));
    jr_http_conn_close(c);
    return;
  }
  advance(c);
  if (c->in.len - c->at > AHEAD && c->state >= JR_CONN_READY) read_off(c);
}

/* ---- writing ------------------------------------------------------------------------------- */

static void go_on_answering(jr_http_conn *c);

static void on_sent(uv_write_t *write, int status);

/* Gives libuv what is left from `from` on. */
static void send_rest(jr_http_conn *c, size_t from) {
  jr_buf spare = c->sending;
  c->sending = c->out;
  c->out = spare;
  c->out.len = 0;
  uv_buf_t buf = uv_buf_init(c->sending.data + from, (unsigned)(c->sending.len - from));
  if (uv_write(&c->write, &c->handle.stream, &buf, 1, on_sent) < 0) {
    jr_http_conn_close(c);
    return;
  }
  c->is_sending = true;
  c->queued = uv_stream_get_write_queue_size(&c->handle.stream);
  set_deadline(c, JR_HTTP_WRITE);
  count_operation(c);
}

static void flush(jr_http_conn *c) {
  if (c->is_sending || c->out.len == 0 || c->state == JR_CONN_CLOSED) return;
  uv_buf_t buf = uv_buf_init(c->out.data, (unsigned)c->out.len);
  int n = uv_try_write(&c->handle.stream, &buf, 1);
  if (n < 0 && n != UV_EAGAIN)
    jr_http_conn_close(c);
  else if (n >= 0 && (size_t)n == c->out.len)
    trim(&c->out);
  else
    send_rest(c, n > 0 ? (size_t)n : 0);
}

static void on_sent(uv_write_t *write, int status) {
  jr_http_conn *c = jr_container_of(write, jr_http_conn, write);
  c->is_sending = false;
  trim(&c->sending);
  if (c->state == JR_CONN_CLOSED) return;
  clear_deadline(c);
  count_operation(c);
  if (status < 0) {
    jr_http_conn_close(c);
    return;
  }
  if (c->state == JR_CONN_BODY) set_deadline(c, JR_HTTP_BODY); /* that was "100 Continue" */
  flush(c);
  go_on_answering(c);
}

/* A large body goes from where it lies, together with the head; what is left of it is copied. */
static bool add_large(jr_http_conn *c, const char *data, size_t len) {
  if (c->is_sending) return false;
  uv_buf_t bufs[2] = {uv_buf_init(c->out.data, (unsigned)c->out.len),
                      uv_buf_init((char *)(uintptr_t)data, (unsigned)len)};
  int n = uv_try_write(&c->handle.stream, bufs, 2);
  size_t sent = n > 0 ? (size_t)n : 0, head = c->out.len;
  if (n < 0 && n != UV_EAGAIN) return false; /* flush sees it too */
  if (sent < head) {
    memmove(c->out.data, c->out.data + sent, head - sent);
    c->out.len = head - sent;
    return false;
  }
  c->out.len = 0;
  jr_buf_add(&c->out, data + (sent - head), len - (sent - head));
  return true;
}

static void add(jr_http_conn *c, const char *data, size_t len) {
  if (len <= SMALL || len > UINT32_MAX / 2 || !add_large(c, data, len))
    jr_buf_add(&c->out, data, len);
}

/* ---- the end of a connection ------------------------------------------------------------------
 */

static void on_closed(uv_handle_t *handle) {
  jr_http_conn *c = jr_container_of(handle, jr_http_conn, handle);
  jr_http_site *site = c->site;
  jr_uv_closed(handle);
  jr_list_remove(&c->link);
  site->count--;
  jr_buf_fini(&c->in);
  jr_buf_fini(&c->body);
  jr_buf_fini(&c->out);
  jr_buf_fini(&c->sending);
  jr_mem_free(&site->rt->mem, c, sizeof *c);
  site->on_closed(site);
}

/* Nobody reads what the task writes any more. A handler that has not begun to answer goes on: what
 * it does may matter though its client has gone. */
static void leave(jr_http_exchange *x) {
  x->conn = NULL;
  jr_wake(&x->wait, UV_EPIPE);
  if (x->task && x->has_begun) jr_task_cancel(x->task, "the client is gone");
}

void jr_http_conn_close(jr_http_conn *c) {
  if (c->state == JR_CONN_CLOSED) return;
  jr_list_remove(&c->due);
  clear_deadline(c);
  set_state(c, JR_CONN_CLOSED);
  jr_http_exchange *x = c->exchange;
  c->exchange = NULL;
  if (x && c->is_answered) {
    x->conn = NULL;
    jr_wake(&x->wait, 0);
  } else if (x) {
    leave(x);
  }
  uv_close((uv_handle_t *)&c->handle, on_closed);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) {
  jr_http_conn *c = jr_container_of(shutdown, jr_http_conn, shutdown);
  if (status < 0 && status != UV_ECANCELED) jr_http_conn_close(c);
}

/* All is said and sent. */
static void linger(jr_http_conn *c) {
  set_state(c, JR_CONN_LINGER);
  c->at = 0;
  if (c->saw_end || uv_shutdown(&c->shutdown, &c->handle.stream, on_shutdown) < 0) {
    jr_http_conn_close(c);
    return;
  }
  trim(&c->in);
  set_deadline(c, JR_HTTP_LINGER);
  read_on(c);
}

/* ---- what is said without a handler -----------------------------------------------------------
 */

static const char *date_of(jr_http_site *site) {
  int64_t now = jr_clock_wall(site->rt) / JR_SEC;
  if (now != site->date_s) jr_http_date(site->date, now);
  site->date_s = now;
  return site->date;
}

static void say(jr_http_conn *c, int status, const char *detail) {
  char body[200];
  int len = snprintf(body, sizeof body, "{\"detail\":\"%s\"}", detail);
  jr_http_reply_line(&c->out, status, date_of(c->site));
  jr_http_reply_length(&c->out, (uint64_t)len);
  jr_buf_adds(&c->out, "Content-Type: application/json\r\nConnection: close\r\n\r\n");
  if (!c->exchange || !c->exchange->is_bodiless) jr_buf_add(&c->out, body, (size_t)len);
}

/* The request is not handed on; the connection ends with the answer. */
static void refuse(jr_http_conn *c, int status, const char *why) {
  jr_logf(&c->site->rt->log, JR_LOG_DEBUG, "http: %s: answered with %d: %s", c->remote, status,
          why);
  c->keeps_alive = false;
  c->is_answered = true;
  set_state(c, JR_CONN_ANSWER);
  clear_deadline(c);
  say(c, status, why);
  flush(c);
  go_on_answering(c);
}

/* ---- the next request ------------------------------------------------------------------------ */

/* The bytes of the request before are done with. */
static void forget_request(jr_http_conn *c) {
  size_t rest = c->in.len - c->at;
  if (rest > 0 && c->at > 0) memmove(c->in.data, c->in.data + c->at, rest);
  c->in.len = rest;
  c->at = 0;
  if (rest == 0) trim(&c->in);
  trim(&c->body);
}

static void next_request(jr_http_conn *c) {
  c->is_answered = false;
  c->head.scanned = 0;
  set_state(c, JR_CONN_WAIT);
  set_deadline(c, JR_HTTP_IDLE);
  read_on(c);
  if (c->in.len > 0) advance(c);
}

/* Something was sent: the task goes on, or the connection does. */
static void go_on_answering(jr_http_conn *c) {
  if (c->state != JR_CONN_ANSWER) return;
  jr_http_exchange *x = c->exchange;
  if (!c->is_answered) {
    if (x && pending(c) <= FULL / 2) jr_wake(&x->wait, 0);
    return;
  }
  if (pending(c) > 0) return;
  c->exchange = NULL;
  if (x) {
    x->conn = NULL;
    jr_wake(&x->wait, 0);
  }
  if (c->keeps_alive && !c->saw_end && !c->site->stops)
    next_request(c);
  else
    linger(c);
}

static void read_body(jr_http_conn *c) {
  for (int whole = 0; !whole;) {
    size_t taken, len;
    const char *piece;
    const char *data = c->in.data + c->at;
    size_t room = c->site->body_bytes - c->body.len;
    whole = jr_http_body_read(&c->framing, data, c->in.len - c->at, &taken, &piece, &len);
    if (whole < 0) {
      refuse(c, 400, c->framing.fault);
      return;
    }
    if (len > room || c->framing.left > room - len) {
      refuse(c, 413, "the body is larger than this server takes");
      return;
    }
    jr_buf_add(&c->body, piece, len);
    c->at += taken;
    if (c->body.failed) {
      refuse(c, 503, "out of memory");
      return;
    }
    if (!whole && taken == 0) { /* what was read is used up; the head stays */
      if (c->at > c->head.scanned) c->in.len = c->at = c->head.scanned;
      return;
    }
  }
  clear_deadline(c);
  set_state(c, JR_CONN_READY);
  jr_list_append(&c->site->ready, &c->due);
}

static void begin_body(jr_http_conn *c, size_t head_bytes) {
  const jr_http_head *h = &c->head;
  c->at = head_bytes;
  c->keeps_alive = h->keeps_alive;
  if (h->length > 0 && (uint64_t)h->length > c->site->body_bytes) {
    refuse(c, 413, "the body is larger than this server takes");
    return;
  }
  bool has_body = h->is_chunked || h->length > 0;
  jr_http_body_init(&c->framing, h->is_chunked ? -1 : h->length > 0 ? h->length : 0);
  set_state(c, JR_CONN_BODY);
  if (has_body) set_deadline(c, JR_HTTP_BODY);
  if (has_body && h->expects_100 && c->in.len == c->at) {
    jr_buf_adds(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
    flush(c);
  }
  if (c->state == JR_CONN_BODY) read_body(c);
}

static void read_head(jr_http_conn *c) {
  jr_http_head *h = &c->head;
  int status = h->scanned;
  *h = (jr_http_head){.scanned = (uint16_t)status};
  status = jr_http_head_parse(h, c->in.data, c->in.len);
  if (status < 0) {
    refuse(c, -status, h->fault);
  } else if (status > 0) {
    begin_body(c, (size_t)status);
  } else if (c->state == JR_CONN_WAIT) {
    set_state(c, JR_CONN_HEAD);
    set_deadline(c, JR_HTTP_HEAD);
  }
}

static void advance(jr_http_conn *c) {
  if (c->state == JR_CONN_WAIT || c->state == JR_CONN_HEAD)
    read_head(c);
  else if (c->state == JR_CONN_BODY)
    read_body(c);
}

/* ---- deadlines that pass --------------------------------------------------------------------- */

static void on_deadline(jr_http_conn *c) {
  switch (c->limit) {
  case JR_HTTP_HEAD:
    refuse(c, 408, "the head of the request took too long");
    break;
  case JR_HTTP_BODY:
    refuse(c, 408, "the body of the request took too long");
    break;
  case JR_HTTP_WRITE:
    if (uv_stream_get_write_queue_size(&c->handle.stream) < c->queued) {
      c->queued = uv_stream_get_write_queue_size(&c->handle.stream);
      set_deadline(c, JR_HTTP_WRITE);
      break;
    }
    jr_logf(&c->site->rt->log, JR_LOG_DEBUG, "http: %s: closed: the client does not read",
            c->remote);
    jr_http_conn_close(c);
    break;
  default:
    jr_http_conn_close(c);
  }
}

static void on_timer(uv_timer_t *timer) {
  jr_http_site *site = jr_container_of(timer, jr_http_site, timer);
  uint64_t now = uv_now(site->rt->loop), next = UINT64_MAX;
  for (int i = 0; i < JR_HTTP_LIMITS; i++) {
    while (!jr_list_is_empty(&site->timed[i])) {
      jr_http_conn *c = jr_container_of(site->timed[i].next, jr_http_conn, timed);
      if (c->due_ms > now) {
        if (c->due_ms < next) next = c->due_ms;
        break;
      }
      clear_deadline(c);
      on_deadline(c);
    }
  }
  if (next != UINT64_MAX) arm(site, next);
}

/* ---- a connection begins --------------------------------------------------------------------- */

static void note_remote(jr_http_conn *c) {
  struct sockaddr_storage address;
  int len = sizeof address;
  snprintf(c->remote, sizeof c->remote, "unix");
  if (c->handle.stream.type != UV_TCP) return;
  if (uv_tcp_getpeername(&c->handle.tcp, (struct sockaddr *)&address, &len) < 0) return;
  char host[INET6_ADDRSTRLEN];
  if (address.ss_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const void *)&address;
    uv_ip6_name(in6, host, sizeof host);
    snprintf(c->remote, sizeof c->remote, "[%s]:%d", host, ntohs(in6->sin6_port));
  } else {
    const struct sockaddr_in *in = (const void *)&address;
    uv_ip4_name(in, host, sizeof host);
    snprintf(c->remote, sizeof c->remote, "%s:%d", host, ntohs(in->sin_port));
  }
}

static void init_handle(jr_http_conn *c, uv_handle_type type) {
  if (type == UV_TCP)
    uv_tcp_init(c->site->rt->loop, &c->handle.tcp);
  else
    uv_pipe_init(c->site->rt->loop, &c->handle.pipe, 0);
  c->handle.stream.data = c->site->rt;
  c->site->rt->open_uv++;
}

int jr_http_accept(jr_http_site *site, uv_stream_t *listener) {
  jr_mem *mem = &site->rt->mem;
  jr_http_conn *c = jr_mem_zalloc(mem, sizeof *c);
  if (!c) return UV_ENOMEM;
  c->site = site;
  jr_list_append(&site->conns, &c->link);
  site->count++;
  jr_list_init(&c->timed);
  jr_list_init(&c->due);
  jr_buf_init(&c->in, mem);
  jr_buf_init(&c->body, mem);
  jr_buf_init(&c->out, mem);
  jr_buf_init(&c->sending, mem);
  init_handle(c, listener->type);
  int status = uv_accept(listener, &c->handle.stream);
  if (status < 0) {
    jr_http_conn_close(c);
    return status;
  }
  if (listener->type == UV_TCP) uv_tcp_nodelay(&c->handle.tcp, 1);
  note_remote(c);
  next_request(c);
  return 0;
}

void jr_http_conn_stop(jr_http_conn *c) {
  if (c->state == JR_CONN_WAIT || c->state == JR_CONN_HEAD)
    jr_http_conn_close(c);
  else if (c->exchange && c->exchange->is_endless && c->exchange->task)
    jr_task_cancel(c->exchange->task, "the server stops");
}

/* ---- exchanges ------------------------------------------------------------------------------- */

jr_http_exchange *jr_http_exchange_new(jr_http_conn *c) {
  const jr_http_head *h = &c->head;
  jr_list_remove(&c->due);
  jr_http_exchange *x = jr_mem_zalloc(&c->site->rt->mem, sizeof *x);
  if (!x) {
    refuse(c, 503, "out of memory");
    return NULL;
  }
  x->conn = c;
  x->owners = 1;
  x->left = -1;
  x->is_1_0 = h->is_1_0;
  x->is_bodiless = h->method.len == 4 && memcmp(c->in.data + h->method.at, "HEAD", 4) == 0;
  snprintf(x->name, sizeof x->name, "%.*s %.*s", h->method.len, c->in.data + h->method.at,
           h->target.len, c->in.data + h->target.at);
  c->exchange = x;
  set_state(c, JR_CONN_ANSWER);
  return x;
}

void jr_http_exchange_start(jr_http_exchange *x, jr_task *task) {
  if (x->conn) forget_request(x->conn);
  x->task = task;
  if (task) jr_watch_start(task, &x->watch);
}

void jr_http_exchange_abandon(jr_http_exchange *x, int status) {
  jr_http_conn *c = x->conn;
  x->task = NULL;
  if (!c || c->is_answered) return;
  if (x->has_begun && x->is_endless)
    jr_http_exchange_end(x); /* it could end anywhere */
  else if (x->has_begun)
    jr_http_conn_close(c); /* the client sees that it is cut */
  else
    refuse(c, status, jr_http_reason(status));
}

void jr_http_exchange_unref(jr_http_exchange *x, jobrun *rt) {
  if (--x->owners > 0) return;
  if (x->conn) x->conn->exchange = NULL;
  jr_mem_free(&rt->mem, x, sizeof *x);
}

jr_buf *jr_http_exchange_begin(jr_http_exchange *x, int status) {
  jr_http_conn *c = x->conn;
  if (!c) return NULL;
  x->has_begun = true;
  x->is_bodiless = x->is_bodiless || status == 204 || status == 304;
  jr_http_reply_line(&c->out, status, date_of(c->site));
  return &c->out;
}

void jr_http_exchange_open(jr_http_exchange *x, int64_t length, bool closes) {
  jr_http_conn *c = x->conn;
  x->left = length >= 0 && !x->is_bodiless ? length : -1;
  x->is_chunked = length == -1 && !x->is_bodiless && !x->is_1_0;
  if (closes || c->site->stops || (length == -1 && x->is_1_0)) c->keeps_alive = false;
  if (length > 0 || (length == 0 && !x->is_bodiless))
    jr_http_reply_length(&c->out, (uint64_t)length);
  if (x->is_chunked) jr_buf_adds(&c->out, "Transfer-Encoding: chunked\r\n");
  if (!c->keeps_alive)
    jr_buf_adds(&c->out, "Connection: close\r\n");
  else if (x->is_1_0)
    jr_buf_adds(&c->out, "Connection: keep-alive\r\n");
  jr_buf_add(&c->out, "\r\n", 2);
}

/* A buffer that could not grow has lost bytes: the response can only be cut. */
static int check_memory(jr_http_conn *c) {
  if (!c->out.failed) return 0;
  jr_http_conn_close(c);
  return UV_ENOMEM;
}

int jr_http_exchange_write(jr_http_exchange *x, const char *data, size_t len) {
  jr_http_conn *c = x->conn;
  if (!c) return UV_EPIPE;
  if (x->is_bodiless) len = 0;
  if (x->left >= 0 && len > (uint64_t)x->left) return UV_EMSGSIZE;
  if (len > 0 && x->is_chunked) jr_buf_addf(&c->out, "%zx\r\n", len);
  add(c, data, len);
  if (len > 0 && x->is_chunked) jr_buf_add(&c->out, "\r\n", 2);
  if (x->left >= 0) x->left -= (int64_t)len;
  int status = check_memory(c);
  if (status == 0 && (x->is_chunked || x->left != 0)) flush(c); /* else the end follows */
  return status < 0 ? status : x->conn ? 0 : UV_EPIPE;
}

int jr_http_exchange_end(jr_http_exchange *x) {
  jr_http_conn *c = x->conn;
  if (!c) return 0;
  if (x->left > 0) {
    jr_http_conn_close(c);
    return UV_EMSGSIZE;
  }
  if (x->is_chunked) jr_buf_adds(&c->out, "0\r\n\r\n");
  int status = check_memory(c);
  if (status < 0) return status;
  c->is_answered = true;
  flush(c);
  if (x->conn) go_on_answering(c);
  return 0;
}

bool jr_http_exchange_is_full(const jr_http_exchange *x) {
  const jr_http_conn *c = x->conn;
  return c && (c->is_answered || pending(c) > FULL);
}

/* ---- what connections share ------------------------------------------------------------------ */

int jr_http_site_init(jr_http_site *site, jobrun *rt) {
  site->rt = rt;
  jr_list_init(&site->conns);
  jr_list_init(&site->ready);
  for (int i = 0; i < JR_HTTP_LIMITS; i++) jr_list_init(&site->timed[i]);
  site->limit_ms[JR_HTTP_LINGER] = 2000;
  site->date_s = -1;
  site->scratch = jr_mem_alloc(&rt->mem, SCRATCH);
  if (!site->scratch) return UV_ENOMEM;
  uv_timer_init(rt->loop, &site->timer);
  uv_unref((uv_handle_t *)&site->timer);
  site->timer.data = rt;
  rt->open_uv++;
  return 0;
}

static void on_timer_closed(uv_handle_t *handle) {
  jr_http_site *site = jr_container_of(handle, jr_http_site, timer);
  jr_uv_closed(handle);
  site->on_closed(site);
}

void jr_http_site_close(jr_http_site *site) {
  JR_LIST_EACH_SAFE (it, &site->conns) jr_http_conn_close(jr_container_of(it, jr_http_conn, link));
  if (!uv_is_closing((uv_handle_t *)&site->timer))
    uv_close((uv_handle_t *)&site->timer, on_timer_closed);
}

void jr_http_site_fini(jr_http_site *site) {
  jr_mem_free(&site->rt->mem, site->scratch, SCRATCH);
}
