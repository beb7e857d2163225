/* The command line of `jobrun`.
 *
 * SPDX-License-Identifier: MIT */
#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "duration.h"
#include "envfile.h"

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
    "  jobrun jobs --store URL          jobs of a store's queues; also runs, why, logs, push, retry, cancel, doctor\n"
    "  jobrun new NAME                  a script to begin with; also repl, completions bash|zsh|fish\n"
    "  jobrun test [PATHS]              run luaunit suites (*_test.lua), each file in a process of its own\n"
    "  jobrun help [COMMAND|WORD]       more about a command, or a word such as http.fetch\n"
    "  jobrun --version                 versions of jobrun and of what it uses\n"
    "  jobrun --help                    this text\n"
    "\n"
    "Options (a value may also follow as a word of its own):\n"
    "  --clock=virtual[=ISO]  time jumps to the next due moment instead of passing (ISO: the start, UTC)\n"
    "  --once                 run each job once, now, and end; exit status 1 if a run failed\n"
    "  --fail                 exit status 1 if any run failed\n"
    "  --run-pending-on-exit  when it is told to stop, each job runs once more first\n"
    "  --grace=DURATION       how long running jobs may go on after SIGTERM or Ctrl-C (10)\n"
    "  --log-level=LEVEL      debug, info, warn or error (info)\n"
    "  --log-format=FORMAT    text, logfmt or json (text on a terminal, logfmt elsewhere)\n"
    "  --color=WHEN           always, never or auto, which minds NO_COLOR, CLICOLOR_FORCE and TERM (auto)\n"
    "  --quiet                only errors\n"
    "  --stall=DURATION       interrupt a task that computes that long without waiting (off; logged after 0.1 s)\n"
    "  --listen=ADDR          control API: 127.0.0.1:9090 or unix:/run/app.sock; may be given several times\n"
    "  --read-only            the control API changes nothing\n"
    "  --token-file=PATH      its token; or JOBRUN_TOKEN in the environment (needed where others can reach it)\n"
    "  --allow-host=NAME      a further name it may be called by\n"
    "  --store=URL            keep jobs in sqlite:PATH (default $JOBRUN_STORE)\n"
    "  --chdir=DIR            work in that folder\n"
    "  --env-file=PATH        NAME=VALUE lines for the environment; what is set there stays\n"
    "  --pid-file=PATH        write the process's number there; refused while another one has it\n"
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
    {"doctor", "jobrun.cli.doctor", ASKS}, {"new", "jobrun.cli.new", RUNS},
    {"repl", "jobrun.cli.repl", ASKS},     {"completions", "jobrun.cli.completions", RUNS},
};

int command_usage(const char *fmt, ...) {
  fputs("jobrun: ", stderr);
  va_list args;
  va_start(args, fmt);
  vfprintf(stderr, fmt, args);
  va_end(args);
  fputs("\nTry: jobrun --help\n", stderr);
  return EXIT_USAGE;
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
  if (!*value) return command_usage("%s needs a value", option);
  if (to->len == MAX_WORDS) return command_usage("%s: more than %d", option, MAX_WORDS);
  to->list[to->len++] = value;
  return 0;
}

static int take_duration(const char *option, const char *value, int64_t *out_ns) {
  jr_duration_fault fault;
  if (jr_duration_parse(value, strlen(value), out_ns, &fault) == 0) return 0;
  return command_usage(
      "%s: expected a duration such as 10, 2.5s or 1h30m, got '%s' (column %d: %s)", option, value,
      fault.column, fault.what);
}

static int take_grace(command *c, const char *value) {
  int64_t ns = 0;
  int status = take_duration("--grace", value, &ns);
  c->opts.grace_s = (double)ns / 1e9;
  return status;
}

static int take_word(const char *option, const char *value, const char *const *list,
                     const char *expected, int *out) {
  if (parse_word(value, list, out)) return 0;
  return command_usage("%s: expected %s, got '%s'", option, expected, value);
}

static int take_text(const char *option, const char *value, const char **out) {
  *out = value;
  return *value ? 0 : command_usage("%s needs a value", option);
}

static int take_flag(const char *option, const char *value, bool *out) {
  *out = true;
  return *value ? command_usage("%s takes no value, got '%s'", option, value) : 0;
}

static int take_quiet(command *c, const char *value) {
  bool is_quiet;
  c->opts.log_level = JOBRUN_LOG_ERROR;
  return take_flag("--quiet", value, &is_quiet);
}

static int take_limit(command *c, const char *value) {
  char *end;
  double mib = strtod(value, &end);
  if (!*value || *end || !(mib >= 0 && mib < 1e9))
    return command_usage("--memory-limit: expected MiB, got '%s'", value);
  c->opts.memory_limit = (size_t)(mib * 1024 * 1024);
  return 0;
}

static int take_store(command *c, const char *value) {
  c->opts.store = value;
  return *value ? 0 : command_usage("--store: expected a URL such as sqlite:state.db");
}

/* Does the option say yes by being there? */
static bool is_flag(const char *option) {
  static const char *const flags[] = {"--quiet", "--read-only",           "--watch", "--once",
                                      "--fail",  "--run-pending-on-exit", NULL};
  int place;
  return parse_word(option, flags, &place);
}

