/* The store's connection where the disk or the memory fails: at the Nth call, for N = 1, 2, 3 …
 * until all goes well. What was acknowledged is there afterwards, each failure has its status and
 * names the file, and the file is sound.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>
#include <uv.h>

#include "lib.h"
#include "shim_vfs.h"
#include "sqlite.h"
#include "sqlverbs.h"
#include "status.h"

/* ---- a file system that fails --------------------------------------------------------------- */

/* What fails when `left` calls were made, and from then on if `stays`. */
static struct {
  int left, code;
  bool stays;
} fault;

static bool is_hit(void) {
  if (fault.left < 0) return false;
  if (fault.left > 0) fault.left--;
  if (fault.left > 0) return false;
  if (!fault.stays) fault.left = -1;
  return true;
}

static int fail_call(const shim_call *call) {
  if (call->what == SHIM_DELETE || !is_hit()) return SQLITE_OK;
  if (call->what == SHIM_OPEN) return SQLITE_IOERR;
  return call->what == SHIM_SYNC && fault.code != SQLITE_FULL ? SQLITE_IOERR_FSYNC : fault.code;
}

/* ---- memory that fails ----------------------------------------------------------------------- */

static sqlite3_mem_methods real_memory;
static int memory_left = -1;

static bool memory_is_hit(void) {
  if (memory_left < 0) return false;
  return memory_left == 0 || --memory_left == 0;
}
static void *failing_malloc(int n) {
  return memory_is_hit() ? NULL : real_memory.xMalloc(n);
}
static void *failing_realloc(void *p, int n) {
  return memory_is_hit() ? NULL : real_memory.xRealloc(p, n);
}

static int set_up_all(void **state) {
  (void)state;
  sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
  sqlite3_mem_methods failing = real_memory;
  failing.xMalloc = failing_malloc;
  failing.xRealloc = failing_realloc;
  sqlite3_config(SQLITE_CONFIG_MALLOC, &failing);
  sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0); /* or most allocations would be no allocations */
  fault.left = -1;
  return shim_install(fail_call);
}

/* ---- the scenario ---------------------------------------------------------------------------- */

enum { JOBS = 3, FIRST = 1000 };

typedef struct play {
  char path[64];
  jr_mem mem;
  bool pushed[JOBS], finished; /* acknowledged */
  int status;
  char error[JR_SQLITE_ERROR];
} play;

static void tell(jr_cells *in, const char *text) {
  if (text)
    jr_cells_add_text(in, text, strlen(text));
  else
    jr_cells_add_null(in);
}

static int transact(jr_sqlite *c, jr_verb verb, const jr_cells *in, jr_cells *out) {
  int status = jr_sqlite_run(c, "BEGIN IMMEDIATE");
  if (status == 0) status = jr_sqlite_do(c, verb, in, out);
  if (status == 0) status = jr_sqlite_run(c, "COMMIT");
  if (status < 0 && !sqlite3_get_autocommit(c->db))
    sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
  return status;
}

static int push(jr_sqlite *c, play *p, int64_t id) {
  jr_cells in, out;
  jr_cells_init(&in, &p->mem);
  jr_cells_init(&out, &p->mem);
  jr_cells_add_integer(&in, 5000);
  jr_cells_add_integer(&in, id);
  tell(&in, "q");
  tell(&in, "job");
  jr_cells_add_integer(&in, 0);
  tell(&in, NULL);
  jr_cells_add_integer(&in, 10);
  tell(&in, NULL);
  tell(&in, "{}");
  tell(&in, "{}");
  int status = transact(c, JR_VERB_ENQUEUE, &in, &out);
  jr_cells_fini(&in);
  jr_cells_fini(&out);
  return status;
}

static int claim(jr_sqlite *c, play *p) {
  jr_cells in, out;
  jr_cells_init(&in, &p->mem);
  jr_cells_init(&out, &p->mem);
  jr_cells_add_integer(&in, 5000);
  tell(&in, "q");
  jr_cells_add_integer(&in, 1);
  int status = transact(c, JR_VERB_CLAIM, &in, &out);
  jr_cells_fini(&in);
  jr_cells_fini(&out);
  return status;
}

/* 1: it was the run's end; 0: the run was not ours. */
static int finish(jr_sqlite *c, play *p) {
  jr_cells in, out;
  jr_cell state;
  size_t at = 0;
  jr_cells_init(&in, &p->mem);
  jr_cells_init(&out, &p->mem);
  jr_cells_add_integer(&in, 5000);
  jr_cells_add_integer(&in, FIRST);
  jr_cells_add_integer(&in, 1);
  jr_cells_add_integer(&in, 4);
  tell(&in, NULL);
  jr_cells_add_integer(&in, 0);
  tell(&in, "42");
  tell(&in, NULL);
  for (int i = 0; i < 5; i++) jr_cells_add_integer(&in, 1);
  int status = transact(c, JR_VERB_FINISH, &in, &out);
  if (status == 0 && jr_cells_next(&out, &at, &state)) status = state.type == JR_CELL_INTEGER;
  jr_cells_fini(&in);
  jr_cells_fini(&out);
  return status;
}

static void note(play *p, const jr_sqlite *c, int status) {
  if (p->status < 0 || status >= 0) return;
  p->status = status;
  strcpy(p->error, c->error);
}

static int open_store(jr_sqlite *c, const char *path) {
  const jr_embedded *schema = jr_embedded_find("schema.sql");
  jr_store_opts opts = {.path = path, .schema = schema->start, .schema_end = schema->end};
  int status = jr_sqlite_open(c, &opts);
  c->node = 7;
  return status;
}

