/* A child process.
 *
 * How its end is seen. The pidfd becomes readable, the child is reaped with its resource usage, and
 * what its pipes still hold is read at once. Then `settle` decides, here and after each later event
 * (bytes, the end of a pipe, the timer), whether it is over. The one timer stands for the earliest
 * of five moments: deadline, SIGKILL, giving up on what even SIGKILL does not end, a pipe that has
 * been silent, the next look at what is left of the group.
 *
 * Lifetime. The struct is freed when it is OVER, its uv handles are closed and its holder let go.
 *
 * SPDX-License-Identifier: MIT */
#include "proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"

#define GRACE_NS   (10 * JR_SEC)
#define IDLE_NS    (1 * JR_SEC) /* a held pipe that is silent for so long is left */
#define GIVE_UP_NS (5 * JR_SEC) /* after SIGKILL */
#define FIRST_LOOK (1 * JR_MS)  /* at the rest of a group; doubles up to LAST_LOOK */
#define LAST_LOOK  (100 * JR_MS)
#define NEVER      INT64_MAX
#define STAGE_PIPE (1024 * 1024) /* bytes between two stages */
#define PIDFD_WAIT 3             /* P_PIDFD, which older headers lack */

static int64_t now_ns(void) {
  return (int64_t)uv_hrtime();
}

/* ---- the trade ----------------------------------------------------------------------------- */

static void close_procs(jobrun *rt, jr_trade *trade) {
  (void)rt;
  jr_procs *procs = jr_container_of(trade, jr_procs, trade);
  JR_LIST_EACH_SAFE (it, &procs->live) jr_proc_cancel(jr_container_of(it, jr_proc, link));
}

static void free_procs(jobrun *rt, jr_trade *trade) {
  jr_procs *procs = jr_container_of(trade, jr_procs, trade);
  jr_warden_close(&procs->warden);
  jr_list_remove(&trade->link);
  jr_mem_free(&rt->mem, procs, sizeof *procs);
}

int jr_procs_open(jobrun *rt, jr_procs **out) {
  jr_procs *procs = jr_mem_zalloc(&rt->mem, sizeof *procs);
  if (!procs) return UV_ENOMEM;
  procs->rt = rt;
  procs->trade.close = close_procs;
  procs->trade.free = free_procs;
  jr_list_init(&procs->live);
  jr_list_append(&rt->trades, &procs->trade.link);
  *out = procs;
  return 0;
}

/* ---- describing one ------------------------------------------------------------------------ */

static void on_stream_change(jr_stream *s);
static void on_stream_closed(jr_stream *s);
static void on_feed_change(jr_feed *f);
static void on_feed_closed(jr_feed *f);

jr_proc *jr_proc_new(jr_procs *procs) {
  jobrun *rt = procs->rt;
  jr_proc *p = jr_mem_zalloc(&rt->mem, sizeof *p);
  if (!p) return NULL;
  p->rt = rt;
  p->procs = procs;
  p->held = true;
  p->pidfd = -1;
  p->grace_ns = GRACE_NS;
  p->deadline_ns = p->kill_ns = p->give_up_ns = p->idle_ns = p->look_ns = NEVER;
  p->exit_code = -1;
  for (int fd = 0; fd < 3; fd++) p->stdio[fd] = JR_STDIO_NULL;
  for (int fd = 0; fd < JR_PROC_FDS; fd++) p->given[fd] = -1;
  jr_list_init(&p->link);
  return p;
}

jr_stream *jr_proc_add_stream(jr_proc *p, int fd, uint32_t keep, size_t limit) {
  jr_stream *s = jr_mem_alloc(&p->rt->mem, sizeof *s);
  if (!s) return NULL;
  jr_stream_init(s, p->rt, keep, limit);
  s->owner = p;
  s->on_change = on_stream_change;
  s->on_closed = on_stream_closed;
  p->streams[fd] = s;
  p->stdio[fd] = JR_STDIO_PIPE;
  return s;
}

static void close_given(jr_proc *p) {
  for (int fd = 0; fd < JR_PROC_FDS; fd++) {
    if (p->given[fd] >= 0) close(p->given[fd]);
    p->given[fd] = -1;
  }
}

void jr_proc_forget(jr_proc *p) {
  if (p->phase != JR_PROC_NEW) return;
  close_given(p);
  p->phase = JR_PROC_OVER;
}

