/* Starts a program: vfork + exec, with everything set up in between.
 *
 * SPDX-License-Identifier: MIT */
#include "spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

enum { MAX_FDS = 16, FIRST_FREE_FD = 64, PASSWD_BUFFER = 16384 };
#define USUAL_PATH     "/usr/local/bin:/usr/bin:/bin"
#define CLOEXEC_RANGE  (1U << 2) /* CLOSE_RANGE_CLOEXEC */
#define IOPRIO_PROCESS 1

/* What the child writes into the pipe when a step failed. */
struct fault {
  int32_t step, error;
};

const char *jr_spawn_step_name(jr_spawn_step step) {
  static const char *const names[] = {
#define X(name, text) text,
      JR_SPAWN_STEPS(X)
#undef X
  };
  return names[step];
}

/* ---- in the child: system calls only ------------------------------------------------------- */

struct child {
  const jr_spawn_spec *spec;
  int fault_fd;
  pid_t parent;
  volatile bool shares_memory; /* set by the child; the parent sees it if vfork was a vfork */
};

static void __attribute__((noreturn)) give_up(const struct child *c, jr_spawn_step step) {
  struct fault fault = {.step = (int32_t)step, .error = errno};
  while (write(c->fault_fd, &fault, sizeof fault) < 0 && errno == EINTR) continue;
  _exit(127);
}

/* Sources that lie where targets will be are moved out of the way first; then each target is
 * written once. Everything else closes at exec, whoever opened it. */
static void place_fds(const struct child *c) {
  const jr_spawn_spec *spec = c->spec;
  int from[MAX_FDS];
  for (int i = 0; i < spec->fd_count; i++) {
    from[i] = spec->fds[i];
    if (from[i] >= 0 && from[i] < spec->fd_count && from[i] != i)
      from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, spec->fd_count);
    if (spec->fds[i] >= 0 && from[i] < 0) give_up(c, JR_STEP_FDS);
  }
  for (int i = 0; i < spec->fd_count; i++) {
    int failed = 0;
    if (from[i] < 0)
      close(i);
    else if (from[i] == i)
      failed = fcntl(i, F_SETFD, 0);
    else
      failed = dup2(from[i], i);
    if (failed < 0) give_up(c, JR_STEP_FDS);
  }
  syscall(SYS_close_range, (unsigned)spec->fd_count, ~0U, CLOEXEC_RANGE);
}

static void reset_signals(void) {
  struct sigaction dfl = {.sa_handler = SIG_DFL};
  for (int sig = 1; sig < NSIG; sig++) sigaction(sig, &dfl, NULL);
}

static void set_priorities(const struct child *c) {
  const jr_spawn_spec *spec = c->spec;
  errno = 0;
  if (spec->nice && nice(spec->nice) == -1 && errno) give_up(c, JR_STEP_NICE);
  if (spec->ionice && syscall(SYS_ioprio_set, IOPRIO_PROCESS, 0, spec->ionice) < 0)
    give_up(c, JR_STEP_IONICE);
  for (int i = 0; i < spec->limit_count; i++)
    if (setrlimit((__rlimit_resource_t)spec->limits[i].resource, &spec->limits[i].value) < 0)
      give_up(c, JR_STEP_LIMIT);
}

/* By the bare system calls: the C library's functions would change all threads of the parent. */
static void become_user(const struct child *c) {
  const jr_spawn_user *user = c->spec->user;
  if (!user) return;
  if (syscall(SYS_setgroups, user->group_count, user->groups) < 0 ||
      syscall(SYS_setresgid, user->gid, user->gid, user->gid) < 0 ||
      syscall(SYS_setresuid, user->uid, user->uid, user->uid) < 0)
    give_up(c, JR_STEP_USER);
}

/* After become_user, as a change of user clears it. The parent may have died before this call; then
 * nobody would tell us. */
static void die_with_parent(const struct child *c) {
  if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0) give_up(c, JR_STEP_SIGNALS);
  if (getppid() != c->parent) _exit(127);
}

static void __attribute__((noreturn, noinline)) run_child(struct child *c) {
  const jr_spawn_spec *spec = c->spec;
  sigset_t none;
  c->shares_memory = true;
  if (setpgid(0, 0) < 0) give_up(c, JR_STEP_GROUP);
  if (spec->publish) atomic_store(spec->publish, (int32_t)getpid());
  place_fds(c);
  reset_signals();
  set_priorities(c);
  if (spec->has_umask) umask(spec->umask);
  if (spec->cwd && chdir(spec->cwd) < 0) give_up(c, JR_STEP_CWD);
  become_user(c);
  die_with_parent(c);
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  execve(spec->path, spec->argv, spec->envp);
  give_up(c, JR_STEP_EXEC);
}

/* ---- in the parent ------------------------------------------------------------------------- */

/* A pipe whose write end lies above all targets. */
static int open_fault_pipe(int ends[2]) {
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return -errno;
  if (ends[1] >= MAX_FDS) return 0;
  int high = fcntl(ends[1], F_DUPFD_CLOEXEC, FIRST_FREE_FD);
  int error = errno;
  close(ends[1]);
  ends[1] = high;
  if (high >= 0) return 0;
  close(ends[0]);
  return -error;
}

/* 0 if nothing came through the pipe, else the status that did. After a vfork the child has
 * exec'ed or left when we come here, so what it had to say is in the pipe; to wait for the end
 * would cost a switch, as exec wakes us before it closes fds. After a fork one has to wait. */
