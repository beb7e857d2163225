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
 * calls belong to the thread that created the runtime, or that jobrun_start_thread made (JR_ETHREAD
 * elsewhere), but for those that say "any thread". Callbacks are called on the runtime's thread but
 * where they say otherwise; they must not raise Lua errors nor throw, unless they get a lua_State.
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

/* Forms of the log on stderr: lines for people; key=value; a JSON object a line. */
enum {
  JOBRUN_LOG_AUTO, /* text on a terminal, logfmt elsewhere */
  JOBRUN_LOG_TEXT,
  JOBRUN_LOG_LOGFMT,
  JOBRUN_LOG_JSON
};

/* Colours of text on stderr; auto: on a terminal that has them, unless NO_COLOR; CLICOLOR_FORCE. */
enum { JOBRUN_COLOR_AUTO, JOBRUN_COLOR_ALWAYS, JOBRUN_COLOR_NEVER };

/* Flags of jobrun_opts. */
enum {
  JOBRUN_VIRTUAL_CLOCK = 1, /* time jumps to the next deadline instead of passing; for tests */
  JOBRUN_WATCHDOG = 2,      /* while jobrun_run runs, log tasks that compute for more than 100 ms;
                               uses the signal SIGRTMIN + 3 */
  JOBRUN_SERVICE = 4        /* tell systemd ($NOTIFY_SOCKET, $WATCHDOG_USEC) when the script is
                               ready, when it stops, and that its loop turns */
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
  int64_t virtual_epoch_ns;  /* the virtual clock's start, ns since 1970 UTC */
  int64_t stall_ns;          /* with JOBRUN_WATCHDOG: interrupt a task beyond that; 0: never */
  double grace_s;            /* what running jobs have once the end was asked for; negative: 10 s */
  int log_format, log_color; /* where `log` is NULL */
  const char *store;         /* URL of the script's store; copied; NULL: $JOBRUN_STORE, or none */
} jobrun_opts;

#define JOBRUN_OPTS_INIT                                                                           \
  { sizeof(jobrun_opts), NULL, NULL, NULL, 0, NULL, NULL, JOBRUN_LOG_INFO, 0, 0, 0, -1, 0, 0, NULL }

/* Creates a runtime; opts NULL means the defaults. The caller owns it and ends it with jobrun_free.
 * UV_ENOMEM, UV_EMFILE, … with *out untouched. */
JOBRUN_API int jobrun_new(jobrun **out, const jobrun_opts *opts);

/* Ends it: cancels what still runs, ends its children, waits for them within their grace, closes
 * all handles and frees all memory. On a host's loop it turns that loop. NULL is allowed.
 * JR_ERUNNING if called from inside jobrun_run or a callback; UV_EBUSY where a blocking call that
 * was given up still runs after the grace, or a jobrun_wait_begin has had no jobrun_wait_done:
 * nothing was freed then, jobrun_last_error names them, call again. */
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

/* One turn of the loop without blocking. 1: the script goes on; 0: it has ended, or ESCRIPT if by
 * an uncaught error. On a host's loop the first call starts the script, then turning that loop will
 * do.
 */
JOBRUN_API int jobrun_step(jobrun *rt);

/* Any thread, also a signal handler's thread: stop in order. No new runs; on.stop hooks; what runs
 * has `grace_s` seconds (negative: those of jobrun_opts), then is cancelled, which is exit status
 * 124 unless it was given none at all. Returns at once. */
JOBRUN_API int jobrun_stop(jobrun *rt, double grace_s);

/* Any thread, also a signal handler: soon logs the tree of tasks, one line each. */
JOBRUN_API int jobrun_dump_tasks(jobrun *rt);

/* Any thread: calls fn(rt, data) on the runtime's thread, in order, at the latest in jobrun_free.
 * UV_ENOMEM; ECLOSED once jobrun_free has begun (fn is not called then). */
JOBRUN_API int jobrun_post(jobrun *rt, void (*fn)(jobrun *rt, void *data), void *data);

/* ---- a thread of its own, a loop of the host's --------------------------------------------- */

