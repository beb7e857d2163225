/* The verbs of store.h on a SQLite connection: which is which, and those of few lines.
 *
 * SPDX-License-Identifier: MIT */
#include "sqlverbs.h"

#include <string.h>

#include "status.h"

int64_t jr_verb_integer(jr_verb_call *v) {
  jr_cell cell;
  return jr_cells_next(v->in, &v->at, &cell) && cell.type == JR_CELL_INTEGER ? cell.integer : 0;
}

/* Runs a statement with this node or not, `now` or not, and the cells given, and appends its rows.
 */
enum { WITH_NODE = 1, WITH_NOW = 2, AS_ROWS = 4 };

static int plain(jr_verb_call *v, int which, int cells, int columns, int flags) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, which);
  int at = 1, status;
  if (!s) return v->c->status;
  if (flags & WITH_NODE) sqlite3_bind_int64(s, at++, v->c->node);
  jr_sqlite_bind_cells(s, at, cells, v->in, &v->at);
  if (flags & WITH_NOW) sqlite3_bind_int64(s, at + cells, v->now);
  while ((status = jr_sqlite_step(v->c, s)) == 1) {
    if (flags & AS_ROWS) jr_cells_add_row(v->out);
    jr_sqlite_add_columns(s, columns, v->out);
  }
  return status;
}

/* The same; the answer is how many rows it changed. */
static int counted(jr_verb_call *v, int which, int cells, int flags) {
  int status = plain(v, which, cells, 0, flags);
  if (status == 0) jr_cells_add_integer(v->out, sqlite3_changes(v->c->db));
  return status;
}

static int reserve(jr_verb_call *v) {
  return plain(v, JR_SQL_RESERVE, 1, 0, 0);
}

static int beat(jr_verb_call *v) {
  return plain(v, JR_SQL_BEAT, 0, 1, WITH_NODE | WITH_NOW);
}

static int lost(jr_verb_call *v) {
  return plain(v, JR_SQL_LOST, 0, 2, WITH_NODE | AS_ROWS);
}

/* Is what is declared what the store has? Then its last tick counts. */
static int declare(jr_verb_call *v) {
  jr_verb_call rest = *v;
  jr_cell name, hash, skipped;
  jr_cells_next(v->in, &rest.at, &name);
  for (int i = 0; i < 2; i++) jr_cells_next(v->in, &rest.at, &skipped);
  jr_cells_next(v->in, &rest.at, &hash);
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_SCHEDULE);
  if (!s) return v->c->status;
  sqlite3_bind_text64(s, 1, name.text, name.len, SQLITE_STATIC, SQLITE_UTF8);
  int status = jr_sqlite_step(v->c, s);
  if (status < 0) return status;
  bool is_same = status == 1 && (size_t)sqlite3_column_bytes(s, 0) == hash.len &&
                 memcmp(sqlite3_column_blob(s, 0), hash.text, hash.len) == 0;
  /* What lies more than a day ahead was written by a wrong clock. */
  for (int i = 1; is_same && i <= 2; i++)
    if (sqlite3_column_int64(s, i) > v->now + 86400000) is_same = false;
  jr_cells_add_integer(v->out, !is_same);
  for (int i = 1; is_same && i <= 3; i++) {
    if (sqlite3_column_type(s, i) == SQLITE_NULL)
      jr_cells_add_null(v->out);
    else
      jr_cells_add_integer(v->out, sqlite3_column_int64(s, i));
  }
  if (status == 1) sqlite3_reset(s);
  return is_same ? plain(v, JR_SQL_SEE_SCHEDULE, 1, 0, WITH_NOW)
                 : plain(v, JR_SQL_ADD_SCHEDULE, 7, 0, WITH_NOW);
}

static int sweep(jr_verb_call *v) {
  return plain(v, JR_SQL_SWEEP, 1, 1, AS_ROWS);
}

/* Is there a job of that id? 1 or 0, or a negative status. */
static int is_there(jr_verb_call *v, int64_t id) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_JOB_STATE);
  if (!s) return v->c->status;
  sqlite3_bind_int64(s, 1, id);
  int status = jr_sqlite_step(v->c, s);
  if (status == 1) sqlite3_reset(s);
  return status;
}

/* 1: the tick is this job's; 0: it was had. A job that is there was asked for before, and the
 * answer was lost. Without a tick_at nobody else can have it. */
static int take_tick(jr_verb_call *v, const jr_cell *tick_at, int64_t *id) {
  jr_cell skipped;
  if (tick_at->type == JR_CELL_INTEGER) {
    int status = plain(v, JR_SQL_TICK, 3, 0, 0);
    *id = jr_verb_integer(v);
    if (status < 0 || sqlite3_changes(v->c->db) > 0) return status < 0 ? status : 1;
    return is_there(v, *id);
  }
  for (int i = 0; i < 3; i++) jr_cells_next(v->in, &v->at, &skipped);
  *id = jr_verb_integer(v);
  return 1;
}

static int tick(jr_verb_call *v) {
  size_t at = v->at;
  jr_cell name = {0}, tick_at = {0};
  int64_t id;
  jr_cells_next(v->in, &at, &name);
  jr_cells_next(v->in, &at, &tick_at);
  int status = take_tick(v, &tick_at, &id);
  sqlite3_stmt *s = status == 1 ? jr_sqlite_get(v->c, JR_SQL_TICK_JOB) : NULL;
  if (status == 1 && !s) return v->c->status;
  if (s) {
    if (id > v->c->last_id) v->c->last_id = id;
    sqlite3_bind_int64(s, 1, id);
    if (tick_at.type == JR_CELL_INTEGER) sqlite3_bind_int64(s, 2, tick_at.integer);
    sqlite3_bind_int64(s, 3, v->c->node);
    sqlite3_bind_text64(s, 4, name.text, name.len, SQLITE_STATIC, SQLITE_UTF8);
    sqlite3_bind_int64(s, 5, v->now);
    jr_sqlite_bind_cells(s, 6, 2, v->in, &v->at);
    status = jr_sqlite_finish(v->c, s);
    if (status == 0) status = is_there(v, id); /* or the same tick has another job */
  }
  if (status >= 0) jr_cells_add_integer(v->out, status);
  return status < 0 ? status : 0;
}

