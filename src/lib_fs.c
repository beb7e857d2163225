/* The C side of `fs`: arguments in, results and error objects out. The words and their options are
 * lua/jobrun/fs.lua.
 *
 * Each function that suspends is `begin`, its inputs, `go`. The paths stay at the bottom of the
 * stack while the task is parked, where the error message finds them again.
 *
 * SPDX-License-Identifier: MIT */
#include <string.h>
#include <sys/stat.h>

#include <lauxlib.h>

#include "fs.h"
#include "fswatch.h"
#include "glue.h"
#include "status.h"

int jr_open_fs(lua_State *L);

#define WATCH_META "jobrun.fs.watch"

/* ---- failures ------------------------------------------------------------------------------ */

static const char *kind_of(int status) {
  switch (status) {
  case UV_EFBIG:
    return "limit";
  case UV_EISDIR:
    return "is_directory";
  case UV_ENOTDIR:
    return "not_directory";
  case UV_ENOTEMPTY:
    return "not_empty";
  default:
    return jr_kind_of(status);
  }
}

/* Pushes the error object of a call that has its path at index 1, and at index 2 where it leads to
 * if `has_to`. */
static void push_failure(lua_State *L, const char *op, int status, const char *why, bool has_to) {
  const char *path = lua_tostring(L, 1), *to = has_to ? lua_tostring(L, 2) : NULL;
  const char *kind = kind_of(status);
  if (!why) why = jr_status_text(status);
  if (to)
    jr_error_push(L, kind, status, 1, "%s '%.400s' to '%.400s': %s", op, path, to, why);
  else
    jr_error_push(L, kind, status, 1, "%s '%.800s': %s", op, path, why);
  lua_pushstring(L, op);
  lua_setfield(L, -2, "op");
  lua_pushvalue(L, 1);
  lua_setfield(L, -2, "path");
  if (!to) return;
  lua_pushvalue(L, 2);
  lua_setfield(L, -2, "to");
}

static jr_fs *op_of(jr_wait *w) {
  return jr_container_of(w, jr_fs, wait);
}

static int fail(lua_State *L, jr_wait *w) {
  jr_fs *op = op_of(w);
  push_failure(L, w->ops->name, w->status, op->why, *op->to);
  return -1;
}

/* ---- results ------------------------------------------------------------------------------- */

static int push_nothing(lua_State *L, jr_wait *w) {
  return w->status < 0 ? fail(L, w) : 0;
}

static int push_bytes(lua_State *L, jr_wait *w) {
  jr_fs *op = op_of(w);
  if (w->status == UV_EFBIG) {
    lua_pushfstring(L, "it has more than %I bytes (the second argument is the limit)",
                    (lua_Integer)op->limit);
    push_failure(L, w->ops->name, w->status, lua_tostring(L, -1), false);
    return -1;
  }
  if (w->status < 0) return fail(L, w);
  lua_pushlstring(L, op->buf.data, op->buf.len);
  return 1;
}

static const char *type_name(uint64_t mode) {
  switch (mode & S_IFMT) {
  case S_IFREG:
    return "file";
  case S_IFDIR:
    return "directory";
  case S_IFLNK:
    return "link";
  case S_IFIFO:
    return "fifo";
  case S_IFSOCK:
    return "socket";
  case S_IFCHR:
    return "char";
  case S_IFBLK:
    return "block";
  default:
    return "unknown";
  }
}

static void set_integer(lua_State *L, const char *key, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, key);
}

static void set_time(lua_State *L, const char *key, uv_timespec_t t) {
  lua_pushnumber(L, (lua_Number)t.tv_sec + (lua_Number)t.tv_nsec / 1e9);
  lua_setfield(L, -2, key);
}

static void push_stat_table(lua_State *L, const uv_stat_t *st) {
  char mode[8];
  lua_createtable(L, 0, 12);
  lua_pushstring(L, type_name(st->st_mode));
  lua_setfield(L, -2, "type");
  snprintf(mode, sizeof mode, "%04o", (unsigned)(st->st_mode & 07777));
  lua_pushstring(L, mode);
  lua_setfield(L, -2, "mode");
  set_integer(L, "size", st->st_size);
  set_integer(L, "ino", st->st_ino);
  set_integer(L, "dev", st->st_dev);
  set_integer(L, "nlink", st->st_nlink);
  set_integer(L, "uid", st->st_uid);
  set_integer(L, "gid", st->st_gid);
  set_time(L, "mtime", st->st_mtim);
  set_time(L, "atime", st->st_atim);
  set_time(L, "ctime", st->st_ctim);
}

