/* What the rest of the door needs of a runtime's host: the last error, and who may call.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HOST_H
#define JR_HOST_H

#include <stdbool.h>

#include "jobrun.h"
#include "rt.h"

/* Keeps the text as the last error and returns the status. The runtime's thread. */
int jr_host_fail(jobrun *rt, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* True on the thread the runtime belongs to. Any thread. */
bool jr_host_is_mine(const jobrun *rt);

/* First line of a call that belongs to the runtime's thread: JR_ETHREAD elsewhere, JR_ECLOSED once
 * jobrun_free has begun. `call` names it in the last error. */
int jr_host_check(jobrun *rt, const char *call);

/* The same for a call that turns the loop: also JR_ERUNNING inside it, JR_ECLOSED after the end of
 * the script, JR_EUSAGE without one. */
int jr_host_check_run(jobrun *rt, const char *call);

/* True once jobrun_step has nothing to do before something happens: no script waits to be started.
 */
bool jr_host_is_started(const jobrun *rt);

#endif