static int read_fault(int fd, bool has_gone_on, jr_spawn_step *step) {
  struct fault fault;
  ssize_t n;
  if (!has_gone_on) fcntl(fd, F_SETFL, 0);
  do n = read(fd, &fault, sizeof fault);
  while (n < 0 && errno == EINTR);
  if (n != sizeof fault) return 0;
  *step = (jr_spawn_step)fault.step;
  return -fault.error;
}

static void reap(pid_t pid) {
  while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

static pid_t fork_child(struct child *c) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pid_t pid = vfork();
  if (pid == 0) run_child(c);
  int error = errno;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  errno = error;
  return pid;
}

static int start(const jr_spawn_spec *spec, const int ends[2], pid_t *out, jr_spawn_step *step) {
  struct child c = {.spec = spec, .fault_fd = ends[1], .parent = getpid()};
  pid_t pid = fork_child(&c);
  int status = pid < 0 ? -errno : 0;
  close(ends[1]);
  if (status == 0) status = read_fault(ends[0], c.shares_memory, step);
  close(ends[0]);
  if (status == 0)
    *out = pid;
  else if (pid > 0)
    reap(pid);
  return status;
}

int jr_spawn_child(const jr_spawn_spec *spec, pid_t *pid, int *pidfd, jr_spawn_step *step) {
  int ends[2];
  pid_t child = 0;
  *step = JR_STEP_SPAWN;
  if (spec->fd_count > MAX_FDS) return UV_EINVAL;
  int status = open_fault_pipe(ends);
  if (status == 0) status = start(spec, ends, &child, step);
  if (status < 0) return status;
  int fd = (int)syscall(SYS_pidfd_open, child, 0);
  if (fd < 0) {
    status = -errno;
    kill(-child, SIGKILL);
    reap(child);
    return status;
  }
  *pid = child;
  *pidfd = fd;
  return 0;
}

/* ---- looking things up --------------------------------------------------------------------- */

static int check_program(const char *path) {
  struct stat st;
  if (stat(path, &st) < 0) return -errno;
  return S_ISREG(st.st_mode) && access(path, X_OK) == 0 ? 0 : UV_EACCES;
}

int jr_spawn_find_program(const char *name, const char *path, char *out, size_t size) {
  int outcome = UV_ENOENT;
  if (!*name) return UV_ENOENT;
  if (strchr(name, '/')) return snprintf(out, size, "%s", name) < (int)size ? 0 : UV_ENAMETOOLONG;
  for (const char *p = path ? path : USUAL_PATH, *end; p; p = *end ? end + 1 : NULL) {
    end = strchrnul(p, ':');
    int len = (int)(end - p);
    if (snprintf(out, size, "%.*s/%s", len ? len : 1, len ? p : ".", name) >= (int)size) continue;
    int status = check_program(out);
    if (status == 0) return 0;
    if (status == UV_EACCES) outcome = UV_EACCES;
  }
  return outcome;
}

static int find_passwd(const char *name, char *buffer, struct passwd *pw) {
  struct passwd *found = NULL;
  char *end;
  unsigned long uid = strtoul(name, &end, 10);
  int error = *name && !*end ? getpwuid_r((uid_t)uid, pw, buffer, PASSWD_BUFFER, &found)
                             : getpwnam_r(name, pw, buffer, PASSWD_BUFFER, &found);
  if (error) return -error;
  return found ? 0 : UV_ENOENT;
}

int jr_spawn_find_user(const char *name, jr_spawn_user *out) {
  char buffer[PASSWD_BUFFER];
  struct passwd pw;
  int status = find_passwd(name, buffer, &pw);
  if (status < 0) return status;
  out->uid = pw.pw_uid;
  out->gid = pw.pw_gid;
  out->group_count = JR_SPAWN_GROUPS;
  if (getgrouplist(pw.pw_name, pw.pw_gid, out->groups, &out->group_count) < 0)
    out->group_count = JR_SPAWN_GROUPS; /* it has more than fit: these will do */
  return 0;
}

/* ---- process groups ------------------------------------------------------------------------ */

/* True if /proc/PID/stat tells of a living member. The name in it is in brackets and may hold
 * anything, so the fields are counted from the last bracket: state, parent, group. */
static bool is_live_member(const char *pid, pid_t group) {
  char path[64], text[512];
  snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (n <= 0) return false;
  text[n] = 0;
  char state;
  int parent, its_group;
  const char *behind = strrchr(text, ')');
  if (!behind || sscanf(behind + 1, " %c %d %d", &state, &parent, &its_group) != 3) return false;
  return its_group == group && state != 'Z' && state != 'X';
}

/* Zombies count for kill(2), and where init does not reap they stay: hence the look into /proc. */
static bool has_live_member(pid_t group) {
  DIR *dir = opendir("/proc");
  if (!dir) return true;
  bool found = false;
  for (struct dirent *e; !found && (e = readdir(dir));)
    found = e->d_name[0] >= '1' && e->d_name[0] <= '9' && is_live_member(e->d_name, group);
  closedir(dir);
  return found;
}

bool jr_spawn_group_lives(pid_t group) {
  while (waitpid(-group, NULL, WNOHANG) > 0) continue;
  if (kill(-group, 0) < 0 && errno == ESRCH) return false;
  return has_live_member(group);
}
