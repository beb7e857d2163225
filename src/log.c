/* Log lines.
 *
 * SPDX-License-Identifier: MIT */
#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "logline.h"
#include "logring.h"

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

/* ---- stderr -------------------------------------------------------------------------------- */

static void write_stderr(void *data, const jr_log_event *event) {
  const jr_log *log = data;
  char line[MAX_LINE + 1024];
  size_t total = jr_logline(log, event, line, sizeof line), done = 0;
  while (done < total) {
    ssize_t w = write(STDERR_FILENO, line + done, total - done);
    if (w <= 0) break; /* nobody reads stderr: there is nowhere left to say so */
    done += (size_t)w;
  }
}

/* systemd names the stream it gave us as DEVICE:INODE; a child's stderr may be another one. */
static bool is_journal(void) {
  const char *stream = getenv("JOURNAL_STREAM");
  unsigned long long device, inode;
  struct stat st;
  if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2) return false;
  return fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* https://no-color.org, https://bixense.com/clicolors */
static bool takes_colors(jr_log_color color) {
  if (color != JR_COLOR_AUTO) return color == JR_COLOR_ALWAYS;
  const char *no = getenv("NO_COLOR"), *force = getenv("CLICOLOR_FORCE"), *term = getenv("TERM");
  if (no && *no) return false;
  if (force && *force && strcmp(force, "0") != 0) return true;
  return isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

/* ---- a host's function --------------------------------------------------------------------- */

static void call_host(void *data, const jr_log_event *event) {
  const jr_log *log = data;
  char text[MAX_LINE];
  if (!event->name) {
    log->host(log->host_data, event->level, event->text, event->len);
    return;
  }
  int n =
      snprintf(text, sizeof text, "job \"%s\": %.*s", event->name, (int)event->len, event->text);
  size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  log->host(log->host_data, event->level, text, len);
}

/* ---- lines --------------------------------------------------------------------------------- */

void jr_log_init(jr_log *log, jr_log_host host, void *data, jr_log_level level,
                 jr_log_format format, jr_log_color color) {
  *log = (jr_log){.sink = host ? call_host : write_stderr,
                  .data = log,
                  .level = level,
                  .format = format,
                  .host = host,
                  .host_data = data};
  if (format == JR_LOG_AUTO) log->format = isatty(STDERR_FILENO) ? JR_LOG_TEXT : JR_LOG_LOGFMT;
  log->colored = takes_colors(color);
  log->journaled = is_journal();
}

void jr_log_put(jr_log *log, const jr_log_event *event) {
  if (event->level < log->level || event->level >= JR_LOG_OFF) return;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  jr_log_event stamped = *event;
  stamped.wall_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
  if (stamped.len > MAX_LINE) stamped.len = MAX_LINE;
  atomic_fetch_add_explicit(&log->lines[event->level], 1, memory_order_relaxed);
  log->sink(log->data, &stamped);
  struct jr_log_ring *ring = atomic_load(&log->ring);
  if (ring) jr_log_ring_add(ring, &stamped);
}

void jr_log_line(jr_log *log, jr_log_level level, const char *text, size_t len) {
  jr_log_put(log, &(jr_log_event){.level = level, .text = text, .len = len});
}

void jr_logf(jr_log *log, jr_log_level level, const char *fmt, ...) {
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
