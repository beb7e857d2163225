/* Environment variables from a file (`--env-file`).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_ENVFILE_H
#define JR_ENVFILE_H

#include <stddef.h>

/* Sets the variables of a file that are not set yet. Lines are NAME=VALUE, `export` may stand
 * before it, quotes around the value are taken off; empty ones and those that begin with # are
 * skipped. 0, or -1 with what is wrong in why[0..size), nothing of later lines set. */
int jr_envfile_load(const char *path, char *why, size_t size);

#endif