/* Goes on after each failure, as the store's thread does. */
static void perform(play *p) {
  jr_sqlite c;
  int status = open_store(&c, p->path);
  note(p, &c, status);
  if (status < 0) return;
  for (int i = 0; i < JOBS; i++) {
    status = push(&c, p, FIRST + i);
    p->pushed[i] = status == 0;
    note(p, &c, status);
  }
  note(p, &c, claim(&c, p));
  status = finish(&c, p);
  p->finished = status == 1;
  note(p, &c, status);
  jr_sqlite_checkpoint(&c, true);
  jr_sqlite_close(&c);
}

static int64_t ask(jr_sqlite *c, const char *sql, int id) {
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_prepare_v2(c->db, sql, -1, &s, NULL), SQLITE_OK);
  sqlite3_bind_int(s, 1, id);
  assert_int_equal(sqlite3_step(s), SQLITE_ROW);
  int64_t n = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  return n;
}

/* Nothing fails any more: what was acknowledged is there, and the file is sound. */
static void judge(play *p) {
  jr_sqlite c;
  assert_int_equal(open_store(&c, p->path), 0);
  for (int i = 0; i < JOBS; i++)
    if (p->pushed[i])
      assert_int_equal(ask(&c, "SELECT count(*) FROM jr_job WHERE id = ?1", FIRST + i), 1);
  if (p->finished)
    assert_int_equal(ask(&c, "SELECT count(*) FROM jr_job WHERE state = 4 AND id = ?1", FIRST), 1);
  assert_int_equal(ask(&c, "SELECT quick_check = 'ok' FROM pragma_quick_check(?1)", 1), 1);
  for (int i = 0; i < JOBS; i++) assert_int_equal(push(&c, p, FIRST + i), 0);
  assert_int_equal(ask(&c, "SELECT count(*) FROM jr_job WHERE 1 = ?1", 1), JOBS);
  jr_sqlite_close(&c);
}

static void begin(play *p) {
  *p = (play){.path = "/tmp/jr-store-XXXXXX"};
  jr_mem_init(&p->mem, NULL, NULL, 0);
  assert_non_null(mkdtemp(p->path));
  strcat(p->path, "/s.db");
}

static void end(play *p) {
  char sql[100];
  assert_int_equal(p->mem.shared, 0);
  *strrchr(p->path, '/') = 0;
  snprintf(sql, sizeof sql, "rm -rf '%s'", p->path);
  assert_int_equal(system(sql), 0);
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void fail_at_each_call(int code, bool stays, int expected) {
  play p;
  int n = 0, failed = 0;
  do {
    begin(&p);
    fault.left = ++n;
    fault.code = code;
    fault.stays = stays;
    perform(&p);
    fault.left = -1;
    if (p.status < 0) {
      failed++;
      assert_true(p.status == expected || p.status == UV_EIO || p.status == UV_ENOENT);
      assert_non_null(strstr(p.error, p.path));
    }
    judge(&p);
    end(&p);
  } while ((p.status < 0 || !p.finished) && n < 1000);
  assert_true(failed > 10 && n < 1000);
}

static void test_an_io_error_at_each_call(void **state) {
  (void)state;
  fail_at_each_call(SQLITE_IOERR_WRITE, false, UV_EIO);
}

static void test_a_disk_that_stays_broken(void **state) {
  (void)state;
  fail_at_each_call(SQLITE_IOERR_WRITE, true, UV_EIO);
}

static void test_a_full_disk_at_each_call(void **state) {
  (void)state;
  fail_at_each_call(SQLITE_FULL, true, UV_ENOSPC);
}

static void test_no_memory_at_each_request(void **state) {
  (void)state;
  play p;
  int n = 0, failed = 0;
  do {
    begin(&p);
    memory_left = n += 1 + n / 50; /* each of the first, then a sample */
    perform(&p);
    memory_left = -1;
    failed += p.status < 0;
    if (p.status < 0) assert_int_equal(p.status, UV_ENOMEM);
    judge(&p);
    end(&p);
  } while (p.status < 0);
  assert_true(failed > 100);
}

static void test_a_folder_that_must_not_be_written(void **state) {
  (void)state;
  jr_sqlite c;
  assert_true(open_store(&c, "/proc/s.db") < 0);
  assert_non_null(strstr(c.error, "/proc/s.db"));
}

static void test_a_file_that_somebody_locks(void **state) {
  (void)state;
  play p;
  jr_sqlite c;
  sqlite3 *other;
  begin(&p);
  assert_int_equal(open_store(&c, p.path), 0);
  sqlite3_busy_timeout(c.db, 10);
  assert_int_equal(sqlite3_open(p.path, &other), SQLITE_OK);
  assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(push(&c, &p, FIRST), UV_EBUSY);
  assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
  assert_int_equal(push(&c, &p, FIRST), 0);
  sqlite3_close(other);
  jr_sqlite_close(&c);
  end(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_an_io_error_at_each_call),
      cmocka_unit_test(test_a_disk_that_stays_broken),
      cmocka_unit_test(test_a_full_disk_at_each_call),
      cmocka_unit_test(test_no_memory_at_each_request),
      cmocka_unit_test(test_a_folder_that_must_not_be_written),
      cmocka_unit_test(test_a_file_that_somebody_locks),
  };
  return cmocka_run_group_tests(tests, set_up_all, NULL);
}
