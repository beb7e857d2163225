/* How a cron line is written, and reading one.
 *
 *   line  := [ ("CRON_TZ"|"TZ") "=" ZONE SP ] ( alias | [sec] min hour dom mon dow )
 *   alias := @yearly @annually @monthly @weekly @daily @midnight @hourly @minutely @secondly
 *            @reboot | "@every" DURATION
 *   field := item ("," item)*
 *   item  := ("*"|"?") ["/" n] | v ["-" v] ["/" n] | "H"["(" v "-" v ")"]["/" n] | special
 *   v     := number | name                       3 letters, any case, jan-dec and sun-sat
 *
 *   sec, min 0-59; hour 0-23; dom 1-31; mon 1-12; dow 0-7 (0 and 7 are Sunday)
 *   n is a step, from 1 to how many values the field has; "a/n" is from a to the field's end
 *   a range may wrap (22-2, sat-mon); its step is counted along
 *   "?" stands in dom and dow only and is a star
 *   dom: L the last day, L-n n days before it, nW the day from Monday to Friday nearest to n
 * (within the month), LW the last such day dow: v#n the n-th (1-5) of the month, vL or v#L the
 * last; "+" in front of the field: dom AND dow where both dom and dow say something, a day matches
 * that fits ONE of them, unless there is a "+"
 *
 * H stands for a value that depends on the job's name, so that many jobs "H H * * *" are spread
 * over the day while each keeps its time for ever: FNV-1a (64 bit) over the name's bytes and one
 * byte for the field (0 = seconds … 5 = dow), its upper half folded into the lower one by exclusive
 * or, modulo the number of values: of the range, or of the step if that is smaller. dom takes 1-28
 * unless a range is given, dow 0-6.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CRONLINE_H
#define JR_CRONLINE_H

#include <stddef.h>

#include "buf.h"
#include "cron.h"

/* What is wrong with a line, and where. */
typedef struct jr_cron_fault {
  int column;        /* from 1 */
  const char *field; /* "minute", "day of month" …; NULL: not one field's fault; static memory */
  char what[192];    /* `minute "5,60": 60 is outside 0-59`; one line, without the column */
} jr_cron_fault;

enum { JR_CRON_MAX_LINE = 1000 };

/* Reads all `len` bytes of `text`; blanks around it do not count. `name` is the job's, for H; NULL
 * where it has none, and then H is refused. 0, or UV_EINVAL with *fault filled and *out as it was.
 * That the zone of CRON_TZ exists is not looked at. Pure, any thread. */
int jr_cron_parse(const char *text, size_t len, const char *name, size_t name_len, jr_cron *out,
                  jr_cron_fault *fault);

#endif
