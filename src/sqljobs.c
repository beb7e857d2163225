/* The verbs of jobs: how one gets from state to state.
 *
 *   7 blocked ──needs completed──> 1 available ──claim──> 2 running ──> 4 completed
 *   0 scheduled, 3 retryable ──promote──> 1                  │  └─────> 5 discarded, 6 cancelled
 *                             ^──────────────────────────────┘ failed, with attempts left
 *
 * What waits for its time is not in the index of what may be claimed: so a claim costs the same
 * beside a hundred thousand jobs of next week.
 *
 * SPDX-License-Identifier: MIT */
#include <stdio.h>

#include <uv.h>

#include "sqlverbs.h"
#include "status.h"

enum { SCHEDULED, AVAILABLE, RUNNING, RETRYABLE, COMPLETED, DISCARDED, CANCELLED, BLOCKED };

static bool has_ended(int64_t state) {
  return state == COMPLETED || state == DISCARDED || state == CANCELLED;
}

static jr_cell next_cell(jr_verb_call *v) {
  jr_cell cell = {.type = JR_CELL_NULL};
  jr_cells_next(v->in, &v->at, &cell);
  return cell;
}

static void bind_text(sqlite3_stmt *s, int at, const jr_cell *cell) {
  if (cell->type == JR_CELL_TEXT)
    sqlite3_bind_text64(s, at, cell->text, cell->len, SQLITE_STATIC, SQLITE_UTF8);
}

/* Gets a statement and binds up to three integers. */
static sqlite3_stmt *ask(jr_verb_call *v, int which, int n, int64_t a, int64_t b) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, which);
  if (s) jr_sqlite_bind(s, 1, n, (int64_t[]){a, b});
  return s;
}

static int run(jr_verb_call *v, int which, int n, int64_t a, int64_t b) {
  sqlite3_stmt *s = ask(v, which, n, a, b);
  return s ? jr_sqlite_finish(v->c, s) : v->c->status;
}

/* Is due at `run_at` at the latest: PROMOTE looks no earlier than the earliest of these. */
static void note_due(jr_sqlite *c, int64_t run_at) {
  if (run_at < c->next_due) c->next_due = run_at;
}

/* ---- the jobs that wait for one ------------------------------------------------------------- */

/* Reads the rows {queue id state} from *at on, up to `end`; their ids, those of jobs that were
 * cancelled. */
static bool next_cancelled(const jr_cells *out, size_t *at, size_t end, int64_t *id) {
  jr_cell row, queue, which, state;
  while (*at < end && jr_cells_next(out, at, &row)) {
    jr_cells_next(out, at, &queue);
    jr_cells_next(out, at, &which);
    jr_cells_next(out, at, &state);
    *id = which.integer;
    if (state.integer == CANCELLED) return true;
  }
  return false;
}

/* Appends a row for each job that one job's end released or cancelled. */
static int end_waiting(jr_verb_call *v, int64_t id, bool completed) {
  sqlite3_stmt *s = ask(v, completed ? JR_SQL_RELEASE : JR_SQL_FAIL_DEPS, 2, id, v->now);
  char why[64];
  int status, len = snprintf(why, sizeof why, "job %lld, which it waits for, did not complete",
                             (long long)id);
  if (!s) return v->c->status;
  if (!completed) sqlite3_bind_text(s, 3, why, len, SQLITE_TRANSIENT);
  while ((status = jr_sqlite_step(v->c, s)) == 1) {
    jr_cells_add_row(v->out);
    jr_sqlite_add_columns(s, 3, v->out);
    if (sqlite3_column_int64(s, 2) == SCHEDULED)
      v->c->next_due = 0; /* its time is not known here */
  }
  return status < 0 ? status : run(v, JR_SQL_DROP_DEPS, 1, id, 0);
}

