/* Lua values as bytes, so that they can go from one Lua state to another, by copy.
 *
 * What travels, and how:
 *   nil, booleans, integers, floats, strings    by value, exactly (2^53+1, NaN, any bytes)
 *   tables                                      by value, nested; cycles and shared ones stay so
 *   Lua functions                               code with line numbers, upvalues by value; upvalues
 *                                               that two functions share stay shared; _ENV is the
 *                                               receiver's globals
 *   modules, jobrun's words, modules' C functions   by name (names.h), required on arrival
 *   other light C functions, light userdata     by pointer
 *   error objects                               as tables that keep their metatable
 * Everything else is refused, with the path to it: a table with a metatable, a C function with
 * upvalues, a userdata, a coroutine. Tables and functions may be nested JR_VALUES_DEPTH deep and a
 * message may take JR_VALUES_BYTES. pack.h writes, unpack.h reads.
 *
 * A message is a head (flags, how many values) and the values one behind the other, each a tag and
 * what belongs to it. Tables and Lua functions are numbered in the order in which they begin, on
 * both sides, so that a later REF can point back at one; upvalue variables are pointed at by the
 * function and the place where they were met first (JOIN). The head says whether any such pointer
 * is in the message: most have none, and then the receiver keeps no list.
 *
 *   table     TABLE, array size, pairs size, the array's values, then key, value, key, value …
 *   function  FUNCTION, hash, length, upvalues, flags, bytecode, then one value (or ENV or JOIN)
 *             for each upvalue
 *   by name   NAME, lengths of module and field, the two texts
 *
 * The bytes are for this process only: integers in its byte order, code in its bytecode. A reader
 * that was opened without `code` takes plain data alone and trusts nothing in it.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_VALUE_H
#define JR_VALUE_H

#include <stdbool.h>

#include <lua.h>

#include "code.h"
#include "mem.h"
#include "names.h"
#include "ptrmap.h"

enum { JR_VALUES_DEPTH = 200, JR_VALUES_BYTES = 256 * 1024 * 1024, JR_VALUES_ERROR = 400 };

/* What a Lua state needs to send and to receive values; of that state's thread. */
typedef struct jr_values {
  bool code;         /* functions, pointers and names travel too */
  int metatable_ref; /* of error objects */
  jr_ptrmap seen;
  jr_names names;
  jr_code functions;
  char error[JR_VALUES_ERROR]; /* the last refusal, a sentence */
  char called[JR_CODE_NAME];   /* the function of the last call: "function at x.lua:12" */
} jr_values;

void jr_values_init(jr_values *values, jr_mem *mem, bool code);

/* Pops the metatable of error objects. For a state with its libraries open. May raise (memory);
 * jr_values_fini is due all the same. */
void jr_values_open(jr_values *values, lua_State *L);
void jr_values_fini(jr_values *values);

/* ---- the format, for pack.c and unpack.c ---------------------------------------------------- */

enum jr_tag {
  JR_TAG_NIL,
  JR_TAG_FALSE,
  JR_TAG_TRUE,
  JR_TAG_INTEGER,
  JR_TAG_FLOAT,
  JR_TAG_STRING, /* up to 255 bytes */
  JR_TAG_LONG_STRING,
  JR_TAG_TABLE,
  JR_TAG_ERROR, /* a table with the metatable of errors */
  JR_TAG_REF,
  JR_TAG_CODE, /* those above are data; those below only make sense inside a process */
  JR_TAG_FUNCTION = JR_TAG_CODE,
  JR_TAG_ENV,
  JR_TAG_JOIN,
  JR_TAG_NAME,
  JR_TAG_C_FUNCTION,
  JR_TAG_POINTER
};

/* Flags of the head: there is a REF or a JOIN; the first value is a function to be called, which
 * the receiver's script will never hold. */
enum { JR_HEAD_REFS = 1, JR_HEAD_CALL = 2 };
enum { JR_FUNCTION_ENV = 1 };  /* flag of a function: its upvalues are nothing but _ENV */
enum { JR_VALUES_SLOTS = 16 }; /* of Lua's stack, for each level of nesting */

#endif
