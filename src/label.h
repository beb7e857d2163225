/* What a job is called: the name it was given, or one made from its interval and its place in the
 * script, "every 2 seconds script.lua:12". A made name is written only when somebody asks: a
 * hundred thousand jobs may share a line, and their label is a few bytes each.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LABEL_H
#define JR_LABEL_H

#include <stddef.h>
#include <stdint.h>

/* How a made name tells the interval. */
typedef enum jr_unit {
  JR_UNIT_GIVEN, /* not at all: the name was given */
  JR_UNIT_AFTER, /* "after 5m script.lua:12" */
  JR_UNIT_NONE,  /* "every 1h30m script.lua:12" */
  JR_UNIT_FIRST  /* from here on: "every 2 seconds script.lua:12" */
} jr_unit;

/* The word of a unit from JR_UNIT_FIRST on, with its length in *ns; NULL behind the last one. */
const char *jr_unit_word(int unit, int64_t *ns);

typedef struct jr_label {
  const char *text; /* the given name, or the source; borrowed */
  int32_t line;
  uint32_t ordinal; /* above 1: "#2" behind a made name */
  uint8_t unit;     /* jr_unit */
} jr_label;

/* Writes the name, cut to `size` with its zero; `period_ns` is the job's interval. */
void jr_label_write(const jr_label *label, int64_t period_ns, char *name, size_t size);

#endif