/* What does not exist is an answer and no error; so is a path that leads through a file. */
static bool is_absent(int status) {
  return status == UV_ENOENT || status == UV_ENOTDIR;
}

static int push_stat(lua_State *L, jr_wait *w) {
  if (is_absent(w->status))
    lua_pushnil(L);
  else if (w->status < 0)
    return fail(L, w);
  else
    push_stat_table(L, &op_of(w)->stat);
  return 1;
}

static int push_exists(lua_State *L, jr_wait *w) {
  if (w->status < 0 && !is_absent(w->status)) return fail(L, w);
  lua_pushboolean(L, w->status == 0);
  return 1;
}

static const char *entry_type(uv_dirent_type_t type) {
  static const char *const names[] = {"unknown", "file",   "directory", "link",
                                      "fifo",    "socket", "char",      "block"};
  return (size_t)type < sizeof names / sizeof *names ? names[type] : "unknown";
}

/* libuv has sorted them. */
static int push_entries(lua_State *L, jr_wait *w) {
  uv_dirent_t entry;
  uv_fs_t *req = &op_of(w)->req;
  if (w->status < 0) return fail(L, w);
  lua_createtable(L, (int)req->result, 0);
  for (lua_Integer i = 1; uv_fs_scandir_next(req, &entry) == 0; i++) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, entry.name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, entry_type(entry.type));
    lua_setfield(L, -2, "type");
    lua_rawseti(L, -2, i);
  }
  return 1;
}

static int push_created(lua_State *L, jr_wait *w) {
  if (w->status < 0) return fail(L, w);
  lua_pushboolean(L, op_of(w)->created);
  return 1;
}

static int push_real_path(lua_State *L, jr_wait *w) {
  if (w->status < 0) return fail(L, w);
  lua_pushstring(L, op_of(w)->req.ptr);
  return 1;
}

/* From here on the folder is the script's. */
static int push_tmpdir(lua_State *L, jr_wait *w) {
  if (w->status < 0) return fail(L, w);
  lua_pushstring(L, op_of(w)->scratch);
  op_of(w)->scratch_made = false;
  return 1;
}

/* ---- calls --------------------------------------------------------------------------------- */

static const char *check_path(lua_State *L, int arg, const char *op) {
  size_t len;
  if (lua_type(L, arg) != LUA_TSTRING)
    jr_raise(L, "usage", 0, 1, "%s: expected a path as argument %d, got %s", op, arg,
             luaL_typename(L, arg));
  const char *path = lua_tolstring(L, arg, &len);
  if (strlen(path) != len) jr_raise(L, "usage", 0, 1, "%s: the path has a zero byte in it", op);
  return path;
}

static jr_fs *begin(lua_State *L, const jr_wait_ops *ops, bool has_to) {
  const char *path = check_path(L, 1, ops->name);
  const char *to = has_to ? check_path(L, 2, ops->name) : NULL;
  jr_check_park(L, ops->name);
  jr_fs *op = jr_fs_new(jr_of(L), path, to);
  if (!op) jr_raise_status(L, ops->name, UV_ENOMEM);
  op->wait.ops = ops;
  return op;
}

static int go(lua_State *L, jr_fs *op, jr_fs_plan plan) {
  int status = jr_fs_start(op, plan);
  if (status == 0) return jr_park(L, &op->wait);
  const char *name = op->wait.ops->name, *why = op->why;
  bool has_to = *op->to;
  jr_fs_drop(&op->wait);
  push_failure(L, name, status, why, has_to);
  return lua_error(L);
}

static void set_flag(lua_State *L, jr_fs *op, int arg, int flag) {
  if (lua_toboolean(L, arg)) op->flags |= flag;
}

#define OPS(id, text, pusher)                                                                      \
  static const jr_wait_ops id = {                                                                  \
      .name = text, .push = pusher, .cancel = jr_fs_cancel, .drop = jr_fs_drop}

OPS(read_ops, "fs.read", push_bytes);
OPS(write_ops, "fs.write", push_nothing);
OPS(append_ops, "fs.append", push_nothing);
OPS(stat_ops, "fs.stat", push_stat);
OPS(exists_ops, "fs.exists", push_exists);
OPS(list_ops, "fs.list", push_entries);
OPS(mkdir_ops, "fs.mkdir", push_created);
OPS(remove_ops, "fs.remove", push_nothing);
OPS(rename_ops, "fs.rename", push_nothing);
OPS(copy_ops, "fs.copy", push_nothing);
OPS(sync_ops, "fs.sync", push_nothing);
OPS(realpath_ops, "fs.realpath", push_real_path);
OPS(tmpdir_ops, "fs.tmpdir", push_tmpdir);

