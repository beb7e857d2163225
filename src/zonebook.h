/* The zones of a runtime, watched: when the system's zone files are upgraded, they are read again.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_ZONEBOOK_H
#define JR_ZONEBOOK_H

#include <stddef.h>

#include "clock.h"
#include "rt.h"
#include "zones.h"

typedef struct jr_zonebook {
  jr_trade trade;
  jobrun *rt;
  jr_zones zones;
  jr_list watches; /* a folder each */
  jr_timer settle;
  bool is_blind; /* it was said that changes are not seen */
  /* A zone in use is another one now; set by whoever keeps plans by it. */
  void (*on_change)(jobrun *rt, const jr_zone *zone);
} jr_zonebook;

/* The runtime's, made with the first call; borrowed. 0 or UV_ENOMEM. */
int jr_zonebook_get(jobrun *rt, jr_zonebook **out);

/* As jr_zones_get, or with `name` NULL the local zone; and the zone's file is watched from now on.
 */
int jr_zonebook_zone(jr_zonebook *book, const char *name, size_t len, jr_zone **out);

#endif
