-- One schema text for both stores. I64 -> INTEGER (SQLite) | BIGINT (PostgreSQL); BIN -> BLOB | BYTEA; TAIL -> STRICT | nothing;
-- KEYED, whose rows lie by their key -> STRICT, WITHOUT ROWID | nothing.
-- All times are ms since 1970 (I64). States: 0 scheduled 1 available 2 running 3 retryable 4 completed 5 discarded 6 cancelled 7 blocked.
-- Reasons of a start: 0 first 1 error 2 lost 3 by hand 4 timeout 5 released. Outcomes of a run: 1 ok 2 error 3 timeout 4 cancelled 5 lost 6 stale
-- 7 released.
CREATE TABLE jr_meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) TAIL;
CREATE TABLE jr_node(id I64 PRIMARY KEY, host TEXT NOT NULL, boot TEXT NOT NULL, pid I64 NOT NULL, beat I64 NOT NULL DEFAULT 0,
  state I64 NOT NULL, queues TEXT NOT NULL, version TEXT NOT NULL, started_at I64 NOT NULL, seen_at I64 NOT NULL) TAIL;
CREATE TABLE jr_queue(name TEXT PRIMARY KEY, paused_at I64, max_global I64, rate_n I64, rate_ms I64, tat I64 NOT NULL DEFAULT 0) TAIL;
CREATE TABLE jr_schedule(name TEXT PRIMARY KEY, spec TEXT NOT NULL, tz TEXT NOT NULL DEFAULT 'UTC', anchor_at I64 NOT NULL, next_at I64, last_at I64,
  catchup I64 NOT NULL DEFAULT 1, catchup_max I64, overlap I64 NOT NULL DEFAULT 0, jitter_ms I64 NOT NULL DEFAULT 0, paused_at I64, def_hash TEXT NOT NULL,
  queue TEXT NOT NULL, kind TEXT NOT NULL, args TEXT NOT NULL, opts TEXT NOT NULL, seen_at I64 NOT NULL) TAIL;
CREATE INDEX jr_schedule_due ON jr_schedule(next_at) WHERE paused_at IS NULL AND next_at IS NOT NULL;
CREATE TABLE jr_job(id I64 PRIMARY KEY, queue TEXT NOT NULL, kind TEXT NOT NULL, state I64 NOT NULL, priority I64 NOT NULL DEFAULT 0, run_at I64 NOT NULL,
  attempt I64 NOT NULL DEFAULT 0, max_attempts I64 NOT NULL DEFAULT 10, fence I64 NOT NULL DEFAULT 0, owner I64, deadline_at I64, timeout_ms I64,
  args TEXT NOT NULL, opts TEXT NOT NULL DEFAULT '{}', result TEXT, error TEXT, sched TEXT, tick_at I64, caught_up I64 NOT NULL DEFAULT 0, ukey TEXT,
  ukey_until I64, grp TEXT, batch I64, deps_left I64 NOT NULL DEFAULT 0, cancel_at I64, reason I64 NOT NULL DEFAULT 0, created_at I64 NOT NULL,
  started_at I64, finished_at I64,
  CHECK((state IN (4,5,6)) = (finished_at IS NOT NULL)), CHECK((state = 2) = (owner IS NOT NULL))) TAIL;
CREATE INDEX jr_job_ready ON jr_job(queue, priority, run_at, id) WHERE state = 1;
CREATE INDEX jr_job_due ON jr_job(run_at) WHERE state IN (0, 3);
CREATE INDEX jr_job_owner ON jr_job(owner) WHERE state = 2;
CREATE INDEX jr_job_grp ON jr_job(grp) WHERE state = 2 AND grp IS NOT NULL;
CREATE INDEX jr_job_done ON jr_job(state, finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jr_job_batch ON jr_job(batch, state) WHERE batch IS NOT NULL;
CREATE UNIQUE INDEX jr_job_ukey ON jr_job(ukey) WHERE ukey IS NOT NULL;
CREATE UNIQUE INDEX jr_job_tick ON jr_job(sched, tick_at) WHERE sched IS NOT NULL;
CREATE TABLE jr_dep(needs I64 NOT NULL, job I64 NOT NULL, on_fail I64 NOT NULL DEFAULT 0, PRIMARY KEY(needs, job)) KEYED;
CREATE TABLE jr_run(job I64 NOT NULL, fence I64 NOT NULL, attempt I64 NOT NULL, node I64 NOT NULL, reason I64 NOT NULL DEFAULT 0, started_at I64 NOT NULL,
  ended_at I64, outcome I64, exit_code I64, signal I64, cpu_ms I64, maxrss_kb I64, error TEXT, log_path TEXT, log_bytes I64, log_dropped I64, head BIN,
  tail BIN, PRIMARY KEY(job, fence)) KEYED;
