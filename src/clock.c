/* Time: two dials, each a heap of deadlines behind one timerfd, and the virtual clock.
 *
 * Why a timerfd and not uv_timer_t: libuv's timers count in milliseconds of a cached time and may
 * fire up to a millisecond early; ours are absolute, in nanoseconds, and read the clock again
 * before anything fires. The heap keeps the deadlines; the kernel is told only the earliest, once
 * before the loop blocks, so a thousand sleeps begun in one turn cost one system call. Deadlines
 * that follow each other within 30 us share a wake-up; where that is several again and again, as at
 * 1e5 of them a second, within up to 240 us: the wake-ups would cost more than all the rest.
 *
 * The wall dial's timerfd is made with the first deadline on it. TFD_TIMER_CANCEL_ON_SET has the
 * kernel wake us when somebody sets the wall clock (timerfd_create(2)): how far it was set is the
 * change of its distance to the steady clock, which is told to `on_step`.
 *
 * The virtual clock has the same heaps: whoever turns the loop asks for a `jump` when nothing is
 * ready and no real operation is open. While one is open virtual time stands still; but if it
 * outlives, in real time, the wait for the earliest deadline, that deadline is jumped to: so a
 * timeout or a grace still ends a child that hangs.
 *
 * SPDX-License-Identifier: MIT */
#include "clock.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "rt.h"
#include "status.h"

#define MERGE_NS      (30 * INT64_C(1000))
#define MOST_MERGE_NS (8 * MERGE_NS)
enum { DENSE = 3 }; /* timers in one wake-up: more of them may share the next one */

static int64_t read_clock(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return ts.tv_sec * JR_SEC + ts.tv_nsec;
}

/* Saturates, as JR_NEVER is INT64_MAX. */
static int64_t add(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? (b < 0 ? INT64_MIN : INT64_MAX) : sum;
}

int64_t jr_clock_now(const jobrun *rt) {
  return rt->clock.is_virtual ? rt->clock.virtual_ns : read_clock(CLOCK_BOOTTIME);
}

int64_t jr_clock_wall(const jobrun *rt) {
  if (rt->clock.is_virtual) return add(rt->clock.epoch_ns, rt->clock.virtual_ns);
  return read_clock(CLOCK_REALTIME);
}

/* ---- the wall clock's steps ------------------------------------------------------------------ */

static int64_t distance(const jobrun *rt) {
  return jr_clock_wall(rt) - jr_clock_now(rt);
}

/* Slewing and the two readings' own distance are no step. */
static void look_for_step(jobrun *rt) {
  jr_clock *c = &rt->clock;
  int64_t now = distance(rt), by = now - c->distance_ns;
  if (by > -JR_SEC && by < JR_SEC) return;
  c->distance_ns = now;
  if (c->on_step) c->on_step(rt, by);
}

void jr_clock_step(jobrun *rt, int64_t by_ns) {
  rt->clock.epoch_ns = add(rt->clock.epoch_ns, by_ns);
  look_for_step(rt);
}

void jr_clock_skip(jobrun *rt, int64_t ns) {
  rt->clock.virtual_ns = add(rt->clock.virtual_ns, ns);
}

/* ---- opening and closing --------------------------------------------------------------------- */

static jobrun *rt_of(const uv_poll_t *poll) {
  return poll->data;
}

static void on_timerfd(uv_poll_t *poll, int status, int events) {
  jobrun *rt = rt_of(poll);
  jr_dial *dial = jr_container_of(poll, jr_dial, poll);
  uint64_t expirations;
  (void)status;
  (void)events;
  /* Nothing to read means the deadline was moved after poll saw it. */
  bool rang = read(dial->fd, &expirations, sizeof expirations) > 0;
  if (!rang && errno != ECANCELED) return;
  dial->armed_ns = INT64_MAX;
  dial->rang_ns = read_clock(dial->id);
  if (!rang) look_for_step(rt);
  jr_clock_run_due(rt, rt->clock.is_virtual);
  if (dial->fired < DENSE)
    dial->merge_ns = MERGE_NS;
  else if (dial->merge_ns < MOST_MERGE_NS)
    dial->merge_ns *= 2;
}

static int dial_open(jobrun *rt, jr_dial *dial) {
  dial->fd = timerfd_create(dial->id, TFD_NONBLOCK | TFD_CLOEXEC);
  if (dial->fd < 0) return uv_translate_sys_error(errno);
  int status = uv_poll_init(rt->loop, &dial->poll, dial->fd);
  if (status < 0) {
    close(dial->fd);
    dial->fd = -1;
    return status;
  }
  dial->poll.data = rt;
  rt->open_uv++;
  uv_poll_start(&dial->poll, UV_READABLE, on_timerfd);
  uv_unref((uv_handle_t *)&dial->poll);
  return 0;
}

static void dial_init(jobrun *rt, jr_dial *dial, clockid_t id) {
  jr_heap_init(&dial->heap, &rt->mem);
  dial->id = id;
  dial->fd = -1;
  dial->armed_ns = INT64_MAX;
  dial->rang_ns = -MERGE_NS;
  dial->merge_ns = MERGE_NS;
}

/* The fd is closed at once, after uv_close took it out of epoll. */
static void dial_close(jr_dial *dial) {
  if (dial->fd < 0) return;
  uv_close((uv_handle_t *)&dial->poll, jr_uv_closed);
  close(dial->fd);
  dial->fd = -1;
}

void jr_clock_init(jobrun *rt) {
  dial_init(rt, &rt->clock.steady, CLOCK_BOOTTIME);
  dial_init(rt, &rt->clock.wall, CLOCK_REALTIME);
}

