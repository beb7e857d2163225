/* Waits, for the files of the waist; what bindings use of them is in task.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WAIT_H
#define JR_WAIT_H

#include <lua.h>

#include "task.h"

/* Asks the operation to end, as its `cancel` says. */
void jr_wait_cancel(jr_wait *w);

/* The task lets go of its wait, if it has one: after it was woken, or when it dies in it. */
void jr_wait_detach(jr_task *t);

/* The `fire` of a task's timer: its sleep or the deadline of its wait is over. */
void jr_wait_on_timer(struct jobrun *rt, jr_timer *timer);

#endif
