/* Telling the service manager how we are: systemd's protocol of one datagram (sd_notify(3)),
 * without its library.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_NOTIFY_H
#define JR_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

/* Sends lines such as "READY=1" to $NOTIFY_SOCKET, a path or, after '@', an abstract name. Never
 * blocks. 0, also where nobody asks to be told; else a negative errno. */
int jr_notify(const char *text, size_t len);

/* How often "WATCHDOG=1" is due, in milliseconds: half of $WATCHDOG_USEC, at least 1. 0 where
 * nobody asks, or asks another process ($WATCHDOG_PID). */
uint64_t jr_notify_watchdog_ms(void);

#endif
