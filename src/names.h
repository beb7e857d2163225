/* Values that travel by name: modules, jobrun's words, and the C functions of modules.
 *
 * A module is not copied into another Lua state, it is required there: so is everything a script
 * can name the same way in both, which is what package.loaded holds, the words of `require
 * "jobrun"`, and a C function that is a field of a loaded module.
 *
 * A value is looked up by identity. package.loaded may change at any time and tells nobody, so it
 * is read anew for each message that needs it, once, into a Bloom filter: a message with a
 * thousand tables costs one such walk, and the few values the filter lets through a second one.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_NAMES_H
#define JR_NAMES_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

/* The module `module`, or its field `field`. Borrowed from the Lua state's tables: valid until Lua
 * runs again. */
typedef struct jr_name {
  const char *module, *field; /* field NULL: the module itself */
  size_t module_len, field_len;
} jr_name;

enum { JR_NAMES_WORDS = 32, JR_NAMES_MEMBERS = 64 };

typedef struct jr_names {
  int loaded_ref, require_ref; /* of the registry */
  int members_ref;             /* {function, module, field or false, …}: one triple a slot */
  bool is_read;                /* the filter stands for this message */
  uint64_t filter[JR_NAMES_WORDS];
} jr_names;

/* For a state with its libraries open. May raise (memory). */
void jr_names_open(jr_names *names, lua_State *L);

/* A new message begins: what was read of package.loaded no longer counts. */
static inline void jr_names_begin(jr_names *names) {
  names->is_read = false;
}

/* True with the name if the value at `index` is a module or a word. Never raises. */
bool jr_names_find(jr_names *names, lua_State *L, int index, jr_name *out);

/* The same for a C function that is a word or a field of a loaded module. Never raises. */
bool jr_names_find_member(jr_names *names, lua_State *L, int index, jr_name *out);

/* Pushes what the name stands for in this state, requiring the module. Raises what `require`
 * raises, and where there is no such field. */
void jr_names_push(const jr_names *names, lua_State *L, const jr_name *name);

#endif