void jr_proc_give_fd(jr_proc *p, int fd, int own) {
  if (p->given[fd] >= 0) close(p->given[fd]);
  p->given[fd] = own;
  p->stdio[fd] = JR_STDIO_GIVEN;
}

int jr_proc_connect(jr_proc *from, jr_proc *to) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -errno;
  fcntl(ends[1], F_SETPIPE_SZ, STAGE_PIPE); /* refused where the user has too many: no harm */
  jr_proc_give_fd(from, 1, ends[1]);
  jr_proc_give_fd(to, 0, ends[0]);
  return 0;
}

/* O_NONBLOCK so that a named pipe without a writer does not hold us up; then it is refused. */
int jr_proc_open_input(jr_proc *p, const char *path) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return -errno;
  int status = fstat(fd, &st) < 0 ? -errno : 0;
  if (status == 0 && S_ISDIR(st.st_mode)) status = UV_EISDIR;
  if (status == 0 && !S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode)) status = UV_EINVAL;
  if (status == 0 && fcntl(fd, F_SETFL, O_RDONLY) < 0) status = -errno;
  if (status == 0)
    jr_proc_give_fd(p, 0, fd);
  else
    close(fd);
  return status;
}

static void free_proc(jr_proc *p) {
  jr_mem *mem = &p->rt->mem;
  close_given(p);
  for (int fd = 0; fd < JR_PROC_FDS; fd++) {
    if (!p->streams[fd]) continue;
    jr_stream_fini(p->streams[fd]);
    jr_mem_free(mem, p->streams[fd], sizeof *p->streams[fd]);
  }
  if (p->feed) jr_mem_free(mem, p->feed, sizeof *p->feed);
  jr_mem_free(mem, p, sizeof *p);
}

bool jr_proc_is_running(const jr_proc *p) {
  return p->phase == JR_PROC_LIVE || p->phase == JR_PROC_GONE;
}

static void free_if_unused(jr_proc *p) {
  bool in_use = p->held || p->handles > 0 || jr_proc_is_running(p);
  if (!in_use) free_proc(p);
}

/* ---- its end ------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer);

static int64_t earliest(const jr_proc *p) {
  const int64_t moments[] = {p->deadline_ns, p->kill_ns, p->give_up_ns, p->idle_ns, p->look_ns};
  int64_t least = NEVER;
  for (size_t i = 0; i < sizeof moments / sizeof *moments; i++)
    if (moments[i] < least) least = moments[i];
  return least;
}

/* libuv counts from a cached time, so this may fire early; on_timer then sets it again. */
static void arm(jr_proc *p) {
  if (!jr_proc_is_running(p)) return;
  int64_t due = earliest(p), left = due - now_ns();
  if (due == NEVER)
    uv_timer_stop(&p->timer);
  else
    uv_timer_start(&p->timer, on_timer, left > 0 ? (uint64_t)((left + JR_MS - 1) / JR_MS) : 0, 0);
}

static void on_exit_closed(uv_handle_t *handle) {
  jr_proc *p = jr_container_of((uv_poll_t *)handle, jr_proc, exit);
  jr_uv_closed(handle);
  p->handles--;
  free_if_unused(p);
}

static void on_timer_closed(uv_handle_t *handle) {
  jr_proc *p = jr_container_of((uv_timer_t *)handle, jr_proc, timer);
  jr_uv_closed(handle);
  p->handles--;
  free_if_unused(p);
}

static void on_stream_closed(jr_stream *s) {
  jr_proc *p = s->owner;
  p->handles--;
  free_if_unused(p);
}

static void on_feed_closed(jr_feed *f) {
  jr_proc *p = f->owner;
  p->handles--;
  free_if_unused(p);
}

/* The end concerns a taker even if the lines do not. */
static void wake_taker(jr_stream *s) {
  if (s->taker && (s->hold || s->fd < 0)) jr_wake(s->taker, 0);
}

static void close_streams(jr_proc *p) {
  for (int fd = 0; fd < JR_PROC_FDS; fd++) {
    jr_stream *s = p->streams[fd];
    if (!s || s->fd < 0) continue;
    jr_stream_close(s);
    wake_taker(s);
  }
  if (!p->feed) return;
  jr_feed_close(p->feed);
  jr_wake(&p->feed->writer, 0);
}

