/* Watches for tasks that compute without ever waiting.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_WATCHDOG_H
#define JR_WATCHDOG_H

#include <stdint.h>

struct jobrun;

/* From now on a task that used the processor for more than 100 ms without a wait is logged with
 * its traceback, and one beyond `stall_ns` (0 = never) is interrupted by an error of kind
 * "stall". Call on the loop's thread, which must stay the loop's. Uses the real-time signal
 * SIGRTMIN + 3 on that thread, installed for the process on first use. 0 or a negative status. */
int jr_watchdog_start(struct jobrun *rt, int64_t stall_ns);

/* Takes it down. A runtime without one is left alone. */
void jr_watchdog_stop(struct jobrun *rt);

#endif
