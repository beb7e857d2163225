/* What a child process is in Lua, for the three files that make the module "jobrun.core.proc":
 * lib_follow.c (run), lib_pipes.c (its streams one by one), lib_proc.c (everything else).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LIB_HANDLE_H
#define JR_LIB_HANDLE_H

#include <stdbool.h>
#include <stdint.h>

#include <lauxlib.h>

#include "glue.h"
#include "proc.h"
#include "wait.h"

#define JR_HANDLE_META "jobrun.process"

enum { JR_MAX_LIMITS = 16 };

/* What becomes of a stream; in Lua the same numbers. */
enum { JR_MODE_NULL, JR_MODE_INHERIT, JR_MODE_LINES, JR_MODE_CAPTURE, JR_MODE_PULL };

/* The userdata. */
typedef struct jr_handle {
  jr_proc *p;
  uint8_t mode[JR_PROC_FDS];
  bool ran;
  int ionice; /* as ioprio_set(2) takes it */
  int limit_count;
  jr_spawn_limit limits[JR_MAX_LIMITS];
  jr_slice slice; /* how long it has handed out lines in one go */
  int last_fd;    /* run: whose lines come first; a stream is left when it has none */
  int both_fd;    /* run: its line is on the stack and still has to go to its handler; 0 = none */
} jr_handle;

/* Functions of the module, {NULL, NULL} at the end. */
extern const luaL_Reg jr_follow_functions[], jr_pipe_functions[];

/* The handle at index 1; raises if it is none. */
jr_handle *jr_handle_check(lua_State *L);

/* Its stream at the fd at index `arg`; raises if there is no pipe. */
jr_stream *jr_handle_stream(lua_State *L, const jr_handle *h, int arg);

/* False where a clean-up or an iterator has to do without waiting. */
bool jr_handle_may_wait(lua_State *L);

/* Pushes the name of one of ffmpeg's levels, nil for -1. */
void jr_push_level(lua_State *L, int level);

#endif
