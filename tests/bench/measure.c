/* measure FILE COMMAND...: runs the command and writes "wall cpu maxrss_kib status" to FILE.
 *
 * It is small because the kernel counts the parent's resident set as the child's until the exec;
 * under a Python of 15 MB every child would be at least as large. With MEASURE_SMALL_PAGES in the
 * environment the command gets no huge pages, so that 1 GB of memory has 1 GB's worth of page
 * tables.
 *
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t) {
  return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  if (getenv("MEASURE_SMALL_PAGES")) prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  double start = now();
  pid_t pid = vfork();
  if (pid == 0) {
    execvp(argv[2], argv + 2);
    _exit(127);
  }
  int status;
  struct rusage use;
  if (pid < 0 || wait4(pid, &status, 0, &use) < 0) return 1;
  double wall = now() - start;
  FILE *out = fopen(argv[1], "w");
  if (!out) return 1;
  fprintf(out, "%.6f %.6f %ld %d\n", wall, seconds(use.ru_utime) + seconds(use.ru_stime),
          use.ru_maxrss, status);
  return fclose(out);
}
