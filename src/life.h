/* The life of a script: its phases, from the first task to the last. See life.c.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIFE_H
#define JR_LIFE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "rt.h"

/* The door's part of a runtime, beside the struct the other floors know. */
typedef struct jr_host {
  jr_task *main; /* borrowed; NULL once it ended */
  jr_watch main_watch;
  jr_task *helper; /* the task that runs life.loaded or life.stopping */
  jr_watch helper_watch;
  int main_ref, life_ref;
  int argc;
  char **argv;
  bool started; /* jobrun_run or _step was called */
  bool loaded;  /* the main chunk has suspended or returned: loading is over */
  bool main_failed;
  bool watches; /* a watchdog while jobrun_run runs */
  int64_t stall_ns;
  bool exits; /* the script itself asked to stop */
  bool grace_over;
  _Atomic int stops; /* how often a stop was asked for */
  _Atomic int64_t asked_grace_ns;
  _Atomic bool stop_at_once;
  _Atomic bool dump_asked;
} jr_host;

static inline jr_host *jr_host_of(const jobrun *rt) {
  return rt->host;
}

/* Sets what a runtime calls when the loop turns, when a task asks for the end, and when its
 * main and helper tasks have ended. */
void jr_life_init(jobrun *rt);

/* Keeps a copy of `text` as the last error, or none where memory is out. */
void jr_life_error(jobrun *rt, const char *text, size_t len);

#endif
