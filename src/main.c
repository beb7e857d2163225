/* The command: reads the command line, runs a script in a runtime, hands signals to it.
 *
 * All it can do a host program can do too, by jobrun.h alone.
 *
 * SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <sqlite3.h>
#include <uv.h>

#include "jobrun.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SIGINT = 130 };

static const char help[] =
    "jobrun runs scheduled jobs, child processes and tasks written in Lua.\n"
    "\n"
    "  jobrun [OPTIONS] SCRIPT [ARGS]   run a script until its work is done; - reads stdin\n"
    "  jobrun [OPTIONS] -e CODE [ARGS]  run a line of Lua\n"
    "  jobrun check SCRIPT              load it without running anything, and say what is wrong\n"
    "  jobrun list SCRIPT               the jobs it declares\n"
    "  jobrun next SCRIPT               when they run next; also next --cron LINE, next --every CODE\n"
    "  jobrun run SCRIPT JOB...         run jobs once, now\n"
    "  jobrun explain EXPRESSION        a cron line, or every(…), in words\n"
    "  jobrun status -s ADDR            jobs of a running script (its --listen); also logs, trigger, pause, resume, cancel\n"
    "  jobrun test [PATHS]              run luaunit suites (*_test.lua), each file in a process of its own\n"
    "  jobrun help [COMMAND]            more about a command\n"
    "  jobrun --version                 versions of jobrun, Lua and libuv\n"
    "  jobrun --help                    this text\n"
    "\n"
    "Options:\n"
    "  --clock=virtual[=ISO]  time jumps to the next due moment instead of passing (ISO: the start, UTC)\n"
    "  --grace=SECONDS        how long running jobs may go on after SIGTERM or Ctrl-C (10)\n"
    "  --log-level=LEVEL      debug, info, warn or error (info)\n"
    "  --log-format=FORMAT    text, logfmt or json (text on a terminal, logfmt elsewhere)\n"
    "  --color=WHEN           always, never or auto, which minds NO_COLOR, CLICOLOR_FORCE and TERM (auto)\n"
    "  --quiet                only errors\n"
    "  --stall=SECONDS        interrupt a task that computes that long without waiting (off; logged after 0.1 s)\n"
    "  --listen=ADDR          control API: 127.0.0.1:9090 or unix:/run/app.sock; may be given several times\n"
    "  --read-only            the control API changes nothing\n"
    "  --token-file=PATH      its token; or JOBRUN_TOKEN in the environment (needed where others can reach it)\n"
    "  --allow-host=NAME      a further name it may be called by\n"
    "  --store=URL            keep jobs in sqlite:PATH (default $JOBRUN_STORE)\n"
    "  --watch                run the script anew when it, or a Lua file in its folder or below, changes\n"
    "  --memory-limit=MIB     memory for the script; beyond it Lua raises \"not enough memory\" (none)\n"
    "  --                     ends the options\n"
    "\n"
    "Signals: TERM, INT and HUP stop in order, a second one at once, a third leaves; QUIT prints the tasks.\n"
    "\n"
    "Exit status: 0 all well, 1 an error, 2 wrong use or a script that does not load,\n"
    "124 the grace passed, 130 after Ctrl-C.\n"
    "\n"
    "Example:  jobrun -e 'every(1).second(function() print \"tick\" end)'\n";

/* Commands are Lua modules with a function `main`; most look at a script's jobs on a clock that
 * stands still, others ask a running script and have nothing to finish when they are stopped. */
enum { RUNS, LOOKS, ASKS };
static const struct {
  const char *name, *module;
  int kind;
} commands[] = {
    {"test", "jobrun.test", RUNS},         {"check", "jobrun.cli.check", LOOKS},
    {"list", "jobrun.cli.list", LOOKS},    {"next", "jobrun.cli.next", LOOKS},
    {"run", "jobrun.cli.run", RUNS},       {"explain", "jobrun.cli.explain", LOOKS},
    {"help", "jobrun.cli.help", LOOKS},    {"status", "jobrun.cli.status", ASKS},
    {"logs", "jobrun.cli.logs", ASKS},     {"trigger", "jobrun.cli.trigger", ASKS},
    {"pause", "jobrun.cli.pause", ASKS},   {"resume", "jobrun.cli.resume", ASKS},
    {"cancel", "jobrun.cli.cancel", ASKS}, {"jobs", "jobrun.cli.jobs", ASKS},
    {"runs", "jobrun.cli.runs", ASKS},     {"why", "jobrun.cli.why", ASKS},
    {"push", "jobrun.cli.push", ASKS},     {"retry", "jobrun.cli.retry", ASKS},
    {"doctor", "jobrun.cli.doctor", ASKS},
};

