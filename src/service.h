/* A runtime as a service of systemd's: ready, stopping, and a sign of life from its loop.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_SERVICE_H
#define JR_SERVICE_H

#include "rt.h"

/* From now on the service manager is told, if there is one; and the watchdog, if it asks. 0 or a
 * negative status. */
int jr_service_open(jobrun *rt);

/* The script has loaded and its on.start hooks have run; the end has begun. They do nothing in a
 * runtime that is no service. */
void jr_service_ready(jobrun *rt);
void jr_service_stopping(jobrun *rt);

#endif
