/* Starting programs: fds, group, signals, limits, folders, and every way in which it fails.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uv.h>

#include "spawn.h"
#include "warden.h"

static int count_fds(void) {
  DIR *dir = opendir("/proc/self/fd");
  int n = 0;
  while (readdir(dir)) n++;
  closedir(dir);
  return n;
}

static int fds_before;

/* exec takes its lists without a const; nobody writes to them. */
static char *const *list(const char *const *words) {
  return (char *const *)(uintptr_t)words;
}

static int setup(void **state) {
  (void)state;
  fds_before = count_fds();
  return 0;
}

static int teardown(void **state) {
  (void)state;
  assert_int_equal(count_fds(), fds_before);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
  return 0;
}

/* Runs `script` by sh with its stdout in `out`; returns its wait status. Of spec->fds, if there are
 * any, the first three are set here. */
static int run_shell(jr_spawn_spec *spec, const char *script, char *out, size_t size) {
  const char *argv[] = {"sh", "-c", script, NULL};
  int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
  assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
  int fds[8] = {null, ends[1], 2};
  for (int i = 3; i < spec->fd_count; i++) fds[i] = spec->fds[i];
  jr_spawn_step step;
  pid_t pid;
  int pidfd, status;
  spec->path = "/bin/sh";
  spec->argv = list(argv);
  spec->envp = environ;
  spec->fds = fds;
  if (spec->fd_count == 0) spec->fd_count = 3;
  assert_int_equal(jr_spawn_child(spec, &pid, &pidfd, &step), 0);
  close(ends[1]);
  close(null);
  size_t len = 0;
  for (ssize_t n; (n = read(ends[0], out + len, size - 1 - len)) > 0;) len += (size_t)n;
  out[len] = 0;
  close(ends[0]);
  close(pidfd);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

static int start_failing(jr_spawn_spec *spec, jr_spawn_step *step) {
  static const char *const argv[] = {"x", NULL};
  pid_t pid = -7;
  int pidfd = -7;
  if (!spec->path) spec->path = "/bin/true";
  spec->argv = list(argv);
  spec->envp = list(argv + 1);
  int status = jr_spawn_child(spec, &pid, &pidfd, step);
  assert_int_equal(pid, -7);
  assert_int_equal(pidfd, -7);
  return status;
}

static void test_output_and_status(void **state) {
  (void)state;
  char out[64];
  int status = run_shell(&(jr_spawn_spec){0}, "echo hello; exit 7", out, sizeof out);
  assert_string_equal(out, "hello\n");
  assert_int_equal(WEXITSTATUS(status), 7);
}

static void test_the_child_has_the_given_fds_and_no_other(void **state) {
  (void)state;
  char out[256];
  int leaks[3];
  for (int i = 0; i < 3; i++) leaks[i] = dup(2); /* not close-on-exec */
  run_shell(&(jr_spawn_spec){0}, "exec ls /proc/self/fd", out, sizeof out);
  for (int i = 0; i < 3; i++) close(leaks[i]);
  assert_string_equal(out, "0\n1\n2\n3\n"); /* 3 is the folder that ls reads */
}

/* Sources that are each other's targets. */
static void test_fds_may_change_places(void **state) {
  (void)state;
  char out[256];
  if (fcntl(3, F_GETFD) >= 0 || fcntl(4, F_GETFD) >= 0) skip(); /* inherited from who started us */
  int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR);
  assert_int_equal(null, 3);
  assert_int_equal(zero, 4);
  int fds[] = {-1, -1, -1, zero, null, -1};
  const char *script = "readlink /proc/$$/fd/3 /proc/$$/fd/4; test -e /proc/$$/fd/5 || echo closed";
  run_shell(&(jr_spawn_spec){.fds = fds, .fd_count = 6}, script, out, sizeof out);
  close(null);
  close(zero);
  assert_string_equal(out, "/dev/zero\n/dev/null\nclosed\n");
}

static void test_a_process_group_of_its_own_and_a_death_signal(void **state) {
  (void)state;
  char out[64];
  int pid, group, parent;
  run_shell(&(jr_spawn_spec){0}, "cut -d' ' -f1,4,5 /proc/$$/stat", out, sizeof out);
  assert_int_equal(sscanf(out, "%d %d %d", &pid, &parent, &group), 3);
  assert_int_equal(pid, group);
  assert_int_equal(parent, getpid());
}

