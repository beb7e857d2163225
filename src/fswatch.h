/* Changes of a file or of a folder's entries, as a bounded queue of events (inotify by libuv).
 *
 * A watch is shared by its handle in Lua and by libuv, and goes when both have let go. All on the
 * loop thread; nothing here enters Lua.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_FSWATCH_H
#define JR_FSWATCH_H

#include <stdbool.h>

#include "rt.h"

enum { JR_FSWATCH_LIMIT = 1024 }; /* events that wait; what comes then is one `overflow` */

typedef enum jr_fsevent_type {
  JR_FSEVENT_CHANGE,
  JR_FSEVENT_RENAME,
  JR_FSEVENT_OVERFLOW
} jr_fsevent_type;

typedef struct jr_fsevent {
  jr_list link;
  jr_fsevent_type type;
  size_t name_len;
  char name[]; /* of the entry; "" where there is none */
} jr_fsevent;

typedef struct jr_fswatch {
  jr_wait
      wait; /* of the one task that waits for the next event; woken with 0 on events and on close */
  jr_trade trade;
  jobrun *rt;
  uv_fs_event_t handle;
  jr_list events;
  unsigned count;
  bool is_folder, closed, overflowed;
  int owners; /* the handle in Lua, libuv */
} jr_fswatch;

/* Watches `path`, which is copied. UV_ENOENT, UV_EACCES, UV_ENOSPC (the limit of inotify watches),
 * UV_ENOMEM … The caller owns *out: jr_fswatch_free. */
int jr_fswatch_new(jobrun *rt, const char *path, jr_fswatch **out);

/* No more events: those that wait are gone, the waiting task is woken. Again: nothing. */
void jr_fswatch_close(jr_fswatch *w);

/* Closes, and lets go of it. */
void jr_fswatch_free(jr_fswatch *w);

/* The oldest event, or NULL (then `overflowed` may be set: events were lost; clear it). Borrowed
 * until jr_fswatch_shift. */
const jr_fsevent *jr_fswatch_first(const jr_fswatch *w);

/* Drops the oldest event. */
void jr_fswatch_shift(jr_fswatch *w);

#endif
