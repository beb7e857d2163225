/* One line of ffmpeg's log: takes the level out, tells what kind of line it is.
 *
 * With `-loglevel repeat+level+info` a line reads `[libx264 @ 0x55d0c0] [error] text`: up to two
 * bracketed contexts, then the level. Only the first line of a message that has several carries
 * them, so the level is kept from line to line. x264 and x265 write some of their own lines past
 * ffmpeg's log, as `x264 [error]: text`; such a line has its level and does not change that of the
 * next one.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_FFLINE_H
#define JR_FFLINE_H

#include <stdbool.h>
#include <stddef.h>

/* From worst to most talkative, as ffmpeg orders them. */
typedef enum jr_fflevel {
  JR_FF_PANIC,
  JR_FF_FATAL,
  JR_FF_ERROR,
  JR_FF_WARNING,
  JR_FF_INFO,
  JR_FF_VERBOSE,
  JR_FF_DEBUG,
  JR_FF_TRACE
} jr_fflevel;

typedef struct jr_ffline {
  char *text; /* in the line given; the level is cut out, the contexts moved up to the rest */
  size_t len;
  jr_fflevel level;
  bool is_progress; /* "frame=…", "size=…": one of many of its kind */
  bool is_notable;  /* warning or worse, progress, or it tells an input's "Duration:" */
} jr_ffline;

/* Takes a line apart, in place. `*level` is the level of the line before and becomes this one's. */
void jr_ffline_parse(char *line, size_t len, jr_fflevel *level, jr_ffline *out);

/* The level of a line that stays as it is; `*level` as above. */
jr_fflevel jr_ffline_level(const char *line, size_t len, jr_fflevel *level);

/* "panic" … "trace". Static memory. */
const char *jr_fflevel_name(jr_fflevel level);

#endif