static void become_over(jr_proc *p) {
  close_streams(p);
  jr_warden_release(p->place);
  p->place = NULL;
  p->phase = JR_PROC_OVER;
  jr_list_remove(&p->link);
  jr_op_end(p->rt);
  uv_close((uv_handle_t *)&p->timer, on_timer_closed);
  jr_wake(&p->wait, p->discards ? UV_ECANCELED : 0);
}

/* True while one of its pipes has a writer left. */
static bool has_open_pipe(const jr_proc *p) {
  for (int fd = 0; fd < JR_PROC_FDS; fd++)
    if (p->streams[fd] && p->streams[fd]->fd >= 0) return true;
  return false;
}

/* Bytes read so far; a stream whose reader is behind counts as one that talks. */
static uint64_t bytes_seen(const jr_proc *p, bool *waits) {
  uint64_t sum = 0;
  for (int fd = 0; fd < JR_PROC_FDS; fd++) {
    if (!p->streams[fd]) continue;
    sum += p->streams[fd]->bytes;
    if (p->streams[fd]->paused) *waits = true;
  }
  return sum;
}

static void watch_silence(jr_proc *p) {
  bool waits = false;
  uint64_t seen = bytes_seen(p, &waits);
  if (p->idle_ns != NEVER && !waits && seen == p->seen && now_ns() >= p->idle_ns) {
    p->pipe_held = true;
    close_streams(p);
    return;
  }
  if (p->idle_ns == NEVER || waits || seen != p->seen) p->idle_ns = now_ns() + IDLE_NS;
  p->seen = seen;
}

static void settle(jr_proc *p) {
  if (p->phase != JR_PROC_GONE) return;
  if (p->group_gone && has_open_pipe(p)) watch_silence(p);
  if (p->group_gone && !has_open_pipe(p))
    become_over(p);
  else
    arm(p);
}

/* Whether others of its group are left, for one that was asked to end. */
static void look_at_group(jr_proc *p) {
  p->look_ns = NEVER;
  p->group_gone = !p->termed || p->killed || !jr_spawn_group_lives(p->pid);
  if (p->group_gone) return;
  p->look_every_ns = p->look_every_ns ? p->look_every_ns * 2 : FIRST_LOOK;
  if (p->look_every_ns > LAST_LOOK) p->look_every_ns = LAST_LOOK;
  p->look_ns = now_ns() + p->look_every_ns;
}

static void become_gone(jr_proc *p) {
  p->phase = JR_PROC_GONE;
  p->give_up_ns = NEVER;
  p->end_ns = now_ns();
  p->rt->children--;
  uv_close((uv_handle_t *)&p->exit, on_exit_closed);
  close(p->pidfd);
  p->pidfd = -1;
  for (int fd = 0; fd < JR_PROC_FDS; fd++) {
    jr_stream *s = p->streams[fd];
    if (!s) continue;
    jr_stream_drain(s);
    wake_taker(s);
  }
  look_at_group(p);
  settle(p);
}

