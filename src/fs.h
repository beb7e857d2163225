/* File operations that suspend a task: each a chain of steps on libuv's pool.
 *
 * One life: jr_fs_new, fill the inputs, set `wait.ops` (its `cancel` and `drop` are jr_fs_cancel
 * and jr_fs_drop), jr_fs_start with one of the plans below, jr_park. See fs.c for the promises.
 * Everything here is for the loop thread, and nothing here enters Lua.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_FS_H
#define JR_FS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <uv.h>

#include "buf.h"
#include "rt.h"

typedef struct jr_fs jr_fs;

/* One link of a chain: takes the result of the step before (0 at the start), and returns
 * JR_FS_STEP with the next step under way, 0 when all is done, or a negative status. */
typedef int (*jr_fs_plan)(jr_fs *op, ssize_t result);

enum { JR_FS_STEP = 1 };

enum {
  JR_FS_APPEND = 1,    /* write: behind what is there */
  JR_FS_ATOMIC = 2,    /* write: to a scratch file that is renamed */
  JR_FS_SYNC = 4,      /* write, rename: on the disk before it is done */
  JR_FS_NOREPLACE = 8, /* write (atomic), rename, copy: UV_EEXIST where the target exists */
  JR_FS_PARENTS = 16,  /* mkdir: the missing folders above too; one that exists is no error */
  JR_FS_TREE = 32,     /* remove: a folder with all that is in it */
  JR_FS_NOFOLLOW = 64  /* stat: of a symbolic link itself */
};

struct jr_fs {
  jr_wait wait;
  jobrun *rt;

  /* Inputs. `path` and `to` are copies; `data` is borrowed until the drop. */
  char *path, *to; /* to: "" where there is none */
  const char *data;
  size_t len;
  size_t limit; /* read: more bytes are UV_EFBIG */
  int mode;     /* permission bits; -1 = what is usual */
  int flags;

  /* Results, until the drop. */
  jr_buf buf;        /* read: the bytes */
  uv_stat_t stat;    /* stat; read: of the file that was read */
  uv_fs_t req;       /* list: uv_fs_scandir_next(&op->req); realpath: op->req.ptr */
  char *scratch;     /* tmpdir: its path */
  bool scratch_made; /* `scratch` exists: removed on failure, or at the drop unless this is cleared
                      */
  bool created;      /* mkdir: it was not there before */
  const char *why;   /* says more about the failure than its status; static, or NULL */

  /* Inside. */
  jr_fs_plan next;            /* who takes the result of the step under way */
  jr_fs_plan aimed;           /* who goes on when the target is known … */
  int (*in_place)(jr_fs *op); /* … and who when it cannot be replaced by a rename */
  int (*job)(jr_fs *op);      /* the step under way, where it is one of our own: runs on the pool */
  uv_work_t work;
  int job_result;
  int fd; /* open now, or -1 */
  int status;
  char *target;  /* the file behind a symbolic link, where `path` or `to` is one */
  size_t done;   /* write: bytes out; mkdir: the prefix of `path` under way */
  bool replaces; /* `stat` is of the file that will be replaced */
  bool upwards;  /* mkdir: a missing folder above was made */
  bool scratch_is_folder;
  bool busy, settling, dropped, cancelled;
  atomic_bool stop; /* tells a job on the pool to give up */
  size_t size;      /* of this block */
};

/* An operation on `path` (and `to`, or NULL), which are copied. The caller owns it until
 * jr_fs_start succeeds, then the wait's drop does. NULL = out of memory. */
jr_fs *jr_fs_new(jobrun *rt, const char *path, const char *to);

/* Issues the first step. 0: under way, `wait` will be woken with the outcome, park now. Negative:
 * nothing began; give the operation to jr_fs_drop. */
int jr_fs_start(jr_fs *op, jr_fs_plan plan);

/* For jr_wait_ops. `cancel` wakes the task at once; the operation stops at its next step, undoes
 * what is half done (the open file, the scratch file) and goes. */
void jr_fs_cancel(jr_wait *w);
void jr_fs_drop(jr_wait *w);

/* The plans. Inputs beside `path` in brackets, result after the arrow. */
int jr_fs_read(jr_fs *op, ssize_t result);     /* [limit] → buf */
int jr_fs_write(jr_fs *op, ssize_t result);    /* [data, len, mode, flags] */
int jr_fs_copy(jr_fs *op, ssize_t result);     /* [to, flags] */
int jr_fs_stat(jr_fs *op, ssize_t result);     /* [flags] → stat */
int jr_fs_list(jr_fs *op, ssize_t result);     /* → req */
int jr_fs_mkdir(jr_fs *op, ssize_t result);    /* [mode, flags] → created */
int jr_fs_remove(jr_fs *op, ssize_t result);   /* [flags] */
int jr_fs_rename(jr_fs *op, ssize_t result);   /* [to, flags] */
int jr_fs_sync(jr_fs *op, ssize_t result);     /* the file, then its folder */
int jr_fs_realpath(jr_fs *op, ssize_t result); /* → req */
int jr_fs_tmpdir(jr_fs *op, ssize_t result);   /* path ends in XXXXXX → scratch */

#endif
