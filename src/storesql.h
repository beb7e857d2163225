/* The statements of the stores: one text for each, which both engines take.
 *
 * tests/store_sql_test.lua loads them into a PostgreSQL. `?1` is the first value; one that says
 * nothing of its type is cast. What is set in JR_SQL_LIST is done by a verb (store.h); what is in
 * JR_SQL_QUERIES is asked for by name, with its values in order, and its columns' names come back.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_STORESQL_H
#define JR_STORESQL_H

#define JR_SQL_RUN_COLUMNS                                                                         \
  "job, fence, attempt, node, reason, started_at, ended_at, outcome, exit_code, signal, cpu_ms, "  \
  "maxrss_kb, error, log_path, log_bytes, log_dropped, head, tail"

/* clang-format off */
#define JR_SQL_LIST(X) \
  X(ENQUEUE, "INSERT INTO jr_job(id, queue, kind, state, priority, run_at, max_attempts, timeout_ms, args, opts, ukey, ukey_until, deps_left, " \
    "created_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)") \
  X(SAME_JOB, "SELECT state, CASE WHEN queue = ?2 AND kind = ?3 AND args = ?4 AND opts = ?5 THEN 1 ELSE 0 END FROM jr_job WHERE id = ?1") \
  X(BY_UKEY, "SELECT id, state, ukey_until FROM jr_job WHERE ukey = ?1") \
  X(FREE_UKEY, "UPDATE jr_job SET ukey = NULL WHERE id = ?1") \
  X(JOB_STATE, "SELECT state, queue FROM jr_job WHERE id = ?1") \
  X(ADD_DEP, "INSERT INTO jr_dep(needs, job) VALUES(?1, ?2) ON CONFLICT DO NOTHING") \
  X(NEXT_DUE, "SELECT min(run_at) FROM jr_job WHERE state IN (0, 3)") \
  X(PROMOTE, "UPDATE jr_job SET state = 1 WHERE id IN (SELECT id FROM jr_job WHERE state IN (0, 3) AND run_at <= ?1 ORDER BY run_at LIMIT 1000) " \
    "RETURNING queue") \
  X(QUEUE, "SELECT paused_at, max_global, rate_n, rate_ms, tat FROM jr_queue WHERE name = ?1") \
  X(RUNNING_OF, "SELECT count(*) FROM jr_job WHERE grp = ?1 AND state = 2 AND grp IS NOT NULL") \
  X(SET_TAT, "UPDATE jr_queue SET tat = ?2 WHERE name = ?1") \
  X(CLAIM, "UPDATE jr_job SET state = 2, owner = ?1, fence = fence + 1, attempt = attempt + 1, started_at = ?2, grp = ?5, cancel_at = NULL " \
    "WHERE id IN (SELECT id FROM jr_job WHERE state = 1 AND queue = ?3 ORDER BY priority, run_at, id LIMIT ?4) " \
    "RETURNING id, kind, priority, run_at, attempt, max_attempts, fence, timeout_ms, args, opts, reason, started_at") \
  X(FINISH, "UPDATE jr_job SET state = CASE WHEN cancel_at IS NOT NULL AND ?4 IN (0, 1, 3) THEN 6 ELSE ?4 END, owner = NULL, grp = NULL, " \
    "run_at = coalesce(?5, run_at), attempt = attempt - ?6, result = ?7, error = ?8, reason = ?10, " \
    "finished_at = CASE WHEN ?4 IN (4, 5, 6) OR cancel_at IS NOT NULL THEN CAST(?9 AS BIGINT) END " \
    "WHERE id = ?1 AND owner = ?2 AND fence = ?3") \
  X(ADD_RUN, "INSERT INTO jr_run(" JR_SQL_RUN_COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18) " \
    "ON CONFLICT(job, fence) DO UPDATE SET outcome = 6, ended_at = excluded.ended_at, error = excluded.error") \
  X(FINISHED, "SELECT CASE WHEN j.fence = r.fence THEN j.state ELSE ?4 END FROM jr_run AS r JOIN jr_job AS j ON j.id = r.job " \
    "WHERE r.job = ?1 AND r.fence = ?2 AND r.node = ?3 AND r.outcome = ?5") \
  X(RELEASE, "UPDATE jr_job SET deps_left = deps_left - 1, state = CASE WHEN deps_left > 1 THEN 7 WHEN run_at > ?2 THEN 0 ELSE 1 END " \
    "WHERE state = 7 AND id IN (SELECT job FROM jr_dep WHERE needs = ?1) RETURNING queue, id, state") \
  X(FAIL_DEPS, "UPDATE jr_job SET state = 6, finished_at = ?2, error = ?3 " \
    "WHERE state = 7 AND id IN (SELECT job FROM jr_dep WHERE needs = ?1) RETURNING queue, id, state") \
  X(DROP_DEPS, "DELETE FROM jr_dep WHERE needs = ?1") \
  X(RESERVE, "INSERT INTO jr_meta(k, v) VALUES('last_id', CAST(?1 AS TEXT)) ON CONFLICT(k) DO UPDATE SET v = excluded.v") \
  X(BEAT, "UPDATE jr_node SET beat = beat + 1, seen_at = ?2 WHERE id = ?1 RETURNING beat") \
  X(ADD_NODE, "INSERT INTO jr_node(id, host, boot, pid, state, queues, version, started_at, seen_at) VALUES(?1, ?2, ?3, ?4, 1, '', ?5, ?6, ?6)") \
  X(END_NODES, "UPDATE jr_node SET state = 0 WHERE id <> ?1 AND state = 1") \
  X(LOST, "SELECT id, fence FROM jr_job WHERE state = 2 AND owner <> ?1") \
  X(LOSE_RUNS, "INSERT INTO jr_run(job, fence, attempt, node, reason, started_at, ended_at, outcome, error) " \
    "SELECT id, fence, attempt, owner, reason, started_at, ?2, 5, 'the process that ran it ended without finishing it' " \
    "FROM jr_job WHERE state = 2 AND owner <> ?1") \
  X(RESCUE, "UPDATE jr_job SET owner = NULL, grp = NULL, reason = 2, " \
    "state = CASE WHEN cancel_at IS NOT NULL THEN 6 WHEN attempt >= max_attempts OR sched IS NOT NULL THEN 5 ELSE 1 END, " \
    "finished_at = CASE WHEN cancel_at IS NOT NULL OR attempt >= max_attempts OR sched IS NOT NULL THEN CAST(?2 AS BIGINT) END, " \
    "error = 'the process that ran it ended without finishing it' " \
    "WHERE state = 2 AND owner <> ?1 RETURNING id, queue, state, attempt") \
  X(SCHEDULE, "SELECT def_hash, anchor_at, last_at, paused_at FROM jr_schedule WHERE name = ?1") \
  X(ADD_SCHEDULE, "INSERT INTO jr_schedule(name, spec, tz, def_hash, catchup, catchup_max, overlap, anchor_at, queue, kind, args, opts, seen_at) " \
    "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, '', 'schedule', '[]', '{}', ?8) ON CONFLICT(name) DO UPDATE SET spec = excluded.spec, " \
    "tz = excluded.tz, def_hash = excluded.def_hash, catchup = excluded.catchup, catchup_max = excluded.catchup_max, overlap = excluded.overlap, " \
    "anchor_at = excluded.anchor_at, last_at = NULL, next_at = NULL, paused_at = NULL, seen_at = excluded.seen_at") \
  X(SEE_SCHEDULE, "UPDATE jr_schedule SET seen_at = ?2, paused_at = CASE WHEN paused_at = -1 THEN NULL ELSE paused_at END WHERE name = ?1") \
  X(SWEEP, "UPDATE jr_schedule SET paused_at = -1 WHERE seen_at < ?1 AND paused_at IS NULL RETURNING name") \
  X(TICK, "UPDATE jr_schedule SET last_at = ?2, next_at = ?3 WHERE name = ?1 AND (last_at IS NULL OR last_at < ?2 OR last_at > ?2 + 86400000)") \
  X(TICK_JOB, "INSERT INTO jr_job(id, queue, kind, state, run_at, attempt, max_attempts, fence, owner, args, sched, tick_at, created_at, started_at, " \
    "reason) VALUES(?1, '', 'schedule', 2, coalesce(CAST(?2 AS BIGINT), ?5), 1, ?7, 1, ?3, 'null', ?4, ?2, ?5, ?5, ?6) ON CONFLICT DO NOTHING") \
  X(RESTART, "UPDATE jr_job SET state = 2, owner = ?1, fence = fence + 1, attempt = attempt + 1, reason = ?3, started_at = ?4, finished_at = NULL " \
    "WHERE id = ?2 AND state = 5 RETURNING fence, attempt") \
  X(HOLD, "UPDATE jr_schedule SET paused_at = ?2 WHERE name = ?1 AND (paused_at IS NULL) <> (CAST(?2 AS BIGINT) IS NULL)") \
  X(CANCEL, "UPDATE jr_job SET state = 6, finished_at = ?2, error = 'cancelled' " \
    "WHERE id = ?1 AND (state IN (0, 1, 3, 7) OR state = 5 AND sched IS NOT NULL AND attempt < max_attempts)") \
  X(ASK_CANCEL, "UPDATE jr_job SET cancel_at = ?2 WHERE id = ?1 AND state = 2") \
  X(RETRY, "UPDATE jr_job SET deps_left = CASE WHEN deps_left > 0 THEN (SELECT count(*) FROM jr_dep WHERE job = ?1) ELSE 0 END, " \
    "state = CASE WHEN deps_left > 0 AND EXISTS (SELECT 1 FROM jr_dep WHERE job = ?1) THEN 7 ELSE 1 END, run_at = ?2, reason = 3, finished_at = NULL, error = NULL, cancel_at = NULL, " \
    "attempt = CASE WHEN state IN (5, 6) THEN 0 ELSE attempt END WHERE id = ?1 AND state IN (0, 3, 5, 6) AND sched IS NULL") \
  X(PAUSE, "INSERT INTO jr_queue(name, paused_at) VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET paused_at = excluded.paused_at") \
  X(LIMIT, "INSERT INTO jr_queue(name, max_global, rate_n, rate_ms) VALUES(?1, ?2, ?3, ?4) ON CONFLICT(name) DO UPDATE SET " \
    "max_global = excluded.max_global, rate_n = excluded.rate_n, rate_ms = excluded.rate_ms") \
  X(PRUNE, "DELETE FROM jr_job WHERE id IN (SELECT id FROM jr_job WHERE finished_at IS NOT NULL AND (tick_at IS NULL AND " \
    "(state = 4 AND finished_at < ?1 OR state IN (5, 6) AND finished_at < ?2) OR sched IS NOT NULL AND tick_at < (SELECT k.tick_at FROM jr_job AS k WHERE k.sched = jr_job.sched " \
    "ORDER BY k.tick_at DESC LIMIT 1 OFFSET 99)) AND coalesce(ukey_until, 0) <= ?4 AND id NOT IN (SELECT needs FROM jr_dep) LIMIT ?3) RETURNING id") \
  X(PRUNE_RUNS, "DELETE FROM jr_run WHERE job = ?1") \
  X(PRUNE_NODES, "DELETE FROM jr_node WHERE state = 0 AND started_at < ?1")

