/* Cuts a stream of bytes into lines, at the moment somebody takes one.
 *
 * Bytes are put in by reserve + commit (so a read(2) goes straight into the buffer), lines come out
 * as slices of it: nothing is allocated for a line and nothing is copied. `\n`, `\r` and `\r\n` end
 * a line; a
 * `\r` ends it at once, and a `\n` behind it is swallowed even if it comes with a later read. What
 * has no end yet waits; at the end of the stream it is a line too. Bytes are never changed, zeros
 * included. A line longer than JR_LINES_MAX comes in pieces of that length.
 *
 *   data:   [ taken | start .. lf .. cr .. end | room ]
 *
 * `lf` and `cr` remember how far the search for the next \n and \r has come: no byte is searched
 * twice, and a text without \r costs one memchr a line, not two.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LINES_H
#define JR_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "mem.h"

#define JR_LINES_MAX ((size_t)1 << 20)

typedef struct jr_lines {
  jr_mem *mem;
  char *data;
  size_t cap, start, end;
  size_t lf, cr; /* no \n in start..lf, no \r in start..cr */
  size_t max;
  bool skip_lf; /* the last line ended in \r: a \n that follows belongs to it */
  bool finished;
} jr_lines;

void jr_lines_init(jr_lines *l, jr_mem *mem);
void jr_lines_fini(jr_lines *l);

/* Room for at least `want` bytes (`*room` says how many): where to write them, or NULL (no memory,
 * nothing changed). Slices given out before are void. */
char *jr_lines_reserve(jr_lines *l, size_t want, size_t *room);

/* `n` bytes were written there. */
void jr_lines_commit(jr_lines *l, size_t n);

/* No more bytes will come: what is left is the last line. */
void jr_lines_finish(jr_lines *l);

/* Takes the next line, without its end. The slice may be written to and is valid until the next
 * reserve. False: there is none (yet). */
bool jr_lines_next(jr_lines *l, char **line, size_t *len);

/* Takes whole lines out, oldest first, of those that `may_drop` (NULL: all) says yes to, until at
 * most `target` bytes are left. Every line up to there is shown to it once, in order. Returns how
 * many went. */
size_t jr_lines_thin(jr_lines *l, size_t target,
                     bool (*may_drop)(void *data, const char *line, size_t len), void *data);

/* Forgets the bytes not yet taken. */
void jr_lines_clear(jr_lines *l);

/* Bytes not yet taken. */
static inline size_t jr_lines_unread(const jr_lines *l) {
  return l->end - l->start;
}

#endif
