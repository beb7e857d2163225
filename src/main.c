/* The command: runs a script in a runtime and hands signals to it. What it is to do is on the
 * command line: command.h.
 *
 * All it can do a host program can do too, by jobrun.h alone.
 *
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <sqlite3.h>
#include <uv.h>

#include "command.h"
#include "jobrun.h"

/* ---- signals ------------------------------------------------------------------------------- */

enum { LAST_RESORT_S = 25, EXIT_GRACE = 124 };

/* The one global of the command: a signal handler has nowhere else to look. Set before the
 * handlers are installed, never changed while they are. */
static struct {
  jobrun *rt;
  atomic_int count, first;
  unsigned last_resort_s; /* after the first: the loop ends what it can 20 s after the grace */
  bool is_silent;         /* stderr is read by a program, or nothing but errors was asked for */
} signals;

/* First: stop in order. Second: at once, though no child is sent a second SIGTERM. Third: leave;
 * the warden ends what is left of our children. A real handler, not one of the loop's: the third
 * must work when a script never comes back to the loop. Async-signal-safe calls only. */
static void on_signal(int number) {
  static const char message[] = "jobrun: stopping; once more to cancel what runs\n";
  int before = atomic_fetch_add(&signals.count, 1);
  if (before == 0) {
    atomic_store(&signals.first, number);
    ssize_t ignored = signals.is_silent ? 0 : write(STDERR_FILENO, message, sizeof message - 1);
    (void)ignored;
    alarm(signals.last_resort_s);
  }
  if (before >= 2) _exit(128 + number);
  jobrun_stop(signals.rt, -1);
}

/* A script computes on and never comes back to the loop, not even cancelled. */
static void on_alarm(int number) {
  static const char message[] = "jobrun: the script does not come to its end: killed\n";
  (void)number;
  ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);
  (void)ignored;
  _exit(EXIT_GRACE);
}

/* While all is closed. The second of two (timeout(1) sends a pair) asks for nothing more than the
 * first did; any other one ends us, as closing may take a child's grace. */
static void on_late_signal(int number) {
  if (atomic_fetch_add(&signals.count, 1) != 1) _exit(128 + number);
}

static void on_quit(int number) {
  (void)number;
  jobrun_dump_tasks(signals.rt);
}

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};

static void handle_signals(void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
  for (size_t i = 0; i < sizeof stop_signals / sizeof *stop_signals; i++)
    sigaction(stop_signals[i], &action, NULL);
  action.sa_handler = handler == on_signal ? on_quit : SIG_DFL;
  sigaction(SIGQUIT, &action, NULL);
}

/* ---- standard output ------------------------------------------------------------------------ */

/* A script whose output goes nowhere has no reason to go on: its reader is gone (a `| head`), or
 * the disk is full. print() cannot tell it, so each turn of the loop looks. */
static void watch_output(uv_prepare_t *prepare) {
  if (!ferror(stdout)) return;
  uv_prepare_stop(prepare);
  jobrun_stop(signals.rt, -1);
}

/* 0, or 1 if something written to standard output was lost; says so unless its reader just left. */
static int check_output(void) {
  struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
  if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
  bool reader_left = poll(&out, 1, 0) > 0 && out.revents & POLLERR;
  if (!reader_left)
    fputs("jobrun: standard output could not be written (is the disk full?)\n", stderr);
  return EXIT_FAILED;
}

/* ---- running ------------------------------------------------------------------------------- */

static char *read_stdin(size_t *len) {
  size_t cap = 1 << 16;
  char *code = malloc(cap);
  *len = 0;
  for (size_t n; code && (n = fread(code + *len, 1, cap - *len, stdin)) > 0;) {
    *len += n;
    if (*len < cap) continue;
    char *grown = realloc(code, cap *= 2);
    if (!grown) free(code);
    code = grown;
  }
  return code;
}

static int load(jobrun *rt, command *c) {
  if (c->code) return jobrun_load_string(rt, c->code, strlen(c->code), "=(command line)");
  if (c->module) {
    char code[64];
    int n = snprintf(code, sizeof code, "require('%s').main(...)", c->module);
    return jobrun_load_string(rt, code, (size_t)n, "@jobrun/main.lua");
  }
  if (strcmp(c->script, "-") != 0) return jobrun_load_file(rt, c->script);
  size_t len;
  char *code = read_stdin(&len);
  int status = code ? jobrun_load_string(rt, code, len, "=stdin") : UV_ENOMEM;
  free(code);
  return status;
}

/* ---- the control API ------------------------------------------------------------------------- */