/* Jobs that run have no row in jr_run yet: that start's row is made of the job's. */
#define JR_SQL_ALL_RUNS \
  "SELECT " JR_SQL_RUN_COLUMNS " FROM jr_run UNION ALL SELECT id, fence, attempt, owner, reason, started_at, NULL, NULL, NULL, NULL, NULL, NULL, " \
  "NULL, NULL, NULL, NULL, NULL, NULL FROM jr_job WHERE state = 2"

#define JR_SQL_QUERIES(X) \
  X(JOB, "job", "SELECT * FROM jr_job WHERE id = ?1") \
  X(END, "end", "SELECT state, result, error, queue FROM jr_job WHERE id = ?1") \
  X(NEWEST, "newest", "SELECT max(id) AS id FROM jr_job WHERE sched = ?1 OR queue = ?1") \
  X(NEWEST_TICK, "newest tick", "SELECT id, tick_at, state, attempt, max_attempts, " \
    "(SELECT count(*) FROM jr_job AS k WHERE k.sched = ?1 AND k.id > j.id AND k.state = 4) AS done_since FROM jr_job AS j WHERE sched = ?1 AND tick_at <= (SELECT s.last_at FROM jr_schedule AS s WHERE s.name = ?1) ORDER BY tick_at DESC LIMIT 1") \
  X(JOBS, "jobs", "SELECT id, queue, sched, kind, state, priority, run_at, attempt, max_attempts, fence, args, result, error, reason, cancel_at, created_at, started_at, " \
    "finished_at FROM jr_job WHERE (CAST(?1 AS TEXT) IS NULL OR queue = ?1) AND (CAST(?2 AS BIGINT) IS NULL OR state = ?2) ORDER BY id DESC LIMIT ?3") \
  X(RUNS, "runs", "SELECT r.*, j.queue, j.sched, j.args FROM (" JR_SQL_ALL_RUNS ") AS r LEFT JOIN jr_job AS j ON j.id = r.job " \
    "WHERE (CAST(?1 AS BIGINT) IS NULL OR r.job = ?1) AND (CAST(?3 AS TEXT) IS NULL OR j.queue = ?3 OR j.sched = ?3) ORDER BY r.started_at DESC, r.job DESC, r.fence DESC LIMIT ?2") \
  X(STATS, "stats", "SELECT queue, state, count(*) AS n FROM jr_job WHERE queue <> '' GROUP BY queue, state ORDER BY queue, state") \
  X(QUEUES, "queues", "SELECT * FROM jr_queue ORDER BY name") \
  X(SCHEDULES, "schedules", "SELECT * FROM jr_schedule ORDER BY name") \
  X(NODES, "nodes", "SELECT * FROM jr_node ORDER BY id DESC LIMIT ?1") \
  X(NEEDS, "needs", "SELECT d.needs AS id, j.state FROM jr_dep AS d LEFT JOIN jr_job AS j ON j.id = d.needs WHERE d.job = ?1 ORDER BY d.needs") \
  X(SIZES, "sizes", "SELECT (SELECT count(*) FROM jr_job) AS jobs, (SELECT count(*) FROM jr_run) AS runs, (SELECT count(*) FROM jr_schedule) AS schedules, " \
    "(SELECT min(CASE WHEN created_at > run_at THEN created_at ELSE run_at END) FROM jr_job WHERE state = 1) AS oldest, (SELECT count(*) FROM jr_job WHERE state = 1) AS available") \
  X(META, "meta", "SELECT k, v FROM jr_meta ORDER BY k")

/* What each engine asks in its own words: SQLite's. */
#define JR_SQL_OWN_QUERIES(X) \
  X(INTEGRITY, "integrity", "SELECT * FROM pragma_quick_check(1)")
/* clang-format on */

enum {
#define X(name, text) JR_SQL_##name,
  JR_SQL_LIST(X)
#undef X
#define X(name, word, text) JR_SQL_Q_##name,
      JR_SQL_QUERIES(X) JR_SQL_OWN_QUERIES(X)
#undef X
          JR_SQL_COUNT
};

#endif
