/* A connection to a SQLite store: opening it, its settings, its prepared statements, its failures.
 *
 * Why these settings. WAL with synchronous=FULL: a commit is one fdatasync, and what was
 * acknowledged survives power loss (with NORMAL the last seconds do not). Checkpoints only here,
 * by the one writer: SQLite up to 3.51.2 may damage a file when two connections write and
 * checkpoint at once. mmap_size=0: an I/O error is a status then, and no SIGBUS.
 *
 * The lock is an OFD lock on PATH.d/lock, which says whose it is, and one on the file itself, which
 * may have other names (symbolic links). They go with the process, however that ends. Children do
 * not have them (close on exec), nor has the warden, which closes all it was born with.
 *
 * SPDX-License-Identifier: MIT */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <uv.h>

#include "buf.h"
#include "status.h"

#define SCHEMA_VERSION 1
#define LOCK_BYTE      (INT64_C(1) << 40)
#define SHARED_FIRST   0x40000002 /* the bytes SQLite locks for reading (its file format) */
#define SHARED_LEN     510

static const char *const texts[] = {
#define X(name, text) text,
    JR_SQL_LIST(X)
#undef X
#define X(name, word, text) text,
        JR_SQL_QUERIES(X) JR_SQL_OWN_QUERIES(X)
#undef X
};

/* ---- failures ------------------------------------------------------------------------------ */

int jr_sqlite_fail(jr_sqlite *c, int status, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  vsnprintf(c->error, sizeof c->error, fmt, args);
  va_end(args);
  return c->status = status;
}

static int status_of(sqlite3 *db, int code) {
  int system = db ? sqlite3_system_errno(db) : 0;
  if (code == SQLITE_IOERR_NOMEM) return UV_ENOMEM;
  switch (code & 0xff) {
  case SQLITE_NOMEM:
    return UV_ENOMEM;
  case SQLITE_FULL:
    return UV_ENOSPC;
  case SQLITE_READONLY:
    return UV_EROFS;
  case SQLITE_BUSY:
  case SQLITE_LOCKED:
    return UV_EBUSY;
  case SQLITE_CORRUPT:
  case SQLITE_NOTADB:
    return JR_ECORRUPT;
  case SQLITE_CANTOPEN:
    return system > 0 ? -system : UV_ENOENT;
  case SQLITE_IOERR:
    return system == ENOSPC ? UV_ENOSPC : UV_EIO;
  default:
    return UV_EIO;
  }
}

/* Of the call that just returned `code`. */
static int fail(jr_sqlite *c, int code) {
  int status = status_of(c->db, code);
  if (status == UV_EROFS)
    return jr_sqlite_fail(c, status,
                          "the store '%s' may not be written by this user, which SQLite needs "
                          "to read it too: be its owner, or copy it and the files beside it",
                          c->path);
  if (status == JR_ECORRUPT)
    return jr_sqlite_fail(
        c, status,
        "the store '%s' is damaged, or no SQLite file (%s). Nothing was changed. Keep a copy, then: "
        "sqlite3 '%s' .recover | sqlite3 recovered.db",
        c->path, sqlite3_errstr(code), c->path);
  return jr_sqlite_fail(c, status, "the store '%s': %s", c->path,
                        c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(code));
}

/* ---- statements ---------------------------------------------------------------------------- */

int jr_sqlite_run(jr_sqlite *c, const char *sql) {
  int code = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
  return code == SQLITE_OK ? 0 : fail(c, code);
}

sqlite3_stmt *jr_sqlite_get(jr_sqlite *c, int which) {
  sqlite3_stmt **s = &c->statements[which];
  if (*s) {
    sqlite3_clear_bindings(*s);
    return *s;
  }
  int code = sqlite3_prepare_v3(c->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT, s, NULL);
  if (code != SQLITE_OK) fail(c, code);
  return *s;
}

void jr_sqlite_bind(sqlite3_stmt *s, int from, int n, const int64_t *values) {
  for (int i = 0; i < n; i++) sqlite3_bind_int64(s, from + i, values[i]);
}

