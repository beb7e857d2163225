/* The verbs of store.h on a SQLite connection, inside a transaction of the caller's.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_SQLVERBS_H
#define JR_SQLVERBS_H

#include "cells.h"
#include "sqlite.h"
#include "store.h"

/* What a verb reads: its cells, from `at` on. */
typedef struct jr_verb_call {
  jr_sqlite *c;
  int64_t now;
  const jr_cells *in;
  size_t at;
  jr_cells *out;
} jr_verb_call;

/* The next integer; 0 where there is none. */
int64_t jr_verb_integer(jr_verb_call *v);

/* 0 or a negative status with c->status and c->error set: then the transaction is to be rolled
 * back. */
int jr_sqlite_do(jr_sqlite *c, jr_verb verb, const jr_cells *in, jr_cells *out);

/* sqljobs.c: one for each verb, as 0 or a negative status. */
int jr_sqljob_enqueue(jr_verb_call *v);
int jr_sqljob_promote(jr_verb_call *v);
int jr_sqljob_claim(jr_verb_call *v);
int jr_sqljob_finish(jr_verb_call *v);
int jr_sqljob_rescue(jr_verb_call *v);
int jr_sqljob_cancel(jr_verb_call *v);
int jr_sqljob_retry(jr_verb_call *v);

#endif