/* The same, and for those that waited for a cancelled one. */
static int end_dependents(jr_verb_call *v, int64_t id, bool completed) {
  size_t at = v->out->len;
  if (!v->c->has_needs) return 0;
  int status = end_waiting(v, id, completed);
  for (int64_t next; status == 0 && next_cancelled(v->out, &at, v->out->len, &next);)
    status = end_waiting(v, next, false);
  return status;
}

/* The same for one that has not completed, whose dependents nobody waits for yet. */
static int end_quietly(jr_verb_call *v, int64_t id) {
  jr_cells ignored;
  jr_verb_call quiet = *v;
  jr_cells_init(&ignored, v->out->mem);
  quiet.out = &ignored;
  int status = end_dependents(&quiet, id, false);
  jr_cells_fini(&ignored);
  return status;
}

/* ---- enqueue -------------------------------------------------------------------------------- */

typedef struct draft {
  jr_cell queue, kind, args, opts, ukey;
  int64_t id, priority, run_at, max_attempts, timeout_ms, ukey_until, deps_left;
  bool has_timeout, has_until;
} draft;

static void read_draft(jr_verb_call *v, draft *d) {
  d->id = jr_verb_integer(v);
  d->queue = next_cell(v);
  d->kind = next_cell(v);
  d->priority = jr_verb_integer(v);
  jr_cell run_at = next_cell(v);
  d->run_at = run_at.type == JR_CELL_INTEGER ? run_at.integer : v->now;
  d->max_attempts = jr_verb_integer(v);
  jr_cell timeout = next_cell(v);
  d->has_timeout = timeout.type == JR_CELL_INTEGER;
  d->timeout_ms = timeout.integer;
  d->args = next_cell(v);
  d->opts = next_cell(v);
  d->ukey = next_cell(v);
  jr_cell until = next_cell(v);
  d->has_until = until.type == JR_CELL_INTEGER;
  d->ukey_until = until.integer;
}

/* Counts the jobs it has to wait for, and writes them down. failed: one that has ended without
 * completing, if any. */
static int add_needs(jr_verb_call *v, draft *d, int64_t *failed) {
  jr_cell need;
  while (jr_cells_next(v->in, &v->at, &need)) {
    sqlite3_stmt *s = ask(v, JR_SQL_JOB_STATE, 1, need.integer, 0);
    int status = s ? jr_sqlite_step(v->c, s) : v->c->status;
    if (status < 0) return status;
    if (status == 0)
      return jr_sqlite_fail(v->c, UV_ENOENT, "push: after: there is no job %lld",
                            (long long)need.integer);
    int64_t state = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    if (state == COMPLETED) continue;
    if (has_ended(state)) *failed = need.integer;
    v->c->has_needs = true;
    if ((status = run(v, JR_SQL_ADD_DEP, 2, need.integer, d->id)) < 0) return status;
    d->deps_left += sqlite3_changes(v->c->db);
  }
  return 0;
}

static void answer_taken(jr_verb_call *v, int64_t id, int64_t state) {
  jr_cells_add_integer(v->out, id);
  jr_cells_add_integer(v->out, 0);
  jr_cells_add_integer(v->out, state);
}

/* 1, with an answer: the same was asked for before, and that answer was lost. */
static int look_for_itself(jr_verb_call *v, const draft *d) {
  if (d->id > v->c->last_id) {
    v->c->last_id = d->id;
    return 0;
  }
  sqlite3_stmt *s = ask(v, JR_SQL_SAME_JOB, 1, d->id, 0);
  if (!s) return v->c->status;
  bind_text(s, 2, &d->queue);
  bind_text(s, 3, &d->kind);
  bind_text(s, 4, &d->args);
  bind_text(s, 5, &d->opts);
  int status = jr_sqlite_step(v->c, s);
  if (status <= 0) return status;
  int64_t state = sqlite3_column_int64(s, 0);
  bool is_same = sqlite3_column_int64(s, 1);
  sqlite3_reset(s);
  if (!is_same)
    return jr_sqlite_fail(v->c, JR_EUSAGE, "push: the id %lld is another job's: push again",
                          (long long)d->id);
  answer_taken(v, d->id, state);
  return 1;
}

