/* A host that lives in an epoll loop of its own: the runtime is one more descriptor in it.
 *
 *   cc epoll_host.c $(pkg-config --cflags --libs jobrun lua5.4) -o epoll_host && ./epoll_host
 *
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <lauxlib.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "jobrun.h"

static jobrun_wait *waiting; /* a task that waits for the host's next beat */

static int on_start(jobrun_wait *wait, void *data) {
  (void)data;
  if (waiting) return -EBUSY;
  waiting = wait;
  return 0;
}

static int host_beat(lua_State *L) { /* suspends its task; the loop goes on */
  static const jobrun_wait_ops ops = {"host.beat", on_start, NULL, NULL, NULL};
  return jobrun_wait_begin(L, &ops, NULL);
}

static void on_beat(int timer) {
  uint64_t count;
  if (read(timer, &count, sizeof count) < 0 || !waiting) return;
  jobrun_wait_done(waiting, 0);
  waiting = NULL;
}

int main(void) {
  static const char script[] = "for i = 1, 3 do require('host').beat() print('beat', i) end\n"
                               "every(0.01).seconds.times(2)(function() print 'tick' end)\n";
  static const jobrun_reg functions[] = {{"beat", host_beat}, {NULL, NULL}};
  struct itimerspec beats = {.it_interval.tv_nsec = 20000000, .it_value.tv_nsec = 20000000};
  int loop = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0), status = 1;
  jobrun *rt;
  if (jobrun_new(&rt, NULL) < 0) return 1;
  jobrun_register(rt, "host", functions);
  if (jobrun_load_string(rt, script, strlen(script), "=script") < 0) return 1;
  timerfd_settime(timer, 0, &beats, NULL);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = timer};
  epoll_ctl(loop, EPOLL_CTL_ADD, timer, &event);
  event.data.fd = jobrun_backend_fd(rt);
  epoll_ctl(loop, EPOLL_CTL_ADD, event.data.fd, &event);
  while (status == 1) {
    int n = epoll_wait(loop, &event, 1, jobrun_backend_timeout(rt));
    if (n == 1 && event.data.fd == timer) on_beat(timer);
    status = jobrun_step(rt);
  }
  if (status < 0) fprintf(stderr, "%s: %s\n", jobrun_err_name(status), jobrun_last_error(rt));
  return jobrun_free(rt) < 0 || status < 0;
}
