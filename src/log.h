/* Log lines: one event, a level, a sink.
 *
 * The sink is a function the host gives (default: one line of text on stderr, written with one
 * write(2), so lines of several processes do not mix).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LOG_H
#define JR_LOG_H

#include <stdarg.h>
#include <stddef.h>

typedef enum jr_log_level {
  JR_LOG_DEBUG,
  JR_LOG_INFO,
  JR_LOG_WARN,
  JR_LOG_ERROR,
  JR_LOG_OFF
} jr_log_level;

/* `text` is valid during the call only; it may have several lines and has no newline at its end. */
typedef void (*jr_log_sink)(void *data, jr_log_level level, const char *text, size_t len);

typedef struct jr_log {
  jr_log_sink sink;
  void *data;
  jr_log_level level; /* lines below it are dropped */
} jr_log;

/* sink NULL: text on stderr. */
void jr_log_init(jr_log *log, jr_log_sink sink, void *data, jr_log_level level);

/* Any thread, as far as the sink is (the default one is). Lines are cut at 64 KiB. */
void jr_log_line(const jr_log *log, jr_log_level level, const char *text, size_t len);
void jr_logf(const jr_log *log, jr_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "debug" … "error"; the level's name. */
const char *jr_log_level_name(jr_log_level level);

/* The level with that name, or -1. */
int jr_log_level_from(const char *name);

#endif
