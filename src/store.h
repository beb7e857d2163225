/* The store: jobs, their runs, queues and schedules that outlive the process.
 *
 * THE PROMISE. An operation that was answered is on disk (unless the store is "memory:"). One that
 * failed or was not answered may be there or not; it may be asked again, with the same ids, and is
 * then done once. A run ends once: who finishes it names its fence, the count of claims of its job,
 * and somebody whose fence is an older one changes nothing.
 *
 * Each operation is one of the verbs below with cells in and rows out; an engine (SQLite:
 * sqlengine.h) does them, and the suite tests/store_test.lua holds for each. Ids are made by the
 * caller (jr_store_id). All instants are ms since 1970.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_STORE_H
#define JR_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "cells.h"
#include "list.h"
#include "rt.h"

/* clang-format off */
/* What is given → what comes back; `?` may be null, `…` any number, {} once for each row. The first
 * cell given is always `now`, and is left out here.
 *
 * ENQUEUE  id queue kind priority run_at? max_attempts timeout_ms? args opts ukey? ukey_until?
 *          needs… → id is_new state. A job with that id or ukey that is there already is the answer.
 * RESERVE  id → nothing: ids up to this one are somebody's, who pushes with them later.
 * PROMOTE  → next_at?, {queue}: what is due becomes available; in which queues, and when the next
 *          one is due.
 * CLAIM    queue k → wait_until?, {id kind priority run_at attempt max_attempts fence timeout_ms?
 *          args opts reason started_at}: starts up to k; wait_until: the rate allows more then.
 * FINISH   id fence state run_at? give_back result? error? outcome attempt reason started_at
 *          next_reason exit_code? signal? cpu_ms? maxrss_kb? log_path? log_bytes? log_dropped?
 *          head? tail? → state?, {queue id state}: null = the run was taken away; then the jobs
 *          that waited for this one and do so no more.
 * BEAT     → beat?: the sign of life of this node; null = its row is gone.
 * LOST     → {id fence}: what other nodes left running.
 * RESCUE   → {id queue state attempt}: takes all of that away from them.
 * DECLARE  name spec tz hash catchup catchup_max? overlap → is_new anchor_at? last_at? paused_at?:
 *          a schedule as it is declared now; is_new: it was not there, or was another one.
 * SWEEP    seen_at → {name}: schedules nobody has declared since then are paused.
 * TICK     name tick_at? next_at? id reason max_attempts → is_mine: compares and sets the last
 *          tick; 0 = it was had, or a later one. Else the job `id` runs here now, and is to be
 *          finished (fence 1). A last tick that is more than a day ahead was had by a wrong clock.
 *          Without tick_at it is a run that is nobody's tick.
 * RESTART  id reason → fence? attempt: a tick's job that failed, was lost or given back runs once
 *          more; null = it may not.
 * HOLD     name paused_at? → was_changed: a schedule stays paused; null = goes on.
 * CANCEL   id → state?, {queue id state}: the state it was in, null = there is none.
 * RETRY    id → state? queue: the same; one that has ended or waits for its time becomes
 *          available, or waits for those it still needs.
 * PAUSE    queue paused_at? → was_changed: null = resumes.
 * LIMIT    queue max_global? rate_n? rate_ms? → nothing
 * QUERY    name values… → {column names}, {values}; names are in storesql.h.
 * PRUNE    completed_before failed_before limit → deleted */
/* clang-format on */
#define JR_STORE_VERBS(X)                                                                          \
  X(ENQUEUE, "enqueue")                                                                            \
  X(RESERVE, "reserve")                                                                            \
  X(PROMOTE, "promote")                                                                            \
  X(CLAIM, "claim")                                                                                \
  X(FINISH, "finish")                                                                              \
  X(BEAT, "beat")                                                                                  \
  X(LOST, "lost")                                                                                  \
  X(RESCUE, "rescue")                                                                              \
  X(DECLARE, "declare")                                                                            \
  X(SWEEP, "sweep")                                                                                \
  X(TICK, "tick")                                                                                  \
  X(RESTART, "restart")                                                                            \
  X(HOLD, "hold")                                                                                  \
  X(CANCEL, "cancel")                                                                              \
  X(RETRY, "retry")                                                                                \
  X(PAUSE, "pause")                                                                                \
  X(LIMIT, "limit")                                                                                \
  X(QUERY, "query")                                                                                \
  X(PRUNE, "prune")

typedef enum jr_verb {
#define X(name, text) JR_VERB_##name,
  JR_STORE_VERBS(X)
#undef X
      JR_VERBS,
  JR_VERB_OPEN = JR_VERBS, /* of the store itself */
  JR_VERB_CLOSE
} jr_verb;

typedef struct jr_store jr_store;

/* One operation. From submission to completion it is the store's. */
typedef struct jr_store_op {
  struct jr_store_op *next;
  jr_store *store;
  jr_verb verb;
  jr_cells in, out; /* a failed one has its message in `out`: one text */
  int status;
  void *data; /* the callee's of `done` */
  /* On the loop thread, outside Lua, once; then the operation is the callee's. */
  void (*done)(struct jr_store_op *op);
} jr_store_op;

/* What a store keeps its rows in: a connection, and what the store's thread does with it. Statuses
 * are 0 or negative, and then `error` has the sentence. */
typedef struct jr_store_opts jr_store_opts;

typedef struct jr_store_engine {
  size_t size; /* of a connection, which is zeroed before `open` */
  /* last_id: the largest there is. */
  int (*open)(void *c, const jr_store_opts *opts, int64_t *last_id);
  /* This process is the node of that id. */
  int (*join)(void *c, int64_t node, int64_t now_ms);
  /* In order: nobody has to be rescued then. What is closed, or did not open, is left alone. */
  void (*close)(void *c);
  int (*begin)(void *c);
  int (*perform)(void *c, jr_verb verb, const jr_cells *in, jr_cells *out);
  int (*commit)(void *c);
  void (*roll_back)(void *c);
  /* How much housekeeping has piled up, 0 = none; does it. */
  int (*backlog)(const void *c);
  void (*tidy)(void *c);
  const char *(*error)(const void *c);
} jr_store_engine;

struct jr_store_opts {
  const jr_store_engine *engine;
  const char *path;                /* of the file; ":memory:" */
  const char *schema, *schema_end; /* the text of schema.sql; static memory */
  bool may_lose_last;              /* synchronous=NORMAL: power loss may take the last seconds */
  bool is_reader;                  /* writes nothing, needs no lock */
  int64_t now_ms;
};

/* A store with its thread. Copies the options. UV_ENOMEM, UV_EAGAIN (no thread). It is a trade of
 * the runtime, which closes it if nobody does. */
int jr_store_new(jobrun *rt, const jr_store_opts *opts, jr_store **out);

/* Gives an operation of that store to it; cells, verb and `done` are set. OPEN is the first and
 * CLOSE the last one: after CLOSE was answered the store is gone. */
void jr_store_submit(jr_store *store, jr_store_op *op);

/* An operation of a verb with no cells, or NULL; and its end. */
jr_store_op *jr_store_op_new(jr_store *store, jr_verb verb);
void jr_store_op_free(jr_store_op *op);

/* True from the submission of CLOSE. */
bool jr_store_is_closing(const jr_store *store);

/* A new id: larger than any this store has given or, as of OPEN, has seen. */
int64_t jr_store_id(jr_store *store, int64_t now_ms);

#endif
