/* Ends our children's process groups when we are killed.
 *
 * SPDX-License-Identifier: MIT */
#include "warden.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

enum {
  MAX_GROUPS = 32768,
  RESERVED = -1, /* taken, its child not yet born */
  LIFE_FD = 3,
  GRACE_MS = 10000,
  STEP_MS = 20
};

/* A place holds 0 (free), RESERVED, or a process group. `woken` and `termed` are the warden's own.
 */
struct jr_warden_table {
  _Atomic int32_t high; /* places beyond it were never used */
  _Atomic int32_t groups[MAX_GROUPS];
  bool woken[MAX_GROUPS], termed[MAX_GROUPS];
  jr_litter litter;
};

/* ---- in the warden: async-signal-safe calls only ------------------------------------------- */

static void close_above(unsigned first) {
  struct rlimit limit = {0};
  if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
  getrlimit(RLIMIT_NOFILE, &limit);
  for (unsigned fd = first; fd < limit.rlim_cur && fd < 65536; fd++) close((int)fd);
}

/* Nothing of our parent's may stay open here, or who waits for the end of its output waits for us.
 */
static void let_go_of_fds(int life) {
  int null = open("/dev/null", O_RDWR);
  if (life != LIFE_FD) {
    if (null == LIFE_FD) null = dup(null);
    dup2(life, LIFE_FD);
  }
  for (int fd = 0; fd < LIFE_FD; fd++) null < 0 ? close(fd) : dup2(null, fd);
  close_above(LIFE_FD + 1);
}

static void set_signals(void) {
  static const int ignored[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2};
  struct sigaction action = {.sa_handler = SIG_DFL};
  sigset_t none;
  for (int sig = 1; sig < NSIG; sig++) sigaction(sig, &action, NULL);
  action.sa_handler = SIG_IGN;
  for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
    sigaction(ignored[i], &action, NULL);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
}

static bool has_ended(int pidfd, int timeout_ms) {
  struct pollfd p = {.fd = pidfd, .events = POLLIN};
  return poll(&p, 1, timeout_ms) > 0;
}

static bool is_gone(int32_t pid) {
  int fd = (int)syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return true;
  bool gone = has_ended(fd, 0);
  close(fd);
  return gone;
}

/* One look at a group: true while it lives. */
static bool tend(struct jr_warden_table *t, int32_t i) {
  int32_t group = atomic_load(&t->groups[i]);
  if (group <= 0) return false;
  if (kill(-group, 0) < 0) {
    atomic_store(&t->groups[i], 0); /* its number may be given to another group from now on */
    return false;
  }
  if (!t->woken[i]) kill(-group, SIGCONT);
  t->woken[i] = true;
  if (!t->termed[i] && is_gone(group)) {
    kill(-group, SIGTERM);
    kill(-group, SIGCONT);
    t->termed[i] = true;
  }
  return true;
}

static bool tend_all(struct jr_warden_table *t) {
  bool any = false;
  for (int32_t i = 0; i < atomic_load(&t->high); i++)
    if (tend(t, i)) any = true;
  return any;
}

static void end_groups(struct jr_warden_table *t) {
  const struct timespec step = {.tv_nsec = STEP_MS * 1000000};
  for (int ms = 0; ms < GRACE_MS; ms += STEP_MS) {
    if (!tend_all(t)) return;
    nanosleep(&step, NULL);
  }
  for (int32_t i = 0; i < atomic_load(&t->high); i++) {
    int32_t group = atomic_load(&t->groups[i]);
    if (group > 0) kill(-group, SIGKILL);
  }
}

static void __attribute__((noreturn)) run_warden(struct jr_warden_table *t, int life) {
  set_signals();
  setsid();
  prctl(PR_SET_NAME, "jr-warden");
  let_go_of_fds(life);
  if (chdir("/") < 0) errno = 0; /* it would only have been polite to the folder */
  while (!has_ended(LIFE_FD, -1)) continue;
  end_groups(t);
  jr_litter_remove(&t->litter);
  _exit(0);
}

/* ---- in the parent ------------------------------------------------------------------------- */

/* Signals stay blocked until the warden has its own dispositions: a handler of ours would write to
 * the wake-up pipe it shares with us. */
static pid_t fork_warden(struct jr_warden_table *t, int life) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pid_t pid = fork();
  if (pid == 0) run_warden(t, life);
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = error;
  return pid;
}

static int open_table(jr_warden *w) {
  if (w->table) return 0;
  void *memory =
      mmap(NULL, sizeof *w->table, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -errno;
  w->table = memory;
  return 0;
}

static int open_warden(jr_warden *w) {
  int status = open_table(w);
  if (status < 0) return status;
  int life = (int)syscall(SYS_pidfd_open, getpid(), 0);
  if (life < 0) return -errno;
  pid_t pid = fork_warden(w->table, life);
  status = pid < 0 ? -errno : 0;
  close(life);
  if (status == 0) w->pid = pid;
  return status;
}

/* Somebody may have killed it. */
static bool is_there(jr_warden *w) {
  if (w->pid && waitpid(w->pid, NULL, WNOHANG) != 0) w->pid = 0;
  return w->pid != 0;
}

int jr_warden_take(jr_warden *w, _Atomic int32_t **place) {
  int status = is_there(w) ? 0 : open_warden(w);
  if (status < 0) return status;
  struct jr_warden_table *t = w->table;
  for (int32_t i = 0; i < MAX_GROUPS; i++) {
    if (atomic_load(&t->groups[i]) != 0) continue;
    atomic_store(&t->groups[i], RESERVED);
    if (i >= atomic_load(&t->high)) atomic_store(&t->high, i + 1);
    *place = &t->groups[i];
    return 0;
  }
  return UV_EAGAIN;
}

jr_litter *jr_warden_litter(jr_warden *w) {
  return open_table(w) == 0 ? &w->table->litter : NULL;
}

void jr_warden_release(_Atomic int32_t *place) {
  if (place) atomic_store(place, 0);
}

void jr_warden_close(jr_warden *w) {
  if (!w->table) return;
  if (is_there(w)) {
    kill(w->pid, SIGKILL);
    while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR) continue;
  }
  jr_litter_remove(&w->table->litter);
  munmap(w->table, sizeof *w->table);
  *w = (jr_warden){0};
}