/* read(path, limit) → string */
static int fs_read(lua_State *L) {
  lua_Integer limit = luaL_checkinteger(L, 2);
  jr_fs *op = begin(L, &read_ops, false);
  op->limit = limit > 0 ? (size_t)limit : 0;
  return go(L, op, jr_fs_read);
}

/* The string stays at index 2 of the parked function: borrowed until the drop. */
static jr_fs *begin_write(lua_State *L, const jr_wait_ops *ops) {
  size_t len;
  if (lua_type(L, 2) != LUA_TSTRING)
    jr_raise(L, "usage", 0, 1, "%s: expected a string to write, got %s", ops->name,
             luaL_typename(L, 2));
  const char *data = lua_tolstring(L, 2, &len);
  lua_Integer mode = luaL_optinteger(L, 3, -1);
  jr_fs *op = begin(L, ops, false);
  op->data = data;
  op->len = len;
  op->mode = (int)mode;
  return op;
}

/* write(path, data, mode, atomic, noreplace, sync) */
static int fs_write(lua_State *L) {
  jr_fs *op = begin_write(L, &write_ops);
  set_flag(L, op, 4, JR_FS_ATOMIC);
  set_flag(L, op, 5, JR_FS_NOREPLACE);
  set_flag(L, op, 6, JR_FS_SYNC);
  return go(L, op, jr_fs_write);
}

/* append(path, data, mode, sync) */
static int fs_append(lua_State *L) {
  jr_fs *op = begin_write(L, &append_ops);
  op->flags = JR_FS_APPEND;
  set_flag(L, op, 4, JR_FS_SYNC);
  return go(L, op, jr_fs_write);
}

/* stat(path, nofollow) → table or nil */
static int fs_stat(lua_State *L) {
  jr_fs *op = begin(L, &stat_ops, false);
  set_flag(L, op, 2, JR_FS_NOFOLLOW);
  return go(L, op, jr_fs_stat);
}

/* exists(path) → boolean */
static int fs_exists(lua_State *L) {
  return go(L, begin(L, &exists_ops, false), jr_fs_stat);
}

/* list(path) → {{name=, type=}, …} */
static int fs_list(lua_State *L) {
  return go(L, begin(L, &list_ops, false), jr_fs_list);
}

/* mkdir(path, parents, mode) → was it made? */
static int fs_mkdir(lua_State *L) {
  lua_Integer mode = luaL_optinteger(L, 3, -1);
  jr_fs *op = begin(L, &mkdir_ops, false);
  set_flag(L, op, 2, JR_FS_PARENTS);
  op->mode = (int)mode;
  return go(L, op, jr_fs_mkdir);
}

/* remove(path, recursive) */
static int fs_remove(lua_State *L) {
  jr_fs *op = begin(L, &remove_ops, false);
  set_flag(L, op, 2, JR_FS_TREE);
  return go(L, op, jr_fs_remove);
}

/* rename(from, to, noreplace, sync) */
static int fs_rename(lua_State *L) {
  jr_fs *op = begin(L, &rename_ops, true);
  set_flag(L, op, 3, JR_FS_NOREPLACE);
  set_flag(L, op, 4, JR_FS_SYNC);
  return go(L, op, jr_fs_rename);
}

/* copy(from, to, noreplace) */
static int fs_copy(lua_State *L) {
  jr_fs *op = begin(L, &copy_ops, true);
  set_flag(L, op, 3, JR_FS_NOREPLACE);
  return go(L, op, jr_fs_copy);
}

/* sync(path) */
static int fs_sync(lua_State *L) {
  return go(L, begin(L, &sync_ops, false), jr_fs_sync);
}

/* realpath(path) → path */
static int fs_realpath(lua_State *L) {
  return go(L, begin(L, &realpath_ops, false), jr_fs_realpath);
}

/* tmpdir(template) → path */
static int fs_tmpdir(lua_State *L) {
  return go(L, begin(L, &tmpdir_ops, false), jr_fs_tmpdir);
}

/* ---- watch --------------------------------------------------------------------------------- */

static jr_fswatch *check_watch(lua_State *L) {
  jr_fswatch **handle = luaL_testudata(L, 1, WATCH_META);
  if (!handle)
    jr_raise(L, "usage", 0, 1, "expected a watch (fs.watch), got %s", luaL_typename(L, 1));
  return *handle;
}

