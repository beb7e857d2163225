/* Time: two dials, each a heap of deadlines behind one timerfd, and the virtual clock.
 *
 * Two readings. The *steady* clock (CLOCK_BOOTTIME: it counts a suspended machine's sleep and no
 * step of the wall clock moves it) drives sleeps, timeouts and intervals; the *wall* clock says
 * what time it is for people, and drives jobs of the calendar. Both in nanoseconds, signed 64 bits.
 *
 * A timerfd stands for the earliest deadline of its dial and is set once per turn of the loop, only
 * when that deadline changed: with nothing due there is no wake-up. A timer never fires early.
 *
 * With the virtual clock nothing waits: when no task is ready and no real operation (child, worker,
 * socket) is open, time jumps to the next deadline. The wall clock goes along. While an operation
 * is open time stands still, unless it takes longer than the wait for the next deadline really
 * would.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CLOCK_H
#define JR_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <uv.h>

#include "heap.h"

struct jobrun;

#define JR_MS  INT64_C(1000000)
#define JR_SEC INT64_C(1000000000)

/* Embed it in what has a deadline; zeroed but for `fire` it is ready for use. `fire` runs on the
 * loop thread, the timer is then stopped; it may start it again. It must not enter Lua. */
typedef struct jr_timer {
  jr_heap_node node;
  void (*fire)(struct jobrun *rt, struct jr_timer *timer);
} jr_timer;

typedef struct jr_dial {
  jr_heap heap;
  uv_poll_t poll;
  int fd;           /* the timerfd; -1 where there is none (yet) */
  clockid_t id;     /* what it goes by */
  int64_t armed_ns; /* the deadline it stands at; INT64_MAX = off */
  int64_t rang_ns;  /* when it last went off */
  int64_t merge_ns; /* it goes off again that much later at the earliest */
  uint32_t fired;   /* timers, when it last went off */
} jr_dial;

typedef struct jr_clock {
  jr_dial steady, wall;
  bool is_virtual;
  int64_t virtual_ns;  /* the steady clock's reading when virtual */
  int64_t epoch_ns;    /* virtual: wall = epoch + steady */
  int64_t distance_ns; /* wall - steady, when that was last looked at */
  /* The wall clock was set, by a second or more; called while there are deadlines on it. */
  void (*on_step)(struct jobrun *rt, int64_t by_ns);
} jr_clock;

/* Before anything else: opens nothing, cannot fail. */
void jr_clock_init(struct jobrun *rt);

/* Opens the clock on rt->loop. With `is_virtual` the wall clock starts at `epoch_ns`. 0 or a
 * negative status with nothing left open. */
int jr_clock_open(struct jobrun *rt, bool is_virtual, int64_t epoch_ns);

/* Closes the poll handles (asynchronously: turn the loop once more) and the timerfds. */
void jr_clock_close(struct jobrun *rt);

/* Frees the heaps, after the loop let go of the handles. */
void jr_clock_fini(struct jobrun *rt);

int64_t jr_clock_now(const struct jobrun *rt);  /* steady, ns */
int64_t jr_clock_wall(const struct jobrun *rt); /* since 1970 UTC, ns */

/* Fires at steady time `due_ns` or later (a past one: at the loop's next turn). A timer that runs
 * is moved. 0 or UV_ENOMEM (then it is stopped). Loop thread. */
int jr_timer_start(struct jobrun *rt, jr_timer *timer, int64_t due_ns);

/* Never fails; a stopped timer is left alone. */
void jr_timer_stop(struct jobrun *rt, jr_timer *timer);

/* The same on the wall clock: `due_ns` since 1970 UTC. Each timer belongs to one of the dials; also
 * what opening a timerfd gives. */
int jr_wall_timer_start(struct jobrun *rt, jr_timer *timer, int64_t due_ns);
void jr_wall_timer_stop(struct jobrun *rt, jr_timer *timer);

/* True while any timer runs. */
bool jr_clock_has_deadline(const struct jobrun *rt);

/* Of the virtual clock: sets the wall clock forward or back; lets time pass at once, as it does
 * while a machine is suspended (what is due meanwhile is late). */
void jr_clock_step(struct jobrun *rt, int64_t by_ns);
void jr_clock_skip(struct jobrun *rt, int64_t ns);

/* Fires what is due. Under the virtual clock with `jump`, first moves to the earliest deadline. */
void jr_clock_run_due(struct jobrun *rt, bool jump);

/* Sets the timerfds to the earliest deadlines; called before the loop blocks. */
void jr_clock_arm(struct jobrun *rt);

#endif