/* 1, with an answer: another one has its key. */
static int look_for_equal(jr_verb_call *v, const draft *d) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_BY_UKEY);
  if (!s) return v->c->status;
  bind_text(s, 1, &d->ukey);
  int status = jr_sqlite_step(v->c, s);
  if (status <= 0) return status;
  int64_t id = sqlite3_column_int64(s, 0), state = sqlite3_column_int64(s, 1),
          until = sqlite3_column_int64(s, 2);
  sqlite3_reset(s);
  if (has_ended(state) && until <= v->now) return run(v, JR_SQL_FREE_UKEY, 1, id, 0);
  answer_taken(v, id, state);
  return 1;
}

static int insert(jr_verb_call *v, const draft *d, int64_t state) {
  sqlite3_stmt *s = ask(v, JR_SQL_ENQUEUE, 1, d->id, 0);
  if (!s) return v->c->status;
  bind_text(s, 2, &d->queue);
  bind_text(s, 3, &d->kind);
  jr_sqlite_bind(s, 4, 4, (int64_t[]){state, d->priority, d->run_at, d->max_attempts});
  if (d->has_timeout) sqlite3_bind_int64(s, 8, d->timeout_ms);
  bind_text(s, 9, &d->args);
  bind_text(s, 10, &d->opts);
  bind_text(s, 11, &d->ukey);
  if (d->has_until) sqlite3_bind_int64(s, 12, d->ukey_until);
  jr_sqlite_bind(s, 13, 2, (int64_t[]){d->deps_left, v->now});
  return jr_sqlite_finish(v->c, s);
}

int jr_sqljob_enqueue(jr_verb_call *v) {
  draft d = {0};
  int64_t failed = 0;
  read_draft(v, &d);
  int status = look_for_itself(v, &d);
  if (status == 0 && d.ukey.type == JR_CELL_TEXT) status = look_for_equal(v, &d);
  if (status != 0) return status < 0 ? status : 0;
  if ((status = add_needs(v, &d, &failed)) < 0) return status;
  int64_t state = d.deps_left ? BLOCKED : d.run_at > v->now ? SCHEDULED : AVAILABLE;
  if ((status = insert(v, &d, state)) < 0) return status;
  if (state == SCHEDULED) note_due(v->c, d.run_at);
  if (failed && (status = end_quietly(v, failed)) < 0) return status;
  if (failed) state = CANCELLED;
  jr_cells_add_integer(v->out, d.id);
  jr_cells_add_integer(v->out, 1);
  jr_cells_add_integer(v->out, state);
  return 0;
}

/* ---- promote, claim ------------------------------------------------------------------------- */

/* The earliest that is due, looked up; INT64_MAX: none. */
static int look_for_due(jr_verb_call *v) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_NEXT_DUE);
  int status = s ? jr_sqlite_step(v->c, s) : v->c->status;
  if (status < 0) return status;
  bool some = status == 1 && sqlite3_column_type(s, 0) != SQLITE_NULL;
  v->c->next_due = some ? sqlite3_column_int64(s, 0) : INT64_MAX;
  sqlite3_reset(s);
  return 0;
}

int jr_sqljob_promote(jr_verb_call *v) {
  jr_cells queues;
  jr_cells_init(&queues, v->out->mem);
  int status = 0;
  while (status == 0 && v->c->next_due <= v->now) {
    sqlite3_stmt *s = ask(v, JR_SQL_PROMOTE, 1, v->now, 0);
    if (!s) status = v->c->status;
    while (s && (status = jr_sqlite_step(v->c, s)) == 1) {
      jr_cells_add_row(&queues);
      jr_sqlite_add_columns(s, 1, &queues);
    }
    if (status == 0) status = look_for_due(v);
  }
  if (v->c->next_due == INT64_MAX)
    jr_cells_add_null(v->out);
  else
    jr_cells_add_integer(v->out, v->c->next_due);
  jr_cells_append(v->out, &queues);
  jr_cells_fini(&queues);
  return status;
}