static void note_usage(jr_proc *p, const struct rusage *usage) {
  p->cpu_ns = (usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * JR_SEC +
              (usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) * 1000;
  p->max_rss = usage->ru_maxrss * 1024;
}

/* The bare system call, as the C library's waitid gives no usage. A host that reaps whatever it
 * finds may have been faster (ECHILD): then nobody knows how it ended. */
static bool reap(jr_proc *p) {
  siginfo_t info = {0};
  struct rusage usage = {0};
  long failed = syscall(SYS_waitid, PIDFD_WAIT, p->pidfd, &info, WEXITED | WNOHANG, &usage);
  if (failed) return errno == ECHILD;
  if (info.si_pid == 0) return false;
  if (info.si_code == CLD_EXITED)
    p->exit_code = info.si_status;
  else
    p->signal = info.si_status;
  note_usage(p, &usage);
  return true;
}

static void on_exit_event(uv_poll_t *poll, int status, int events) {
  jr_proc *p = jr_container_of(poll, jr_proc, exit);
  (void)status;
  (void)events;
  if (reap(p)) become_gone(p);
}

/* ---- asking it to end ---------------------------------------------------------------------- */

/* A leader that moved to another group is sent the signal by itself. */
int jr_proc_signal(jr_proc *p, int signal) {
  if (!jr_proc_is_running(p)) return UV_ESRCH;
  int status = kill(-p->pid, signal) < 0 ? -errno : 0;
  if (p->phase == JR_PROC_LIVE && getpgid(p->pid) != p->pid)
    status = syscall(SYS_pidfd_send_signal, p->pidfd, signal, NULL, 0) < 0 ? -errno : 0;
  return status;
}

static void ask_to_end(jr_proc *p, int64_t grace_ns) {
  if (!jr_proc_is_running(p)) return;
  int64_t kill_ns = now_ns() + grace_ns;
  if (!p->killed && kill_ns < p->kill_ns) p->kill_ns = kill_ns;
  if (!p->termed) {
    p->termed = true;
    jr_proc_signal(p, SIGTERM);
    jr_proc_signal(p, SIGCONT);
    if (p->phase == JR_PROC_GONE) look_at_group(p);
  }
  arm(p);
}

static void kill_it(jr_proc *p) {
  p->kill_ns = NEVER;
  p->killed = true;
  jr_proc_signal(p, SIGKILL);
  if (p->phase == JR_PROC_LIVE) p->give_up_ns = now_ns() + GIVE_UP_NS;
  if (p->phase == JR_PROC_GONE) look_at_group(p);
}

static void give_up(jr_proc *p) {
  jr_logf(&p->rt->log, JR_LOG_ERROR, "process %d did not end by SIGKILL: abandoned", (int)p->pid);
  p->discards = true;
  close_streams(p);
  become_gone(p);
}

static void on_timer(uv_timer_t *timer) {
  jr_proc *p = jr_container_of(timer, jr_proc, timer);
  int64_t now = now_ns();
  if (now >= p->deadline_ns) {
    p->deadline_ns = NEVER;
    p->timed_out = true;
    ask_to_end(p, p->grace_ns);
  }
  if (now >= p->kill_ns) kill_it(p);
  if (now >= p->look_ns) look_at_group(p);
  if (now >= p->give_up_ns)
    give_up(p);
  else if (p->phase == JR_PROC_GONE)
    settle(p);
  else
    arm(p);
}

void jr_proc_stop(jr_proc *p, int64_t grace_ns) {
  if (p->phase == JR_PROC_LIVE) p->stopped = true;
  ask_to_end(p, grace_ns);
}

void jr_proc_cancel(jr_proc *p) {
  p->discards = true;
  for (int fd = 0; fd < JR_PROC_FDS; fd++)
    if (p->streams[fd]) jr_stream_release(p->streams[fd]);
  ask_to_end(p, p->grace_ns);
}

void jr_proc_set_deadline(jr_proc *p, int64_t deadline_ns) {
  p->deadline_ns = deadline_ns;
  arm(p);
}

void jr_proc_unhold(jr_proc *p) {
  p->held = false;
  if (jr_proc_is_running(p)) jr_proc_cancel(p);
  free_if_unused(p);
}

/* ---- events of its pipes ------------------------------------------------------------------- */

static void on_stream_change(jr_stream *s) {
  jr_proc *p = s->owner;
  if (s->status < 0 && p->status == 0) {
    p->status = s->status;
    jr_proc_cancel(p);
  }
  wake_taker(s);
  settle(p);
}

/* Whether a program reads its input is its own business. */
static void on_feed_change(jr_feed *f) {
  jr_wake(&f->writer, 0);
}

jr_feed *jr_proc_feed(jr_proc *p) {
  return p->feed && p->stdio[0] == JR_STDIO_PIPE && !p->input ? p->feed : NULL;
}

/* ---- the start ----------------------------------------------------------------------------- */

/* What the child gets as its fds, and which of them are ours to close. */
struct plumbing {
  int fds[JR_PROC_FDS], ends[JR_PROC_FDS];
  int count, null;
};

static int open_feed(jr_proc *p, int *end) {
  p->feed = jr_mem_zalloc(&p->rt->mem, sizeof *p->feed);
  if (!p->feed) return UV_ENOMEM;
  int status = jr_feed_open(p->feed, p->rt, p->input, p->input_len, end);
  p->feed->owner = p;
  p->feed->on_change = on_feed_change;
  p->feed->on_closed = on_feed_closed;
  return status;
}

static int open_null(struct plumbing *pl) {
  if (pl->null < 0) pl->null = open("/dev/null", O_RDWR | O_CLOEXEC);
  return pl->null < 0 ? -errno : pl->null;
}

/* An fd of ours that is not open cannot be inherited; a program gets /dev/null in its place. */
static int plumb(jr_proc *p, struct plumbing *pl, int fd) {
  int status = 0;
  pl->fds[fd] = pl->ends[fd] = -1;
  switch ((jr_proc_stdio)p->stdio[fd]) {
  case JR_STDIO_CLOSED:
    return 0;
  case JR_STDIO_INHERIT:
    pl->fds[fd] = fcntl(fd, F_GETFD) >= 0 ? fd : open_null(pl);
    break;
  case JR_STDIO_NULL:
    pl->fds[fd] = open_null(pl);
    break;
  case JR_STDIO_PIPE:
    status = fd == 0 ? open_feed(p, &pl->ends[fd]) : jr_stream_pipe(p->streams[fd], &pl->ends[fd]);
    pl->fds[fd] = status < 0 ? status : pl->ends[fd];
    break;
  case JR_STDIO_GIVEN:
    pl->fds[fd] = p->given[fd];
    break;
  }
  pl->count = fd + 1;
  return pl->fds[fd] < 0 ? pl->fds[fd] : 0;
}

static int plumb_all(jr_proc *p, struct plumbing *pl) {
  int status = 0;
  *pl = (struct plumbing){.null = -1};
  for (int fd = 0; fd < JR_PROC_FDS; fd++) pl->ends[fd] = -1;
  for (int fd = 0; fd < JR_PROC_FDS && status == 0; fd++) status = plumb(p, pl, fd);
  return status;
}

static void close_ends(const struct plumbing *pl) {
  for (int fd = 0; fd < JR_PROC_FDS; fd++)
    if (pl->ends[fd] >= 0) close(pl->ends[fd]);
  if (pl->null >= 0) close(pl->null);
}

static int watch_exit(jr_proc *p) {
  int status = uv_poll_init(p->rt->loop, &p->exit, p->pidfd);
  if (status < 0) return status;
  p->exit.data = p->timer.data = p->rt;
  uv_poll_start(&p->exit, UV_READABLE, on_exit_event);
  uv_timer_init(p->rt->loop, &p->timer);
  p->rt->open_uv += 2;
  p->handles += 2;
  return 0;
}

static int watch_pipes(jr_proc *p) {
  int status = 0;
  for (int fd = 0; fd < JR_PROC_FDS && status == 0; fd++) {
    if (!p->streams[fd]) continue;
    status = jr_stream_start(p->streams[fd]);
    if (status == 0) p->handles++;
  }
  if (status == 0 && p->feed && p->feed->fd >= 0) {
    status = jr_feed_start(p->feed);
    if (status == 0) p->handles++;
  }
  return status;
}

/* It has been started, but cannot be followed: away with it. */
static void undo_start(jr_proc *p) {
  kill(-p->pid, SIGKILL);
  while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) continue;
  close(p->pidfd);
  p->pidfd = -1;
}

