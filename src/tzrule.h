/* The POSIX rule for a zone, "CET-1CEST,M3.5.0,M10.5.0/3": what TZ holds, and what ends a zone
 * file to say how it goes on for ever.
 *
 *   rule   := name offset [ name [offset] [ "," edge "," edge ] ]       offset is west of Greenwich
 *   name   := 3 or more letters | "<" letters, digits, "+", "-" ">"
 *   edge   := ( "J" 1-365 | 0-365 | "M" month "." week "." weekday ) [ "/" time ]
 *
 * Jn never counts the leap day, n does; week 5 is the last one. Offsets and times are
 * [+-]h[h[h]][:mm[:ss]], up to 167 hours. Daylight saving without an offset is an hour ahead;
 * without edges it follows the present rule of the United States.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_TZRULE_H
#define JR_TZRULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JR_TZ_ABBR = 16, JR_TZ_MAX_OFFSET = 167 * 3600 + 3599 };

typedef enum jr_tzedge_kind { JR_TZEDGE_JULIAN, JR_TZEDGE_DAY, JR_TZEDGE_MONTH } jr_tzedge_kind;

/* The wall time, in the offset before it, at which the year's daylight saving begins or ends. */
typedef struct jr_tzedge {
  uint8_t kind;                 /* jr_tzedge_kind */
  uint8_t month, week, weekday; /* of MONTH */
  int16_t day;                  /* of JULIAN and DAY */
  int32_t second;               /* from that day's midnight; may lie outside of it */
} jr_tzedge;

typedef struct jr_tzrule {
  int32_t offset, dst_offset; /* seconds east of Greenwich */
  bool has_dst;
  jr_tzedge begin, end;
  char abbr[JR_TZ_ABBR], dst_abbr[JR_TZ_ABBR]; /* cut where longer */
} jr_tzrule;

/* Reads all `len` bytes. 0, or UV_EINVAL with *out as it was. Pure, any thread. */
int jr_tzrule_parse(const char *text, size_t len, jr_tzrule *out);

/* The instants, in seconds of UTC, at which daylight saving begins and ends by the rule's dates of
 * `year`: in any order, and perhaps some days outside of that year. Only with has_dst. */
void jr_tzrule_edges(const jr_tzrule *rule, int64_t year, int64_t *begin, int64_t *end);

#endif