enum { MAX_WORDS = 16 };

/* The values of an option that may be given several times. */
typedef struct words {
  const char *list[MAX_WORDS];
  int len;
} words;

typedef struct command {
  const char *script, *code, *module;
  words listen, allowed_hosts; /* of the control API */
  const char *token_file;
  bool read_only, watches;
  int argc;
  char **argv;
  jobrun_opts opts;
} command;

__attribute__((format(printf, 1, 2))) static int usage(const char *fmt, ...) {
  fputs("jobrun: ", stderr);
  va_list args;
  va_start(args, fmt);
  vfprintf(stderr, fmt, args);
  va_end(args);
  fputs("\nTry: jobrun --help\n", stderr);
  return EXIT_USAGE;
}

static int print_versions(void) {
  printf("jobrun %s\n%s\nlibuv %s\n", jobrun_version(), LUA_RELEASE, uv_version_string());
  return 0;
}

/* ---- options ------------------------------------------------------------------------------- */

/* "virtual" or "virtual=2027-01-01T00:00:00Z"; without a start, 2000-01-01, the same in each run.
 */
static bool parse_clock(command *c, const char *value) {
  struct tm tm = {.tm_year = 100, .tm_mday = 1};
  if (strncmp(value, "virtual", 7) != 0) return strcmp(value, "real") == 0;
  if (value[7] == '=') {
    const char *rest = strptime(value + 8, "%Y-%m-%d", &tm);
    if (rest && (*rest == 'T' || *rest == ' ')) rest = strptime(rest + 1, "%H:%M:%S", &tm);
    if (!rest || (*rest && strcmp(rest, "Z") != 0)) return false;
  } else if (value[7]) {
    return false;
  }
  c->opts.flags |= JOBRUN_VIRTUAL_CLOCK;
  c->opts.virtual_epoch_ns = (int64_t)timegm(&tm) * 1000000000;
  return true;
}

static bool parse_number(const char *value, double *out) {
  char *end;
  *out = strtod(value, &end);
  return *value && !*end && *out >= 0 && *out < 1e9;
}

/* The place of a word in a list that ends with NULL. */
static bool parse_word(const char *value, const char *const *list, int *out) {
  for (int i = 0; list[i]; i++)
    if (strcmp(value, list[i]) == 0) {
      *out = i;
      return true;
    }
  return false;
}

static const char *const levels[] = {"debug", "info", "warn", "error", "off", NULL};
static const char *const formats[] = {"auto", "text", "logfmt", "json", NULL};
static const char *const colors[] = {"auto", "always", "never", NULL};

static int add_word(words *to, const char *option, const char *value) {
  if (!*value) return usage("%s needs a value", option);
  if (to->len == MAX_WORDS) return usage("%s: more than %d", option, MAX_WORDS);
  to->list[to->len++] = value;
  return 0;
}

