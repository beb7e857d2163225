/* A pipe read on the loop, and one written.
 *
 * A stream holds bytes for somebody or it does not (`hold`); everything else follows from that. If
 * it does, bytes stay in `lines` until jr_stream_next takes them, and reading stops when
 * JR_STREAM_MAX of them wait. If it does not, each read is followed by taking all lines at once.
 * The capture gets its bytes in either case when they are read, the tail its lines when they are
 * taken.
 *
 * A turn of the loop reads READ_BUDGET bytes of one stream at most, so that a storm on one does not
 * starve the others.
 *
 * SPDX-License-Identifier: MIT */
#include "stream.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tune.h"

enum {
  FIRST_READ = JR_TUNE_FIRST_READ, /* most programs say little */
  READ_SIZE = JR_TUNE_READ,
  READ_BUDGET = 256 * 1024,
  DRAIN_BUDGET = 16 * 1024 * 1024, /* another process may still write */
  LARGE_PIPE = 1024 * 1024
};

void jr_stream_init(jr_stream *s, jobrun *rt, uint32_t keep, size_t limit) {
  *s = (jr_stream){.rt = rt, .fd = -1, .level = JR_FF_INFO, .limit = limit};
  jr_lines_init(&s->lines, &rt->mem);
  jr_tail_init(&s->tail, &rt->mem, keep);
  jr_buf_init(&s->capture, &rt->mem);
}

void jr_stream_fini(jr_stream *s) {
  jr_lines_fini(&s->lines);
  jr_tail_fini(&s->tail);
  jr_buf_fini(&s->capture);
}

/* A pipe of which `ours` (0 or 1) does not block. */
static int open_pipe(int ends[2], int ours) {
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  if (fcntl(ends[ours], F_SETFL, O_NONBLOCK | (ours ? O_WRONLY : O_RDONLY)) == 0) return 0;
  int status = -errno;
  close(ends[0]);
  close(ends[1]);
  return status;
}

int jr_stream_pipe(jr_stream *s, int *child_end) {
  int ends[2], status = open_pipe(ends, 0);
  if (status < 0) return status;
  s->fd = ends[0];
  *child_end = ends[1];
  return 0;
}

/* ---- taking -------------------------------------------------------------------------------- */

static void on_readable(uv_poll_t *poll, int status, int events);

static void go_on_reading(jr_stream *s) {
  if (!s->paused || jr_lines_unread(&s->lines) >= JR_STREAM_MAX / 2) return;
  s->paused = false;
  uv_poll_start(&s->poll, UV_READABLE, on_readable);
}

static bool take_log_line(jr_stream *s, char *text, size_t len, jr_line *line) {
  jr_ffline ff;
  jr_ffline_parse(text, len, &s->level, &ff);
  *line = (jr_line){ff.text, ff.len, (int)ff.level, ff.is_notable};
  return !ff.is_progress;
}

/* The line in place of those left out. */
static void take_notice(jr_stream *s, jr_line *line) {
  int len =
      snprintf(s->notice, sizeof s->notice, "%llu lines dropped", (unsigned long long)s->untold);
  *line = (jr_line){s->notice, (size_t)len, s->is_fflog ? JR_FF_WARNING : -1, false};
  s->untold = 0;
}

bool jr_stream_next(jr_stream *s, jr_line *line) {
  char *text;
  size_t len;
  bool keep = true;
  if (s->untold) {
    take_notice(s, line);
    return true;
  }
  if (!jr_lines_next(&s->lines, &text, &len)) return false;
  if (s->is_fflog)
    keep = take_log_line(s, text, len, line);
  else
    *line = (jr_line){text, len, -1, false};
  if (s->tail.keep && keep) jr_tail_add(&s->tail, line->text, line->len, line->level);
  if (s->paused) go_on_reading(s);
  return true;
}

static void forget_lines(jr_stream *s) {
  jr_line line;
  if (s->tail.keep == 0) jr_lines_clear(&s->lines);
  while (jr_stream_next(s, &line)) continue;
}

void jr_stream_release(jr_stream *s) {
  s->hold = false;
  forget_lines(s);
  if (s->fd >= 0) go_on_reading(s);
}

/* ---- leaving out --------------------------------------------------------------------------- */

static bool is_chatter(void *data, const char *line, size_t len) {
  return jr_ffline_level(line, len, data) >= JR_FF_INFO;
}

