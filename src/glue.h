/* Glue between C and Lua: error objects, tracebacks, checked arguments.
 *
 * Every error of ours is a table {kind, message, code, op, where, traceback, cause, …} with one
 * shared metatable; tostring(e) is "WHERE: MESSAGE".
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_GLUE_H
#define JR_GLUE_H

#include <stdbool.h>
#include <stdint.h>

#include <lauxlib.h>
#include <lua.h>

struct jobrun;

/* Makes the error metatable and the module "jobrun.core.error"; once per state (workers too). */
void jr_errors_open(lua_State *L);

/* True for the chunk name of one of jobrun's own Lua files, whose lines are no user's business. */
bool jr_is_own_source(const char *source);

/* Pushes an error object. `code` is a status or 0; `level` 1 blames the function that called into
 * C, 2 its caller, 0 nobody. */
void jr_error_push(lua_State *L, const char *kind, int code, int level, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Pushes and raises it. */
int jr_raise(lua_State *L, const char *kind, int code, int level, const char *fmt, ...)
    __attribute__((format(printf, 5, 6), noreturn));

/* Raises `what` failed with a status: kind by status (not_found, permission, exists, timeout,
 * cancelled, no_memory, …), code by name, message "OP: TEXT". */
int jr_raise_status(lua_State *L, const char *op, int status) __attribute__((noreturn));

/* The kind that belongs to a status. Static memory. */
const char *jr_kind_of(int status);

/* True if the value at `index` is an error object, of that kind where kind is not NULL. */
bool jr_error_is(lua_State *L, int index, const char *kind);

/* Message handler for lua_pcallk: keeps a traceback of the raise point in the object (field
 * `traceback`), or for other values beside them (jr_traceback_of). Leaves the value as it is. */
int jr_message_handler(lua_State *L);

/* Pushes the traceback kept for the error value at `index`, or nil. */
void jr_traceback_of(lua_State *L, int index);

/* Keeps `traceback` (top of the stack, popped) for the error value at `index`. */
void jr_traceback_keep(lua_State *L, int index);

/* Pushes one string: the error's text, its traceback behind it if it has one. */
void jr_error_text(lua_State *L, int index);

/* The duration at `arg`, a number of seconds or a text such as "1h30m", as nanoseconds (not
 * negative, at most 292 years, rounded up); raises kind "usage" that names `what`. */
int64_t jr_check_duration(lua_State *L, int arg, const char *what);

#endif
