/* Ends our children's process groups when we are killed: a small sibling process that waits for
 * our death.
 *
 * A parent-death signal reaches a child, but not the child's own children. So the first child
 * process makes us fork a *warden*. It shares one range of memory with us, a table of the live
 * process groups, and waits on a pidfd of ours, which tells of our death however we die. Then it
 * ends each group of the table. Entering a group is a store to memory: no system call, no wake-up,
 * and the child itself does it before its exec, so there is no moment when a group lives and is not
 * in the table. We hold no fd for it.
 *
 * SIGTERM must come once (a second one makes ffmpeg drop what it was about to write). The kernel
 * sends it to each group's leader as its parent-death signal; the warden sends it to the rest of a
 * group, once the leader is gone, and SIGCONT to all, as one that was stopped hears nothing else.
 * What is left after 10 s is killed. Then the files go that stand in the litter: what the children
 * were writing under temporary names.
 *
 * The warden is in a session of its own, holds no fd of ours (so `jobrun x | cat` ends with
 * jobrun), and after the fork makes only async-signal-safe calls. One per runtime; all functions
 * are for the loop thread.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WARDEN_H
#define JR_WARDEN_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "litter.h"

struct jr_warden_table;

/* Zeroed: not yet open. */
typedef struct jr_warden {
  struct jr_warden_table *table; /* shared memory */
  pid_t pid;
} jr_warden;

/* A place for one more group, for jr_spawn_spec.publish; forks the warden if there is none (any
 * more). 0 and *place, or UV_EAGAIN (too many groups at once), or the system's status. */
int jr_warden_take(jr_warden *w, _Atomic int32_t **place);

/* The group at `place` is gone, or is nobody's business any more. NULL is left alone. */
void jr_warden_release(_Atomic int32_t *place);

/* The files to be removed if we are killed; NULL = out of memory. It is the warden's. */
jr_litter *jr_warden_litter(jr_warden *w);

/* Ends the warden and reaps it; live groups are left alone, files that nobody gave a name are
 * removed. Blocks for the time a process takes to exit. */
void jr_warden_close(jr_warden *w);

#endif
