/* HTTP requests to elsewhere, by libcurl on the runtime's loop.
 *
 * libcurl says which sockets it waits for and until when (curl_multi_socket_action(3)); a uv_poll
 * for each and one uv_timer tell it. While it runs it calls back with bytes, and nothing else may
 * happen then: bytes are put aside, and only when it has returned is it asked which requests are
 * done. A task that is woken runs later, from the pump.
 *
 * libcurl keeps connections for the next request by itself; idle ones are in no uv_poll, so they
 * neither wake us nor keep anything alive.
 *
 * SPDX-License-Identifier: MIT */
#include "fetch.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { HEAD_BYTES = 256 * 1024 };

/* ---- the library -------------------------------------------------------------------------------
 */

static struct {
  pthread_once_t once;
  jr_curl curl;
  const char *why; /* it could not be opened */
} library = {.once = PTHREAD_ONCE_INIT};

/* Opened once for the process, whatever runtimes it has, and never closed: curl_global_cleanup is
 * for a process with one user of it. */
static void open_library(void) {
  void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
  if (!lib) lib = dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_LOCAL);
  library.why = "libcurl is not installed: apt-get install libcurl4";
  if (!lib) return;
#define X(type, name, arguments)                                                                   \
  if (!(*(void **)&library.curl.name = dlsym(lib, "curl_" #name))) return;
  JR_CURL_FUNCTIONS(X)
#undef X
  library.why = "libcurl could not be started";
  if (library.curl.global_init(JR_CURL_GLOBAL_ALL) != 0) return;
  library.why = "libcurl is older than 7.85";
  void *easy = library.curl.easy_init();
  if (easy && library.curl.easy_setopt(easy, JR_CURLOPT_PROTOCOLS_STR, "http,https") == 0)
    library.why = NULL;
  library.curl.easy_cleanup(easy);
}

/* ---- the loop ----------------------------------------------------------------------------------
 */

typedef struct socket_poll {
  uv_poll_t poll;
  jr_fetcher *fetcher;
  int fd;
} socket_poll;

static jr_fetch *fetch_of(const jr_curl *curl, void *easy) {
  void *r = NULL;
  curl->easy_getinfo(easy, JR_CURLINFO_PRIVATE, &r);
  return r;
}

static void done(jr_fetch *r, int result) {
  r->fetcher->curl->multi_remove_handle(r->fetcher->multi, r->easy);
  r->is_running = false;
  r->is_done = true;
  r->result = result;
  jr_op_end(r->fetcher->rt);
  jr_wake(&r->wait, 0);
}

static void read_messages(jr_fetcher *f) {
  int left;
  for (jr_curl_message *m; (m = f->curl->multi_info_read(f->multi, &left));)
    if (m->kind == JR_CURLMSG_DONE) done(fetch_of(f->curl, m->easy), m->data.result);
}

static void act(jr_fetcher *f, int fd, int events) {
  int running;
  f->curl->multi_socket_action(f->multi, fd, events, &running);
  read_messages(f);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  socket_poll *s = jr_container_of(poll, socket_poll, poll);
  int flags = status < 0 ? JR_CURL_CSELECT_ERR : 0;
  if (events & UV_READABLE) flags |= JR_CURL_CSELECT_IN;
  if (events & UV_WRITABLE) flags |= JR_CURL_CSELECT_OUT;
  act(s->fetcher, s->fd, flags);
}

static void on_poll_closed(uv_handle_t *handle) {
  socket_poll *s = jr_container_of((uv_poll_t *)handle, socket_poll, poll);
  jobrun *rt = handle->data;
  jr_uv_closed(handle);
  jr_mem_free(&rt->mem, s, sizeof *s);
}

static socket_poll *socket_new(jr_fetcher *f, int fd) {
  socket_poll *s = jr_mem_zalloc(&f->rt->mem, sizeof *s);
  if (!s) return NULL;
  if (uv_poll_init_socket(f->rt->loop, &s->poll, fd) < 0) {
    jr_mem_free(&f->rt->mem, s, sizeof *s);
    return NULL;
  }
  s->fetcher = f;
  s->fd = fd;
  s->poll.data = f->rt;
  f->rt->open_uv++;
  f->curl->multi_assign(f->multi, fd, s);
  return s;
}

/* Called by libcurl. -1 ends its requests with an error. */
static int on_socket(void *easy, int fd, int what, void *data, void *socket) {
  jr_fetcher *f = data;
  socket_poll *s = socket;
  (void)easy;
  if (what == JR_CURL_POLL_REMOVE) {
    if (s) uv_close((uv_handle_t *)&s->poll, on_poll_closed);
    f->curl->multi_assign(f->multi, fd, NULL);
    return 0;
  }
  if (!s) s = socket_new(f, fd);
  if (!s) return -1;
  int events =
      (what & JR_CURL_POLL_IN ? UV_READABLE : 0) | (what & JR_CURL_POLL_OUT ? UV_WRITABLE : 0);
  return uv_poll_start(&s->poll, events, on_poll);
}

static void on_timer(uv_timer_t *timer) {
  act(jr_container_of(timer, jr_fetcher, timer), JR_CURL_SOCKET_TIMEOUT, 0);
}

/* Called by libcurl. */
static int on_timeout(void *multi, long ms, void *data) {
  jr_fetcher *f = data;
  (void)multi;
  if (ms < 0) return uv_timer_stop(&f->timer);
  return uv_timer_start(&f->timer, on_timer, (uint64_t)ms, 0);
}

/* ---- bytes -------------------------------------------------------------------------------------
 */

static size_t on_head(char *bytes, size_t size, size_t count, void *data) {
  jr_fetch *r = data;
  size_t len = size * count;
  if (len > 5 && memcmp(bytes, "HTTP/", 5) == 0) r->head.len = 0; /* one after a redirect */
  r->has_large_head = r->head.len + len > HEAD_BYTES;
  if (r->has_large_head) return 0;
  jr_buf_add(&r->head, bytes, len);
  r->no_memory = r->head.failed;
  return r->no_memory ? 0 : len;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *data) {
  jr_fetch *r = data;
  size_t len = size * count;
  if (r->streams && r->body.len + len > JR_FETCH_FULL && r->body.len > 0) {
    r->is_paused = true;
    return JR_CURL_WRITEFUNC_PAUSE;
  }
  if (len > r->max_body - r->received) {
    r->is_too_large = true;
    return 0;
  }
  r->received += len;
  jr_buf_add(&r->body, bytes, len);
  if (r->streams) jr_wake(&r->wait, 0);
  r->no_memory = r->body.failed;
  return r->no_memory ? 0 : len;
}

/* Going on calls on_body at once with what was held back, which may refuse it: libcurl then says so
 * here and nowhere else. */
void jr_fetch_taken(jr_fetch *r) {
  r->body.len = 0;
  if (!r->is_paused || !r->is_running) return;
  r->is_paused = false;
  int result = r->fetcher->curl->easy_pause(r->easy, 0);
  if (result != 0) done(r, result);
}

/* ---- a request ---------------------------------------------------------------------------------
 */

static int set_options(jr_fetch *r, const jr_fetch_options *o) {
  const jr_curl *curl = r->fetcher->curl;
  int bad = 0;
#define SET(option, value) bad |= curl->easy_setopt(r->easy, option, value)
  SET(JR_CURLOPT_PRIVATE, r);
  SET(JR_CURLOPT_NOSIGNAL, 1L);
  SET(JR_CURLOPT_URL, o->url);
  SET(JR_CURLOPT_PROTOCOLS_STR, "http,https");
  SET(JR_CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  SET(JR_CURLOPT_USERAGENT, "jobrun");
  SET(JR_CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  SET(JR_CURLOPT_ERRORBUFFER, r->error);
  SET(JR_CURLOPT_FOLLOWLOCATION, (long)(o->redirects > 0));
  SET(JR_CURLOPT_MAXREDIRS, o->redirects);
  SET(JR_CURLOPT_TIMEOUT_MS, o->timeout_ms);
  SET(JR_CURLOPT_CONNECTTIMEOUT_MS, o->connect_timeout_ms);
  SET(JR_CURLOPT_ACCEPT_ENCODING, ""); /* all it can undo */
  SET(JR_CURLOPT_HEADERFUNCTION, on_head);
  SET(JR_CURLOPT_HEADERDATA, r);
  SET(JR_CURLOPT_WRITEFUNCTION, on_body);
  SET(JR_CURLOPT_WRITEDATA, r);
  if (o->socket) SET(JR_CURLOPT_UNIX_SOCKET_PATH, o->socket);
  if (o->body) {
    SET(JR_CURLOPT_POSTFIELDSIZE_LARGE, (int64_t)o->body_len);
    SET(JR_CURLOPT_COPYPOSTFIELDS, o->body);
  }
  if (strcmp(o->method, "HEAD") == 0)
    SET(JR_CURLOPT_NOBODY, 1L);
  else if (o->body ? strcmp(o->method, "POST") != 0 : strcmp(o->method, "GET") != 0)
    SET(JR_CURLOPT_CUSTOMREQUEST, o->method); /* would hold after a redirect, too: fetch.lua */
#undef SET
  return bad ? UV_ENOMEM : 0;
}

int jr_fetch_new(jr_fetcher *f, const jr_fetch_options *o, jr_fetch **out) {
  jr_fetch *r = jr_mem_zalloc(&f->rt->mem, sizeof *r);
  if (!r) return UV_ENOMEM;
  r->fetcher = f;
  r->max_body = o->max_body;
  r->streams = o->streams;
  jr_buf_init(&r->head, &f->rt->mem);
  jr_buf_init(&r->body, &f->rt->mem);
  jr_list_append(&f->all, &r->link);
  r->easy = f->curl->easy_init();
  int status = r->easy ? set_options(r, o) : UV_ENOMEM;
  if (status < 0)
    jr_fetch_free(r);
  else
    *out = r;
  return status;
}

int jr_fetch_header(jr_fetch *r, const char *line) {
  jr_curl_slist *list = r->fetcher->curl->slist_append(r->headers, line);
  if (!list) return UV_ENOMEM;
  r->headers = list;
  return 0;
}

int jr_fetch_start(jr_fetch *r) {
  jr_fetcher *f = r->fetcher;
  if (f->curl->easy_setopt(r->easy, JR_CURLOPT_HTTPHEADER, r->headers) != 0) return UV_ENOMEM;
  if (f->curl->multi_add_handle(f->multi, r->easy) != 0) return UV_ENOMEM;
  r->is_running = true;
  jr_op_begin(f->rt);
  return 0;
}

void jr_fetch_stop(jr_fetch *r) {
  if (!r->is_running) return;
  r->fetcher->curl->multi_remove_handle(r->fetcher->multi, r->easy);
  r->is_running = false;
  jr_op_end(r->fetcher->rt);
}

long jr_fetch_status(const jr_fetch *r) {
  long status = 0;
  r->fetcher->curl->easy_getinfo(r->easy, JR_CURLINFO_RESPONSE_CODE, &status);
  return status;
}

const char *jr_fetch_url(const jr_fetch *r) {
  const char *url = NULL;
  r->fetcher->curl->easy_getinfo(r->easy, JR_CURLINFO_EFFECTIVE_URL, &url);
  return url ? url : "";
}

void jr_fetch_free(jr_fetch *r) {
  jr_fetcher *f = r->fetcher;
  jr_fetch_stop(r);
  if (r->easy) f->curl->easy_cleanup(r->easy);
  f->curl->slist_free_all(r->headers);
  jr_list_remove(&r->link);
  jr_buf_fini(&r->head);
  jr_buf_fini(&r->body);
  jr_mem_free(&f->rt->mem, r, sizeof *r);
}

/* ---- the fetcher -------------------------------------------------------------------------------
 */

static void end_requests(jr_fetcher *f) {
  JR_LIST_EACH (it, &f->all) jr_fetch_stop(jr_container_of(it, jr_fetch, link));
}

/* Closing the cached connections may tell us of sockets once more. */
static void on_close(jobrun *rt, jr_trade *trade) {
  jr_fetcher *f = jr_container_of(trade, jr_fetcher, trade);
  (void)rt;
  end_requests(f);
  f->curl->multi_cleanup(f->multi);
  f->multi = NULL;
  uv_close((uv_handle_t *)&f->timer, jr_uv_closed);
}

static void on_free(jobrun *rt, jr_trade *trade) {
  jr_mem_free(&rt->mem, jr_container_of(trade, jr_fetcher, trade), sizeof(jr_fetcher));
}

static int fetcher_new(jobrun *rt, jr_fetcher **out) {
  const jr_curl *curl = &library.curl;
  jr_fetcher *f = jr_mem_zalloc(&rt->mem, sizeof *f);
  if (!f) return UV_ENOMEM;
  f->multi = curl->multi_init();
  if (!f->multi) {
    jr_mem_free(&rt->mem, f, sizeof *f);
    return UV_ENOMEM;
  }
  f->rt = rt;
  f->curl = curl;
  jr_list_init(&f->all);
  uv_timer_init(rt->loop, &f->timer);
  f->timer.data = rt;
  rt->open_uv++;
  curl->multi_setopt(f->multi, JR_CURLMOPT_SOCKETFUNCTION, on_socket);
  curl->multi_setopt(f->multi, JR_CURLMOPT_SOCKETDATA, f);
  curl->multi_setopt(f->multi, JR_CURLMOPT_TIMERFUNCTION, on_timeout);
  curl->multi_setopt(f->multi, JR_CURLMOPT_TIMERDATA, f);
  curl->multi_setopt(f->multi, JR_CURLMOPT_MAX_HOST_CONNECTIONS, (long)JR_FETCH_HOST_CONNECTIONS);
  f->trade = (jr_trade){.close = on_close, .free = on_free};
  jr_list_append(&rt->trades, &f->trade.link);
  *out = f;
  return 0;
}

int jr_fetcher_get(jobrun *rt, jr_fetcher **out, const char **why) {
  JR_LIST_EACH (it, &rt->trades) {
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    if (trade->free != on_free) continue;
    *out = jr_container_of(trade, jr_fetcher, trade);
    return 0;
  }
  pthread_once(&library.once, open_library);
  *why = library.why;
  return library.why ? UV_ENOENT : fetcher_new(rt, out);
}
