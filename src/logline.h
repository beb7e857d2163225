/* A log event as a line of bytes: text for people, logfmt, JSON.
 *
 *   text    2026-11-22 16:03:05.123 warn  job "nightly": run 3 failed: …
 *   logfmt  ts=2026-11-22T15:03:05.123Z level=warn msg="run 3 failed: …" name=nightly run=3
 * event=end JSON    {"ts":"2026-11-22T15:03:05.123Z","level":"warn","msg":"run 3 failed:
 * …","name":"nightly", …}
 *
 * Text has the local time, as the person who reads it lives in, and may be of several lines; the
 * other two are UTC and always one line of valid UTF-8.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LOGLINE_H
#define JR_LOGLINE_H

#include <stddef.h>

#include "log.h"

/* Writes the line with its newline, in the log's format, into `out`; what does not fit is left out
 * of the message, so that the line stays well-formed. `size` is 1024 at least. Returns its length.
 * Any thread. */
size_t jr_logline(const jr_log *log, const jr_log_event *event, char *out, size_t size);

#endif