/* The cells outlive the step, so texts are not copied. */
void jr_sqlite_bind_cells(sqlite3_stmt *s, int from, int n, const jr_cells *cells, size_t *at) {
  jr_cell cell;
  for (int i = 0; i < n && jr_cells_next(cells, at, &cell); i++) {
    if (cell.type == JR_CELL_INTEGER) sqlite3_bind_int64(s, from + i, cell.integer);
    if (cell.type == JR_CELL_TEXT)
      sqlite3_bind_text64(s, from + i, cell.text, cell.len, SQLITE_STATIC, SQLITE_UTF8);
  }
}

int jr_sqlite_step(jr_sqlite *c, sqlite3_stmt *s) {
  int code = sqlite3_step(s);
  if (code == SQLITE_ROW) return 1;
  int status = code == SQLITE_DONE ? 0 : fail(c, code);
  sqlite3_reset(s);
  return status;
}

int jr_sqlite_finish(jr_sqlite *c, sqlite3_stmt *s) {
  int status;
  do status = jr_sqlite_step(c, s);
  while (status == 1);
  return status;
}

void jr_sqlite_add_columns(sqlite3_stmt *s, int n, jr_cells *out) {
  for (int i = 0; i < n; i++) {
    switch (sqlite3_column_type(s, i)) {
    case SQLITE_NULL:
      jr_cells_add_null(out);
      break;
    case SQLITE_INTEGER:
      jr_cells_add_integer(out, sqlite3_column_int64(s, i));
      break;
    default: {
      const void *text = sqlite3_column_blob(s, i);
      jr_cells_add_text(out, text, (size_t)sqlite3_column_bytes(s, i));
    }
    }
  }
}

/* ---- the file beside it -------------------------------------------------------------------- */

static bool is_memory(const jr_sqlite *c) {
  return strcmp(c->path, ":memory:") == 0;
}

