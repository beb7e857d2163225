/* Values that travel by name: modules, jobrun's words, and the C functions of modules.
 *
 * A module is not copied into another Lua state, it is required there: so is everything a script
 * can name the same way in both, which is what package.loaded holds, the words of `require
 * "jobrun"`, and a C function that is a field of a loaded module.
 *
 * A value is looked up by identity. To go through package.loaded for each message would cost more
 * than the rest of a call, so it is read into a Bloom filter once, and a metatable's __newindex
 * tells of new entries. That misses an entry which is replaced by another: what cannot travel
 * otherwise is looked up once more in a fresh reading before it is refused (`may_be_old`).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_NAMES_H
#define JR_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>

/* The module `module`, or its field `field`. Borrowed from the Lua state's tables: valid until Lua
 * runs again. */
typedef struct jr_name {
  const char *module, *field; /* field NULL: the module itself */
  size_t module_len, field_len;
} jr_name;

enum { JR_NAMES_WORDS = 32, JR_NAMES_SLOTS = 64 };

typedef struct jr_names {
  int loaded_ref, require_ref; /* of the registry */
  int slots_ref;               /* what was found lately: {value, module, field, …} */
  int watch_ref;               /* the metatable of package.loaded */
  bool is_read;                /* the filter holds what package.loaded did */
  bool is_checked;             /* ... and does, as far as this message is concerned */
  uint64_t filter[JR_NAMES_WORDS];
} jr_names;

/* For a state with its libraries open; `names` stays where it is as long as the state lives. May
 * raise (memory). */
void jr_names_open(jr_names *names, lua_State *L);

/* A new message begins: what was read of package.loaded is to be checked. */
static inline void jr_names_begin(jr_names *names) {
  names->is_checked = false;
}

/* True with the name if the value at `index` is a module or a word. With `may_be_old` false the
 * modules and words are read anew. Never raises. */
bool jr_names_find(jr_names *names, lua_State *L, int index, bool may_be_old, jr_name *out);

/* The same for a C function that is a word or a field of a loaded module. Never raises. */
bool jr_names_find_member(jr_names *names, lua_State *L, int index, jr_name *out);

/* Pushes what the name stands for in this state, requiring the module. Raises what `require`
 * raises, and where there is no such field. */
void jr_names_push(const jr_names *names, lua_State *L, const jr_name *name);

#endif