/* Makes room for as much again as is kept, so that this is done seldom. */
static void drop_oldest(jr_stream *s) {
  jr_fflevel level = s->level;
  size_t n = 0;
  if (s->is_fflog) n = jr_lines_thin(&s->lines, JR_STREAM_MAX / 2, is_chatter, &level);
  if (jr_lines_unread(&s->lines) > JR_STREAM_MAX / 2)
    n += jr_lines_thin(&s->lines, JR_STREAM_MAX / 2, NULL, NULL);
  s->dropped += n;
  s->untold += n;
}

/* ---- reading ------------------------------------------------------------------------------- */

static bool is_full(const jr_stream *s) {
  return jr_lines_unread(&s->lines) >= JR_STREAM_MAX;
}

static void add_to_capture(jr_stream *s, const char *bytes, size_t len) {
  size_t left = s->limit - s->capture.len;
  if (len > left) s->is_cut = true;
  jr_buf_add(&s->capture, bytes, len < left ? len : left);
  if (s->capture.failed) s->is_cut = true;
}

void jr_stream_capture(jr_stream *s, size_t limit) {
  size_t waiting = jr_lines_unread(&s->lines);
  s->limit = limit;
  if (waiting) add_to_capture(s, s->lines.data + s->lines.start, waiting);
  jr_stream_release(s);
}

/* One read(2): how many bytes, 0 at the end, or a negative status. `*filled` says that there was
 * more than room. */
static ssize_t read_once(jr_stream *s, bool *filled) {
  size_t room;
  char *to = jr_lines_reserve(&s->lines, s->bytes < READ_SIZE ? FIRST_READ : READ_SIZE, &room);
  if (!to) return UV_ENOMEM;
  if (room > READ_SIZE) room = READ_SIZE; /* what was read is to be in the cache when it is split */
  ssize_t n;
  do n = read(s->fd, to, room);
  while (n < 0 && errno == EINTR);
  if (n < 0) return -errno;
  *filled = (size_t)n == room;
  s->bytes += (size_t)n;
  if (s->limit) add_to_capture(s, to, (size_t)n);
  jr_lines_commit(&s->lines, (size_t)n);
  if (!s->hold) forget_lines(s);
  if (s->drops && is_full(s)) drop_oldest(s);
  return n;
}

static void enlarge(jr_stream *s, ssize_t n) {
  if (s->enlarged || n < READ_SIZE) return;
  s->enlarged = true;
  fcntl(s->fd, F_SETPIPE_SZ, LARGE_PIPE); /* refused where the user has too many: no harm */
}

/* Reads until the pipe is empty, at its end, or `budget` or the room is used up. A read that did
 * not fill its room tells that the pipe is empty now; `to_end` wants to see its end as well. */
static void read_some(jr_stream *s, size_t budget, bool to_end) {
  bool filled = true;
  for (size_t done = 0; done < budget && !is_full(s) && (filled || to_end);) {
    ssize_t n = read_once(s, &filled);
    if (n == UV_EAGAIN) return;
    if (n < 0) s->status = (int)n;
    if (n <= 0) {
      jr_stream_close(s);
      return;
    }
    enlarge(s, n);
    done += (size_t)n;
  }
}

static void on_readable(uv_poll_t *poll, int status, int events) {
  jr_stream *s = jr_container_of(poll, jr_stream, poll);
  (void)status; /* an error of the pipe shows itself in read(2) */
  (void)events;
  read_some(s, READ_BUDGET, false);
  if (s->fd >= 0 && is_full(s)) {
    s->paused = true;
    uv_poll_stop(&s->poll);
  }
  s->on_change(s);
}

void jr_stream_drain(jr_stream *s) {
  if (s->fd >= 0) read_some(s, DRAIN_BUDGET, true);
}

static void on_stream_closed(uv_handle_t *handle) {
  jr_stream *s = jr_container_of((uv_poll_t *)handle, jr_stream, poll);
  jr_uv_closed(handle);
  s->on_closed(s);
}

int jr_stream_start(jr_stream *s) {
  int status = uv_poll_init(s->rt->loop, &s->poll, s->fd);
  if (status < 0) {
    close(s->fd);
    s->fd = -1;
    return status;
  }
  s->poll.data = s->rt;
  s->rt->open_uv++;
  uv_poll_start(&s->poll, UV_READABLE, on_readable);
  return 0;
}

/* The fd may be closed as soon as uv_close has taken it out of epoll, which it does at once. A
 * stream that was never started has no handle. */
