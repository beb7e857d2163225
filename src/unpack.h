/* Bytes into values: the receiving side of value.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_UNPACK_H
#define JR_UNPACK_H

#include <stddef.h>

#include <lua.h>

#include "value.h"

/* Pushes the values in `len` bytes and returns how many they are; UV_EINVAL, with the stack as it
 * was, where the bytes are no message. Raises where memory is out or a module cannot be required.
 */
int jr_values_unpack(jr_values *values, lua_State *L, const char *bytes, size_t len);

#endif