static void test_signals_are_as_new(void **state) {
  (void)state;
  char out[256];
  sigset_t blocked, old;
  signal(SIGPIPE, SIG_IGN);
  signal(SIGUSR1, SIG_IGN);
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigprocmask(SIG_BLOCK, &blocked, &old);
  run_shell(&(jr_spawn_spec){0}, "grep -E '^Sig(Blk|Ign)' /proc/self/status", out, sizeof out);
  sigprocmask(SIG_SETMASK, &old, NULL);
  signal(SIGPIPE, SIG_DFL);
  signal(SIGUSR1, SIG_DFL);
  unsigned long long mask, ignored;
  assert_int_equal(sscanf(out, "SigBlk: %llx SigIgn: %llx", &mask, &ignored), 2);
  /* 32 and 33 are the C library's own; its posix_spawn leaves them ignored. */
  ignored &= ~(3ull << 31);
  assert_true(mask == 0 && ignored == 0);
}

static void test_folder_mask_nice_and_limit(void **state) {
  (void)state;
  char out[256];
  jr_spawn_limit limit = {RLIMIT_NOFILE, {33, 33}};
  jr_spawn_spec spec = {.cwd = "/usr",
                        .has_umask = true,
                        .umask = 027,
                        .nice = 5,
                        .ionice = (3 << 13), /* idle */
                        .limits = &limit,
                        .limit_count = 1};
  char expected[256];
  int before = getpriority(PRIO_PROCESS, 0);
  run_shell(&spec, "pwd; umask; ulimit -n; nice", out, sizeof out);
  snprintf(expected, sizeof expected, "/usr\n0027\n33\n%d\n", before + 5 > 19 ? 19 : before + 5);
  assert_string_equal(out, expected);
}

static void test_another_user(void **state) {
  (void)state;
  char out[64];
  jr_spawn_user user;
  assert_int_equal(jr_spawn_find_user("no-such-user-here", &user), UV_ENOENT);
  assert_int_equal(jr_spawn_find_user("nobody", &user), 0);
  jr_spawn_step step;
  if (geteuid() != 0) {
    assert_int_equal(start_failing(&(jr_spawn_spec){.user = &user}, &step), UV_EPERM);
    assert_int_equal(step, JR_STEP_USER);
    return;
  }
  run_shell(&(jr_spawn_spec){.user = &user}, "id -un", out, sizeof out);
  assert_string_equal(out, "nobody\n");
  assert_int_equal(geteuid(), 0);
}

static void test_each_failing_step_is_named(void **state) {
  (void)state;
  jr_spawn_step step;
  assert_int_equal(start_failing(&(jr_spawn_spec){.path = "/no/such/program"}, &step), UV_ENOENT);
  assert_int_equal(step, JR_STEP_EXEC);
  assert_int_equal(start_failing(&(jr_spawn_spec){.path = "/etc/passwd"}, &step), UV_EACCES);
  assert_int_equal(step, JR_STEP_EXEC);
  assert_int_equal(start_failing(&(jr_spawn_spec){.cwd = "/no/such"}, &step), UV_ENOENT);
  assert_int_equal(step, JR_STEP_CWD);
  int bad[] = {999};
  assert_int_equal(start_failing(&(jr_spawn_spec){.fds = bad, .fd_count = 1}, &step), UV_EBADF);
  assert_int_equal(step, JR_STEP_FDS);
  jr_spawn_limit limit = {-1, {1, 1}};
  assert_int_equal(start_failing(&(jr_spawn_spec){.limits = &limit, .limit_count = 1}, &step),
                   UV_EINVAL);
  assert_int_equal(step, JR_STEP_LIMIT);
  assert_int_equal(start_failing(&(jr_spawn_spec){.fd_count = 99}, &step), UV_EINVAL);
  assert_string_equal(jr_spawn_step_name(JR_STEP_CWD), "cwd");
}

static void test_programs_are_found_as_execvp_does(void **state) {
  (void)state;
  char dir[] = "/tmp/jobrun-spawn-XXXXXX", path[300], out[300];
  assert_non_null(mkdtemp(dir));
  snprintf(path, sizeof path, "%s/plain", dir);
  close(open(path, O_CREAT | O_WRONLY, 0644));
  assert_int_equal(jr_spawn_find_program("sh", "/nowhere:/bin", out, sizeof out), 0);
  assert_string_equal(out, "/bin/sh");
  assert_int_equal(jr_spawn_find_program("sh", NULL, out, sizeof out), 0);
  assert_int_equal(jr_spawn_find_program("a/b", "/bin", out, sizeof out), 0);
  assert_string_equal(out, "a/b");
  assert_int_equal(jr_spawn_find_program("plain", dir, out, sizeof out), UV_EACCES);
  assert_int_equal(jr_spawn_find_program("no-such", dir, out, sizeof out), UV_ENOENT);
  assert_int_equal(jr_spawn_find_program("", dir, out, sizeof out), UV_ENOENT);
  assert_int_equal(jr_spawn_find_program("sh", "/bin", out, 4), UV_ENOENT);
  assert_int_equal(jr_spawn_find_program("/bin/sh", NULL, out, 4), UV_ENAMETOOLONG);
  unlink(path);
  rmdir(dir);
}

