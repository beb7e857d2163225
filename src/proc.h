/* A child process: its streams, its end, and what is left to do when it is gone.
 *
 *   NEW ──start──> LIVE ──leader reaped──> GONE ──pipes at their end──> OVER
 *                    │                       │
 *                    └──── stop: SIGTERM ────┴── grace passed: SIGKILL
 *
 * Ending a process is the same whatever the reason: SIGTERM to its group, once, and SIGCONT so that
 * a stopped one hears it; reading goes on, since a full pipe would keep it from ending; after the
 * grace SIGKILL to the group. One that was asked to end is OVER only when nobody of its group is
 * left. One that ended by itself may leave a process behind; if that one holds a pipe, we wait
 * until it has been silent for a second, and tell (`pipe_held`).
 *
 * Its times are real ones, also under the virtual clock: a grace is something between us and
 * another process. All functions are for the loop thread.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_PROC_H
#define JR_PROC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "list.h"
#include "rt.h"
#include "spawn.h"
#include "stream.h"
#include "task.h"
#include "warden.h"

enum { JR_PROC_FDS = 8 };

typedef enum jr_proc_phase { JR_PROC_NEW, JR_PROC_LIVE, JR_PROC_GONE, JR_PROC_OVER } jr_proc_phase;

typedef enum jr_proc_stdio {
  JR_STDIO_CLOSED,
  JR_STDIO_NULL,
  JR_STDIO_INHERIT,
  JR_STDIO_PIPE, /* streams[fd], or for fd 0 the feed */
  JR_STDIO_GIVEN /* given[fd] */
} jr_proc_stdio;

/* The trade: all processes of a runtime, and its warden. */
typedef struct jr_procs {
  jr_trade trade;
  jobrun *rt;
  jr_list live; /* from start to OVER */
  jr_warden warden;
} jr_procs;

typedef struct jr_proc {
  jr_list link;
  jobrun *rt;
  jr_procs *procs;
  jr_wait wait; /* the binding's: woken when it is OVER */

  /* Before the start. */
  uint8_t stdio[JR_PROC_FDS];
  jr_stream *streams[JR_PROC_FDS]; /* owned */
  int given[JR_PROC_FDS];          /* owned until the start; -1 */
  const char
      *input; /* for fd 0, if that is a pipe; borrowed until the start; NULL: jr_proc_write */
  size_t input_len;
  int64_t grace_ns;
  int64_t deadline_ns; /* uv_hrtime past which it is stopped; INT64_MAX = none */

  /* Its state. */
  jr_proc_phase phase;
  pid_t pid;
  int pidfd;
  _Atomic int32_t *place; /* with the warden */
  uv_poll_t exit;
  uv_timer_t timer;
  jr_feed *feed; /* owned */
  int handles;   /* uv handles of it and its streams, not yet closed */
  bool held;     /* somebody else than the loop refers to it */
  bool discards, stopped, timed_out, termed, killed;
  bool group_gone;                               /* as far as we have to care */
  int64_t kill_ns, give_up_ns, idle_ns, look_ns; /* what the timer is for; INT64_MAX = not */
  int64_t look_every_ns;
  uint64_t seen; /* bytes of all streams at the last look */

  /* Its outcome, from GONE on. */
  int exit_code; /* -1: a signal ended it, or nobody knows */
  int signal;
  int status; /* not 0: reading from it failed, and it was ended */
  bool pipe_held;
  int64_t start_ns, end_ns, cpu_ns;
  int64_t max_rss; /* bytes */
} jr_proc;

/* Makes the trade of a runtime, registered and freed with it. 0 or UV_ENOMEM. */
int jr_procs_open(jobrun *rt, jr_procs **out);

/* A process to be described: fd 0 and the others are null. Held by the caller until
 * jr_proc_unhold. NULL = out of memory. */
jr_proc *jr_proc_new(jr_procs *procs);

/* Its fd `fd` (> 0) becomes a pipe that is read. NULL = out of memory. */
jr_stream *jr_proc_add_stream(jr_proc *p, int fd, uint32_t keep, size_t limit);

/* What it finds at `fd` is `own`, which becomes p's and is closed with the start. */
void jr_proc_give_fd(jr_proc *p, int fd, int own);

/* Makes a pipe of the kernel's from `from`'s fd 1 to `to`'s fd 0; both not yet started. 0 or a
 * negative status. */
int jr_proc_connect(jr_proc *from, jr_proc *to);

/* Its stdin is a file. 0, or what the system says (UV_EINVAL: one that would have to be waited for,
 * such as a named pipe). */
int jr_proc_open_input(jr_proc *p, const char *path);

/* Starts it. `spec` comes without fds and publish, which are p's. 0, or a negative status and the
 * step that failed; then p may be started no more. */
int jr_proc_start(jr_proc *p, jr_spawn_spec *spec, jr_spawn_step *step);

/* It will not be started: what it was given is closed. A started one is left alone. */
void jr_proc_forget(jr_proc *p);

/* Asks it to end, without waiting; a second call can only shorten the grace. One that is over or
 * not started is left alone. */
void jr_proc_stop(jr_proc *p, int64_t grace_ns);

/* The same, and nobody wants its lines any more. */
void jr_proc_cancel(jr_proc *p);

/* Its stdin, where that is a pipe without `input`: jr_feed_add, jr_feed_end; NULL otherwise, and
 * closed when it is over. Then, and whenever all is written, feed->writer is woken. */
jr_feed *jr_proc_feed(jr_proc *p);

/* From the start until it is OVER. */
bool jr_proc_is_running(const jr_proc *p);

/* Moves its deadline (uv_hrtime); INT64_MAX = none. */
void jr_proc_set_deadline(jr_proc *p, int64_t deadline_ns);

/* A signal to its group. 0, UV_ESRCH if it is gone. */
int jr_proc_signal(jr_proc *p, int signal);

/* The holder lets go: a live one is cancelled, and freed when it is over. */
void jr_proc_unhold(jr_proc *p);

#endif
