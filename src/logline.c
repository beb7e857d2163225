/* A log event as a line of bytes.
 *
 * SPDX-License-Identifier: MIT */
#include "logline.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "json.h"

/* What the fields behind the message may take; a name is at most NAME_BYTES of it before it is
 * escaped. */
enum { TAIL = 900, NAME_BYTES = 96 };

typedef struct line {
  char *data;
  size_t len, cap;
  bool is_full; /* something did not fit, so nothing goes behind it either */
} line;

static void put(line *out, const char *bytes, size_t len) {
  out->is_full |= len > out->cap - out->len;
  if (out->is_full) return;
  memcpy(out->data + out->len, bytes, len);
  out->len += len;
}

static void puts_(line *out, const char *text) {
  put(out, text, strlen(text));
}

__attribute__((format(printf, 2, 3))) static void putf(line *out, const char *fmt, ...) {
  char text[64];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  if (n > 0) put(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

/* Between quotes, as JSON escapes it; logfmt readers take the same escapes. */
static void put_escaped(line *out, const char *text, size_t len) {
  const unsigned char *at = (const unsigned char *)text, *end = at + len;
  while (at < end) {
    int n = *at < 0x80 ? 1 : jr_utf8_length(at, end);
    if (n == 0)
      puts_(out, "\xef\xbf\xbd");
    else if (*at == '"' || *at == '\\')
      putf(out, "\\%c", *at);
    else if (*at == '\n')
      puts_(out, "\\n");
    else if (*at == '\t')
      puts_(out, "\\t");
    else if (*at < 0x20 || *at == 0x7f)
      putf(out, "\\u%04x", *at);
    else
      put(out, (const char *)at, (size_t)n);
    at += n ? n : 1;
  }
}

static void put_time(line *out, int64_t wall_ns) {
  struct tm tm;
  time_t seconds = (time_t)(wall_ns / 1000000000);
  char text[32];
  gmtime_r(&seconds, &tm);
  strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
  putf(out, "%s.%03dZ", text, (int)(wall_ns / 1000000 % 1000));
}

/* The message may fill the line but for what the rest needs. */
static void put_message(line *out, const jr_log_event *event) {
  size_t cap = out->cap;
  out->cap -= TAIL;
  put_escaped(out, event->text, event->len);
  out->cap = cap;
  out->is_full = false;
}

static size_t name_length(const char *name) {
  size_t len = strlen(name);
  return len < NAME_BYTES ? len : NAME_BYTES;
}

/* ---- text ---------------------------------------------------------------------------------- */

static const char *const colors[] = {"\033[2m", "\033[32m", "\033[33m", "\033[31m"};

/* A line of the journal's begins with its priority, each one of a message of several lines. */
static void put_lines(line *out, const jr_log_event *event, const char *priority) {
  for (const char *at = event->text, *end = at + event->len; at < end;) {
    const char *newline = memchr(at, '\n', (size_t)(end - at));
    size_t len = newline ? (size_t)(newline - at) + 1 : (size_t)(end - at);
    if (len > out->cap - out->len) len = out->cap - out->len;
    put(out, at, len);
    if (newline) puts_(out, priority);
    at = newline ? newline + 1 : end;
  }
}

static void put_text(line *out, const jr_log *log, const jr_log_event *event,
                     const char *priority) {
  struct tm tm;
  time_t seconds = (time_t)(event->wall_ns / 1000000000);
  char when[32];
  localtime_r(&seconds, &tm);
  strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
  putf(out, "%s.%03d ", when, (int)(event->wall_ns / 1000000 % 1000));
  if (log->colored) puts_(out, colors[event->level]);
  putf(out, "%-5s", jr_log_level_name(event->level));
  puts_(out, log->colored ? "\033[0m " : " ");
  if (event->name) {
    puts_(out, "job \"");
    puts_(out, event->name);
    puts_(out, "\": ");
  }
  put_lines(out, event, priority);
}

/* ---- logfmt -------------------------------------------------------------------------------- */

static bool is_bare(const char *text) {
  for (const char *at = text; *at; at++)
    if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f || strchr("\"=\\", *at))
      return false;
  return *text != '\0';
}

static void put_logfmt(line *out, const jr_log_event *event) {
  puts_(out, "ts=");
  put_time(out, event->wall_ns);
  putf(out, " level=%s msg=\"", jr_log_level_name(event->level));
  put_message(out, event);
  puts_(out, "\"");
  if (event->name) {
    const char *quote = is_bare(event->name) ? "" : "\"";
    putf(out, " name=%s", quote);
    put_escaped(out, event->name, name_length(event->name));
    puts_(out, quote);
  }
  if (event->run) putf(out, " run=%llu", (unsigned long long)event->run);
  if (event->event) putf(out, " event=%s", event->event);
  if (event->outcome) putf(out, " outcome=%s", event->outcome);
  if (event->has_duration) putf(out, " duration_s=%.3f", (double)event->duration_ns / 1e9);
  if (event->has_exit_code) putf(out, " exit_code=%d", event->exit_code);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void put_json(line *out, const jr_log_event *event) {
  puts_(out, "{\"ts\":\"");
  put_time(out, event->wall_ns);
  putf(out, "\",\"level\":\"%s\",\"msg\":\"", jr_log_level_name(event->level));
  put_message(out, event);
  puts_(out, "\"");
  if (event->name) {
    puts_(out, ",\"name\":\"");
    put_escaped(out, event->name, name_length(event->name));
    puts_(out, "\"");
  }
  if (event->run) putf(out, ",\"run\":\"%llu\"", (unsigned long long)event->run);
  if (event->event) putf(out, ",\"event\":\"%s\"", event->event);
  if (event->outcome) putf(out, ",\"outcome\":\"%s\"", event->outcome);
  if (event->has_duration) putf(out, ",\"duration_s\":%.3f", (double)event->duration_ns / 1e9);
  if (event->has_exit_code) putf(out, ",\"exit_code\":%d", event->exit_code);
  puts_(out, "}");
}

size_t jr_logline(const jr_log *log, const jr_log_event *event, char *out, size_t size) {
  static const char *const priorities[] = {"<7>", "<6>", "<4>", "<3>"}; /* of syslog */
  const char *priority = log->journaled ? priorities[event->level] : "";
  line l = {.data = out, .cap = size - 1};
  puts_(&l, priority);
  if (log->format == JR_LOG_JSON)
    put_json(&l, event);
  else if (log->format == JR_LOG_LOGFMT)
    put_logfmt(&l, event);
  else
    put_text(&l, log, event, priority);
  out[l.len++] = '\n';
  return l.len;
}
