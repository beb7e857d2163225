/* Header fields of HTTP as a Lua table: names in small letters, what comes twice joined.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_HEADERS_H
#define JR_HEADERS_H

#include <stddef.h>

#include <lua.h>

/* Into the table on top. A second value goes behind the first with a comma between them (RFC 9110
 * §5.3), but for `apart`, whose values are joined with `joint`. May raise (memory). */
void jr_headers_add(lua_State *L, const char *name, size_t name_len, const char *value,
                    size_t value_len, const char *apart, const char *joint);

#endif
