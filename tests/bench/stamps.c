/* stamps: stands in for ffmpeg where the time from a report line's write to its callback is asked.
 *
 * Writes STAMPS_N lines "T <seq> <ns> xxx…", one write each as ffmpeg's log does, STAMPS_GAP_US
 * apart, to the file that FFREPORT names, or to stderr if there is none. The stamp is of
 * CLOCK_MONOTONIC, or of CLOCK_BOOTTIME with STAMPS_CLOCK=boottime, whichever the reader can read.
 * If the last argument does not begin with '-' it is made as an output file.
 *
 * SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PAD "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

static long number(const char *name, long otherwise) {
  const char *value = getenv(name);
  return value ? atol(value) : otherwise;
}

static int open_report(void) {
  const char *value = getenv("FFREPORT");
  const char *path = value ? strstr(value, "file=") : NULL;
  if (!path) return 2;
  char name[4096];
  size_t len = strcspn(path + 5, ":");
  if (len >= sizeof name) return 2;
  memcpy(name, path + 5, len);
  name[len] = '\0';
  return open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
}

static void make_output(const char *path) {
  int fd = *path == '-' ? -1 : open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (fd >= 0 && write(fd, "x", 1) == 1) close(fd);
}

int main(int argc, char **argv) {
  const char *clock = getenv("STAMPS_CLOCK");
  clockid_t id = clock && strcmp(clock, "boottime") == 0 ? CLOCK_BOOTTIME : CLOCK_MONOTONIC;
  long n = number("STAMPS_N", 100), gap_us = number("STAMPS_GAP_US", 0);
  struct timespec gap = {gap_us / 1000000, gap_us % 1000000 * 1000}, t;
  int fd = open_report();
  for (long i = 0; i < n; i++) {
    char line[160];
    clock_gettime(id, &t);
    int len =
        snprintf(line, sizeof line, "T %ld %lld " PAD "\n", i, t.tv_sec * 1000000000LL + t.tv_nsec);
    if (write(fd, line, (size_t)len) != len) return 1;
    if (gap_us > 0) nanosleep(&gap, NULL);
  }
  if (argc > 1) make_output(argv[argc - 1]);
  return 0;
}