/* What is no store is left alone, without so much as a folder beside it. */
static int refuse_others(jr_sqlite *c) {
  static const char head[] = "SQLite format 3";
  char text[sizeof head];
  struct stat st;
  if (stat(c->path, &st) < 0)
    return errno == ENOENT
               ? 0
               : jr_sqlite_fail(c, -errno, "the store '%s': %s", c->path, uv_strerror(-errno));
  if (!S_ISREG(st.st_mode))
    return jr_sqlite_fail(c, JR_EUSAGE, "the store '%s' is %s, and no file", c->path,
                          S_ISDIR(st.st_mode) ? "a folder" : "a device, a pipe or a socket");
  if (st.st_nlink > 1)
    return jr_sqlite_fail(
        c, JR_EUSAGE,
        "the store '%s' has a second name (a hard link), and what one of them was "
        "told would be lost to the other: remove one",
        c->path);
  int fd = open(c->path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return jr_sqlite_fail(c, -errno, "the store '%s': %s", c->path, uv_strerror(-errno));
  ssize_t n = read(fd, text, sizeof text);
  close(fd);
  return n <= 0 || (n == sizeof text && memcmp(text, head, sizeof head) == 0)
             ? 0
             : fail(c, SQLITE_NOTADB);
}

/* UV_EBUSY without a sentence: somebody has it. */
static int set_lock(jr_sqlite *c, int fd, short type, int64_t start, int64_t len) {
  struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
  if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return 0;
  if (errno == EAGAIN || errno == EACCES) return UV_EBUSY;
  return jr_sqlite_fail(c, -errno, "the store '%s' cannot be locked: %s", c->path,
                        uv_strerror(-errno));
}

static int refuse_owner(jr_sqlite *c) {
  char text[32] = "";
  ssize_t n = pread(c->lock_fd, text, sizeof text - 1, 0);
  return jr_sqlite_fail(c, UV_EBUSY,
                        "the store '%s' belongs to process %s, and one process at a time may write "
                        "it. Go through that one (store \"unix:%s.d/socket\"), or end it",
                        c->path, n > 0 ? text : "?", c->path);
}

/* PATH.d/lock. */
static int take_lock(jr_sqlite *c) {
  char path[sizeof c->path + 16], pid[32];
  snprintf(path, sizeof path, "%s.d", c->path);
  if (mkdir(path, 0700) < 0 && errno != EEXIST)
    return jr_sqlite_fail(c, -errno, "the store '%s': cannot make the folder '%s': %s", c->path,
                          path, uv_strerror(-errno));
  strcat(path, "/lock");
  c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (c->lock_fd < 0)
    return jr_sqlite_fail(c, -errno, "the store '%s': cannot open '%s': %s", c->path, path,
                          uv_strerror(-errno));
  int status = set_lock(c, c->lock_fd, F_WRLCK, 0, 0);
  if (status < 0) return status == UV_EBUSY ? refuse_owner(c) : status;
  int len = snprintf(pid, sizeof pid, "%d", getpid());
  if (ftruncate(c->lock_fd, 0) < 0 || pwrite(c->lock_fd, pid, (size_t)len, 0) < 0)
    return jr_sqlite_fail(c, -errno, "the store '%s': cannot write '%s': %s", c->path, path,
                          uv_strerror(-errno));
  return 0;
}

/* The file by whatever name. The byte is far beyond those that SQLite locks. The descriptor stays
 * open until SQLite has closed the file: closing it would drop SQLite's own locks (fcntl(2)). */
static int lock_file(jr_sqlite *c) {
  c->file_fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (c->file_fd < 0) return 0; /* SQLite says what is wrong */
  int status = set_lock(c, c->file_fd, F_WRLCK, LOCK_BYTE, 1);
  if (status != UV_EBUSY) return status;
  return jr_sqlite_fail(c, UV_EBUSY,
                        "the store '%s' is open in a process by another name (a symbolic link?), "
                        "and one at a time may write it. Use that name, or end it",
                        c->path);
}

/* SQLite's own lock goes when anybody in this process closes a descriptor of the file (fcntl(2));
 * the next sqlite3 that ends would then take itself for the last and remove the WAL we write. This
 * one stays, and lets nobody have the file alone. */
static int keep_shared(jr_sqlite *c) {
  int status = set_lock(c, c->file_fd, F_RDLCK, SHARED_FIRST, SHARED_LEN);
  if (status != UV_EBUSY) return status;
  return jr_sqlite_fail(c, UV_EBUSY, "the store '%s' is locked by another program: end it",
                        c->path);
}

/* Locks and shared memory do not work on these, or not always. */
static int refuse_network(jr_sqlite *c) {
  char folder[sizeof c->path];
  struct statfs fs;
  snprintf(folder, sizeof folder, "%s", c->path);
  char *slash = strrchr(folder, '/');
  if (slash) *(slash == folder ? slash + 1 : slash) = 0;
  if (statfs(slash ? folder : ".", &fs) < 0)
    return jr_sqlite_fail(c, -errno, "the store '%s': its folder: %s", c->path,
                          uv_strerror(-errno));
  switch ((uint32_t)fs.f_type) {
  case NFS_SUPER_MAGIC:
  case SMB_SUPER_MAGIC:
  case 0xff534d42: /* CIFS */
  case 0xfe534d42: /* SMB 2 */
  case V9FS_MAGIC:
    return jr_sqlite_fail(c, JR_EUSAGE,
                          "the store '%s' is on a network file system, where locks do not hold: "
                          "put it on a local disk",
                          c->path);
  default:
    return 0;
  }
}

/* ---- the schema ---------------------------------------------------------------------------- */

/* Appends `text` with the macros of schema.sql replaced. */
static void add_schema(jr_buf *b, const char *text, const char *end) {
  static const char *const macros[][2] = {
      {"I64", "INTEGER"}, {"BIN", "BLOB"}, {"TAIL", "STRICT"}, {"KEYED", "STRICT, WITHOUT ROWID"}};
  while (text < end) {
    size_t len = 0;
    while (text + len < end && (text[len] >= 'A' && text[len] <= 'Z')) len++;
    while (len && text + len < end && text[len] >= '0' && text[len] <= '9') len++;
    const char *word = NULL;
    for (size_t i = 0; i < sizeof macros / sizeof *macros; i++)
      if (len == strlen(macros[i][0]) && memcmp(text, macros[i][0], len) == 0) word = macros[i][1];
    if (word)
      jr_buf_adds(b, word);
    else
      jr_buf_add(b, text, len ? len : 1);
    text += len ? len : 1;
  }
  jr_buf_add(b, "", 1);
}

static int make_tables(jr_sqlite *c, const jr_store_opts *opts) {
  jr_mem mem;
  jr_buf b;
  char meta[160];
  uint64_t random[2];
  jr_mem_init(&mem, NULL, NULL, 0);
  jr_buf_init(&b, &mem);
  jr_buf_adds(&b, "BEGIN IMMEDIATE;\n");
  add_schema(&b, opts->schema, opts->schema_end);
  int status = b.failed ? jr_sqlite_fail(c, UV_ENOMEM, "no memory") : jr_sqlite_run(c, b.data);
  jr_buf_fini(&b);
  sqlite3_randomness(sizeof random, random);
  snprintf(meta, sizeof meta,
           "INSERT INTO jr_meta(k, v) VALUES('schema', '%d'), ('uuid', '%016llx%016llx'); COMMIT",
           SCHEMA_VERSION, (unsigned long long)random[0], (unsigned long long)random[1]);
  if (status == 0) status = jr_sqlite_run(c, meta);
  if (status < 0) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
  return status;
}

/* The one number that a query gives, or -1 where it gives none. */
static int ask_number(jr_sqlite *c, const char *sql, int64_t *out) {
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(c->db, sql, -1, &s, NULL);
  if (code != SQLITE_OK) return fail(c, code);
  code = sqlite3_step(s);
  *out = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : -1;
  int status = code == SQLITE_ROW || code == SQLITE_DONE ? 0 : fail(c, code);
  sqlite3_finalize(s);
  return status;
}

static int check_tables(jr_sqlite *c, const jr_store_opts *opts) {
  int64_t n, version;
  int status = ask_number(c, "SELECT count(*) FROM sqlite_master", &n);
  if (status < 0) return status;
  if (n == 0 && opts->is_reader)
    return jr_sqlite_fail(c, JR_EUSAGE, "the store '%s' is empty", c->path);
  if (n == 0) return make_tables(c, opts);
  status = ask_number(c, "SELECT count(*) FROM sqlite_master WHERE name = 'jr_meta'", &n);
  if (status < 0) return status;
  if (n == 0)
    return jr_sqlite_fail(c, JR_EUSAGE, "'%s' is a SQLite file, but none of jobrun's", c->path);
  status = ask_number(c, "SELECT CAST(v AS INTEGER) FROM jr_meta WHERE k = 'schema'", &version);
  if (status == 0 && version != SCHEMA_VERSION)
    return jr_sqlite_fail(c, JR_EUSAGE,
                          "the store '%s' has schema version %lld, this jobrun knows %d: use the "
                          "jobrun that made it, or a newer one",
                          c->path, (long long)version, SCHEMA_VERSION);
  return status;
}

/* A file that was not closed in order is looked at as a whole. */
static int check_file(jr_sqlite *c) {
  int64_t unclean;
  int status = ask_number(c, "SELECT count(*) FROM jr_node WHERE state = 1", &unclean);
  if (status < 0 || unclean == 0) return status;
  sqlite3_stmt *s = NULL;
  int code = sqlite3_prepare_v2(c->db, "PRAGMA quick_check(1)", -1, &s, NULL);
  if (code == SQLITE_OK) code = sqlite3_step(s);
  bool ok = code == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
  sqlite3_finalize(s);
  if (code != SQLITE_ROW) return fail(c, code);
  return ok ? 0 : fail(c, SQLITE_CORRUPT);
}

/* ---- life ---------------------------------------------------------------------------------- */

static int count_pages(void *data, sqlite3 *db, const char *name, int pages) {
  jr_sqlite *c = data;
  (void)db;
  (void)name;
  c->wal_pages = pages;
  return SQLITE_OK;
}

static int set_up(jr_sqlite *c, const jr_store_opts *opts) {
  int status;
  sqlite3_busy_timeout(c->db, 5000);
  sqlite3_extended_result_codes(c->db, 1);
  sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  if (opts->is_reader) return jr_sqlite_run(c, "PRAGMA query_only = 1; PRAGMA mmap_size = 0");
  status = jr_sqlite_run(c, "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; "
                            "PRAGMA wal_autocheckpoint = 0; PRAGMA mmap_size = 0; "
                            "PRAGMA cache_size = -16000; PRAGMA temp_store = MEMORY; "
                            "PRAGMA journal_size_limit = 67108864");
  sqlite3_wal_hook(c->db, count_pages, c);
  if (status == 0)
    status = jr_sqlite_run(c, opts->may_lose_last ? "PRAGMA synchronous = NORMAL"
                                                  : "PRAGMA synchronous = FULL");
  return status;
}

static int open_db(jr_sqlite *c, const jr_store_opts *opts) {
  int flags = SQLITE_OPEN_NOMUTEX | (opts->is_reader ? SQLITE_OPEN_READWRITE
                                                     : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  int code = sqlite3_open_v2(c->path, &c->db, flags, NULL);
  if (code != SQLITE_OK) return fail(c, code);
  int status = set_up(c, opts);
  if (status == 0) status = check_tables(c, opts);
  if (status == 0 && !opts->is_reader) status = check_file(c);
  int64_t needs = 0;
  if (status == 0) status = ask_number(c, "SELECT count(*) FROM jr_dep", &needs);
  c->has_needs = needs > 0;
  if (status < 0) return status;
  return ask_number(c,
                    "SELECT max(id) FROM (SELECT max(id) AS id FROM jr_job UNION ALL "
                    "SELECT max(id) FROM jr_node UNION ALL "
                    "SELECT CAST(v AS INTEGER) FROM jr_meta WHERE k = 'last_id')",
                    &c->last_id);
}

int jr_sqlite_open(jr_sqlite *c, const jr_store_opts *opts) {
  int status = 0;
  *c = (jr_sqlite){.lock_fd = -1, .file_fd = -1};
  if (strlen(opts->path) >= sizeof c->path)
    return jr_sqlite_fail(c, UV_ENAMETOOLONG, "the store's path is longer than %zu bytes",
                          sizeof c->path - 1);
  strcpy(c->path, opts->path);
  if (!is_memory(c)) status = refuse_network(c);
  if (status == 0 && !is_memory(c)) status = refuse_others(c);
  if (status == 0 && !is_memory(c) && !opts->is_reader) status = take_lock(c);
  if (status == 0 && !is_memory(c) && !opts->is_reader) status = lock_file(c);
  if (status == 0) status = open_db(c, opts);
  if (status == 0 && c->file_fd >= 0) status = keep_shared(c);
  if (status < 0) jr_sqlite_close(c);
  return status;
}

void jr_sqlite_close(jr_sqlite *c) {
  for (int i = 0; i < JR_SQL_COUNT; i++) sqlite3_finalize(c->statements[i]);
  memset(c->statements, 0, sizeof c->statements);
  sqlite3_close(c->db);
  c->db = NULL;
  if (c->file_fd >= 0) close(c->file_fd);
  if (c->lock_fd >= 0) close(c->lock_fd);
  c->file_fd = c->lock_fd = -1;
}

void jr_sqlite_checkpoint(jr_sqlite *c, bool whole) {
  sqlite3_wal_checkpoint_v2(
      c->db, NULL, whole ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
  c->wal_pages = 0;
}
