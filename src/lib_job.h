/* The handle of a job: a userdata that is the job's own memory.
 *
 * Its user values are the function, the name or source, and a table {arguments…, n =, tags =,
 * policy =}, or the policy alone, or nil. The registry holds the handle until the job is over;
 * afterwards only the script does, and may still ask.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_JOB_H
#define JR_LIB_JOB_H

#include <lua.h>

#include "jobs.h"

enum { JR_JOB_FUNCTION = 1, JR_JOB_LABEL, JR_JOB_EXTRA }; /* the user values */

/* Once per state; may raise. */
void jr_job_meta(lua_State *L);

/* Pushes a new handle whose user values are those at the three indices. The job is zeroed. May
 * raise (memory). */
jr_job *jr_job_push_new(lua_State *L, int function, int label, int extra);

/* The job at `arg`, or raises kind "usage". */
jr_job *jr_job_check(lua_State *L, int arg);

/* Raises for a negative status of jr_job_start, _pause or _resume other than UV_EBUSY. */
void jr_job_check_status(lua_State *L, const jr_job *job, const char *op, int status);

#endif