/* Runs the loaded script on a new thread, as jobrun_run would, and returns at once. Until
 * jobrun_join the runtime belongs to that thread. The errors of jobrun_run; EUSAGE on a host's
 * loop; UV_EAGAIN, UV_ENOMEM where no thread can be made: the runtime is as it was. */
JOBRUN_API int jobrun_start_thread(jobrun *rt);

/* Waits until that thread has ended (jobrun_stop makes it) and takes the runtime over to this
 * thread: then jobrun_free. Returns what jobrun_run returned there; EUSAGE without
 * jobrun_start_thread; ETHREAD on that very thread. From one thread only. */
JOBRUN_API int jobrun_join(jobrun *rt);

/* For a host with a poll loop of its own: a file descriptor to poll for reading (level-triggered);
 * when it is readable, or jobrun_backend_timeout is over, call jobrun_step. Borrowed, do not read
 * it. Any thread. */
JOBRUN_API int jobrun_backend_fd(const jobrun *rt);

/* How long to poll at most, in milliseconds: 0 while a task is ready to run, -1 without a limit. It
 * also sets the kernel's timer behind the descriptor, so ask right before each poll. ETHREAD. */
JOBRUN_API int jobrun_backend_timeout(jobrun *rt);

/* Registers C functions as a module for `require "module"`. `functions` ends with {NULL, NULL}. */
typedef struct jobrun_reg {
  const char *name;
  int (*fn)(struct lua_State *L);
} jobrun_reg;
JOBRUN_API int jobrun_register(jobrun *rt, const char *module, const jobrun_reg *functions);

/* ---- C functions that wait ------------------------------------------------------------------ */

/* A wait of the host's: its task is suspended until somebody calls jobrun_wait_done. */
typedef struct jobrun_wait jobrun_wait;

typedef struct jobrun_wait_ops {
  const char *name; /* for errors and the tree of tasks: "sensor.read"; static memory */
  /* Starts it: from now on jobrun_wait_done may come. 0, or a negative status: the script gets an
   * error with that code, and no jobrun_wait_done may come. */
  int (*start)(jobrun_wait *wait, void *data);
  /* In the task, with the status of jobrun_wait_done: pushes the results and returns how many, or
   * returns a negative status, which is raised. It may raise itself. NULL: no results, and a
   * negative status is raised. */
  int (*push)(struct lua_State *L, int status, void *data);
  /* The task was cancelled, or its time is over: it goes on at once, and push will not be called.
   * Make an end soon: jobrun_wait_done is still due. NULL: nothing to tell. */
  void (*cancel)(jobrun_wait *wait, void *data);
  /* The last call, exactly once, whatever happened before: frees `data`. It must call nothing of
   * this header. NULL: nothing to free. */
  void (*drop)(void *data);
} jobrun_wait_ops;

/* `return jobrun_wait_begin(L, &ops, data);` in a function of jobrun_register: suspends the task
 * that called it. Raises (after drop) where it cannot wait: outside of tasks, below a C function
 * that cannot be suspended, in a cancelled task. */
JOBRUN_API int jobrun_wait_begin(struct lua_State *L, const jobrun_wait_ops *ops, void *data);

/* Any thread, also inside start and cancel: the wait is over, with 0, a negative status or a number
 * of your own. Exactly once for each that was started; it cannot fail. `wait` is gone with it. */
JOBRUN_API void jobrun_wait_done(jobrun_wait *wait, int status);

/* A sign that is set by another thread. */
typedef struct jobrun_flag jobrun_flag;

/* Any thread: 1 if it is set, else 0. */
JOBRUN_API int jobrun_flag_is_set(const jobrun_flag *flag);

typedef struct jobrun_work_ops {
  const char *name; /* as above */
  /* On a thread of the default executor, without Lua: may block. `given_up` is set when nobody
   * waits for it any more. Returns 0, a negative status or a number of your own. */
  int (*run)(void *data, const jobrun_flag *given_up);
  /* As those of jobrun_wait_ops. drop may come long after the task went on without it. */
  int (*push)(struct lua_State *L, int status, void *data);
  void (*drop)(void *data);
} jobrun_work_ops;

