/* HTTP requests to elsewhere, by libcurl on the runtime's loop.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_FETCH_H
#define JR_FETCH_H

#include <stdbool.h>

#include "buf.h"
#include "curl.h"
#include "rt.h"

enum { JR_FETCH_HOST_CONNECTIONS = 64, JR_FETCH_FULL = 256 * 1024 };

/* The runtime's side of libcurl: made at the first request, gone with the runtime. */
typedef struct jr_fetcher {
  jr_trade trade;
  jobrun *rt;
  const jr_curl *curl;
  void *multi;
  uv_timer_t timer;
  jr_list all; /* jr_fetch.link */
} jr_fetcher;

/* What may be said about a request; texts are copied. */
typedef struct jr_fetch_options {
  const char *url, *method;
  const char *body; /* or NULL */
  size_t body_len;
  size_t max_body;         /* of the response; a larger one ends the request */
  long timeout_ms;         /* for everything; 0: none */
  long connect_timeout_ms; /* for the connection alone */
  long redirects;          /* at most */
  const char *socket;      /* path of a unix socket to go through, or NULL */
  bool streams;            /* the body is taken piece by piece */
} jr_fetch_options;

typedef struct jr_fetch {
  jr_wait wait; /* its task's: woken when the response is whole, or for a piece of its body */
  jr_list link;
  jr_fetcher *fetcher;
  void *easy;
  jr_curl_slist *headers;
  jr_buf head; /* of the last response, as it came */
  jr_buf body; /* all of it, or what nobody has taken yet */
  size_t max_body, received;
  bool streams, is_running, is_done, is_paused, is_too_large, has_large_head, no_memory;
  int result; /* libcurl's code, when done */
  char error[256];
} jr_fetch;

/* The runtime's fetcher; opens libcurl the first time. 0; UV_ENOENT with *why, static memory, where
 * it cannot be opened; UV_ENOMEM. */
int jr_fetcher_get(jobrun *rt, jr_fetcher **out, const char **why);

/* A request that is not yet under way. The caller owns *out: jr_fetch_free. 0 or UV_ENOMEM. */
int jr_fetch_new(jr_fetcher *f, const jr_fetch_options *o, jr_fetch **out);

/* "Name: value". 0 or UV_ENOMEM. */
int jr_fetch_header(jr_fetch *r, const char *line);

/* Sends it: r->wait is woken with 0 when it is done, or, of one that streams, when the body begins;
 * then again for each piece. 0 or UV_ENOMEM. */
int jr_fetch_start(jr_fetch *r);

/* No more of it: its connection is closed. A done one is left alone. */
void jr_fetch_stop(jr_fetch *r);

/* What of the body has come was taken: goes on where it had to wait. */
void jr_fetch_taken(jr_fetch *r);

long jr_fetch_status(const jr_fetch *r);
const char *jr_fetch_url(const jr_fetch *r); /* after redirects; borrowed */

/* Ends it if it is under way. */
void jr_fetch_free(jr_fetch *r);

#endif
