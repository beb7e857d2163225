/* Power cuts: what a script was told is on disk is there, wherever the power goes.
 *
 * A script pushes jobs and waits for them while each write, sync and deletion under SQLite is
 * recorded, and each answer the script had. Then the disk as it may have been at a moment is made
 * of the record: what was synced is there; of each later write, all, nothing or a torn part. That
 * file has to be sound, and to have all that was answered before that moment. (The same as the
 * recorder of the design's experiments, without its LD_PRELOAD.)
 *
 * With synchronous=normal the same judge finds losses, or it would judge nothing.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "host_help.h"
#include "lib.h"
#include "shim_vfs.h"
#include "sqlite.h"

enum {
  CUTS = 100,
  SECTOR = 512,
  MOST_RECORDS = 100000,
  WAL = 1,
  FILES = 3,
  ANSWER = SHIM_DELETE + 1
};

/* ---- the record ------------------------------------------------------------------------------ */

typedef struct record {
  int what, file, len;
  int64_t at; /* of an answer: the job's id */
  char *bytes;
} record;

static struct {
  uv_mutex_t lock;
  record list[MOST_RECORDS];
  int len;
  bool is_recorded;
} disk;

static const char *const suffixes[FILES] = {"", "-wal", "-journal"};

static int file_of(const char *path) {
  const char *dot = strstr(path, ".db");
  for (int i = 0; dot && i < FILES; i++)
    if (strcmp(dot + 3, suffixes[i]) == 0) return i;
  return -1;
}

static void add_record(record r, const void *bytes) {
  if (r.len) {
    r.bytes = malloc((size_t)r.len);
    memcpy(r.bytes, bytes, (size_t)r.len);
  }
  uv_mutex_lock(&disk.lock);
  assert_true(disk.len < MOST_RECORDS);
  disk.list[disk.len++] = r;
  uv_mutex_unlock(&disk.lock);
}

static int watch(const shim_call *call) {
  int file = call->path ? file_of(call->path) : -1;
  if (disk.is_recorded && file >= 0 && call->what != SHIM_OPEN)
    add_record((record){(int)call->what, file, call->len, call->at, NULL}, call->bytes);
  return SQLITE_OK;
}

/* told(id, state): the script has the store's word for it */
static int told(lua_State *L) {
  int state = (int)luaL_checkinteger(L, 2);
  add_record((record){ANSWER, state, 0, luaL_checkinteger(L, 1), NULL}, NULL);
  return 0;
}

static void forget(void) {
  for (int i = 0; i < disk.len; i++) free(disk.list[i].bytes);
  disk.len = 0;
}

/* ---- the disk at a moment ---------------------------------------------------------------------
 */

typedef struct image {
  char *bytes;
  size_t len, cap;
  bool exists;
} image;

static uint64_t dice = 88172645463325252u;

static unsigned roll(unsigned below) {
  dice ^= dice << 13;
  dice ^= dice >> 7;
  dice ^= dice << 17;
  return (unsigned)(dice % below);
}

static void resize(image *m, size_t len) {
  if (len > m->cap) {
    m->cap = len * 2;
    m->bytes = realloc(m->bytes, m->cap);
  }
  if (len > m->len) memset(m->bytes + m->len, 0, len - m->len);
  m->len = len;
}

static void put(image *m, const record *r, int len) {
  if ((size_t)r->at + (size_t)len > m->len) resize(m, (size_t)r->at + (size_t)len);
  if (len > 0) memcpy(m->bytes + r->at, r->bytes, (size_t)len);
  m->exists = true;
}

static void apply(image *m, const record *r) {
  if (r->what == SHIM_WRITE) put(m, r, r->len);
  if (r->what == SHIM_TRUNCATE) resize(m, (size_t)r->at);
  if (r->what == SHIM_DELETE) *m = (image){.bytes = m->bytes, .cap = m->cap};
}

/* Nobody waited for it to be on disk. */
static void apply_perhaps(image *m, const record *r) {
  unsigned n = roll(100);
  if (n < 45) return;
  if (n < 60 && r->what == SHIM_WRITE)
    put(m, r, (int)roll((unsigned)(r->len / SECTOR) + 1) * SECTOR);
  else
    apply(m, r);
}

/* Is the record on disk for sure at the moment `cut`? Its file was synced after it; or, of a
 * deletion, the write-ahead log, as SQLite syncs the folder with a new one. */
static bool is_synced(const int last_sync[FILES], int i) {
  const record *r = &disk.list[i];
  return i < last_sync[r->what == SHIM_DELETE ? WAL : r->file];
}

static void build(image *m, int file, int cut) {
  int last_sync[FILES] = {0};
  for (int i = 0; i < cut; i++)
    if (disk.list[i].what == SHIM_SYNC) last_sync[disk.list[i].file] = i;
  for (int i = 0; i < cut; i++) {
    const record *r = &disk.list[i];
    if (r->what == ANSWER || r->file != file) continue;
    if (is_synced(last_sync, i))
      apply(m, r);
    else
      apply_perhaps(m, r);
  }
}