/* What a queue's row allows. */
typedef struct allowance {
  int64_t k, max_global, rate_n, rate_ms, tat;
  bool counts; /* there is a max_global */
} allowance;

/* GCRA: `tat` is when the queue will have been idle for a whole window again; each start moves it
 * by one share of the window, and it may be at most one window ahead. */
static int64_t count_by_rate(const allowance *a, int64_t now) {
  if (a->rate_n <= 0) return a->k;
  int64_t tat = a->tat > now * 1000 ? a->tat : now * 1000; /* us */
  int64_t free_us = now * 1000 + a->rate_ms * 1000 - tat, share_us = a->rate_ms * 1000 / a->rate_n;
  int64_t n = free_us <= 0 ? 0 : free_us / (share_us ? share_us : 1);
  return n < a->k ? n : a->k;
}

static int read_allowance(jr_verb_call *v, const jr_cell *queue, allowance *a) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_QUEUE);
  if (!s) return v->c->status;
  bind_text(s, 1, queue);
  int status = jr_sqlite_step(v->c, s);
  if (status <= 0) return status;
  bool paused = sqlite3_column_type(s, 0) != SQLITE_NULL;
  a->counts = sqlite3_column_type(s, 1) != SQLITE_NULL;
  a->max_global = sqlite3_column_int64(s, 1);
  a->rate_n = sqlite3_column_int64(s, 2);
  a->rate_ms = sqlite3_column_int64(s, 3);
  a->tat = sqlite3_column_int64(s, 4);
  if (paused) a->k = 0;
  sqlite3_reset(s);
  if (!a->counts || a->k == 0) return 0;
  if (!(s = jr_sqlite_get(v->c, JR_SQL_RUNNING_OF))) return v->c->status;
  bind_text(s, 1, queue);
  if ((status = jr_sqlite_step(v->c, s)) < 0) return status;
  int64_t left = a->max_global - sqlite3_column_int64(s, 0);
  sqlite3_reset(s);
  if (left < a->k) a->k = left > 0 ? left : 0;
  return 0;
}

static int set_tat(jr_verb_call *v, const jr_cell *queue, int64_t tat) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_SET_TAT);
  if (!s) return v->c->status;
  bind_text(s, 1, queue);
  sqlite3_bind_int64(s, 2, tat);
  return jr_sqlite_finish(v->c, s);
}

/* It is more than a window ahead only where the wall clock was set back meanwhile. */
static int mend_rate(jr_verb_call *v, const jr_cell *queue, allowance *a) {
  int64_t most = (v->now + a->rate_ms) * 1000;
  if (a->rate_n <= 0 || a->tat <= most) return 0;
  a->tat = most;
  return set_tat(v, queue, most);
}

static int spend_rate(jr_verb_call *v, const jr_cell *queue, const allowance *a, int64_t n) {
  if (a->rate_n <= 0 || n == 0) return 0;
  int64_t now_us = v->now * 1000, tat = a->tat > now_us ? a->tat : now_us;
  return set_tat(v, queue, tat + n * (a->rate_ms * 1000 / a->rate_n));
}

static int start_jobs(jr_verb_call *v, const jr_cell *queue, const allowance *a, int64_t *n) {
  sqlite3_stmt *s = ask(v, JR_SQL_CLAIM, 2, v->c->node, v->now);
  int status = s ? 0 : v->c->status;
  if (!s) return status;
  bind_text(s, 3, queue);
  sqlite3_bind_int64(s, 4, a->k);
  if (a->counts) bind_text(s, 5, queue);
  while ((status = jr_sqlite_step(v->c, s)) == 1) {
    jr_cells_add_row(v->out);
    jr_sqlite_add_columns(s, 12, v->out);
    ++*n;
  }
  return status;
}

