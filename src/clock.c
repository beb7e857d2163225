/* Time: one heap of deadlines behind one timerfd, and the virtual clock.
 *
 * Why a timerfd and not uv_timer_t: libuv's timers count in milliseconds of a cached time and may
 * fire up to a millisecond early; ours are absolute, in nanoseconds, and read the clock again
 * before anything fires. The heap keeps the deadlines; the kernel is told only the earliest, once
 * before the loop blocks, so a thousand sleeps begun in one turn cost one system call. Deadlines
 * that follow each other within MERGE_NS share a wake-up: at 1e5 of them a second the system calls
 * would cost more than all the rest.
 *
 * The virtual clock has the same heap: whoever turns the loop asks for a `jump` when nothing is
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

#define MERGE_NS (30 * INT64_C(1000))

static int64_t read_clock(clockid_t id) {
  struct timespec ts;
  clock_gettime(id, &ts);
  return ts.tv_sec * JR_SEC + ts.tv_nsec;
}

int64_t jr_clock_now(const jobrun *rt) {
  return rt->clock.is_virtual ? rt->clock.virtual_ns : read_clock(CLOCK_BOOTTIME);
}

int64_t jr_clock_wall(const jobrun *rt) {
  if (rt->clock.is_virtual) return rt->clock.epoch_ns + rt->clock.virtual_ns;
  return read_clock(CLOCK_REALTIME);
}

static void on_timerfd(uv_poll_t *poll, int status, int events) {
  (void)status;
  (void)events;
  jobrun *rt = poll->data;
  uint64_t expirations;
  /* Nothing to read means the deadline was moved after poll saw it. */
  if (read(rt->clock.fd, &expirations, sizeof expirations) <= 0) return;
  rt->clock.armed_ns = INT64_MAX;
  rt->clock.rang_ns = read_clock(CLOCK_BOOTTIME);
  jr_clock_run_due(rt, rt->clock.is_virtual);
}

int jr_clock_open(jobrun *rt, bool is_virtual, int64_t epoch_ns) {
  jr_clock *c = &rt->clock;
  jr_heap_init(&c->heap, &rt->mem);
  c->is_virtual = is_virtual;
  c->epoch_ns = epoch_ns;
  c->armed_ns = INT64_MAX;
  c->fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  if (c->fd < 0) return uv_translate_sys_error(errno);
  int status = uv_poll_init(rt->loop, &c->poll, c->fd);
  if (status < 0) {
    close(c->fd);
    c->fd = -1;
    return status;
  }
  c->poll.data = rt;
  rt->open_uv++;
  uv_poll_start(&c->poll, UV_READABLE, on_timerfd);
  uv_unref((uv_handle_t *)&c->poll);
  return 0;
}

/* The fd is closed at once, after uv_close took it out of epoll. */
void jr_clock_close(jobrun *rt) {
  jr_clock *c = &rt->clock;
  if (c->fd < 0) return;
  uv_close((uv_handle_t *)&c->poll, jr_uv_closed);
  close(c->fd);
  c->fd = -1;
}

void jr_clock_fini(jobrun *rt) {
  jr_heap_fini(&rt->clock.heap);
}

int jr_timer_start(jobrun *rt, jr_timer *timer, int64_t due_ns) {
  jr_heap_remove(&rt->clock.heap, &timer->node);
  return jr_heap_push(&rt->clock.heap, &timer->node, due_ns);
}

void jr_timer_stop(jobrun *rt, jr_timer *timer) {
  jr_heap_remove(&rt->clock.heap, &timer->node);
}

void jr_clock_run_due(jobrun *rt, bool jump) {
  jr_clock *c = &rt->clock;
  const jr_heap_entry *first = jr_heap_first(&c->heap);
  if (!first) return;
  if (c->is_virtual && jump && first->key_ns > c->virtual_ns) c->virtual_ns = first->key_ns;
  int64_t now = jr_clock_now(rt);
  while ((first = jr_heap_first(&c->heap)) && first->key_ns <= now) {
    jr_timer *timer = jr_container_of(first->node, jr_timer, node);
    jr_heap_remove(&c->heap, &timer->node);
    timer->fire(rt, timer);
  }
}

void jr_clock_arm(jobrun *rt) {
  jr_clock *c = &rt->clock;
  if (c->fd < 0) return;
  const jr_heap_entry *first = c->is_virtual && !rt->operations ? NULL : jr_heap_first(&c->heap);
  int64_t due = first ? first->key_ns : INT64_MAX;
  if (due == c->armed_ns) return;
  struct itimerspec when = {0}; /* all zeros turns it off, hence at least 1 ns */
  if (first) {
    int64_t at = c->is_virtual ? read_clock(CLOCK_BOOTTIME) + due - c->virtual_ns : due;
    if (at < c->rang_ns + MERGE_NS) at = c->rang_ns + MERGE_NS;
    when.it_value.tv_sec = at / JR_SEC;
    when.it_value.tv_nsec = at % JR_SEC;
  }
  timerfd_settime(c->fd, TFD_TIMER_ABSTIME, &when, NULL);
  c->armed_ns = due;
}
