/* For tests that play the host: runtimes whose log is kept, scripts from strings.
 *
 * SPDX-License-Identifier: MIT */
#ifndef HOST_HELP_H
#define HOST_HELP_H

#include "cmocka_all.h"

#include <string.h>

#include "jobrun.h"

typedef struct lines {
  char text[8192];
  size_t len;
} lines;

static void keep_log(void *data, int level, const char *text, size_t len) {
  lines *l = data;
  (void)level;
  if (l->len + len + 2 > sizeof l->text) return;
  memcpy(l->text + l->len, text, len);
  l->len += len;
  l->text[l->len++] = '\n';
  l->text[l->len] = 0;
}

static jobrun *new_runtime_with(lines *log, jobrun_opts o) {
  jobrun *rt = NULL;
  memset(log, 0, sizeof *log);
  o.log = keep_log;
  o.log_data = log;
  assert_int_equal(jobrun_new(&rt, &o), 0);
  return rt;
}

static jobrun *new_runtime(lines *log) {
  jobrun_opts o = JOBRUN_OPTS_INIT;
  return new_runtime_with(log, o);
}

static int load(jobrun *rt, const char *code) {
  return jobrun_load_string(rt, code, strlen(code), "=test");
}

#endif