void jr_stream_close(jr_stream *s) {
  if (s->fd < 0) return;
  if (s->poll.data) uv_close((uv_handle_t *)&s->poll, on_stream_closed);
  close(s->fd);
  s->fd = -1;
  s->paused = false;
  jr_lines_finish(&s->lines);
  if (!s->hold) forget_lines(s);
}

/* ---- the other direction ------------------------------------------------------------------- */

/* write(2) without SIGPIPE: whether a host ignores it is the host's business. */
static ssize_t write_quietly(int fd, const char *data, size_t len) {
  sigset_t pipe_only, pending, old;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_only, &old);
  ssize_t n;
  do n = write(fd, data, len);
  while (n < 0 && errno == EINTR);
  if (n < 0) n = -errno;
  if (n == UV_EPIPE && !sigismember(&pending, SIGPIPE))
    sigtimedwait(&pipe_only, NULL, &(struct timespec){0});
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return n;
}

/* True while something is left for later. A reader that is gone does not want the rest. */
static bool write_some(jr_feed *f) {
  while (f->done < f->len) {
    ssize_t n = write_quietly(f->fd, f->data + f->done, f->len - f->done);
    if (n == UV_EAGAIN) return true;
    if (n < 0) return false;
    f->done += (size_t)n;
  }
  return false;
}

/* All is written, or nobody reads it: what comes next? */
static void rest_or_close(jr_feed *f) {
  if (!f->goes_on || f->done < f->len)
    jr_feed_close(f);
  else if (f->is_polled)
    uv_poll_stop(&f->poll);
}

static void on_writable(uv_poll_t *poll, int status, int events) {
  jr_feed *f = jr_container_of(poll, jr_feed, poll);
  (void)events;
  if (status == 0 && write_some(f)) return;
  if (status < 0) f->goes_on = false;
  rest_or_close(f);
  f->on_change(f);
}

int jr_feed_add(jr_feed *f, const char *data, size_t len) {
  if (f->fd < 0) return UV_EPIPE;
  char *copy = jr_mem_dup(&f->rt->mem, data, len);
  if (!copy) return UV_ENOMEM;
  if (f->data) jr_mem_free(&f->rt->mem, f->data, f->len + 1);
  f->data = copy;
  f->len = len;
  f->done = 0;
  if (write_some(f)) {
    uv_poll_start(&f->poll, UV_WRITABLE, on_writable);
    return 0;
  }
  rest_or_close(f);
  return f->fd < 0 ? UV_EPIPE : 0;
}

void jr_feed_end(jr_feed *f) {
  f->goes_on = false;
  if (f->fd >= 0 && !jr_feed_is_busy(f)) jr_feed_close(f);
}

int jr_feed_open(jr_feed *f, jobrun *rt, const char *data, size_t len, int *child_end) {
  *f = (jr_feed){.rt = rt, .fd = -1, .len = len, .goes_on = !data};
  int ends[2], status = open_pipe(ends, 1);
  if (status < 0) return status;
  if (!data) {
    f->fd = ends[1];
    *child_end = ends[0];
    return 0;
  }
  f->data = jr_mem_dup(&rt->mem, data, len);
  if (!f->data) {
    close(ends[0]);
    close(ends[1]);
    return UV_ENOMEM;
  }
  f->fd = ends[1];
  *child_end = ends[0];
  if (!write_some(f)) jr_feed_close(f);
  return 0;
}

static void on_feed_closed(uv_handle_t *handle) {
  jr_feed *f = jr_container_of((uv_poll_t *)handle, jr_feed, poll);
  jr_uv_closed(handle);
  f->on_closed(f);
}

int jr_feed_start(jr_feed *f) {
  int status = uv_poll_init(f->rt->loop, &f->poll, f->fd);
  if (status < 0) {
    jr_feed_close(f);
    return status;
  }
  f->poll.data = f->rt;
  f->rt->open_uv++;
  f->is_polled = true;
  if (jr_feed_is_busy(f)) uv_poll_start(&f->poll, UV_WRITABLE, on_writable);
  return 0;
}

void jr_feed_close(jr_feed *f) {
  if (f->data) jr_mem_free(&f->rt->mem, f->data, f->len + 1);
  f->data = NULL;
  if (f->fd < 0) return;
  if (f->poll.data) uv_close((uv_handle_t *)&f->poll, on_feed_closed);
  close(f->fd);
  f->fd = -1;
}