/* One --name=value, or --name and then a word: *next, which is NULL once it was taken. */
static int parse_option(command *c, const char *option, const char **next) {
  const char *value = strchr(option, '=');
  size_t len = value ? (size_t)(value - option) : strlen(option);
  if (!value && !is_flag(option) && *next && **next != '-') {
    value = *next;
    *next = NULL;
  } else {
    value = value ? value + 1 : "";
  }
#define IS(name) (len == sizeof name - 1 && memcmp(option, name, len) == 0)
  if (IS("--clock"))
    return parse_clock(c, value)
               ? 0
               : command_usage(
                     "--clock: expected virtual or virtual=2027-01-31T12:00:00Z, got '%s'", value);
  if (IS("--grace")) return take_grace(c, value);
  if (IS("--log-level"))
    return take_word("--log-level", value, levels, "debug, info, warn or error",
                     &c->opts.log_level);
  if (IS("--log-format"))
    return take_word("--log-format", value, formats, "auto, text, logfmt or json",
                     &c->opts.log_format);
  if (IS("--color"))
    return take_word("--color", value, colors, "auto, always or never", &c->opts.log_color);
  if (IS("--quiet")) return take_quiet(c, value);
  if (IS("--listen")) return add_word(&c->listen, "--listen", value);
  if (IS("--allow-host")) return add_word(&c->allowed_hosts, "--allow-host", value);
  if (IS("--token-file")) return take_text("--token-file", value, &c->token_file);
  if (IS("--read-only")) return take_flag("--read-only", value, &c->read_only);
  if (IS("--env-file")) return add_word(&c->env_files, "--env-file", value);
  if (IS("--chdir")) return take_text("--chdir", value, &c->directory);
  if (IS("--pid-file")) return take_text("--pid-file", value, &c->pid_file);
  if (IS("--watch")) return take_flag("--watch", value, &c->watches);
  if (IS("--once")) return take_flag("--once", value, &c->once);
  if (IS("--fail")) return take_flag("--fail", value, &c->fails);
  if (IS("--run-pending-on-exit"))
    return take_flag("--run-pending-on-exit", value, &c->runs_at_end);
  if (IS("--stall")) return take_duration("--stall", value, &c->opts.stall_ns);
  if (IS("--memory-limit")) return take_limit(c, value);
  if (IS("--store")) return take_store(c, value);
#undef IS
  return command_usage("unknown option '%s'", option);
}

static void choose_command(command *c, const char *module, int kind) {
  c->module = module;
  if (kind == ASKS) {
    c->opts.grace_s = 0;
    if (c->opts.store) setenv("JOBRUN_STORE", c->opts.store, 1); /* to be asked, not opened */
    c->opts.store = NULL;
  }
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
static int parse_words(command *c, int argc, char **argv) {
  int i = 1;
  for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
    if (strcmp(argv[i], "--") == 0) {
      i++;
      break;
    }
    if (strcmp(argv[i], "--version") == 0 || strcmp(argv[i], "-v") == 0) {
      choose_command(c, "jobrun.cli.version", RUNS);
      return -1;
    }
    if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
      return fputs(help, stdout) < 0;
    if (strcmp(argv[i], "-e") == 0) {
      if (i + 1 == argc) return command_usage("-e needs a line of Lua");
      c->code = argv[++i];
      i++;
      break;
    }
    const char *next = argv[i + 1];
    int status = parse_option(c, argv[i], &next);
    if (status) return status;
    if (!next && argv[i + 1]) i++;
  }
  if (!c->code) {
    if (i == argc) return command_usage("no script given");
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
    return command_usage("--watch needs a script that is a file");
  if (argc > (int)(sizeof list / sizeof *list)) return command_usage("--watch: too many arguments");
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
  c->pid_file = NULL;
  c->opts.flags = 0;
  c->opts.memory_limit = 0;
  c->opts.grace_s = grace_s + WATCH_FORCE;
  return 0;
}

/* ---- once -------------------------------------------------------------------------------------
 */

/* Instead of the script, jobrun.cli.run runs all its jobs: (script, --all). */
static int run_once_instead(command *c) {
  static const char *list[2];
  if (!c->script || c->module || strcmp(c->script, "-") == 0)
    return command_usage("--once needs a script that is a file");
  list[0] = c->script;
  list[1] = "--all";
  c->module = "jobrun.cli.run";
  c->argc = 2;
  c->argv = (char **)(uintptr_t)list;
  return 0;
}

/* ---- all of it --------------------------------------------------------------------------------
 */

static int prepare_process(const command *c) {
  char why[512];
  for (int i = 0; i < c->env_files.len; i++)
    if (jr_envfile_load(c->env_files.list[i], why, sizeof why) < 0)
      return command_usage("--env-file: %s", why);
  if (c->directory && chdir(c->directory) < 0)
    return command_usage("--chdir: %s: %s", c->directory, strerror(errno));
  return 0;
}

int command_parse(command *c, int argc, char **argv) {
  int status = parse_words(c, argc, argv);
  if (status >= 0) return status;
  if (c->watches)
    status = watch_instead(c, argc, argv);
  else if ((status = prepare_process(c)) == 0 && c->once)
    status = run_once_instead(c);
  return status ? status : -1;
}
