/* A pipe read on the loop: lines for somebody, the last of them, the first bytes of it all.
 *
 * Back-pressure. Bytes that nobody has taken yet are held, up to JR_STREAM_MAX; then reading stops,
 * the pipe fills, and the program at its other end stands still in write(2). When half of it has
 * been taken reading goes on. So nothing is lost and memory is bounded, however fast the one and
 * slow the other is. A stream that nobody reads (`hold` off) never stops: its lines go into the
 * tail, its first bytes into the capture, and the rest is forgotten, since a program must never
 * hang in writing what nobody wants. One that `drops` never stops either: when it is full, the
 * oldest lines go, of ffmpeg's log first those of level info and below, and where they were a line
 * tells how many.
 *
 * A pipe and a uv_poll, not a uv_pipe_t: a socketpair, which libuv makes for children, cannot be
 * opened as /dev/fd/3; and when the child is gone the rest can be read here and now. The pipe is
 * enlarged once a read finds it full.
 *
 * One per pipe, embedded in its owner's memory; loop thread only.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_STREAM_H
#define JR_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "buf.h"
#include "ffline.h"
#include "lines.h"
#include "rt.h"
#include "tail.h"
#include "task.h"

#define JR_STREAM_MAX ((size_t)4 << 20)

typedef struct jr_stream jr_stream;

/* One line, as slices of the stream's buffer: valid until the next jr_stream_read or return to the
 * loop. */
typedef struct jr_line {
  const char *text;
  size_t len;
  int level; /* jr_fflevel, or -1 where the stream is no ffmpeg log */
  bool is_notable;
} jr_line;

struct jr_stream {
  jobrun *rt;
  void (*on_change)(jr_stream *s); /* bytes came, or the end; loop thread, never in Lua */
  void (*on_closed)(jr_stream *s); /* the handle is gone; from then on it may be freed */
  void *owner;                     /* the callbacks' */
  jr_wait reader;                  /* the owner's: a task that waits for the next line */
  jr_wait *taker;                  /* the owner's: whom to wake for a stream that holds, or NULL */
  uv_poll_t poll;
  int fd;        /* -1: the end was reached, or it was closed */
  bool hold;     /* lines wait for somebody (see above) */
  bool is_fflog; /* lines are of ffmpeg's log */
  bool drops;    /* lines that wait for too long are left out */
  bool paused, enlarged;
  bool is_cut; /* there was more than the capture took */
  int status;  /* not 0: reading failed, and the stream was closed */
  jr_fflevel level;
  uint64_t bytes;           /* read so far */
  uint64_t dropped, untold; /* lines left out; those of them not yet told of */
  char notice[48];
  size_t limit; /* how much is captured */
  jr_lines lines;
  jr_tail tail;
  jr_buf capture;
};

/* Prepares a stream without a pipe. `keep` lines of tail, `limit` bytes of capture. */
void jr_stream_init(jr_stream *s, jobrun *rt, uint32_t keep, size_t limit);

/* Frees the memory; the stream must be closed. */
void jr_stream_fini(jr_stream *s);

/* Makes a pipe: the read end is the stream's, non-blocking; the write end is put into *child_end
 * for the child (blocking, close-on-exec) and is the caller's to close. 0 or a negative status. */
int jr_stream_pipe(jr_stream *s, int *child_end);

/* Starts reading on the loop; from then on `on_closed` comes once. 0, or a negative status: then
 * the pipe is closed, and on_closed will not come. */
int jr_stream_start(jr_stream *s);

/* Reads what the pipe holds now, as far as there is room. Calls nobody. */
void jr_stream_drain(jr_stream *s);

/* No more reading: what has been read stays. Calls nobody. A closed one is left alone. */
void jr_stream_close(jr_stream *s);

/* Takes the next line; goes on reading where that was stopped. False: none now. */
bool jr_stream_next(jr_stream *s, jr_line *line);

/* From now on bytes are captured instead of being held; those that wait are the first. */
void jr_stream_capture(jr_stream *s, size_t limit);

/* Lines wait for nobody (any more): those that do go the way of an unread stream. */
void jr_stream_release(jr_stream *s);

/* True when the last line has been taken and no more will come. */
static inline bool jr_stream_is_over(const jr_stream *s) {
  return s->fd < 0 && jr_lines_unread(&s->lines) == 0;
}

/* ---- the other direction ------------------------------------------------------------------- */

/* Bytes on their way into a pipe. */
typedef struct jr_feed {
  jobrun *rt;
  void (*on_change)(
      struct jr_feed *f); /* all is written, or it is over; loop thread, never in Lua */
  void (*on_closed)(struct jr_feed *f); /* the handle is gone */
  void *owner;
  uv_poll_t poll;
  int fd; /* -1: all written, or the reader is gone */
  char *data;
  size_t len, done;
  bool goes_on;   /* more may be added: jr_feed_end ends it */
  bool is_polled; /* the loop has it */
  jr_wait writer; /* the owner's: a task that waits until all is written */
} jr_feed;

/* Makes a pipe that gives `len` bytes to its reader, then ends; the bytes are copied. With data
 * NULL it is one for jr_feed_add. The read end is put into *child_end and is the caller's to close.
 * 0 or a negative status. What fits is written here and now; if that was all, f->fd is -1 already
 * and no handle was opened. */
int jr_feed_open(jr_feed *f, jobrun *rt, const char *data, size_t len, int *child_end);

/* Gives the rest to the loop; only where something is left. From then on `on_closed` comes once. 0
 * or a negative status (then it is closed, and on_closed will not come). */
int jr_feed_start(jr_feed *f);

/* Adds bytes, which are copied; only when all before are written. 0, UV_EPIPE (nobody reads any
 * more) or UV_ENOMEM. */
int jr_feed_add(jr_feed *f, const char *data, size_t len);

/* True while bytes are on their way. */
static inline bool jr_feed_is_busy(const jr_feed *f) {
  return f->fd >= 0 && f->done < f->len;
}

/* Nothing more will be added: its reader sees the end behind what is there. */
void jr_feed_end(jr_feed *f);

/* What is not yet written is dropped. A closed one is left alone. */
void jr_feed_close(jr_feed *f);

#endif