/* One --name=value. */
static int parse_option(command *c, const char *option) {
  const char *value = strchr(option, '=');
  size_t len = value ? (size_t)(value - option) : strlen(option);
  double number;
  value = value ? value + 1 : "";
#define IS(name) (len == sizeof name - 1 && memcmp(option, name, len) == 0)
  if (IS("--clock"))
    return parse_clock(c, value)
               ? 0
               : usage("--clock: expected virtual or virtual=2027-01-31T12:00:00Z, got '%s'",
                       value);
  if (IS("--grace"))
    return parse_number(value, &c->opts.grace_s)
               ? 0
               : usage("--grace: expected seconds, got '%s'", value);
  if (IS("--log-level"))
    return parse_word(value, levels, &c->opts.log_level)
               ? 0
               : usage("--log-level: expected debug, info, warn or error, got '%s'", value);
  if (IS("--log-format"))
    return parse_word(value, formats, &c->opts.log_format)
               ? 0
               : usage("--log-format: expected auto, text, logfmt or json, got '%s'", value);
  if (IS("--color"))
    return parse_word(value, colors, &c->opts.log_color)
               ? 0
               : usage("--color: expected auto, always or never, got '%s'", value);
  if (IS("--quiet")) {
    c->opts.log_level = JOBRUN_LOG_ERROR;
    return *value ? usage("--quiet takes no value, got '%s'", value) : 0;
  }
  if (IS("--listen")) return add_word(&c->listen, "--listen", value);
  if (IS("--allow-host")) return add_word(&c->allowed_hosts, "--allow-host", value);
  if (IS("--token-file")) {
    c->token_file = value;
    return *value ? 0 : usage("--token-file needs a path");
  }
  if (IS("--read-only")) {
    c->read_only = true;
    return *value ? usage("--read-only takes no value, got '%s'", value) : 0;
  }
  if (IS("--watch")) {
    c->watches = true;
    return *value ? usage("--watch takes no value, got '%s'", value) : 0;
  }
  if (IS("--stall")) {
    if (!parse_number(value, &number)) return usage("--stall: expected seconds, got '%s'", value);
    c->opts.stall_ns = (int64_t)(number * 1e9);
    return 0;
  }
  if (IS("--memory-limit")) {
    if (!parse_number(value, &number))
      return usage("--memory-limit: expected MiB, got '%s'", value);
    c->opts.memory_limit = (size_t)(number * 1024 * 1024);
    return 0;
  }
  if (IS("--store")) {
    c->opts.store = value;
    return *value ? 0 : usage("--store: expected a URL such as sqlite:state.db");
  }
#undef IS
  return usage("unknown option '%s'", option);
}

static void choose_command(command *c, const char *module, int kind) {
  c->module = module;
  if (kind == ASKS) c->opts.grace_s = 0;
  if (kind != LOOKS || c->opts.flags & JOBRUN_VIRTUAL_CLOCK) return;
  c->opts.flags |= JOBRUN_VIRTUAL_CLOCK;
  c->opts.virtual_epoch_ns = (int64_t)time(NULL) * 1000000000;
}

/* A file of that name is a script, whatever it is called. False where the word is neither that nor
 * a command: then it is left as an argument, for the help to look at. */
static bool choose(command *c, const char *word) {
  c->script = word;
  if (strcmp(word, "-") == 0 || access(word, F_OK) == 0) return true;
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    if (strcmp(word, commands[i].name) != 0) continue;
    choose_command(c, commands[i].module, commands[i].kind);
    return true;
  }
  if (strpbrk(word, "./")) return true;
  choose_command(c, "jobrun.cli.unknown", RUNS);
  return false;
}

/* Fills the command; returns -1 to go on, or an exit status. */
static int parse(command *c, int argc, char **argv) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
    if (strcmp(argv[i], "--") == 0) {
      i++;
      break;
    }
    if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-v") == 0) return print_versions();
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
      return fputs(help, stdout) < 0;
    if (strcmp(argv[i], "-e") == 0) {
      if (i + 1 == argc) return usage("-e needs a line of Lua");
      c->code = argv[++i];
      i++;
      break;
    }
    int status = parse_option(c, argv[i]);
    if (status) return status;
  }
  if (!c->code) {
    if (i == argc) return usage("no script given");
    if (choose(c, argv[i])) i++;
  }
  c->argc = argc - i;
  c->argv = argv + i;
  return -1;
}

/* ---- watching ------------------------------------------------------------------------------- */

enum { WATCH_FORCE = 30 }; /* seconds beside the script's grace; more than cli/watch.lua waits */

/* Instead of the script, jobrun.cli.watch runs, which starts it in a process of its own with the
 * same command line less --watch: (script, grace, …). The options that are about a script are that
 * process's. 0, or an exit status. */
