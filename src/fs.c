/* File operations that suspend a task: each a chain of steps on libuv's pool.
 *
 * Reading a file is open, fstat, read, close; replacing one is up to a dozen calls. Each call may
 * block, so each is a request to the pool, and the callback of one issues the next. An operation
 * is thus a chain of small functions, one per step, written below each other in the order in which
 * they run: each takes the result of the step before and returns `then(op, NEXT, uv_fs_…)`. No step
 * is long (bytes go in pieces, a tree is removed in time slices), so a big file does not keep other
 * operations, or DNS, from the pool.
 *
 *   start ──> step ──> step ──> … ──> settle: close what is open, remove what is half done ──> wake
 *                │ failed or cancelled        ^                                            or free
 *                └────────────────────────────┘
 *
 * What a chain owns it notes in the operation the moment it has it (claim): the open descriptor,
 * the scratch file. So a chain may stop after any step, and nothing in it has to undo anything.
 *
 * A cancelled task does not wait for the step under way, which nothing can stop: it is woken at
 * once and drops the operation, which then belongs to itself, settles after that step, and frees
 * itself. A step that still waits for a thread is taken back by uv_cancel.
 *
 * A file is replaced, not overwritten: its new content goes to a scratch file `.NAME.jobrun-PID-N`
 * in the same folder, which then takes the name. A reader, or a crash of the program at any point,
 * sees the old content or the new; after a crash of the machine this holds with JR_FS_SYNC only.
 * Things that are not regular files (/dev/null, a pipe) are written in place, a symbolic link's
 * target is replaced and not the link.
 *
 * SPDX-License-Identifier: MIT */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rmtree.h"

/* The most a single step reads or writes; what a file of unknown size gets at first; the longest
 * slice of a job. */
enum { PIECE = 4 << 20, WRITE_PIECE = 1 << 20, FIRST_READ = 16 << 10, NAME_LIMIT = 255 };
#define SLICE_NS (5 * JR_MS)

/* O_NONBLOCK: opening a named pipe must not hold a thread until somebody opens its other end. */
#define OPEN_FLAGS (O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/* ---- the engine ---------------------------------------------------------------------------- */

static char *text_dup(jr_fs *op, const char *text) {
  return jr_mem_dup(&op->rt->mem, text, strlen(text));
}

static void text_free(jr_fs *op, char **text) {
  if (*text) jr_mem_free(&op->rt->mem, *text, strlen(*text) + 1);
  *text = NULL;
}

jr_fs *jr_fs_new(jobrun *rt, const char *path, const char *to) {
  size_t path_len = strlen(path), to_len = to ? strlen(to) : 0;
  size_t size = sizeof(jr_fs) + path_len + to_len + 2;
  jr_fs *op = jr_mem_zalloc(&rt->mem, size);
  if (!op) return NULL;
  op->rt = rt;
  op->size = size;
  op->fd = op->mode = -1;
  op->path = (char *)(op + 1);
  op->to = op->path + path_len + 1;
  memcpy(op->path, path, path_len);
  if (to) memcpy(op->to, to, to_len);
  jr_buf_init(&op->buf, &rt->mem);
  atomic_init(&op->stop, false);
  return op;
}

static void release(jr_fs *op) {
  jobrun *rt = op->rt;
  uv_fs_req_cleanup(&op->req);
  jr_buf_fini(&op->buf);
  text_free(op, &op->scratch);
  text_free(op, &op->target);
  jr_mem_free(&rt->mem, op, op->size);
}

/* The virtual clock waits for an operation under way, and so does the end of the runtime, also for
 * one that nobody waits for any more: it counts like a handle of ours. */
static void set_busy(jr_fs *op) {
  op->busy = true;
  op->rt->open_uv++;
  jr_op_begin(op->rt);
}

static void set_idle(jr_fs *op) {
  op->busy = false;
  op->rt->open_uv--;
  jr_op_end(op->rt);
}

