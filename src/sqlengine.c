/* SQLite as the engine of a store. Its backlog is the write-ahead log, in pages; tidying up moves
 * that into the file.
 *
 * SPDX-License-Identifier: MIT */
#include "sqlengine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jobrun.h"
#include "sqlite.h"
#include "sqlverbs.h"

static int engine_open(void *data, const jr_store_opts *opts, int64_t *last_id) {
  jr_sqlite *c = data;
  int status = jr_sqlite_open(c, opts);
  *last_id = c->last_id > 0 ? c->last_id : 0;
  return status;
}

static void read_boot_id(char *boot, int size) {
  FILE *f = fopen("/proc/sys/kernel/random/boot_id", "r");
  if (f && !fgets(boot, size, f)) boot[0] = 0;
  if (f) fclose(f);
  boot[strcspn(boot, "\n")] = 0;
}

static int engine_join(void *data, int64_t node, int64_t now_ms) {
  jr_sqlite *c = data;
  char host[256] = "", boot[64] = "";
  size_t size = sizeof host;
  sqlite3_stmt *s = jr_sqlite_get(c, JR_SQL_ADD_NODE);
  if (!s) return c->status;
  uv_os_gethostname(host, &size);
  read_boot_id(boot, sizeof boot);
  c->node = node;
  sqlite3_bind_int64(s, 1, node);
  sqlite3_bind_text(s, 2, host, -1, SQLITE_STATIC);
  sqlite3_bind_text(s, 3, boot, -1, SQLITE_STATIC);
  sqlite3_bind_int64(s, 4, getpid());
  sqlite3_bind_text(s, 5, JOBRUN_VERSION, -1, SQLITE_STATIC);
  sqlite3_bind_int64(s, 6, now_ms);
  return jr_sqlite_finish(c, s);
}

static void engine_close(void *data) {
  jr_sqlite *c = data;
  char sql[80];
  if (!c->db) return;
  if (c->node) {
    snprintf(sql, sizeof sql, "UPDATE jr_node SET state = 0 WHERE id = %lld", (long long)c->node);
    jr_sqlite_run(c, sql);
    jr_sqlite_checkpoint(c, true);
  }
  jr_sqlite_close(c);
}

static int engine_begin(void *data) {
  jr_sqlite *c = data;
  return jr_sqlite_run(c, c->node ? "BEGIN IMMEDIATE" : "BEGIN");
}

static int engine_perform(void *data, jr_verb verb, const jr_cells *in, jr_cells *out) {
  return jr_sqlite_do(data, verb, in, out);
}

static int engine_commit(void *data) {
  return jr_sqlite_run(data, "COMMIT");
}

static void engine_roll_back(void *data) {
  jr_sqlite *c = data;
  c->next_due = 0; /* whatever was noted may not be so: look again */
  if (c->db && !sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

static int engine_backlog(const void *data) {
  return ((const jr_sqlite *)data)->wal_pages;
}

static void engine_tidy(void *data) {
  jr_sqlite_checkpoint(data, false);
}

static const char *engine_error(const void *data) {
  return ((const jr_sqlite *)data)->error;
}

const jr_store_engine jr_sqlite_engine = {.size = sizeof(jr_sqlite),
                                          .open = engine_open,
                                          .join = engine_join,
                                          .close = engine_close,
                                          .begin = engine_begin,
                                          .perform = engine_perform,
                                          .commit = engine_commit,
                                          .roll_back = engine_roll_back,
                                          .backlog = engine_backlog,
                                          .tidy = engine_tidy,
                                          .error = engine_error};