static int watch_instead(command *c, int argc, char **argv) {
  static char grace[32];
  static const char *list[256];
  int n = 0;
  if (!c->script || c->module || strcmp(c->script, "-") == 0)
    return usage("--watch needs a script that is a file");
  if (argc > (int)(sizeof list / sizeof *list)) return usage("--watch: too many arguments");
  double grace_s = c->opts.grace_s < 0 ? 10 : c->opts.grace_s;
  snprintf(grace, sizeof grace, "%g", grace_s);
  list[n++] = c->script;
  list[n++] = grace;
  bool is_option = true;
  for (int i = 1; i < argc; i++) {
    if (argv[i] == c->script) is_option = false;
    if (!is_option || strcmp(argv[i], "--watch") != 0) list[n++] = argv[i];
  }
  c->argc = n;
  c->argv = (char **)(uintptr_t)list;
  c->module = "jobrun.cli.watch";
  c->listen.len = 0;
  c->opts.flags = 0;
  c->opts.memory_limit = 0;
  c->opts.grace_s = grace_s + WATCH_FORCE;
  return 0;
}

/* ---- signals ------------------------------------------------------------------------------- */

/* The one global of the command: a signal handler has nowhere else to look. Set before the
 * handlers are installed, never changed while they are. */
static struct {
  jobrun *rt;
  atomic_int count, first;
  bool is_silent; /* stderr is read by a program, or nothing but errors was asked for */
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
  }
  if (before >= 2) _exit(128 + number);
  jobrun_stop(signals.rt, -1);
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
  if (handler == on_signal) action.sa_handler = on_quit;
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

/* Protected: (lightuserdata command) */
static int serve_control(lua_State *L) {
  const command *c = lua_touserdata(L, 1);
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
  return 0;
}

static int listen_for_control(jobrun *rt, command *c) {
  if (!c->listen.len) return 0;
  lua_State *L = jobrun_lua(rt);
  lua_pushcfunction(L, serve_control);
  lua_pushlightuserdata(L, c);
  if (lua_pcall(L, 1, 0, 0) == LUA_OK) return 0;
  int status = usage("%s", luaL_tolstring(L, -1, NULL));
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

static int run(jobrun *rt, command *c) {
  jobrun_set_args(rt, c->argc, (const char *const *)c->argv);
  int refused = listen_for_control(rt, c);
  if (refused) return refused;
  if (load(rt, c) < 0) {
    complain(rt, c);
    return EXIT_USAGE;
  }
  signals.rt = rt;
  signals.is_silent = is_structured(c) || c->opts.log_level >= JOBRUN_LOG_ERROR;
  signal(SIGPIPE, SIG_IGN);
  handle_signals(on_signal);
  uv_prepare_t output;
  uv_prepare_init(jobrun_loop(rt), &output);
  uv_prepare_start(&output, watch_output);
  uv_unref((uv_handle_t *)&output);
  int status = jobrun_run(rt);
  uv_close((uv_handle_t *)&output, NULL);
  uv_run(jobrun_loop(rt), UV_RUN_NOWAIT);
  if (status < 0) complain(rt, c);
  int code = jobrun_exit_code(rt);
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
  int status = parse(&c, argc, argv);
  if (status >= 0) return status ? status : check_output();
  if (c.watches && (status = watch_instead(&c, argc, argv)) != 0) return status;
  setvbuf(stdout, NULL, _IOLBF, 0);
  c.opts.flags |= c.module ? JOBRUN_WATCHDOG : JOBRUN_WATCHDOG | JOBRUN_SERVICE;
  jobrun *rt;
  status = jobrun_new(&rt, &c.opts);
  if (status < 0) {
    fprintf(stderr, "jobrun: could not start: %s\n", jobrun_strerror(status));
    return EXIT_FAILED;
  }
  int code = run(rt, &c);
  handle_signals(SIG_DFL); /* jobrun_free may take a child's grace; a signal then ends us */
  if (jobrun_free(rt) < 0) {
    fprintf(stderr, "jobrun: %s\n", jobrun_last_error(rt));
    _exit(code ? code : EXIT_FAILED); /* a stuck thread would hold up an orderly exit */
  }
  int lost = check_output();
  return code ? code : lost;
}
