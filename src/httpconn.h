/* Connections of an HTTP/1.1 server: requests read one by one, responses written.
 *
 * A connection reads a request, which is handed on when it is whole (`site->ready`), and answers it
 * through an *exchange*, before it looks at the next one: what a client sends ahead waits, in the
 * connection up to 64 KB, then in the kernel. Everything has a deadline and a bound.
 *
 * All on the loop thread; nothing here enters Lua.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HTTPCONN_H
#define JR_HTTPCONN_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "buf.h"
#include "httpbody.h"
#include "httphead.h"
#include "httpreply.h"
#include "list.h"
#include "rt.h"
#include "task.h"

/* What has a deadline, counted from its beginning; writing: from the last byte that went. */
typedef enum jr_http_limit {
  JR_HTTP_IDLE,  /* between two requests */
  JR_HTTP_HEAD,  /* the whole of a head */
  JR_HTTP_BODY,  /* the whole of a body */
  JR_HTTP_WRITE, /* a client that does not read */
  JR_HTTP_LINGER,
  JR_HTTP_LIMITS
} jr_http_limit;

typedef struct jr_http_conn jr_http_conn;

/* What the connections of a server share. */
typedef struct jr_http_site {
  jobrun *rt;
  uint64_t limit_ms[JR_HTTP_LIMITS];
  size_t body_bytes; /* of a request */
  jr_list conns;
  unsigned count;
  jr_list timed[JR_HTTP_LIMITS]; /* oldest first: each list has one length of deadline */
  uv_timer_t timer;
  uint64_t armed_ms;
  jr_list ready; /* whole requests that wait for their task: jr_http_conn.due */
  bool stops;    /* every response is the connection's last */
  int64_t date_s;
  char date[JR_HTTP_DATE];
  char *scratch;                                /* bytes as they are read */
  void (*on_closed)(struct jr_http_site *site); /* a connection is gone, memory and all */
} jr_http_site;

/* A request and the response to it, from its hand-over on. Counted: the task's watch and the Lua
 * handle each hold it. */
typedef struct jr_http_exchange {
  jr_watch watch;
  jr_task *task;      /* NULL when it has ended */
  jr_http_conn *conn; /* NULL when all is sent, or the client is gone */
  jr_wait wait;       /* the task's, while the client is slower than it writes */
  int owners;
  bool has_begun;  /* the head of the response is on its way */
  bool is_chunked; /* the response */
  bool is_endless; /* ends with the client, and with the server's stop */
  bool is_1_0, is_bodiless;
  int64_t left; /* of the length the response announced; -1: it did not */
  char name[64];
} jr_http_exchange;

typedef enum jr_http_state {
  JR_CONN_WAIT,   /* nothing of a request has come */
  JR_CONN_HEAD,   /* a part of the head has */
  JR_CONN_BODY,   /* and of the body */
  JR_CONN_READY,  /* in site->ready */
  JR_CONN_ANSWER, /* a task has it */
  JR_CONN_LINGER, /* all is said; what still comes is thrown away */
  JR_CONN_CLOSED
} jr_http_state;

struct jr_http_conn {
  jr_list link, timed, due;
  jr_http_site *site;
  union {
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } handle;
  uv_write_t write;
  uv_shutdown_t shutdown;
  jr_http_state state;
  jr_http_limit limit; /* which deadline runs, if it is in a list */
  uint64_t due_ms;
  size_t queued; /* bytes libuv had to write when the deadline was set */
  bool is_sending, is_answered, keeps_alive, saw_end, reads, counts;
  jr_http_head head;
  jr_http_body framing;
  size_t at;   /* of `in`: how far the request goes */
  jr_buf in;   /* as it came */
  jr_buf body; /* of the request */
  jr_buf out, sending;
  jr_http_exchange *exchange;
  char remote[64];
};

/* Prepares and ends what connections share. 0 or a negative status. The timer is closed by
 * jr_http_site_close, of which `on_closed` is also told. */
int jr_http_site_init(jr_http_site *site, jobrun *rt);
void jr_http_site_close(jr_http_site *site);
void jr_http_site_fini(jr_http_site *site);

/* Takes what waits at a listening handle. 0 or a negative status: then it still waits there. */
int jr_http_accept(jr_http_site *site, uv_stream_t *listener);

/* Closes it at once, whatever it does; its task, if it writes, is cancelled. */
void jr_http_conn_close(jr_http_conn *c);

/* No more requests after the one it is about, if there is one. */
void jr_http_conn_stop(jr_http_conn *c);

/* The request of a connection in site->ready, which leaves it: the exchange to answer with, which
 * the caller owns, its watch still to be filled; or NULL: no memory, and the client was told. The
 * request's bytes are there until jr_http_exchange_start. */
jr_http_exchange *jr_http_exchange_new(jr_http_conn *c);

/* The task has it now; NULL where there could be none. */
void jr_http_exchange_start(jr_http_exchange *x, jr_task *task);

/* Nobody will say more: a response that has not begun is one of `status`, another one is cut. */
void jr_http_exchange_abandon(jr_http_exchange *x, int status);

void jr_http_exchange_unref(jr_http_exchange *x, jobrun *rt);

/* Begins the response: the buffer to add fields to; NULL if the client is gone. */
jr_buf *jr_http_exchange_begin(jr_http_exchange *x, int status);

/* The last field was added. `length` of the body to come, -1 where that is not known (then it is
 * sent in chunks). `closes`: the connection ends with it. */
void jr_http_exchange_open(jr_http_exchange *x, int64_t length, bool closes);

/* A part of the body. 0; UV_EPIPE: the client is gone; UV_EMSGSIZE: more than was announced;
 * UV_ENOMEM. */
int jr_http_exchange_write(jr_http_exchange *x, const char *data, size_t len);

/* The body is whole. 0, UV_EMSGSIZE (less than was announced: the connection is closed) or
 * UV_ENOMEM. */
int jr_http_exchange_end(jr_http_exchange *x);

/* True while the task should wait (x->wait, woken with 0, or with UV_EPIPE where the client went):
 * more than 256 KB are on their way, or all is said and not all sent. */
bool jr_http_exchange_is_full(const jr_http_exchange *x);

#endif