/* `return jobrun_work(L, &ops, data);`: the same with a C function that blocks a thread. */
JOBRUN_API int jobrun_work(struct lua_State *L, const jobrun_work_ops *ops, void *data);

/* ---- jobs ----------------------------------------------------------------------------------- */

/* What a job is. Instants are ns since 1970 UTC, 0: none. The texts are valid during the call. */
typedef struct jobrun_job {
  const char *name;
  const char *state; /* "scheduled", "running", "paused" */
  uint32_t id;       /* from 1, in order of declaration */
  uint32_t running;  /* runs that go on */
  int64_t next_ns, last_start_ns, last_end_ns;
  uint64_t runs, failed, skipped, missed;
} jobrun_job;

/* Calls fn for each job that has not ended, in order of declaration, until it returns something
 * other than 0, which is then returned. fn may call the next two. Jobs exist once the script has
 * declared them. */
JOBRUN_API int jobrun_job_each(jobrun *rt, int (*fn)(void *data, const jobrun_job *job),
                               void *data);

/* Starts a run now, beside the schedule. UV_ENOENT: no such job; UV_EBUSY: as many runs as it may
 * have go on; ECLOSED: the runtime stops; UV_ENOMEM. */
JOBRUN_API int jobrun_job_trigger(jobrun *rt, const char *name);

/* Pauses a job (1) or lets it go on (0). A paused one does not keep the script from ending.
 * UV_ENOENT, UV_ENOMEM. */
JOBRUN_API int jobrun_job_pause(jobrun *rt, const char *name, int paused);

/* One run of a job; started_ns + late_ns… as above. */
typedef struct jobrun_run_info {
  uint64_t id;                  /* from 1, in order of start */
  uint32_t job, attempt;        /* the job's id; from 1 */
  const char *job_name;         /* cut where it is long */
  const char *outcome;          /* "going" when it starts; "ok", "error", "timeout", "cancelled" */
  int64_t due_ns, late_ns;      /* when it was planned for; how long after that it started */
  int64_t started_ns, ended_ns; /* ended: 0 while it goes on */
} jobrun_run_info;

/* Calls fn when a run starts and when it ends; NULL: no more. Before or after the load. ETHREAD,
 * UV_ENOMEM. */
JOBRUN_API int jobrun_on_run(jobrun *rt, void (*fn)(void *data, const jobrun_run_info *run),
                             void *data);

/* ---- looking in ------------------------------------------------------------------------------ */

/* The main Lua state: for setting up. Do not run code on it that suspends. Borrowed. */
JOBRUN_API struct lua_State *jobrun_lua(jobrun *rt);

/* The loop. Borrowed. */
JOBRUN_API struct uv_loop_s *jobrun_loop(jobrun *rt);

/* Any thread: a line of the log, with its zero, at one of the levels above. */
JOBRUN_API void jobrun_log(jobrun *rt, int level, const char *text);

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

/* Bytes in use, by Lua, the runtime and its worker threads' calls. */
JOBRUN_API size_t jobrun_memory_used(const jobrun *rt);

/* Replaces jobrun_opts.memory_limit; 0: none. Where more is in use, a script that wants more gets
 * "not enough memory" until it holds less. Worker threads made before keep the limit they have. */
JOBRUN_API int jobrun_set_memory_limit(jobrun *rt, size_t bytes);

/* The exit status the command would give: 0, 1, 2, 124 or 130 (see README). */
JOBRUN_API int jobrun_exit_code(const jobrun *rt);

/* The text of the last error, with its traceback; "" if there was none. Valid until the next one.
 * On another thread than the runtime's: what to do there. */
JOBRUN_API const char *jobrun_last_error(const jobrun *rt);

JOBRUN_API const char *jobrun_strerror(int status);
JOBRUN_API const char *jobrun_err_name(int status);
JOBRUN_API const char *jobrun_version(void);

#ifdef __cplusplus
}
#endif
#endif
