/* An HTTP/1.1 server: its listeners, and a task for each request.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HTTPSERVER_H
#define JR_HTTPSERVER_H

#include <stdbool.h>

#include "httpconn.h"

typedef struct jr_http_server {
  jr_http_site site;
  jr_trade trade;
  jr_list listeners;
  uv_timer_t retry; /* accepting failed for want of memory */
  unsigned max_conns;
  bool is_background;                        /* does not keep the script alive */
  int site_ref;                              /* registry: what it serves; until all is closed */
  int entry_ref;                             /* the function that answers a request */
  int (*push)(lua_State *L, void *exchange); /* its arguments; protected */
  int open;                                  /* handles and connections not yet gone */
  int owners;                                /* the handle in Lua, what is open */
  bool closed, has_complained;
} jr_http_server;

/* A server without listeners; its limits are the caller's to set. The caller owns *out:
 * jr_http_server_free. `entry_ref` is to stay as long as the runtime, `site_ref` is the server's
 * once it is made. 0 or a negative status. */
int jr_http_server_new(jobrun *rt, int entry_ref, int site_ref,
                       int (*push)(lua_State *L, void *exchange), jr_http_server **out);

/* Binds to an IPv4 or IPv6 address as text. *port, where 0 was asked for, becomes the one it got.
 * Connections are taken from now on. 0, UV_EINVAL (no such address), UV_EADDRINUSE, UV_EACCES … */
int jr_http_server_tcp(jr_http_server *s, const char *ip, int *port);

/* Binds to a unix socket with that mode; the file goes when the server is closed. What a dead
 * server left behind is replaced; UV_EADDRINUSE: a living one listens there, or it is no socket. */
int jr_http_server_unix(jr_http_server *s, const char *path, unsigned mode);

/* The server whose connection `c` is. */
static inline jr_http_server *jr_http_server_of(const jr_http_conn *c) {
  return jr_container_of(c->site, jr_http_server, site);
}

/* Takes no more connections; requests under way are answered to their end. */
void jr_http_server_close(jr_http_server *s);

/* The same, and lets go of it. */
void jr_http_server_free(jr_http_server *s);

#endif
