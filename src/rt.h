/* struct jobrun: everything a runtime owns. There are no globals, so two may live in a process.
 *
 * Found from any lua_State of the runtime with jr_of(L): Lua copies the main state's extra space
 * into each new thread. Its lowest bit is ours (see co.c): it marks a user's coroutine in which a
 * task is parked.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_RT_H
#define JR_RT_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <lua.h>
#include <uv.h>

#include "clock.h"
#include "list.h"
#include "log.h"
#include "mem.h"
#include "meter.h"
#include "run.h"
#include "task.h"

#ifndef JOBRUN_TYPE /* jobrun.h has it too */
#define JOBRUN_TYPE
typedef struct jobrun jobrun;
#endif

/* A trade (jobs, processes, executors) that must hear of the runtime's life. All on the loop
 * thread; each function may be NULL. They run in the order of registration, `close` in reverse. */
typedef struct jr_trade {
  jr_list link;
  void (*stop)(jobrun *rt, struct jr_trade *trade);    /* stopping began: start nothing new */
  bool (*is_busy)(jobrun *rt, struct jr_trade *trade); /* keeps the script alive (active jobs) */
  void (*before_pump)(jobrun *rt,
                      struct jr_trade *trade); /* outside uv callbacks; may enter Lua protected */
  /* Before anything is closed, all tasks have ended: waits within the grace for what still runs on
   * threads or at the host. UV_EBUSY: it has not ended, *what names it, nothing may be freed. */
  int (*settle)(jobrun *rt, struct jr_trade *trade, const char **what);
  void (*close)(jobrun *rt, struct jr_trade *trade); /* close handles; the loop turns after it */
  void (*free)(jobrun *rt, struct jr_trade *trade);  /* memory, after the handles are gone */
} jr_trade;

enum { JR_MAX_REASONS = 32 };

/* watchdog.c; the signal handler's part is volatile. */
typedef struct jr_watchdog {
  timer_t timer;
  bool is_on;
  int64_t stall_ns;
  uint64_t seen_resumed;
  volatile int64_t ticks; /* without a resume */
  volatile int logged;
} jr_watchdog;

typedef enum jr_phase {
  JR_PHASE_RUN,    /* the script runs */
  JR_PHASE_HOOKS,  /* on.stop hooks run */
  JR_PHASE_DRAIN,  /* what runs may end, within the grace */
  JR_PHASE_CANCEL, /* what is left was cancelled */
  JR_PHASE_END     /* nothing is left */
} jr_phase;

struct jobrun {
  jr_mem mem;
  jr_spares spares;
  jr_log log;
  lua_State *L;
  uv_loop_t *loop;
  bool own_loop;
  _Atomic(uv_thread_t) thread;  /* the loop's */
  lua_CFunction furnish_worker; /* lib.c: fills the Lua state of a worker thread */

  /* task.c */
  jr_task *root, *cur;
  jr_task *ready_first, *ready_last;
  lua_State
      *volatile running_co; /* the innermost coroutine that runs; the watchdog's signal reads it */
  jr_watchdog watchdog;
  bool parking;   /* the yield that travels outwards is a wait of ours */
  bool exits;     /* a task has called os.exit */
  int holds;      /* how many things are under way that are part of loading */
  int doors;      /* servers in the background, by which others may resume what is paused */
  bool declares;  /* the script is only looked at: the first wait of its main chunk ends that */
  bool gives_way; /* the running task asks for a turn of the loop: jr_give_way */
  int no_park;    /* > 0: a C function that cannot yield is below a user's coroutine */
  uint32_t tasks; /* not yet done, without the root */
  uint64_t spawned, resumed;
  lua_State *idle_co; /* finished coroutines for the next spawns, chained by their extra space */
  int32_t slots;      /* coroutines ever made; each is anchored in a slot of its own */
  const char *reasons[JR_MAX_REASONS]; /* interned by address */
  int64_t start_ns;                    /* uv_hrtime when it began */
  uint32_t turn_ms;                    /* since then, as of the pump's last look at the clock */
  char **sites;                        /* short sources of spawn sites, interned */
  uint16_t sites_len, site;            /* site: of the script function that spawned last, site_fn */
  const void *site_fn;
  void (*on_turn)(
      struct jobrun *rt); /* host.c: what each turn of the loop does, before and after the poll */
  uv_prepare_t prepare;
  uv_check_t check;
  uv_idle_t idle;
  uint32_t open_uv; /* handles of ours not yet closed */

  jr_clock clock;
  uint32_t
      operations; /* real ones in flight (child, worker, file): the virtual clock waits for them */
  uint32_t children; /* child processes alive */
  jr_list trades;

  /* post.c */
  uv_async_t post; /* its wake-up, by which host.c looks for stop requests too */
  uv_mutex_t post_lock;
  jr_list posts;
  bool refuses_posts; /* under the lock */

  /* host.c */
  void (*request_stop)(struct jobrun *rt,
                       int64_t grace_ns); /* 0: cancel at once; -1: the default */
  jr_phase phase;
  int64_t grace_ns;
  jr_timer grace;
  int exit_code;
  bool failed; /* an uncaught error was reported */
  bool running, closed;
  bool is_service; /* the service manager hears of us */
  char *error;     /* the last error's text */
  size_t error_size;
  void *host; /* host.c's own */

  char *store_url;        /* as the host gave it; NULL */
  struct jr_embed *embed; /* embed.c's own; NULL before its first use */
  jr_histogram *turns;    /* how long the turns of the loop took; NULL: nobody asks */
  jr_run_sink observer;   /* jobs tell it of their runs, beside the sink of their records */
};

/* The runtime of a state; NULL in a worker's state. */
static inline jobrun *jr_of(lua_State *L) {
  return (jobrun *)(*(uintptr_t *)lua_getextraspace(L) & ~(uintptr_t)1);
}

/* An operation of the outside world begins or is over; in pairs. */
static inline void jr_op_begin(jobrun *rt) {
  rt->operations++;
}
static inline void jr_op_end(jobrun *rt) {
  rt->operations--;
}

/* Close callback for every uv handle of ours, and its counterpart when one is opened: the loop
 * is turned until open_uv is 0. `handle->data` must be the runtime. */
void jr_uv_closed(uv_handle_t *handle);

#endif
