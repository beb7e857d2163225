/* Log lines: one event, a level, a sink.
 *
 * The sink is a function the host gives (default: one line on stderr, rendered by logline.c and
 * written with one write(2), so lines of several processes do not mix). Beside it a ring may keep
 * the last events for readers (logring.c).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LOG_H
#define JR_LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum jr_log_level {
  JR_LOG_DEBUG,
  JR_LOG_INFO,
  JR_LOG_WARN,
  JR_LOG_ERROR,
  JR_LOG_OFF
} jr_log_level;

enum { JR_LOG_LEVELS = JR_LOG_OFF };

typedef enum jr_log_format {
  JR_LOG_AUTO, /* text on a terminal, logfmt elsewhere */
  JR_LOG_TEXT,
  JR_LOG_LOGFMT,
  JR_LOG_JSON
} jr_log_format;

typedef enum jr_log_color { JR_COLOR_AUTO, JR_COLOR_ALWAYS, JR_COLOR_NEVER } jr_log_color;

/* Zeroed but for level, text and len it is a plain line. All texts are valid during the call only;
 * `text` may have several lines and has no newline at its end. */
typedef struct jr_log_event {
  jr_log_level level;
  int64_t wall_ns; /* set by jr_log_put */
  const char *text;
  size_t len;
  const char *name;    /* the job's, or NULL */
  uint64_t run;        /* its run, or 0 */
  const char *event;   /* "start", "end", "skip", or NULL */
  const char *outcome; /* of an end, or NULL */
  int64_t duration_ns;
  int exit_code;
  bool has_duration, has_exit_code;
} jr_log_event;

typedef void (*jr_log_sink)(void *data, const jr_log_event *event);

/* What a host gives: the event as one text, `job "NAME": …` where it is about a job. */
typedef void (*jr_log_host)(void *data, jr_log_level level, const char *text, size_t len);

struct jr_log_ring;

typedef struct jr_log {
  jr_log_sink sink;
  void *data;
  jr_log_level level;   /* lines below it are dropped */
  jr_log_format format; /* of stderr; never JR_LOG_AUTO */
  bool colored;         /* stderr takes colours */
  bool journaled;       /* stderr is the journal's: lines begin with "<N>", their priority */
  jr_log_host host;
  void *host_data;
  _Atomic(struct jr_log_ring *) ring; /* NULL: none is kept */
  _Atomic uint64_t lines[JR_LOG_LEVELS];
} jr_log;

/* host NULL: stderr. `format` and `color` are for stderr; auto looks at it and at the environment
 * (NO_COLOR, CLICOLOR_FORCE, TERM, JOURNAL_STREAM). */
void jr_log_init(jr_log *log, jr_log_host host, void *data, jr_log_level level,
                 jr_log_format format, jr_log_color color);

/* Any thread, as far as the sink is (the default one is). Lines are cut at 64 KiB. */
void jr_log_put(jr_log *log, const jr_log_event *event);
void jr_log_line(jr_log *log, jr_log_level level, const char *text, size_t len);
void jr_logf(jr_log *log, jr_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* "debug" … "error"; the level's name. */
const char *jr_log_level_name(jr_log_level level);

/* The level with that name, or -1. */
int jr_log_level_from(const char *name);

#endif
