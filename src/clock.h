/* Time: one heap of deadlines behind one timerfd, and the virtual clock.
 *
 * Two readings. The *steady* clock (CLOCK_BOOTTIME: it counts a suspended machine's sleep and no
 * step of the wall clock moves it) drives sleeps, timeouts and intervals; the *wall* clock says
 * what time it is for people. Both in nanoseconds, signed 64 bits.
 *
 * One timerfd stands for the earliest deadline and is set once per turn of the loop, only when
 * that deadline changed: with nothing due there is no wake-up. A timer never fires early.
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

typedef struct jr_clock {
  jr_heap heap;
  uv_poll_t poll;
  int fd;           /* the timerfd */
  int64_t armed_ns; /* what the timerfd stands at; INT64_MAX = off */
  int64_t rang_ns;  /* when it last went off */
  bool is_virtual;
  int64_t virtual_ns; /* the steady clock's reading when virtual */
  int64_t epoch_ns;   /* virtual: wall = epoch + steady */
} jr_clock;

/* Opens the clock on rt->loop. With `is_virtual` the wall clock starts at `epoch_ns`. 0 or a
 * negative status with nothing left open. */
int jr_clock_open(struct jobrun *rt, bool is_virtual, int64_t epoch_ns);

/* Closes the poll handle (asynchronously: turn the loop once more) and the timerfd. */
void jr_clock_close(struct jobrun *rt);

/* Frees the heap, after the loop let go of the handle. */
void jr_clock_fini(struct jobrun *rt);

int64_t jr_clock_now(const struct jobrun *rt);  /* steady, ns */
int64_t jr_clock_wall(const struct jobrun *rt); /* since 1970 UTC, ns */

/* Fires at steady time `due_ns` or later (a past one: at the loop's next turn). A timer that runs
 * is moved. 0 or UV_ENOMEM (then it is stopped). Loop thread. */
int jr_timer_start(struct jobrun *rt, jr_timer *timer, int64_t due_ns);

/* Never fails; a stopped timer is left alone. */
void jr_timer_stop(struct jobrun *rt, jr_timer *timer);

/* Fires what is due. Under the virtual clock with `jump`, first moves to the earliest deadline. */
void jr_clock_run_due(struct jobrun *rt, bool jump);

/* Sets the timerfd to the earliest deadline; called before the loop blocks. */
void jr_clock_arm(struct jobrun *rt);

#endif
