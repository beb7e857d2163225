/* Functions on their way between Lua states: their code as bytes, and what was compiled from it.
 *
 * A Lua function is code and upvalues. This file moves the code, by lua_dump with its line numbers
 * kept; value.c moves the upvalues. Both directions are what a blocking call spends most on, so
 * both remember:
 *
 * - the sender keeps the bytes of the functions it dumped last, found by the function's identity.
 *   A weak table holds the functions, so a slot whose function died reads nil and can never be
 *   taken for a new function at the same address;
 * - the receiver keeps what it compiled last, found by the bytes.
 *
 * A compiled function may be used again only where nobody can tell. A closure with upvalues of its
 * own can be kept by the script in the worker, and would change under its feet when the next call
 * sets them. So one is reused only if its upvalues are nothing but _ENV, or if it is the function
 * of the call itself, to which the script has no access; its upvalues then become fresh variables
 * for each call.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CODE_H
#define JR_CODE_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "buf.h"
#include "mem.h"
#include "tune.h"

enum { JR_CODE_SLOTS = JR_TUNE_CODE_SLOTS, JR_CODE_NAME = 80, JR_CODE_KEEP_BYTES = 16 * 1024 };

/* The code of one function. Borrowed until the next dump. */
typedef struct jr_dump {
  uint64_t hash; /* of the bytes */
  jr_buf bytes;
  int upvalues;
  char name[JR_CODE_NAME]; /* "function at script.lua:12" */
} jr_dump;

/* What was compiled from these bytes (the function is in a table of the Lua state). */
typedef struct jr_compiled {
  uint64_t hash;
  char *bytes; /* NULL = free slot */
  size_t len;
} jr_compiled;

typedef struct jr_code {
  jr_mem *mem;
  int dumped_ref;   /* weak: slot → function */
  int compiled_ref; /* slot → function */
  int cell_ref;     /* a function that returns a closure with a fresh upvalue */
  jr_dump dumps[JR_CODE_SLOTS];
  jr_compiled compiled[JR_CODE_SLOTS];
} jr_code;

void jr_code_init(jr_code *code, jr_mem *mem);
/* May raise (memory); jr_code_fini is due all the same. */
void jr_code_open(jr_code *code, lua_State *L);
void jr_code_fini(jr_code *code);

/* The code of the Lua function at `index` if it was dumped lately, or NULL. Never raises. */
const jr_dump *jr_code_find(jr_code *code, lua_State *L, int index);

/* Dumps it. NULL = no memory. Never raises. */
const jr_dump *jr_code_dump(jr_code *code, lua_State *L, int index);

/* Ends the use of a dump: one too long to keep is freed. */
void jr_code_release(jr_code *code, const jr_dump *dump);

/* Writes "function at script.lua:12" about the function at `index`. Never raises. */
void jr_code_name(lua_State *L, int index, char name[JR_CODE_NAME]);

typedef struct jr_code_text {
  uint64_t hash;
  const char *bytes;
  size_t len;
} jr_code_text;

/* Pushes a function made of these bytes, which jr_code_dump wrote in this very process: Lua checks
 * nothing in them. With `may_reuse` it can be one that was pushed before. Takes 4 places of the
 * stack. Raises memory errors. */
void jr_code_push(jr_code *code, lua_State *L, const jr_code_text *text, bool may_reuse);

/* Pops a value and makes it upvalue `n` of the function below it, in a variable of its own. False
 * (popped all the same) if there is no such upvalue. Raises memory errors. */
bool jr_code_set_upvalue(const jr_code *code, lua_State *L, int n);

#endif
