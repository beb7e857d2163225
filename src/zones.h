/* The zones of this machine, by name: read from the system's zone files when first asked for, kept,
 * and read again when the files have changed.
 *
 * The files lie below TZDIR, or else /usr/share/zoneinfo. A name is a path below it without "..",
 * so no name leads out of there. "UTC" needs no file. The local zone is what TZ says, as a
 * name or as a POSIX rule, or else what /etc/localtime points at, or else UTC.
 *
 * A jr_zone stays where it is as long as the jr_zones; what changes behind it when the tzdata
 * package is upgraded is `tz`. So rules keep the zone, and fetch zone->tz for each question.
 *
 * Everything here reads the file system (which blocks, but for microseconds), on one thread.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_ZONES_H
#define JR_ZONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "list.h"
#include "mem.h"
#include "tz.h"

/* Which file, and in which state, a zone was read from. */
typedef struct jr_zone_stamp {
  uint64_t device, inode, size;
  int64_t changed_ns;
} jr_zone_stamp;

typedef struct jr_zone {
  jr_list link;
  jr_tz *tz;  /* never NULL; replaced by jr_zones_refresh */
  char *name; /* "Europe/Berlin"; that of the local zone is replaced where the link changes */
  char *path; /* of its file; NULL for UTC and for a rule in TZ: they never change */
  jr_zone_stamp stamp;
} jr_zone;

typedef struct jr_zones {
  jr_mem *mem;
  jr_list named; /* by jr_zones_get */
  jr_list local; /* at most one, which is not among the others */
  char *dir, *localtime;
} jr_zones;

/* Reads nothing yet. `dir` NULL: TZDIR or the default; `localtime` NULL: /etc/localtime. Both are
 * copied. 0 or UV_ENOMEM. */
int jr_zones_init(jr_zones *zones, jr_mem *mem, const char *dir, const char *localtime);

/* The zones end with it. */
void jr_zones_fini(jr_zones *zones);

/* The zone with that name, borrowed until jr_zones_fini. UV_EINVAL: this is no zone's name;
 * UV_ENOENT: there is none; UV_EFTYPE: its file is no zone file; UV_ENOTSUP: it counts leap
 * seconds, as those below right/ do; UV_EFBIG; UV_ENOMEM; or what reading it gave. */
int jr_zones_get(jr_zones *zones, const char *name, size_t len, jr_zone **out);

/* The local zone, borrowed likewise, by the value of TZ, NULL where it is not set. Asked for again,
 * it is the one from the first time. Where TZ is set, the same errors; without it, only those of
 * reading a file that exists. */
int jr_zones_local(jr_zones *zones, const char *tz_value, jr_zone **out);

/* Appends one sentence about why a zone could not be had: `there is no zone "Europe/Berln" in
 * /usr/share/zoneinfo`. */
void jr_zones_explain(const jr_zones *zones, int status, const char *name, size_t len, jr_buf *out);

/* What became of a zone whose file is not the one that was read: status 0, it is another one now
 * (its `tz` is the new one already); UV_ENOENT, UV_EFTYPE, …: the file is gone, or broken, or half
 * written, and the zone as it was. */
typedef void (*jr_zone_news)(void *data, jr_zone *zone, int status);

/* Looks at the files of all zones in use, reads those that are not the ones it read before, and
 * tells of them. What could not be read is looked at again the next time. Returns how many zones
 * changed, or UV_ENOMEM. */
int jr_zones_refresh(jr_zones *zones, jr_zone_news tell, void *data);

#endif
