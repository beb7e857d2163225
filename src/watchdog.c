/* Watches for tasks that compute without ever waiting.
 *
 * The clock is a timer on the loop thread's own CPU time: it ticks only while that thread
 * computes, so an idle runtime is never woken and no second thread is needed. A tick is a signal to
 * that very thread, where lua_sethook may be called (from another thread it crashes). The handler
 * compares the count of resumes with that of the tick before: if it has not moved, one task has run
 * all the while, and a count hook on its coroutine takes it from there, at the next instruction.
 *
 * The hook logs once a slice. Past the stall limit it raises, and it stays installed until the task
 * leaves the processor, since a pcall in a loop would swallow a single error. No hook can stop a C
 * function.
 *
 * SPDX-License-Identifier: MIT */
#include "watchdog.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "glue.h"
#include "rt.h"

#define TICK_NS    (50 * JR_MS)
#define SLOW_TICKS 2

static int tick_signal(void) {
  return SIGRTMIN + 3;
}

static int64_t slice_ms(const jr_watchdog *dog) {
  return dog->ticks * (TICK_NS / JR_MS);
}

static void log_slow(lua_State *L, jobrun *rt) {
  luaL_checkstack(L, 8, NULL);
  jr_task_push_name(L, rt->cur);
  luaL_traceback(L, L, NULL, 0);
  lua_pushfstring(
      L,
      "slow task: %s has computed for %d ms without waiting, and everything else waits for it (use blocking, or yield)\n%s",
      lua_tostring(L, -2), (int)slice_ms(&rt->watchdog), lua_tostring(L, -1));
  size_t len;
  const char *text = lua_tolstring(L, -1, &len);
  jr_log_line(&rt->log, JR_LOG_WARN, text, len);
  lua_pop(L, 3);
}

static void on_count(lua_State *L, lua_Debug *ar) {
  jobrun *rt = jr_of(L);
  jr_watchdog *dog = &rt->watchdog;
  (void)ar;
  if (!rt->cur || dog->seen_resumed != rt->resumed) { /* set for a task that has left since */
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  if (!dog->logged) {
    dog->logged = 1;
    log_slow(L, rt);
  }
  if (dog->stall_ns == 0 || dog->ticks * TICK_NS < dog->stall_ns) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  jr_raise(L, "stall", 0, 1, "stalled: computed for %d ms without waiting (--stall)",
           (int)slice_ms(dog));
}

/* On the loop's thread, in the middle of anything: touches only the watchdog and lua_sethook. */
static void on_tick(int number, siginfo_t *info, void *context) {
  jobrun *rt = info->si_value.sival_ptr;
  jr_watchdog *dog = &rt->watchdog;
  int saved = errno;
  (void)number;
  (void)context;
  if (!rt->running_co || dog->seen_resumed != rt->resumed) {
    dog->seen_resumed = rt->resumed;
    dog->ticks = 0;
    dog->logged = 0;
  } else if (++dog->ticks >= SLOW_TICKS) {
    bool stalled = dog->stall_ns > 0 && dog->ticks * TICK_NS >= dog->stall_ns;
    if (!dog->logged || stalled) lua_sethook(rt->running_co, on_count, LUA_MASKCOUNT, 1);
  }
  errno = saved;
}

int jr_watchdog_start(jobrun *rt, int64_t stall_ns) {
  jr_watchdog *dog = &rt->watchdog;
  struct sigaction action = {.sa_sigaction = on_tick, .sa_flags = SA_SIGINFO | SA_RESTART};
  struct sigevent event = {
      .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = tick_signal(), .sigev_value.sival_ptr = rt};
  struct itimerspec tick = {.it_interval.tv_nsec = TICK_NS, .it_value.tv_nsec = TICK_NS};
  if (dog->is_on) return 0;
  sigfillset(&action.sa_mask);
  event._sigev_un._tid = gettid();
  if (sigaction(tick_signal(), &action, NULL) < 0 ||
      timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &dog->timer) < 0)
    return uv_translate_sys_error(errno);
  dog->stall_ns = stall_ns;
  dog->is_on = true;
  timer_settime(dog->timer, 0, &tick, NULL);
  return 0;
}

/* A tick already on its way must not find the runtime gone: it is blocked, taken, and forgotten. */
void jr_watchdog_stop(jobrun *rt) {
  jr_watchdog *dog = &rt->watchdog;
  sigset_t set, before;
  const struct timespec at_once = {0};
  if (!dog->is_on) return;
  dog->is_on = false;
  sigemptyset(&set);
  sigaddset(&set, tick_signal());
  pthread_sigmask(SIG_BLOCK, &set, &before);
  timer_delete(dog->timer);
  while (sigtimedwait(&set, NULL, &at_once) > 0) continue;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
}