/* The request, for the next step. What the last one left in it is gone then. */
static uv_fs_t *fresh(jr_fs *op) {
  uv_fs_req_cleanup(&op->req);
  return &op->req;
}

static int then(jr_fs *op, jr_fs_plan next, int issued) {
  op->next = next;
  return issued < 0 ? issued : JR_FS_STEP;
}

/* The operation is over and nothing of it is left outside. */
static void end(jr_fs *op) {
  set_idle(op);
  if (op->dropped)
    release(op);
  else
    jr_wake(&op->wait, op->status);
}

static void on_fs(uv_fs_t *req);

/* Removes the scratch file or folder. A request that cannot be made (out of memory) is done on the
 * spot: better the loop waits for it once than that the file stays for ever. */
static int issue_undo(jr_fs *op) {
  uv_fs_t *req = fresh(op);
  op->scratch_made = false;
  if (op->scratch_is_folder)
    return uv_fs_rmdir(op->rt->loop, req, op->scratch, on_fs) < 0 ? rmdir(op->scratch) : JR_FS_STEP;
  return uv_fs_unlink(op->rt->loop, req, op->scratch, on_fs) < 0 ? unlink(op->scratch) : JR_FS_STEP;
}

/* Called again after each of its steps, until nothing is left to do. */
static void settle(jr_fs *op) {
  bool is_undone = op->status < 0 || op->cancelled;
  op->settling = true;
  if (op->fd >= 0)
    uv_fs_close(op->rt->loop, fresh(op), op->fd, on_fs);
  else if (!op->scratch_made || !is_undone || issue_undo(op) != JR_FS_STEP)
    end(op);
}

/* Notes what a step that succeeded has left outside. */
static void claim(jr_fs *op, ssize_t result) {
  uv_fs_type type = op->req.fs_type;
  if (type == UV_FS_CLOSE && result != UV_ECANCELED) op->fd = -1;
  if (result < 0) return;
  if (type == UV_FS_OPEN) op->fd = (int)result;
  if (type == UV_FS_OPEN || type == UV_FS_COPYFILE) op->scratch_made = op->scratch != NULL;
  if (type == UV_FS_RENAME) op->scratch_made = false;
  if (type != UV_FS_MKDTEMP) return;
  memcpy(op->scratch, op->req.path, strlen(op->scratch));
  op->scratch_made = true;
}

/* A step has ended: on to the next, or to the end. A failure to close or to remove while settling
 * changes nothing any more. */
static void advance(jr_fs *op, ssize_t result) {
  if (op->settling) {
    settle(op);
    return;
  }
  int status = op->cancelled ? UV_ECANCELED : op->next(op, result);
  if (status == JR_FS_STEP) return;
  op->status = status;
  settle(op);
}

static void on_fs(uv_fs_t *req) {
  jr_fs *op = jr_container_of(req, jr_fs, req);
  claim(op, req->result);
  advance(op, req->result);
}

static void run_job(uv_work_t *work) {
  jr_fs *op = jr_container_of(work, jr_fs, work);
  op->job_result = op->job(op);
}

static void on_job(uv_work_t *work, int status) {
  jr_fs *op = jr_container_of(work, jr_fs, work);
  op->job = NULL;
  advance(op, status < 0 ? status : op->job_result);
}

/* A step of our own: `job` runs on the pool and may use the operation's texts and `stop` only. */
static int queue_job(jr_fs *op, int (*job)(jr_fs *op), jr_fs_plan next) {
  op->job = job;
  return then(op, next, uv_queue_work(op->rt->loop, &op->work, run_job, on_job));
}

int jr_fs_start(jr_fs *op, jr_fs_plan plan) {
  int status = plan(op, 0);
  if (status == JR_FS_STEP) set_busy(op);
  return op->busy ? 0 : status;
}

/* The step under way cannot be stopped once a thread has it; the task does not wait for it. */
static void give_up(jr_fs *op) {
  op->cancelled = true;
  atomic_store(&op->stop, true);
  if (op->busy && !op->settling) uv_cancel(op->job ? (uv_req_t *)&op->work : (uv_req_t *)&op->req);
}