int jr_sqljob_claim(jr_verb_call *v) {
  jr_cell queue = next_cell(v);
  allowance a = {.k = jr_verb_integer(v)};
  int64_t n = 0;
  int status = read_allowance(v, &queue, &a);
  if (status == 0) status = mend_rate(v, &queue, &a);
  if (status < 0) return status;
  int64_t by_rate = count_by_rate(&a, v->now);
  if (a.k > 0 && by_rate < a.k) { /* the next share is free then, in whole ms rounded up */
    int64_t share_us = a.rate_ms * 1000 / a.rate_n,
            base = a.tat > v->now * 1000 ? a.tat : v->now * 1000;
    int64_t at_us = base + (by_rate + 1) * share_us - a.rate_ms * 1000;
    jr_cells_add_integer(v->out, (at_us + 999) / 1000);
    a.k = by_rate;
  } else {
    jr_cells_add_null(v->out);
  }
  if (a.k <= 0) return 0;
  if ((status = start_jobs(v, &queue, &a, &n)) < 0) return status;
  return spend_rate(v, &queue, &a, n);
}

/* ---- the ends of a run ---------------------------------------------------------------------- */

/* The columns of jr_run that FINISH is given, in the table's order but for those that it knows. */
static int add_run(jr_verb_call *v, int64_t id, int64_t fence, const jr_cell *error, size_t at) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_ADD_RUN);
  if (!s) return v->c->status;
  jr_verb_call rest = *v;
  rest.at = at;
  int64_t outcome = jr_verb_integer(&rest), attempt = jr_verb_integer(&rest),
          reason = jr_verb_integer(&rest), started_at = jr_verb_integer(&rest);
  next_cell(&rest); /* why the next start will be */
  jr_sqlite_bind(s, 1, 8,
                 (int64_t[]){id, fence, attempt, v->c->node, reason, started_at, v->now, outcome});
  jr_sqlite_bind_cells(s, 9, 4, v->in, &rest.at);
  bind_text(s, 13, error);
  jr_sqlite_bind_cells(s, 14, 3, v->in, &rest.at);
  for (int i = 17; i <= 18; i++) {
    jr_cell bytes = next_cell(&rest);
    if (bytes.type == JR_CELL_TEXT) sqlite3_bind_blob64(s, i, bytes.text, bytes.len, SQLITE_STATIC);
  }
  return jr_sqlite_finish(v->c, s);
}

/* The run is not this node's: 1 with the answer where it has finished it before and the answer was
 * lost, as the same may be asked for twice. */
static int look_for_end(jr_verb_call *v, int64_t id, int64_t fence, int64_t state,
                        int64_t outcome) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_FINISHED);
  if (!s) return v->c->status;
  jr_sqlite_bind(s, 1, 4, (int64_t[]){id, fence, v->c->node, state});
  sqlite3_bind_int64(s, 5, outcome);
  int status = jr_sqlite_step(v->c, s);
  if (status == 1) {
    jr_sqlite_add_columns(s, 1, v->out);
    sqlite3_reset(s);
  }
  return status;
}

/* Appends the state of a job, null where there is none, and its queue in *s, which is to be reset
 * (NULL: none). */
static int answer_state(jr_verb_call *v, int64_t id, sqlite3_stmt **s, int64_t *state) {
  *s = ask(v, JR_SQL_JOB_STATE, 1, id, 0);
  int status = *s ? jr_sqlite_step(v->c, *s) : v->c->status;
  if (status <= 0) *s = NULL;
  if (status < 0) return status;
  if (*s) jr_cells_add_integer(v->out, *state = sqlite3_column_int64(*s, 0));
  if (!*s) jr_cells_add_null(v->out);
  return 0;
}