static int restart(jr_verb_call *v) {
  return plain(v, JR_SQL_RESTART, 2, 2, WITH_NODE | WITH_NOW);
}

static int hold(jr_verb_call *v) {
  return counted(v, JR_SQL_HOLD, 2, 0);
}

static int pause_queue(jr_verb_call *v) {
  return counted(v, JR_SQL_PAUSE, 2, 0);
}

static int limit(jr_verb_call *v) {
  return plain(v, JR_SQL_LIMIT, 4, 0, 0);
}

/* Gives the pages back too, as many at a time as may be. */
static int prune(jr_verb_call *v) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_PRUNE),
               *runs = jr_sqlite_get(v->c, JR_SQL_PRUNE_RUNS);
  if (!s || !runs) return v->c->status;
  jr_sqlite_bind_cells(s, 1, 1, v->in, &v->at);
  size_t failed_before = v->at;
  jr_sqlite_bind_cells(s, 2, 2, v->in, &v->at);
  sqlite3_bind_int64(s, 4, v->now);
  int status, done, n = 0;
  while ((status = jr_sqlite_step(v->c, s)) == 1) {
    sqlite3_bind_int64(runs, 1, sqlite3_column_int64(s, 0));
    if ((done = jr_sqlite_finish(v->c, runs)) < 0) {
      sqlite3_reset(s);
      return done;
    }
    n++;
  }
  jr_cells_add_integer(v->out, n);
  if (status < 0 || !(s = jr_sqlite_get(v->c, JR_SQL_PRUNE_NODES))) return v->c->status;
  v->at = failed_before;
  sqlite3_bind_int64(s, 1, jr_verb_integer(v));
  if ((status = jr_sqlite_finish(v->c, s)) < 0 || n == 0) return status;
  return jr_sqlite_run(v->c, "PRAGMA incremental_vacuum(1000)");
}

static int query_of(const jr_cell *name) {
  static const struct {
    const char *word;
    int which;
  } queries[] = {
#define X(id, word, text) {word, JR_SQL_Q_##id},
      JR_SQL_QUERIES(X) JR_SQL_OWN_QUERIES(X)
#undef X
  };
  for (size_t i = 0; i < sizeof queries / sizeof *queries; i++)
    if (strlen(queries[i].word) == name->len && memcmp(queries[i].word, name->text, name->len) == 0)
      return queries[i].which;
  return -1;
}

static int query(jr_verb_call *v) {
  jr_cell name = {0};
  jr_cells_next(v->in, &v->at, &name);
  int which = query_of(&name), status;
  if (which < 0)
    return jr_sqlite_fail(v->c, JR_EUSAGE, "the store knows no query '%.*s'", (int)name.len,
                          name.text ? name.text : "");
  sqlite3_stmt *s = jr_sqlite_get(v->c, which);
  if (!s) return v->c->status;
  jr_sqlite_bind_cells(s, 1, sqlite3_bind_parameter_count(s), v->in, &v->at);
  int n = sqlite3_column_count(s);
  jr_cells_add_row(v->out);
  for (int i = 0; i < n; i++) {
    const char *column = sqlite3_column_name(s, i);
    jr_cells_add_text(v->out, column, strlen(column));
  }
  while ((status = jr_sqlite_step(v->c, s)) == 1) {
    jr_cells_add_row(v->out);
    jr_sqlite_add_columns(s, n, v->out);
  }
  return status;
}

int jr_sqlite_do(jr_sqlite *c, jr_verb verb, const jr_cells *in, jr_cells *out) {
  static int (*const verbs[JR_VERBS])(jr_verb_call *) = {
      [JR_VERB_ENQUEUE] = jr_sqljob_enqueue,
      [JR_VERB_RESERVE] = reserve,
      [JR_VERB_PROMOTE] = jr_sqljob_promote,
      [JR_VERB_CLAIM] = jr_sqljob_claim,
      [JR_VERB_FINISH] = jr_sqljob_finish,
      [JR_VERB_BEAT] = beat,
      [JR_VERB_LOST] = lost,
      [JR_VERB_RESCUE] = jr_sqljob_rescue,
      [JR_VERB_DECLARE] = declare,
      [JR_VERB_SWEEP] = sweep,
      [JR_VERB_TICK] = tick,
      [JR_VERB_RESTART] = restart,
      [JR_VERB_HOLD] = hold,
      [JR_VERB_CANCEL] = jr_sqljob_cancel,
      [JR_VERB_RETRY] = jr_sqljob_retry,
      [JR_VERB_PAUSE] = pause_queue,
      [JR_VERB_LIMIT] = limit,
      [JR_VERB_QUERY] = query,
      [JR_VERB_PRUNE] = prune,
  };
  jr_verb_call v = {.c = c, .in = in, .out = out};
  v.now = jr_verb_integer(&v);
  int status = verbs[verb](&v);
  if (status == 0 && out->failed)
    return jr_sqlite_fail(c, UV_ENOMEM, "the store '%s': not enough memory for the answer",
                          c->path);
  return status;
}
