/* A file system under SQLite that asks the test before each call that changes something.
 *
 * SPDX-License-Identifier: MIT */
#ifndef SHIM_VFS_H
#define SHIM_VFS_H

#include <sqlite3.h>

typedef enum shim_what { SHIM_OPEN, SHIM_WRITE, SHIM_TRUNCATE, SHIM_SYNC, SHIM_DELETE } shim_what;

typedef struct shim_call {
  shim_what what;
  const char *path;
  const void *bytes; /* of a write */
  int len;
  sqlite3_int64 at; /* of a write; the new size, of a truncation */
} shim_call;

/* SQLITE_OK: the call goes on; else it fails with that. On the thread of the call. */
static int (*shim_watch)(const shim_call *call);

typedef struct shim_file {
  sqlite3_file base;
  sqlite3_file *real;
  const char *path; /* SQLite keeps it as long as the file is open */
} shim_file;

static sqlite3_file *real_of(sqlite3_file *f) {
  return ((shim_file *)(void *)f)->real;
}

static const char *path_of(sqlite3_file *f) {
  return ((shim_file *)(void *)f)->path;
}

#define REAL(f) (real_of(f)->pMethods)

static int shim_close(sqlite3_file *f) {
  return REAL(f)->xClose(real_of(f));
}
static int shim_read(sqlite3_file *f, void *to, int n, sqlite3_int64 at) {
  return REAL(f)->xRead(real_of(f), to, n, at);
}
static int shim_write(sqlite3_file *f, const void *from, int n, sqlite3_int64 at) {
  int code = shim_watch(&(shim_call){SHIM_WRITE, path_of(f), from, n, at});
  return code ? code : REAL(f)->xWrite(real_of(f), from, n, at);
}
static int shim_truncate(sqlite3_file *f, sqlite3_int64 size) {
  int code = shim_watch(&(shim_call){SHIM_TRUNCATE, path_of(f), NULL, 0, size});
  return code ? code : REAL(f)->xTruncate(real_of(f), size);
}
static int shim_sync(sqlite3_file *f, int flags) {
  int code = shim_watch(&(shim_call){SHIM_SYNC, path_of(f), NULL, 0, 0});
  return code ? code : REAL(f)->xSync(real_of(f), flags);
}
static int shim_size(sqlite3_file *f, sqlite3_int64 *size) {
  return REAL(f)->xFileSize(real_of(f), size);
}
static int shim_lock(sqlite3_file *f, int level) {
  return REAL(f)->xLock(real_of(f), level);
}
static int shim_unlock(sqlite3_file *f, int level) {
  return REAL(f)->xUnlock(real_of(f), level);
}
static int shim_reserved(sqlite3_file *f, int *out) {
  return REAL(f)->xCheckReservedLock(real_of(f), out);
}
static int shim_control(sqlite3_file *f, int op, void *arg) {
  return REAL(f)->xFileControl(real_of(f), op, arg);
}
static int shim_sector(sqlite3_file *f) {
  return REAL(f)->xSectorSize(real_of(f));
}
static int shim_traits(sqlite3_file *f) {
  return REAL(f)->xDeviceCharacteristics(real_of(f));
}
static int shim_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out) {
  return REAL(f)->xShmMap(real_of(f), page, size, extend, out);
}
static int shim_shm_lock(sqlite3_file *f, int at, int n, int flags) {
  return REAL(f)->xShmLock(real_of(f), at, n, flags);
}
static void shim_shm_barrier(sqlite3_file *f) {
  REAL(f)->xShmBarrier(real_of(f));
}
static int shim_shm_unmap(sqlite3_file *f, int drop) {
  return REAL(f)->xShmUnmap(real_of(f), drop);
}

static const sqlite3_io_methods shim_methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_reserved,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_traits,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static sqlite3_vfs shim, *real_vfs;

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out) {
  shim_file *file = (shim_file *)(void *)f;
  (void)vfs;
  file->base.pMethods = NULL;
  int code = shim_watch(&(shim_call){SHIM_OPEN, name, NULL, 0, 0});
  if (code) return code;
  file->path = name;
  file->real = (sqlite3_file *)(void *)(file + 1);
  code = real_vfs->xOpen(real_vfs, name, file->real, flags, out);
  if (code == SQLITE_OK) file->base.pMethods = &shim_methods;
  return code;
}

static int shim_delete(sqlite3_vfs *vfs, const char *name, int sync) {
  (void)vfs;
  int code = shim_watch(&(shim_call){SHIM_DELETE, name, NULL, 0, 0});
  return code ? code : real_vfs->xDelete(real_vfs, name, sync);
}

/* From now on each file that is opened is watched. */
static int shim_install(int (*watch)(const shim_call *)) {
  shim_watch = watch;
  real_vfs = sqlite3_vfs_find(NULL);
  shim = *real_vfs;
  shim.zName = "shim";
  shim.szOsFile = real_vfs->szOsFile + (int)sizeof(shim_file);
  shim.xOpen = shim_open;
  shim.xDelete = shim_delete;
  return sqlite3_vfs_register(&shim, 1);
}

#endif
