/* Starts a program: vfork + exec, with everything set up in between.
 *
 * Why our own: fork copies the page tables, which at 1 GB of memory costs tens of milliseconds, and
 * posix_spawn cannot set a parent-death signal, a nice value, limits or a user. vfork copies
 * nothing: the child runs in our memory, on our stack, while our thread stands still, until it has
 * exec'ed or left. So the child may only make system calls, and must find everything ready: the
 * path is looked up and all lists are built before. All signals are blocked meanwhile and set to
 * their defaults before the child unblocks them, as a handler of ours must not run in the child.
 *
 * The child gets the given fds and no other, is the leader of a process group of its own, and is
 * sent SIGTERM when the thread that started it ends. What went wrong in the child comes back
 * through a pipe (not through the shared memory: under ThreadSanitizer and valgrind vfork is fork).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_SPAWN_H
#define JR_SPAWN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { JR_SPAWN_GROUPS = 64 };

/* The step that failed, with its name in error messages. */
#define JR_SPAWN_STEPS(X)                                                                          \
  X(SPAWN, "spawn")                                                                                \
  X(FDS, "fds")                                                                                    \
  X(GROUP, "group")                                                                                \
  X(SIGNALS, "signals")                                                                            \
  X(NICE, "nice")                                                                                  \
  X(IONICE, "ionice")                                                                              \
  X(LIMIT, "limit")                                                                                \
  X(CWD, "cwd")                                                                                    \
  X(USER, "user")                                                                                  \
  X(EXEC, "exec")

typedef enum jr_spawn_step {
#define X(name, text) JR_STEP_##name,
  JR_SPAWN_STEPS(X)
#undef X
} jr_spawn_step;

typedef struct jr_spawn_limit {
  int resource; /* RLIMIT_… */
  struct rlimit value;
} jr_spawn_limit;

/* Who the child runs as; from jr_spawn_find_user. */
typedef struct jr_spawn_user {
  uid_t uid;
  gid_t gid;
  gid_t groups[JR_SPAWN_GROUPS];
  int group_count;
} jr_spawn_user;

/* Zeroed, it asks for nothing but `path`, `argv` and `envp`. All is borrowed for the call. */
typedef struct jr_spawn_spec {
  const char *path; /* looked up already; relative to cwd */
  char *const *argv, *const *envp;
  const char *cwd; /* NULL: ours */
  const int *fds;  /* fds[i] becomes i; -1: closed */
  int fd_count;
  int nice;   /* added to ours */
  int ionice; /* as ioprio_set(2) takes it; 0: unchanged */
  bool has_umask;
  mode_t umask;
  const jr_spawn_limit *limits;
  int limit_count;
  const jr_spawn_user *user; /* NULL: ours */
  _Atomic int32_t *publish;  /* shared with other processes: the child puts its pid here; or NULL */
} jr_spawn_spec;

/* Starts it. 0 with its pid and pidfd (the caller closes it and reaps the child); or a negative
 * status with the step it came from, and nothing is left behind. Blocks until the child has
 * exec'ed. Call it on a thread that lives as long as the child should. */
int jr_spawn_child(const jr_spawn_spec *spec, pid_t *pid, int *pidfd, jr_spawn_step *step);

/* Finds a program as execvp does: a name with a slash is itself, others are looked for in `path`
 * (NULL: the usual folders). 0 with the path in `out`, UV_ENOENT, UV_EACCES (there, but not
 * executable) or UV_ENAMETOOLONG. */
int jr_spawn_find_program(const char *name, const char *path, char *out, size_t size);

/* Looks a user up, by name or number. 0, UV_ENOENT, or what the system says. Reads files. */
int jr_spawn_find_user(const char *name, jr_spawn_user *out);

/* True while a process group has a member that is not a zombie. The group's leader must be reaped.
 * Reaps members that became our own children (if we are the machine's init). */
bool jr_spawn_group_lives(pid_t group);

const char *jr_spawn_step_name(jr_spawn_step step);

#endif