/* An event {type=, name=, path=}; the path watched is the handle's user value. */
static void push_event(lua_State *L, const jr_fswatch *w, const char *type, const char *name) {
  luaL_checkstack(L, 6, NULL);
  lua_createtable(L, 0, 3);
  lua_pushstring(L, type);
  lua_setfield(L, -2, "type");
  lua_getiuservalue(L, 1, 1);
  if (w->is_folder && *name) {
    lua_pushliteral(L, "/");
    lua_pushstring(L, name);
    lua_concat(L, 3);
  }
  lua_setfield(L, -2, "path");
  if (!*name) return;
  lua_pushstring(L, name);
  lua_setfield(L, -2, "name");
}

/* Pushes the oldest event, or nil for a closed watch. False if there is neither yet. */
static bool push_next(lua_State *L, jr_fswatch *w) {
  static const char *const types[] = {"change", "rename", "overflow"};
  const jr_fsevent *event = jr_fswatch_first(w);
  if (event) {
    push_event(L, w, types[event->type], event->name);
    jr_fswatch_shift(w);
  } else if (w->overflowed) {
    push_event(L, w, types[JR_FSEVENT_OVERFLOW], "");
    w->overflowed = false;
  } else {
    lua_pushnil(L);
    return w->closed;
  }
  return true;
}

static int push_watched(lua_State *L, jr_wait *w) {
  push_next(L, jr_container_of(w, jr_fswatch, wait));
  return 1;
}

static const jr_wait_ops watch_ops = {.name = "fs.watch", .push = push_watched};

/* watch:next() → event, or nil when it was closed. The rest of the arguments is `for`'s. */
static int watch_next(lua_State *L) {
  jr_fswatch *w = check_watch(L);
  lua_settop(L, 1);
  if (!w) return 0;
  jr_check_park(L, "fs.watch");
  if (w->wait.task)
    jr_raise(L, "usage", 0, 1, "fs.watch: another task waits for this watch already");
  if (push_next(L, w)) return 1;
  lua_settop(L, 1);
  w->wait.ops = &watch_ops;
  return jr_park(L, &w->wait);
}

static int watch_close(lua_State *L) {
  jr_fswatch *w = check_watch(L);
  if (w) jr_fswatch_close(w);
  return 0;
}

static int watch_gc(lua_State *L) {
  jr_fswatch **handle = luaL_checkudata(L, 1, WATCH_META);
  if (*handle) jr_fswatch_free(*handle);
  *handle = NULL;
  return 0;
}

static int watch_tostring(lua_State *L) {
  check_watch(L);
  lua_getiuservalue(L, 1, 1);
  lua_pushfstring(L, "watch of '%s'", lua_tostring(L, -1));
  return 1;
}

/* watch(path) → handle */
static int fs_watch(lua_State *L) {
  const char *path = check_path(L, 1, "fs.watch");
  jr_fswatch **handle = lua_newuserdatauv(L, sizeof *handle, 1);
  *handle = NULL;
  luaL_setmetatable(L, WATCH_META);
  lua_pushvalue(L, 1);
  lua_setiuservalue(L, -2, 1);
  int status = jr_fswatch_new(jr_of(L), path, handle);
  if (status == 0) return 1;
  const char *why =
      status == UV_ENOSPC   ? "the limit of watches is reached (fs.inotify.max_user_watches)"
      : status == UV_EMFILE ? "the limit of inotify instances or of open files is reached"
                            : NULL;
  push_failure(L, "fs.watch", status, why, false);
  return lua_error(L);
}

static void open_watch_meta(lua_State *L) {
  static const luaL_Reg meta[] = {{"__call", watch_next},
                                  {"__close", watch_close},
                                  {"__gc", watch_gc},
                                  {"__tostring", watch_tostring},
                                  {NULL, NULL}};
  static const luaL_Reg methods[] = {{"next", watch_next}, {"close", watch_close}, {NULL, NULL}};
  luaL_newmetatable(L, WATCH_META);
  luaL_setfuncs(L, meta, 0);
  luaL_newlib(L, methods);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int jr_open_fs(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"read", fs_read},     {"write", fs_write}, {"append", fs_append}, {"stat", fs_stat},
      {"exists", fs_exists}, {"list", fs_list},   {"mkdir", fs_mkdir},   {"remove", fs_remove},
      {"rename", fs_rename}, {"copy", fs_copy},   {"sync", fs_sync},     {"realpath", fs_realpath},
      {"tmpdir", fs_tmpdir}, {"watch", fs_watch}, {NULL, NULL}};
  open_watch_meta(L);
  luaL_newlib(L, functions);
  return 1;
}