static void push_words(lua_State *L, const words *w) {
  lua_createtable(L, w->len, 0);
  for (int i = 0; i < w->len; i++) {
    lua_pushstring(L, w->list[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static void serve_control(lua_State *L, const command *c) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "jobrun.control.serve");
  lua_call(L, 1, 1);
  lua_getfield(L, -1, "serve");
  lua_newtable(L);
  push_words(L, &c->listen);
  lua_setfield(L, -2, "addresses");
  push_words(L, &c->allowed_hosts);
  lua_setfield(L, -2, "allowed_hosts");
  lua_pushboolean(L, c->read_only);
  lua_setfield(L, -2, "read_only");
  lua_pushstring(L, c->token_file);
  lua_setfield(L, -2, "token_file");
  lua_call(L, 1, 0);
}

/* Protected: (lightuserdata command): what of it is the Lua side's. */
static int set_up(lua_State *L) {
  const command *c = lua_touserdata(L, 1);
  if (c->listen.len) serve_control(L, c);
  if (!c->runs_at_end && !c->module) return 0;
  lua_getglobal(L, "require");
  lua_pushliteral(L, "jobrun.life");
  lua_call(L, 1, 1);
  lua_pushboolean(L, c->module != NULL);
  lua_setfield(L, -2, "is_command");
  lua_pushboolean(L, c->runs_at_end);
  lua_setfield(L, -2, "runs_at_end");
  return 0;
}

static int prepare(jobrun *rt, command *c) {
  lua_State *L = jobrun_lua(rt);
  lua_pushcfunction(L, set_up);
  lua_pushlightuserdata(L, c);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return 0;
  int status = command_usage("%s", luaL_tolstring(L, -1, NULL));
  lua_pop(L, 2);
  return status;
}

/* Was a form of the log asked for that programs read? Then each line on stderr has it. */
static bool is_structured(const command *c) {
  return c->opts.log_format == JOBRUN_LOG_LOGFMT || c->opts.log_format == JOBRUN_LOG_JSON;
}

static void complain(jobrun *rt, const command *c) {
  if (is_structured(c))
    jobrun_log(rt, JOBRUN_LOG_ERROR, jobrun_last_error(rt));
  else
    fprintf(stderr, "jobrun: %s\n", jobrun_last_error(rt));
}

/* ---- the pid file ------------------------------------------------------------------------------
 */

/* The number in it, if a process has it; else 0. */
static long living_pid(const char *path) {
  FILE *file = fopen(path, "r");
  long pid = 0;
  if (file && fscanf(file, "%ld", &pid) != 1) pid = 0;
  if (file) fclose(file);
  return pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM) ? pid : 0;
}

/* 0, or an exit status. A file that a dead process left is replaced. */
static int write_pid_file(const char *path) {
  char number[32];
  long pid = living_pid(path);
  if (pid && pid != (long)getpid())
    return command_usage("--pid-file: %s: process %ld has it", path, pid);
  unlink(path);
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  int len = snprintf(number, sizeof number, "%ld\n", (long)getpid());
  bool written = fd >= 0 && write(fd, number, (size_t)len) == len;
  int status = written ? 0 : command_usage("--pid-file: %s: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
  return status;
}

/* ---- runs that failed --------------------------------------------------------------------------
 */

/* For --fail. */
static void count_failure(void *failures, const jobrun_run_info *run) {
  if (strcmp(run->outcome, "error") == 0 || strcmp(run->outcome, "timeout") == 0)
    ++*(unsigned *)failures;
}

static int run(jobrun *rt, command *c) {
  jobrun_set_args(rt, c->argc, (const char *const *)c->argv);
  int refused = prepare(rt, c);
  if (refused) return refused;
  if (load(rt, c) < 0) {
    complain(rt, c);
    return EXIT_USAGE;
  }
  signals.rt = rt;
  signals.is_silent = is_structured(c) || c->opts.log_level >= JOBRUN_LOG_ERROR;
  double grace_s = c->opts.grace_s < 0 ? 10 : c->opts.grace_s;
  signals.last_resort_s = LAST_RESORT_S + (unsigned)(grace_s < 1e9 ? grace_s : 1e9);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN); /* beyond `ulimit -f` a write fails, as on a full disk */
  signal(SIGALRM, on_alarm);
  handle_signals(on_signal);
  uv_prepare_t output;
  uv_prepare_init(jobrun_loop(rt), &output);
  uv_prepare_start(&output, watch_output);
  uv_unref((uv_handle_t *)&output);
  unsigned failures = 0;
  if (c->fails) jobrun_on_run(rt, count_failure, &failures);
  int status = jobrun_run(rt);
  alarm(0);
  jobrun_on_run(rt, NULL, NULL);
  uv_close((uv_handle_t *)&output, NULL);
  uv_run(jobrun_loop(rt), UV_RUN_NOWAIT);
  if (status < 0) complain(rt, c);
  int code = jobrun_exit_code(rt);
  if (code == 0 && failures > 0) code = EXIT_FAILED;
  return code == 0 && atomic_load(&signals.first) == SIGINT ? EXIT_SIGINT : code;
}

/* A descriptor 0 to 2 that is closed would be given to the next pipe or epoll, and prints would go
 * there. */
static void open_standard_fds(void) {
  int fd;
  do fd = open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO);
  if (fd >= 0) close(fd);
}

int main(int argc, char **argv) {
  open_standard_fds();
  sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* figures nobody asks for, at a lock each */
  command c = {.opts = JOBRUN_OPTS_INIT};
  int status = command_parse(&c, argc, argv);
  if (status >= 0) return status ? status : check_output();
  setvbuf(stdout, NULL, _IOLBF, 0);
  c.opts.flags |= c.module ? JOBRUN_WATCHDOG : JOBRUN_WATCHDOG | JOBRUN_SERVICE;
  jobrun *rt;
  status = jobrun_new(&rt, &c.opts);
  if (status < 0) {
    fprintf(stderr, "jobrun: could not start: %s\n", jobrun_strerror(status));
    return EXIT_FAILED;
  }
  status = c.pid_file ? write_pid_file(c.pid_file) : 0;
  int code = status ? status : run(rt, &c);
  if (c.pid_file && !status) unlink(c.pid_file);
  handle_signals(on_late_signal);
  if (jobrun_free(rt) < 0) {
    fprintf(stderr, "jobrun: %s\n", jobrun_last_error(rt));
    _exit(code ? code : EXIT_FAILED); /* a stuck thread would hold up an orderly exit */
  }
  int lost = check_output();
  return code ? code : lost;
}
