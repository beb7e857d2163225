/* fakeff: a program that talks like ffmpeg, word by word as a test wants it.
 *
 * The test gives it to ffmpeg{bin=…} and writes in the environment variable FAKEFF what it shall
 * do, one command a line. TEXT may hold \n \r \t \\ \0 and \xHH; each command is one write(2).
 *
 *   report TEXT      to the file that FFREPORT names (opened at the start, as ffmpeg does)
 *   stderr TEXT      stdout TEXT      progress TEXT (fd 4)
 *   report_env       FFREPORT itself, as a line of the report
 *   stamps N US      N lines "T <seq> <ns of CLOCK_MONOTONIC>" to the report, US microseconds apart
 *   storm FD N       N lines "line <seq>" to fd 2 or the report (3), in large writes
 *   output TEXT      to the file that is the last argument
 *   sleep MS         ignore (SIGTERM from now on)      wait (for SIGTERM, then go on)
 *   touch PATH       makes a file: "I have come this far"
 *   until PATH       waits until there is such a file
 *   hold MS          a grandchild in a session of its own keeps all pipes open that long
 *   kill SIGNAL      itself, a number                  exit CODE
 *
 * SPDX-License-Identifier: MIT */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX_TEXT = 1 << 16 };

static void nap(long us) {
  struct timespec t = {us / 1000000, us % 1000000 * 1000};
  while (nanosleep(&t, &t) != 0) {
  }
}

static void wait_for_file(const char *path) {
  while (access(path, F_OK) != 0) nap(2000);
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void write_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    if (n <= 0) return;
    data += n;
    len -= (size_t)n;
  }
}

static int hex(char c) {
  const char *digits = "0123456789abcdef";
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)(at - digits) : 0;
}

/* Writes `text` to fd with its escapes resolved. */
static void say(int fd, const char *text) {
  char out[MAX_TEXT];
  size_t len = 0;
  for (; *text && len < sizeof out; text++) {
    if (*text != '\\' || !text[1]) {
      out[len++] = *text;
      continue;
    }
    switch (*++text) {
    case 'n':
      out[len++] = '\n';
      break;
    case 'r':
      out[len++] = '\r';
      break;
    case 't':
      out[len++] = '\t';
      break;
    case '0':
      out[len++] = '\0';
      break;
    case 'x':
      if (!text[1] || !text[2]) break;
      out[len++] = (char)(hex(text[1]) * 16 + hex(text[2]));
      text += 2;
      break;
    default:
      out[len++] = *text;
    }
  }
  write_all(fd, out, len);
}

/* The value of FFREPORT is file=PATH:level=N; PATH has no escapes here. */
static int open_report(void) {
  const char *value = getenv("FFREPORT");
  const char *path = value ? strstr(value, "file=") : NULL;
  if (!path) return -1;
  char name[256];
  size_t len = strcspn(path + 5, ":");
  if (len >= sizeof name) return -1;
  memcpy(name, path + 5, len);
  name[len] = '\0';
  return open(name, O_WRONLY | O_CREAT | O_TRUNC, 0666);
}

static void report_env(int fd) {
  const char *value = getenv("FFREPORT");
  if (!value) return;
  write_all(fd, value, strlen(value));
  write_all(fd, "\n", 1);
}

static void stamps(int fd, long n, long us) {
  char line[64];
  for (long i = 0; i < n; i++) {
    int len = snprintf(line, sizeof line, "T %ld %lld\n", i, now_ns());
    write_all(fd, line, (size_t)len);
    if (us > 0) nap(us);
  }
}

static void storm(int fd, long n) {
  char block[MAX_TEXT];
  size_t len = 0;
  for (long i = 1; i <= n; i++) {
    len += (size_t)snprintf(block + len, sizeof block - len, "line %ld\n", i);
    if (len < sizeof block - 64 && i < n) continue;
    write_all(fd, block, len);
    len = 0;
  }
}

static void hold(long ms) {
  if (fork() != 0) return;
  setsid();
  nap(ms * 1000);
  _exit(0);
}

static void make_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (fd < 0) return;
  say(fd, text);
  close(fd);
}

static void wait_for_term(void) {
  sigset_t set;
  int signum;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigwait(&set, &signum);
}

/* One command; `rest` is what follows its name. */
static void obey(const char *name, const char *rest, int report, const char *last) {
  long a = 0, b = 0;
  sscanf(rest, "%ld %ld", &a, &b);
  if (strcmp(name, "report") == 0) say(report, rest);
  if (strcmp(name, "stderr") == 0) say(2, rest);
  if (strcmp(name, "stdout") == 0) say(1, rest);
  if (strcmp(name, "progress") == 0) say(4, rest);
  if (strcmp(name, "report_env") == 0) report_env(report);
  if (strcmp(name, "stamps") == 0) stamps(report, a, b);
  if (strcmp(name, "storm") == 0) storm(a == 3 ? report : (int)a, b);
  if (strcmp(name, "output") == 0) make_file(last, rest);
  if (strcmp(name, "touch") == 0) make_file(rest, "");
  if (strcmp(name, "until") == 0) wait_for_file(rest);
  if (strcmp(name, "sleep") == 0) nap(a * 1000);
  if (strcmp(name, "ignore") == 0) signal(SIGTERM, SIG_IGN);
  if (strcmp(name, "wait") == 0) wait_for_term();
  if (strcmp(name, "hold") == 0) hold(a);
  if (strcmp(name, "kill") == 0) raise((int)a);
  if (strcmp(name, "exit") == 0) _exit((int)a);
}

/* SIGTERM is taken by `wait` alone, so that a test decides when it is seen. */
static void block_term(const char *script) {
  if (!strstr(script, "wait")) return;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, NULL);
}

int main(int argc, char **argv) {
  const char *given = getenv("FAKEFF");
  char *script = strdup(given ? given : "");
  if (!script) return 1;
  block_term(script);
  int report = open_report();
  for (char *line = strtok(script, "\n"); line; line = strtok(NULL, "\n")) {
    char *rest = line + strcspn(line, " ");
    if (*rest) *rest++ = '\0';
    obey(line, rest, report, argv[argc - 1]);
  }
  _exit(0); /* and not by way of the leak checker, whose tracer hangs now and then */
}