int jr_sqljob_finish(jr_verb_call *v) {
  sqlite3_stmt *s = jr_sqlite_get(v->c, JR_SQL_FINISH);
  if (!s) return v->c->status;
  int64_t id = jr_verb_integer(v), fence = jr_verb_integer(v), state = jr_verb_integer(v);
  jr_cell run_at = next_cell(v);
  int64_t give_back = jr_verb_integer(v);
  jr_cell result = next_cell(v), error = next_cell(v);
  size_t at = v->at;
  int64_t outcome = jr_verb_integer(v);
  for (int i = 0; i < 3; i++) next_cell(v);
  jr_sqlite_bind(s, 1, 4, (int64_t[]){id, v->c->node, fence, state});
  if (run_at.type == JR_CELL_INTEGER) sqlite3_bind_int64(s, 5, run_at.integer);
  sqlite3_bind_int64(s, 6, give_back);
  bind_text(s, 7, &result);
  bind_text(s, 8, &error);
  jr_sqlite_bind(s, 9, 2, (int64_t[]){v->now, jr_verb_integer(v)});
  int status = jr_sqlite_finish(v->c, s);
  if (status < 0) return status;
  bool is_ours = sqlite3_changes(v->c->db) > 0;
  if (is_ours && has_ended(state)) {
    jr_cells_add_integer(v->out, state);
  } else if (is_ours) { /* what was to go on may have been cancelled meanwhile */
    if ((status = answer_state(v, id, &s, &state)) < 0) return status;
    sqlite3_reset(s);
  } else if ((status = look_for_end(v, id, fence, state, outcome)) != 0) {
    return status < 0 ? status : 0;
  } else {
    jr_cells_add_null(v->out);
  }
  if ((status = add_run(v, id, fence, &error, at)) < 0 || !is_ours) return status;
  if (state == SCHEDULED || state == RETRYABLE) note_due(v->c, run_at.integer);
  return has_ended(state) ? end_dependents(v, id, state == COMPLETED) : 0;
}

/* Of the rows {id queue state attempt} in the answer. */
static int end_dependents_of_all(jr_verb_call *v) {
  jr_cell cell, id, state;
  int status = 0;
  for (size_t at = 0; status == 0 && jr_cells_next(v->out, &at, &cell);) {
    jr_cells_next(v->out, &at, &id);
    jr_cells_next(v->out, &at, &cell);
    jr_cells_next(v->out, &at, &state);
    jr_cells_next(v->out, &at, &cell);
    if (has_ended(state.integer)) status = end_quietly(v, id.integer);
  }
  return status;
}

int jr_sqljob_rescue(jr_verb_call *v) {
  int status = run(v, JR_SQL_LOSE_RUNS, 2, v->c->node, v->now);
  if (status < 0) return status;
  sqlite3_stmt *s = ask(v, JR_SQL_RESCUE, 2, v->c->node, v->now);
  if (!s) return v->c->status;
  while ((status = jr_sqlite_step(v->c, s)) == 1) {
    jr_cells_add_row(v->out);
    jr_sqlite_add_columns(s, 4, v->out);
  }
  if (status == 0) status = end_dependents_of_all(v);
  return status < 0 ? status : run(v, JR_SQL_END_NODES, 1, v->c->node, 0);
}

/* ---- by hand -------------------------------------------------------------------------------- */

int jr_sqljob_cancel(jr_verb_call *v) {
  int64_t id = jr_verb_integer(v), state;
  sqlite3_stmt *s;
  int status = answer_state(v, id, &s, &state);
  if (!s) return status;
  sqlite3_reset(s);
  if (state == COMPLETED || state == CANCELLED) return 0;
  status = run(v, state == RUNNING ? JR_SQL_ASK_CANCEL : JR_SQL_CANCEL, 2, id, v->now);
  return status < 0 || state == RUNNING ? status : end_dependents(v, id, false);
}

int jr_sqljob_retry(jr_verb_call *v) {
  int64_t id = jr_verb_integer(v), state;
  sqlite3_stmt *s;
  int status = answer_state(v, id, &s, &state);
  if (!s) return status;
  const unsigned char *queue = sqlite3_column_text(s, 1);
  jr_cells_add_text(v->out, (const char *)queue, (size_t)sqlite3_column_bytes(s, 1));
  sqlite3_reset(s);
  return run(v, JR_SQL_RETRY, 2, id, v->now);
}