static void test_a_group_lives_as_long_as_a_member(void **state) {
  (void)state;
  const char *argv[] = {"sh", "-c", "sleep 30 & exit 0", NULL};
  pid_t pid;
  int pidfd;
  jr_spawn_step step;
  jr_spawn_spec spec = {.path = "/bin/sh", .argv = list(argv), .envp = environ};
  assert_int_equal(jr_spawn_child(&spec, &pid, &pidfd, &step), 0);
  close(pidfd);
  waitpid(pid, NULL, 0);
  assert_true(jr_spawn_group_lives(pid));
  kill(-pid, SIGKILL);
  for (int i = 0; i < 2000 && jr_spawn_group_lives(pid); i++) usleep(1000);
  assert_false(jr_spawn_group_lives(pid));
}

/* ---- the warden ---------------------------------------------------------------------------- */

static void test_places_are_given_and_taken_back(void **state) {
  (void)state;
  jr_warden w = {0};
  _Atomic int32_t *first, *second, *third;
  assert_int_equal(jr_warden_take(&w, &first), 0);
  assert_int_equal(jr_warden_take(&w, &second), 0);
  assert_ptr_not_equal(first, second);
  jr_warden_release(first);
  assert_int_equal(jr_warden_take(&w, &third), 0);
  assert_ptr_equal(first, third);
  jr_warden_release(NULL);
  jr_warden_close(&w);
  jr_warden_close(&w);
}

static void test_a_killed_warden_is_replaced(void **state) {
  (void)state;
  jr_warden w = {0};
  _Atomic int32_t *place;
  assert_int_equal(jr_warden_take(&w, &place), 0);
  pid_t first = w.pid;
  kill(first, SIGKILL);
  siginfo_t info;
  waitid(P_PID, (id_t)first, &info, WEXITED | WNOWAIT);
  assert_int_equal(jr_warden_take(&w, &place), 0);
  assert_int_not_equal(w.pid, first);
  jr_warden_close(&w);
}

static void test_the_child_enters_itself(void **state) {
  (void)state;
  char out[64];
  jr_warden w = {0};
  jr_spawn_spec spec = {0};
  assert_int_equal(jr_warden_take(&w, &spec.publish), 0);
  run_shell(&spec, "echo $$", out, sizeof out);
  assert_int_equal(atomic_load(spec.publish), atoi(out));
  jr_warden_release(spec.publish);
  jr_warden_close(&w);
}

static void make_file(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  assert_true(fd >= 0);
  close(fd);
}

static bool is_there(const char *path) {
  return access(path, F_OK) == 0;
}

static void test_litter_is_removed_and_what_was_forgotten_is_not(void **state) {
  (void)state;
  char dir[] = "/tmp/jobrun-litter-XXXXXX", was[4096], path[128], longer[5000];
  jr_warden w = {0};
  uint32_t first, second, third;
  assert_non_null(mkdtemp(dir));
  assert_non_null(getcwd(was, sizeof was));
  assert_int_equal(chdir(dir), 0);
  make_file("kept");
  make_file("gone");
  jr_litter *l = jr_warden_litter(&w);
  assert_int_equal(jr_litter_add(l, "kept", &first), 0);
  assert_int_equal(jr_litter_add(l, "gone", &second), 0); /* relative to where we are now */
  assert_int_equal(chdir(was), 0);
  jr_litter_forget(l, first);
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  assert_int_equal(jr_litter_add(l, longer, &third), UV_ENAMETOOLONG);
  for (int i = 0; i < JR_LITTER_NAMES - 1; i++)
    assert_int_equal(jr_litter_add(l, "/nonexistent/file", &third), 0);
  assert_int_equal(jr_litter_add(l, "/nonexistent/file", &third), UV_EAGAIN);
  jr_warden_close(&w);
  snprintf(path, sizeof path, "%s/kept", dir);
  assert_true(is_there(path));
  unlink(path);
  snprintf(path, sizeof path, "%s/gone", dir);
  assert_false(is_there(path));
  rmdir(dir);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_output_and_status),
      TEST(test_the_child_has_the_given_fds_and_no_other),
      TEST(test_fds_may_change_places),
      TEST(test_a_process_group_of_its_own_and_a_death_signal),
      TEST(test_signals_are_as_new),
      TEST(test_folder_mask_nice_and_limit),
      TEST(test_another_user),
      TEST(test_each_failing_step_is_named),
      TEST(test_programs_are_found_as_execvp_does),
      TEST(test_a_group_lives_as_long_as_a_member),
      TEST(test_places_are_given_and_taken_back),
      TEST(test_a_killed_warden_is_replaced),
      TEST(test_the_child_enters_itself),
      TEST(test_litter_is_removed_and_what_was_forgotten_is_not),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