void jr_fs_cancel(jr_wait *w) {
  give_up(jr_container_of(w, jr_fs, wait));
  jr_wake(w, UV_ECANCELED);
}

/* A result that nobody took (a folder made for a task that was cancelled meanwhile) is undone. */
void jr_fs_drop(jr_wait *w) {
  jr_fs *op = jr_container_of(w, jr_fs, wait);
  op->dropped = true;
  if (op->busy) {
    give_up(op);
  } else if (op->scratch_made) {
    op->cancelled = true;
    set_busy(op);
    settle(op);
  } else {
    release(op);
  }
}

/* ---- paths --------------------------------------------------------------------------------- */

/* Where the last component begins. */
static const char *name_of(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static void strip_slashes(char *path) {
  size_t len = strlen(path);
  while (len > 1 && path[len - 1] == '/') path[--len] = 0;
}

/* `a/b` → `a`, `/a` → `/`, `a` → `.`; UV_ENAMETOOLONG where it does not fit. */
static int folder_of(const char *path, char *folder, size_t size) {
  size_t len = (size_t)(name_of(path) - path);
  if (len == 0) return snprintf(folder, size, ".") > 0 ? 0 : UV_EINVAL;
  if (len > 1) len--;
  if (len >= size) return UV_ENAMETOOLONG;
  memcpy(folder, path, len);
  folder[len] = 0;
  return 0;
}

/* DIR/.NAME.jobrun-PID-N beside `path`; the name is cut where all of it would be too long. N is
 * only likely to be free: O_EXCL decides, and the next try has another. */
static int name_scratch(jr_fs *op, const char *path) {
  char suffix[40], full[PATH_MAX];
  const char *name = name_of(path);
  int tail = snprintf(suffix, sizeof suffix, ".jobrun-%d-%x", (int)getpid(), (unsigned)uv_hrtime());
  int room = NAME_LIMIT - 1 - tail, folder = (int)(name - path);
  int len = snprintf(full, sizeof full, "%.*s.%.*s%s", folder, path, room, name, suffix);
  if (len < 0 || len >= (int)sizeof full) return UV_ENAMETOOLONG;
  text_free(op, &op->scratch);
  op->scratch = text_dup(op, full);
  return op->scratch ? 0 : UV_ENOMEM;
}

/* ---- read ---------------------------------------------------------------------------------- */

static int read_opened(jr_fs *op, ssize_t result);
static int read_sized(jr_fs *op, ssize_t result);
static int read_piece(jr_fs *op, ssize_t result);

int jr_fs_read(jr_fs *op, ssize_t result) {
  (void)result;
  return then(op, read_opened,
              uv_fs_open(op->rt->loop, fresh(op), op->path, O_RDONLY | OPEN_FLAGS, 0, on_fs));
}

static int read_opened(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  return then(op, read_sized, uv_fs_fstat(op->rt->loop, fresh(op), op->fd, on_fs));
}

static unsigned room_to_read(const jr_fs *op) {
  size_t room = op->buf.cap - op->buf.len;
  return room < PIECE ? (unsigned)room : PIECE;
}

/* Room for the next piece: a file that tells its size (those of /proc do not) gets its room once,
 * one byte more than that, so that the end is seen without another step. */
static int issue_read(jr_fs *op) {
  size_t size = (size_t)op->stat.st_size, more = FIRST_READ;
  if (size >= op->buf.len && size > 0) more = size - op->buf.len + 1;
  if (op->buf.cap == op->buf.len && !jr_buf_reserve(&op->buf, more)) return UV_ENOMEM;
  uv_buf_t to = uv_buf_init(op->buf.data + op->buf.len, room_to_read(op));
  return then(op, read_piece, uv_fs_read(op->rt->loop, fresh(op), op->fd, &to, 1, -1, on_fs));
}

static int read_sized(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  op->stat = op->req.statbuf;
  if (S_ISDIR(op->stat.st_mode)) return UV_EISDIR;
  if (S_ISFIFO(op->stat.st_mode)) {
    op->why = "it is a named pipe, not a file";
    return UV_EINVAL;
  }
  if (op->stat.st_size > op->limit) return UV_EFBIG;
  return issue_read(op);
}

static int read_piece(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  bool is_short = result < room_to_read(op);
  op->buf.len += (size_t)result;
  if (op->buf.len > op->limit) return UV_EFBIG;
  if (result == 0 || (is_short && op->buf.len == op->stat.st_size)) return 0;
  return issue_read(op);
}

/* ---- replacing a file: where it really is, and its scratch file ----------------------------- */

static int looked(jr_fs *op, ssize_t result);
static int resolved(jr_fs *op, ssize_t result);

static const char *target_of(const jr_fs *op) {
  return op->target ? op->target : *op->to ? op->to : op->path;
}

/* Finds out what the target is, gives it a scratch name, goes on with `aimed`; with `in_place`
 * where the target is nothing that can be replaced. */
static int aim(jr_fs *op, jr_fs_plan aimed, int (*in_place)(jr_fs *op)) {
  op->aimed = aimed;
  op->in_place = in_place;
  return then(op, looked, uv_fs_lstat(op->rt->loop, fresh(op), target_of(op), on_fs));
}

static int take_aim(jr_fs *op) {
  int status = name_scratch(op, target_of(op));
  return status < 0 ? status : op->aimed(op, 0);
}

static int looked(jr_fs *op, ssize_t result) {
  if (result == UV_ENOENT) return take_aim(op);
  if (result < 0) return (int)result;
  if (op->flags & JR_FS_NOREPLACE) return UV_EEXIST;
  op->stat = op->req.statbuf;
  if (S_ISLNK(op->stat.st_mode))
    return then(op, resolved, uv_fs_realpath(op->rt->loop, fresh(op), target_of(op), on_fs));
  if (S_ISDIR(op->stat.st_mode)) return UV_EISDIR;
  if (!S_ISREG(op->stat.st_mode)) return op->in_place(op);
  op->replaces = true;
  return take_aim(op);
}

/* A link that leads nowhere yet: writing through it makes its target. */
static int resolved(jr_fs *op, ssize_t result) {
  if (result == UV_ENOENT) return op->in_place(op);
  if (result < 0) return (int)result;
  op->target = text_dup(op, op->req.ptr);
  if (!op->target) return UV_ENOMEM;
  return aim(op, op->aimed, op->in_place);
}

/* ---- sync: a file's bytes, then its name in the folder -------------------------------------- */

static int folder_opened(jr_fs *op, ssize_t result);
static int folder_synced(jr_fs *op, ssize_t result);

static int sync_folder(jr_fs *op, ssize_t result) {
  char folder[PATH_MAX];
  if (result < 0) return (int)result;
  int status = folder_of(target_of(op), folder, sizeof folder);
  if (status < 0) return status;
  int flags = O_RDONLY | O_DIRECTORY | OPEN_FLAGS;
  return then(op, folder_opened, uv_fs_open(op->rt->loop, fresh(op), folder, flags, 0, on_fs));
}

static int folder_opened(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  return then(op, folder_synced, uv_fs_fsync(op->rt->loop, fresh(op), op->fd, on_fs));
}

/* Some file systems know no fsync of a folder: theirs is on the disk anyway. */
static int folder_synced(jr_fs *op, ssize_t result) {
  (void)op;
  return result == UV_EINVAL ? 0 : (int)result;
}

static int sync_opened(jr_fs *op, ssize_t result);
static int sync_done(jr_fs *op, ssize_t result);

int jr_fs_sync(jr_fs *op, ssize_t result) {
  (void)result;
  strip_slashes(op->path);
  return then(op, sync_opened,
              uv_fs_open(op->rt->loop, fresh(op), op->path, O_RDONLY | OPEN_FLAGS, 0, on_fs));
}

static int sync_opened(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  return then(op, sync_done, uv_fs_fsync(op->rt->loop, fresh(op), op->fd, on_fs));
}

static int sync_done(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  return then(op, sync_folder, uv_fs_close(op->rt->loop, fresh(op), op->fd, on_fs));
}

/* ---- rename -------------------------------------------------------------------------------- */

/* On the pool. link + unlink where the file system knows no RENAME_NOREPLACE (folders then cannot
 * be moved this way: UV_EPERM). */
static int rename_noreplace(jr_fs *op) {
  const char *from = op->scratch ? op->scratch : op->path, *to = target_of(op);
  if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return -errno;
  if (link(from, to) < 0 || unlink(from) < 0) return -errno;
  return 0;
}

static int rename_done(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  text_free(op, &op->scratch);
  op->scratch_made = false;
  return op->flags & JR_FS_SYNC ? sync_folder(op, 0) : 0;
}

int jr_fs_rename(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  if (op->flags & JR_FS_NOREPLACE) return queue_job(op, rename_noreplace, rename_done);
  const char *from = op->scratch ? op->scratch : op->path;
  return then(op, rename_done, uv_fs_rename(op->rt->loop, fresh(op), from, target_of(op), on_fs));
}

/* ---- write --------------------------------------------------------------------------------- */

static int scratch_opened(jr_fs *op, ssize_t result);
static int opened_to_write(jr_fs *op, ssize_t result);
static int write_piece(jr_fs *op, ssize_t result);
static int wrote(jr_fs *op, ssize_t result);
static int set_owner(jr_fs *op);
static int owner_set(jr_fs *op, ssize_t result);
static int mode_set(jr_fs *op, ssize_t result);
static int write_synced(jr_fs *op, ssize_t result);

static int open_scratch(jr_fs *op, ssize_t result) {
  (void)result;
  int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | OPEN_FLAGS;
  int mode = op->mode >= 0 ? op->mode & 0777 : op->replaces ? 0600 : 0666;
  return then(op, scratch_opened,
              uv_fs_open(op->rt->loop, fresh(op), op->scratch, flags, mode, on_fs));
}

static int scratch_opened(jr_fs *op, ssize_t result) {
  return result == UV_EEXIST ? take_aim(op) : opened_to_write(op, result);
}

static int write_in_place(jr_fs *op) {
  int flags = O_WRONLY | O_CREAT | OPEN_FLAGS | (op->flags & JR_FS_APPEND ? O_APPEND : O_TRUNC);
  int mode = op->mode >= 0 ? op->mode & 0777 : 0666;
  return then(op, opened_to_write,
              uv_fs_open(op->rt->loop, fresh(op), op->path, flags, mode, on_fs));
}

int jr_fs_write(jr_fs *op, ssize_t result) {
  (void)result;
  return op->flags & JR_FS_ATOMIC ? aim(op, open_scratch, write_in_place) : write_in_place(op);
}

static int opened_to_write(jr_fs *op, ssize_t result) {
  return result < 0 ? (int)result : write_piece(op, 0);
}

/* The bytes belong to a Lua string that may go with its task, while a step under way cannot be
 * stopped: what a thread writes is a copy, a piece at a time. */
static int write_piece(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  op->done += (size_t)result;
  size_t left = op->len - op->done, piece = left < WRITE_PIECE ? left : WRITE_PIECE;
  if (left == 0) return set_owner(op);
  if (!op->buf.data && !jr_buf_reserve(&op->buf, piece)) return UV_ENOMEM;
  memcpy(op->buf.data, op->data + op->done, piece);
  uv_buf_t from = uv_buf_init(op->buf.data, (unsigned)piece);
  return then(op, wrote, uv_fs_write(op->rt->loop, fresh(op), op->fd, &from, 1, -1, on_fs));
}

static int wrote(jr_fs *op, ssize_t result) {
  return result == 0 ? UV_EIO : write_piece(op, result);
}

/* The new file gets the owner and the mode of the one it replaces. Where the system forbids to
 * give a file away, it belongs to who wrote it, and runs as nobody else. */
static int set_owner(jr_fs *op) {
  const uv_stat_t *old = &op->stat;
  if (!op->replaces || (old->st_uid == geteuid() && old->st_gid == getegid()))
    return owner_set(op, 0);
  uv_uid_t uid = (uv_uid_t)old->st_uid;
  uv_gid_t gid = (uv_gid_t)old->st_gid;
  return then(op, owner_set, uv_fs_fchown(op->rt->loop, fresh(op), op->fd, uid, gid, on_fs));
}

static int owner_set(jr_fs *op, ssize_t result) {
  if (result < 0 && result != UV_EPERM) return (int)result;
  if (result < 0) op->stat.st_mode &= ~(uint64_t)(S_ISUID | S_ISGID);
  int mode = op->mode;
  if (mode < 0 && op->replaces) mode = (int)(op->stat.st_mode & 07777);
  if (mode < 0) return mode_set(op, 0);
  return then(op, mode_set, uv_fs_fchmod(op->rt->loop, fresh(op), op->fd, mode, on_fs));
}

static int mode_set(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  if (!(op->flags & JR_FS_SYNC)) return write_synced(op, 0);
  return then(op, write_synced, uv_fs_fsync(op->rt->loop, fresh(op), op->fd, on_fs));
}

/* Closed by a step of its own and not when settling: a late write error is told by close. */
static int write_synced(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  jr_fs_plan next = op->scratch ? jr_fs_rename : rename_done;
  return then(op, next, uv_fs_close(op->rt->loop, fresh(op), op->fd, on_fs));
}

/* ---- copy ---------------------------------------------------------------------------------- */

static int source_looked(jr_fs *op, ssize_t result);
static int copy_to_scratch(jr_fs *op, ssize_t result);

static int refuse_special(jr_fs *op) {
  op->why = "it is not a regular file";
  return UV_EINVAL;
}

int jr_fs_copy(jr_fs *op, ssize_t result) {
  (void)result;
  return then(op, source_looked, uv_fs_stat(op->rt->loop, fresh(op), op->path, on_fs));
}

static int source_looked(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  if (S_ISDIR(op->req.statbuf.st_mode)) return UV_EISDIR;
  return S_ISREG(op->req.statbuf.st_mode) ? aim(op, copy_to_scratch, refuse_special)
                                          : refuse_special(op);
}

/* One step, as long as it takes: the kernel copies, or shares the blocks where it can. */
static int copy_to_scratch(jr_fs *op, ssize_t result) {
  (void)result;
  int flags = UV_FS_COPYFILE_EXCL | UV_FS_COPYFILE_FICLONE;
  return then(op, jr_fs_rename,
              uv_fs_copyfile(op->rt->loop, fresh(op), op->path, op->scratch, flags, on_fs));
}

/* ---- single steps -------------------------------------------------------------------------- */

static int take_result(jr_fs *op, ssize_t result) {
  if (op->req.fs_type == UV_FS_STAT || op->req.fs_type == UV_FS_LSTAT) op->stat = op->req.statbuf;
  return result < 0 ? (int)result : 0;
}

int jr_fs_stat(jr_fs *op, ssize_t result) {
  (void)result;
  if (op->flags & JR_FS_NOFOLLOW)
    return then(op, take_result, uv_fs_lstat(op->rt->loop, fresh(op), op->path, on_fs));
  return then(op, take_result, uv_fs_stat(op->rt->loop, fresh(op), op->path, on_fs));
}

int jr_fs_list(jr_fs *op, ssize_t result) {
  (void)result;
  return then(op, take_result, uv_fs_scandir(op->rt->loop, fresh(op), op->path, 0, on_fs));
}

int jr_fs_realpath(jr_fs *op, ssize_t result) {
  (void)result;
  return then(op, take_result, uv_fs_realpath(op->rt->loop, fresh(op), op->path, on_fs));
}

/* `scratch` is as long as the template and gets the name that was found (claim). */
int jr_fs_tmpdir(jr_fs *op, ssize_t result) {
  (void)result;
  op->scratch_is_folder = true;
  op->scratch = text_dup(op, op->path);
  if (!op->scratch) return UV_ENOMEM;
  return then(op, take_result, uv_fs_mkdtemp(op->rt->loop, fresh(op), op->path, on_fs));
}

/* ---- mkdir --------------------------------------------------------------------------------- */

static int folder_made(jr_fs *op, ssize_t result);

/* Makes the folder named by the first `op->done` bytes of the path. */
static int issue_mkdir(jr_fs *op) {
  char *cut = op->path + op->done, was = *cut;
  int mode = op->mode >= 0 && !was ? op->mode : 0777;
  *cut = 0;
  int issued = uv_fs_mkdir(op->rt->loop, fresh(op), op->path, mode, on_fs);
  *cut = was;
  return then(op, folder_made, issued);
}

int jr_fs_mkdir(jr_fs *op, ssize_t result) {
  (void)result;
  strip_slashes(op->path);
  op->done = strlen(op->path);
  return issue_mkdir(op);
}

static int there_already(jr_fs *op, ssize_t result) {
  if (result < 0) return (int)result;
  return S_ISDIR(op->req.statbuf.st_mode) ? 0 : UV_EEXIST;
}

/* With parents: as long as the folder above is missing, that one first (most often none is); then
 * one component more at a time. Somebody else making one of them meanwhile is no failure. */
static int folder_made(jr_fs *op, ssize_t result) {
  const char *path = op->path;
  bool parents = op->flags & JR_FS_PARENTS, whole = !path[op->done];
  if (result == UV_ENOENT && parents && !op->upwards) {
    size_t cut = op->done;
    while (cut > 0 && path[cut - 1] != '/') cut--;
    while (cut > 0 && path[cut - 1] == '/') cut--;
    op->done = cut;
    return cut > 0 ? issue_mkdir(op) : UV_ENOENT;
  }
  if (result < 0 && !(result == UV_EEXIST && parents)) return (int)result;
  op->created = result == 0;
  if (whole && result == 0) return 0;
  if (whole) return then(op, there_already, uv_fs_stat(op->rt->loop, fresh(op), path, on_fs));
  op->upwards = true;
  op->done += strspn(path + op->done, "/");
  op->done += strcspn(path + op->done, "/");
  return issue_mkdir(op);
}

/* ---- remove -------------------------------------------------------------------------------- */

static int file_removed(jr_fs *op, ssize_t result);
static int tree_removed(jr_fs *op, ssize_t result);
static int remove_slice(jr_fs *op);

int jr_fs_remove(jr_fs *op, ssize_t result) {
  (void)result;
  strip_slashes(op->path);
  const char *name = name_of(op->path);
  if (op->flags & JR_FS_TREE && (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)) {
    op->why = "it is the root, or the folder itself by '.' or '..'";
    return UV_EINVAL;
  }
  return then(op, file_removed, uv_fs_unlink(op->rt->loop, fresh(op), op->path, on_fs));
}

static int file_removed(jr_fs *op, ssize_t result) {
  if (result != UV_EISDIR) return (int)result;
  if (op->flags & JR_FS_TREE) return queue_job(op, remove_slice, tree_removed);
  return then(op, take_result, uv_fs_rmdir(op->rt->loop, fresh(op), op->path, on_fs));
}

static int tree_removed(jr_fs *op, ssize_t result) {
  return result == JR_RMTREE_MORE ? queue_job(op, remove_slice, tree_removed) : (int)result;
}

/* On the pool. */
static int remove_slice(jr_fs *op) {
  return jr_rmtree(op->path, SLICE_NS, &op->stop);
}
