/* Values into bytes: the sending side of value.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_PACK_H
#define JR_PACK_H

#include <lua.h>

#include "buf.h"
#include "value.h"

/* What the values are: it decides how a refusal speaks of them. */
typedef enum jr_values_role {
  JR_VALUES_CALL,    /* a function and its arguments */
  JR_VALUES_RESULTS, /* what a function returned */
  JR_VALUES_FAILURE  /* an error and its traceback: what cannot travel becomes a string that says so
                      */
} jr_values_role;

/* Appends `count` values from index `first` on to `out`. Never raises and leaves the stack as it
 * was. 0; JR_EUSAGE where one cannot travel and JR_ELIMIT where they are too deep or too big, both
 * with a sentence in values->error; UV_ENOMEM. `out` is then cut anywhere. */
int jr_values_pack(jr_values *values, lua_State *L, int first, int count, jr_values_role role,
                   jr_buf *out);

#endif
