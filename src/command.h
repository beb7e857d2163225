/* The command line of `jobrun`: its options, what it is to run, its help.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_COMMAND_H
#define JR_COMMAND_H

#include <stdbool.h>

#include "jobrun.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SIGINT = 130 };

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
  words env_files;
  const char *directory, *pid_file;
  bool read_only, watches, once;
  bool fails;       /* a run that failed makes the exit status 1 */
  bool runs_at_end; /* each job runs once more when the script is told to stop */
  int argc;
  char **argv;
  jobrun_opts opts;
} command;

/* Fills a command that is zeroed but for opts. -1 to go on, or an exit status: help was printed, or
 * what is wrong was said. */
int command_parse(command *c, int argc, char **argv);

/* Says what is wrong on stderr; the exit status for it. */
int command_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
