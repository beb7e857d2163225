/* jobrun: an embeddable job runner, scripted in Lua, on libuv.
 *
 * A runtime holds a Lua state, an event loop and the tasks on it. Create one, load a script, run
 * it, free it. There are no globals: a process may have several, each on a thread of its own.
 *
 *   jobrun *rt;
 *   if (jobrun_new(&rt, NULL) < 0) return 1;
 *   if (jobrun_load_file(rt, "script.lua") < 0 || jobrun_run(rt) < 0)
 *     fprintf(stderr, "%s\n", jobrun_last_error(rt));
 *   jobrun_free(rt);
 *
 * Functions return 0 or a negative status (libuv's codes, or ours below -10000); jobrun_strerror
 * and jobrun_err_name tell about any of them, jobrun_last_error about the last in a runtime. All
 * but jobrun_stop and jobrun_post belong to the thread that created the runtime.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JOBRUN_H
#define JOBRUN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define JOBRUN_VERSION "0.1.0"

#if defined(__GNUC__)
#define JOBRUN_API __attribute__((visibility("default")))
#else
#define JOBRUN_API
#endif

#ifndef JOBRUN_TYPE
#define JOBRUN_TYPE
typedef struct jobrun jobrun;
#endif
struct lua_State;
struct uv_loop_s;

/* Levels of log lines. */
enum { JOBRUN_LOG_DEBUG, JOBRUN_LOG_INFO, JOBRUN_LOG_WARN, JOBRUN_LOG_ERROR, JOBRUN_LOG_OFF };

/* Flags of jobrun_opts. */
enum {
  JOBRUN_VIRTUAL_CLOCK = 1, /* time jumps to the next deadline instead of passing; for tests */
  JOBRUN_WATCHDOG = 2 /* while jobrun_run runs, log tasks that compute for more than 100 ms; uses
                         the signal SIGRTMIN + 3 */
};

typedef struct jobrun_opts {
  size_t size;            /* sizeof(jobrun_opts), set by JOBRUN_OPTS_INIT */
  struct uv_loop_s *loop; /* the host's loop; NULL: the runtime makes its own */
  /* As lua_Alloc; thread-safe if scripts use blocking calls. NULL: malloc. */
  void *(*alloc)(void *data, void *ptr, size_t old_size, size_t new_size);
  void *alloc_data;
  size_t memory_limit; /* bytes for Lua and the runtime; 0: none */
  /* Where log lines go: any thread of the runtime may call it. NULL: stderr. */
  void (*log)(void *data, int level, const char *text, size_t len);
  void *log_data;
  int log_level;
  unsigned flags;
  int64_t virtual_epoch_ns; /* the virtual clock's start, ns since 1970 UTC */
  int64_t stall_ns;         /* with JOBRUN_WATCHDOG: interrupt a task beyond that; 0: never */
} jobrun_opts;

#define JOBRUN_OPTS_INIT                                                                           \
  { sizeof(jobrun_opts), NULL, NULL, NULL, 0, NULL, NULL, JOBRUN_LOG_INFO, 0, 0, 0 }

/* Creates a runtime; opts NULL means the defaults. The caller owns it and ends it with jobrun_free.
 * UV_ENOMEM, UV_EMFILE, … with *out untouched. */
JOBRUN_API int jobrun_new(jobrun **out, const jobrun_opts *opts);

/* Ends it: cancels what still runs, ends its children, waits for them within their grace, closes
 * all handles and frees all memory. On a host's loop it turns that loop. NULL is allowed.
 * JR_ERUNNING if called from inside jobrun_run; UV_EBUSY where a blocking call that was given up
 * still runs after the grace: nothing was freed then, jobrun_last_error names it, call again. */
JOBRUN_API int jobrun_free(jobrun *rt);

/* Loads a script as the main task, to be started by jobrun_run. UV_ENOENT, ESYNTAX, … */
JOBRUN_API int jobrun_load_file(jobrun *rt, const char *path);
/* `name` is what messages call it ("=init" shows as init). */
JOBRUN_API int jobrun_load_string(jobrun *rt, const char *code, size_t len, const char *name);

/* The script's arguments: `arg[1…]` and `...`. Copies them. Before the load; arg[0] is the script.
 */
JOBRUN_API int jobrun_set_args(jobrun *rt, int argc, const char *const *argv);

/* Runs until the script has ended: its main chunk, its tasks and its jobs. ESCRIPT after an
 * uncaught error (jobrun_last_error has it), ERUNNING when it runs already, ECLOSED when it ended.
 */
JOBRUN_API int jobrun_run(jobrun *rt);

/* One turn of the loop without blocking. 1: there is more to do, 0: the script has ended. */
JOBRUN_API int jobrun_step(jobrun *rt);

/* Any thread, also a signal handler's thread: stop in order. No new runs; on.stop hooks; what runs
 * has `grace_s` seconds (negative: the default, 10), then is cancelled. Returns at once. */
JOBRUN_API int jobrun_stop(jobrun *rt, double grace_s);

/* Any thread, also a signal handler: soon logs the tree of tasks, one line each. */
JOBRUN_API int jobrun_dump_tasks(jobrun *rt);

/* Any thread: calls fn(rt, data) on the runtime's thread, in order. UV_ENOMEM, ECLOSED. */
JOBRUN_API int jobrun_post(jobrun *rt, void (*fn)(jobrun *rt, void *data), void *data);

/* Registers C functions as a module for `require "module"`. `functions` ends with {NULL, NULL}. */
typedef struct jobrun_reg {
  const char *name;
  int (*fn)(struct lua_State *L);
} jobrun_reg;
JOBRUN_API int jobrun_register(jobrun *rt, const char *module, const jobrun_reg *functions);

/* The main Lua state: for setting up. Do not run code on it that suspends. Borrowed. */
JOBRUN_API struct lua_State *jobrun_lua(jobrun *rt);

/* The loop. Borrowed. */
JOBRUN_API struct uv_loop_s *jobrun_loop(jobrun *rt);

/* What is there now. */
typedef struct jobrun_stats {
  size_t size;         /* sizeof(jobrun_stats), set by the caller */
  size_t memory_used;  /* bytes */
  uint32_t tasks;      /* not yet ended */
  uint32_t operations; /* of the outside world in flight */
  uint32_t children;   /* child processes alive */
  uint64_t spawned, resumed;
} jobrun_stats;
JOBRUN_API int jobrun_get_stats(const jobrun *rt, jobrun_stats *stats);

/* The exit status the command would give: 0, 1, 2, 124 or 130 (see README). */
JOBRUN_API int jobrun_exit_code(const jobrun *rt);

/* The text of the last error, with its traceback; "" if there was none. Valid until the next one.
 */
JOBRUN_API const char *jobrun_last_error(const jobrun *rt);

JOBRUN_API const char *jobrun_strerror(int status);
JOBRUN_API const char *jobrun_err_name(int status);
JOBRUN_API const char *jobrun_version(void);

#ifdef __cplusplus
}
#endif
#endif