int jr_clock_open(jobrun *rt, bool is_virtual, int64_t epoch_ns) {
  jr_clock *c = &rt->clock;
  c->is_virtual = is_virtual;
  c->epoch_ns = epoch_ns;
  c->distance_ns = distance(rt);
  return dial_open(rt, &c->steady);
}

void jr_clock_close(jobrun *rt) {
  dial_close(&rt->clock.steady);
  dial_close(&rt->clock.wall);
}

void jr_clock_fini(jobrun *rt) {
  jr_heap_fini(&rt->clock.steady.heap);
  jr_heap_fini(&rt->clock.wall.heap);
}

/* ---- timers ---------------------------------------------------------------------------------- */

static int timer_start(jr_dial *dial, jr_timer *timer, int64_t due_ns) {
  jr_heap_remove(&dial->heap, &timer->node);
  return jr_heap_push(&dial->heap, &timer->node, due_ns);
}

int jr_timer_start(jobrun *rt, jr_timer *timer, int64_t due_ns) {
  return timer_start(&rt->clock.steady, timer, due_ns);
}

void jr_timer_stop(jobrun *rt, jr_timer *timer) {
  jr_heap_remove(&rt->clock.steady.heap, &timer->node);
}

int jr_wall_timer_start(jobrun *rt, jr_timer *timer, int64_t due_ns) {
  jr_clock *c = &rt->clock;
  int status = c->wall.fd >= 0 || c->is_virtual ? 0 : dial_open(rt, &c->wall);
  if (status < 0) return status;
  if (!jr_heap_first(&c->wall.heap)) c->distance_ns = distance(rt); /* nobody heard of steps yet */
  return timer_start(&c->wall, timer, due_ns);
}

void jr_wall_timer_stop(jobrun *rt, jr_timer *timer) {
  jr_heap_remove(&rt->clock.wall.heap, &timer->node);
}

static void run_dial(jobrun *rt, jr_dial *dial, int64_t now) {
  const jr_heap_entry *first;
  dial->fired = 0;
  while ((first = jr_heap_first(&dial->heap)) && first->key_ns <= now) {
    jr_timer *timer = jr_container_of(first->node, jr_timer, node);
    jr_heap_remove(&dial->heap, &timer->node);
    dial->fired++;
    timer->fire(rt, timer);
  }
}

/* The earliest deadline of both dials on the virtual steady clock; INT64_MAX if there is none. */
static int64_t first_virtual(const jr_clock *c) {
  const jr_heap_entry *steady = jr_heap_first(&c->steady.heap);
  const jr_heap_entry *wall = jr_heap_first(&c->wall.heap);
  int64_t a = steady ? steady->key_ns : INT64_MAX;
  int64_t b = wall ? add(wall->key_ns, -c->epoch_ns) : INT64_MAX;
  return a < b ? a : b;
}

bool jr_clock_has_deadline(const jobrun *rt) {
  return jr_heap_first(&rt->clock.steady.heap) || jr_heap_first(&rt->clock.wall.heap);
}

void jr_clock_run_due(jobrun *rt, bool jump) {
  jr_clock *c = &rt->clock;
  if (!jr_clock_has_deadline(rt)) return;
  int64_t first = c->is_virtual && jump ? first_virtual(c) : 0;
  if (first > c->virtual_ns && first != INT64_MAX) c->virtual_ns = first;
  if (jr_heap_first(&c->steady.heap)) run_dial(rt, &c->steady, jr_clock_now(rt));
  if (jr_heap_first(&c->wall.heap)) run_dial(rt, &c->wall, jr_clock_wall(rt));
}

/* ---- arming ---------------------------------------------------------------------------------- */

/* `at` is on the dial's own, real clock; INT64_MAX turns it off. All zeros would too, hence at
 * least 1 ns. */
static void set(const jr_dial *dial, int64_t at, int flags) {
  struct itimerspec when = {0};
  if (at != INT64_MAX) {
    if (at < add(dial->rang_ns, dial->merge_ns)) at = dial->rang_ns + dial->merge_ns;
    if (at < 1) at = 1;
    when.it_value.tv_sec = at / JR_SEC;
    when.it_value.tv_nsec = at % JR_SEC;
  }
  timerfd_settime(dial->fd, TFD_TIMER_ABSTIME | flags, &when, NULL);
}

static int64_t first_of(const jr_dial *dial) {
  const jr_heap_entry *first = jr_heap_first(&dial->heap);
  return first ? first->key_ns : INT64_MAX;
}

static void arm(jr_dial *dial, int flags) {
  int64_t due = first_of(dial);
  if (dial->fd < 0 || due == dial->armed_ns) return;
  set(dial, due, flags);
  dial->armed_ns = due;
}

/* Virtual time passes only while operations are open, and then at the real pace. */
static void arm_virtual(const jobrun *rt, jr_clock *c) {
  int64_t due = rt->operations ? first_virtual(c) : INT64_MAX;
  if (c->steady.fd < 0 || due == c->steady.armed_ns) return;
  set(&c->steady, due == INT64_MAX ? due : add(read_clock(CLOCK_BOOTTIME), due - c->virtual_ns), 0);
  c->steady.armed_ns = due;
}

void jr_clock_arm(jobrun *rt) {
  jr_clock *c = &rt->clock;
  if (c->is_virtual) {
    arm_virtual(rt, c);
    return;
  }
  arm(&c->steady, 0);
  arm(&c->wall, TFD_TIMER_CANCEL_ON_SET);
}