static int launch(jr_proc *p, jr_spawn_spec *spec, jr_spawn_step *step) {
  int status = jr_warden_take(&p->procs->warden, &p->place);
  if (status < 0) return status;
  spec->publish = p->place;
  p->start_ns = now_ns();
  status = jr_spawn_child(spec, &p->pid, &p->pidfd, step);
  if (status == 0 && (status = watch_exit(p)) < 0) undo_start(p);
  if (status == 0) return 0;
  jr_warden_release(p->place);
  p->place = NULL;
  return status;
}

int jr_proc_start(jr_proc *p, jr_spawn_spec *spec, jr_spawn_step *step) {
  struct plumbing pl;
  *step = JR_STEP_SPAWN;
  int status = plumb_all(p, &pl);
  spec->fds = pl.fds;
  spec->fd_count = pl.count;
  if (status == 0) status = launch(p, spec, step);
  close_ends(&pl);
  close_given(p);
  if (status < 0) {
    p->phase = JR_PROC_OVER;
    close_streams(p);
    return status;
  }
  p->phase = JR_PROC_LIVE;
  p->rt->children++;
  jr_op_begin(p->rt);
  jr_list_append(&p->procs->live, &p->link);
  p->status = watch_pipes(p);
  if (p->status < 0) jr_proc_cancel(p);
  return 0;
}
