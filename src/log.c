/* Log lines.
 *
 * SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINE = 64 * 1024 };

static const char *const names[] = {"debug", "info", "warn", "error", "off"};

const char *jr_log_level_name(jr_log_level level) {
  return names[level];
}

int jr_log_level_from(const char *name) {
  for (int i = 0; i <= JR_LOG_OFF; i++)
    if (strcmp(names[i], name) == 0) return i;
  return -1;
}

/* "2026-11-22 16:03:05.123 warn  text": local time, as the person who reads it lives in. */
static void write_stderr(void *data, jr_log_level level, const char *text, size_t len) {
  (void)data;
  struct timespec now;
  struct tm tm;
  char line[MAX_LINE + 64], when[32];
  clock_gettime(CLOCK_REALTIME, &now);
  localtime_r(&now.tv_sec, &tm);
  strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
  if (len > MAX_LINE) len = MAX_LINE;
  int n = snprintf(line, sizeof line, "%s.%03d %-5s ", when, (int)(now.tv_nsec / 1000000),
                   names[level]);
  memcpy(line + n, text, len);
  size_t total = (size_t)n + len, done = 0;
  line[total++] = '\n';
  while (done < total) {
    ssize_t w = write(STDERR_FILENO, line + done, total - done);
    if (w <= 0) break; /* nobody reads stderr: there is nowhere left to say so */
    done += (size_t)w;
  }
}

void jr_log_init(jr_log *log, jr_log_sink sink, void *data, jr_log_level level) {
  *log = (jr_log){.sink = sink ? sink : write_stderr, .data = data, .level = level};
}

void jr_log_line(const jr_log *log, jr_log_level level, const char *text, size_t len) {
  if (level >= log->level && level < JR_LOG_OFF) log->sink(log->data, level, text, len);
}

void jr_logf(const jr_log *log, jr_log_level level, const char *fmt, ...) {
  if (level < log->level) return;
  char text[4096];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n < 0) return;
  size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  jr_log_line(log, level, text, len);
}