static void write_disk(const char *dir, int cut) {
  for (int i = 0; i < FILES; i++) {
    char path[200];
    image m = {0};
    build(&m, i, cut);
    snprintf(path, sizeof path, "%s/s.db%s", dir, suffixes[i]);
    FILE *f = m.exists ? fopen(path, "wb") : NULL;
    if (f) {
      assert_int_equal(fwrite(m.bytes, 1, m.len, f), m.len);
      fclose(f);
    }
    free(m.bytes);
  }
}

/* ---- the judge ---------------------------------------------------------------------------------
 */

static int64_t ask(sqlite3 *db, const char *sql, int64_t id) {
  sqlite3_stmt *s;
  assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
  sqlite3_bind_int64(s, 1, id);
  int64_t n = sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
  sqlite3_finalize(s);
  return n;
}

/* How many answers given before the cut the store does not know of. */
static int count_lost(sqlite3 *db, int cut) {
  int lost = 0;
  for (int i = 0; i < cut; i++) {
    const record *r = &disk.list[i];
    if (r->what == ANSWER && ask(db, "SELECT state FROM jr_job WHERE id = ?1", r->at) < r->file)
      lost++;
  }
  return lost;
}

static int judge(int cut) {
  char dir[] = "/tmp/jr-cut-XXXXXX", path[64], command[64];
  const jr_embedded *schema = jr_embedded_find("schema.sql");
  jr_store_opts opts = {.path = path, .schema = schema->start, .schema_end = schema->end};
  jr_sqlite c;
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/s.db", dir);
  write_disk(dir, cut);
  assert_int_equal(jr_sqlite_open(&c, &opts), 0); /* looks the file over, as it was not closed */
  assert_int_equal(ask(c.db, "SELECT quick_check = 'ok' FROM pragma_quick_check(?1)", 1), 1);
  int lost = count_lost(c.db, cut);
  jr_sqlite_close(&c);
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  assert_int_equal(system(command), 0);
  return lost;
}

/* ---- the script
 * ---------------------------------------------------------------------------------- */

static const char script[] = "store(arg[1])\n"
                             "local q = queue.open('q', {concurrency = 8})\n"
                             "q:handle(function(job) return job.args end)\n"
                             "local function play()\n"
                             "  for i = 1, 12 do\n"
                             "    local id = q:push(('x'):rep(200))\n"
                             "    told(id, 0)\n"
                             "    queue.wait(id)\n"
                             "    told(id, 4)\n"
                             "  end\n"
                             "end\n"
                             "for _ = 1, 8 do spawn(play) end\n"
                             "play()\n"
                             "sleep(1.3)\n" /* the log is moved into the file */
                             "play()\n"
                             "os.exit(0)\n";

static void run_script(const char *url) {
  lines log;
  jobrun *rt = new_runtime(&log);
  lua_register(jobrun_lua(rt), "told", told);
  jobrun_set_args(rt, 1, (const char *const[]){url});
  assert_int_equal(load(rt, script), 0);
  assert_int_equal(jobrun_run(rt), 0);
  assert_int_equal(jobrun_exit_code(rt), 0);
  assert_int_equal(jobrun_free(rt), 0);
}

/* Two lives of a store; then CUTS moments of them. How many answers were lost in all. */
static int lost_by_cuts(const char *settings) {
  char dir[] = "/tmp/jr-cut-XXXXXX", url[100], command[64];
  int lost = 0;
  assert_non_null(mkdtemp(dir));
  snprintf(url, sizeof url, "sqlite:%s/s.db%s", dir, settings);
  forget();
  disk.is_recorded = true;
  run_script(url);
  run_script(url);
  disk.is_recorded = false;
  for (int i = 0; i < CUTS; i++) lost += judge(1 + (int)roll((unsigned)disk.len));
  lost += judge(disk.len);
  snprintf(command, sizeof command, "rm -rf '%s'", dir);
  assert_int_equal(system(command), 0);
  return lost;
}

static void test_what_was_answered_survives(void **state) {
  (void)state;
  assert_int_equal(lost_by_cuts(""), 0);
}

static void test_the_fast_setting_may_lose_the_last_answers_and_no_more(void **state) {
  (void)state;
  assert_true(lost_by_cuts("?synchronous=normal") > 0); /* but each file was sound */
}

static int set_up(void **state) {
  (void)state;
  uv_mutex_init(&disk.lock);
  return shim_install(watch);
}

static int tear_down(void **state) {
  (void)state;
  forget();
  uv_mutex_destroy(&disk.lock);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_was_answered_survives),
      cmocka_unit_test(test_the_fast_setting_may_lose_the_last_answers_and_no_more),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
