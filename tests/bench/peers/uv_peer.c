/* uv_peer BENCH [N | COMMAND...]: what plain C on libuv does, the bar under which no binding gets.
 *
 * Each bench prints one line of key=value pairs, as all peers do (see ../bench.py).
 *
 * SPDX-License-Identifier: MIT */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <uv.h>

static uv_loop_t *loop;
static long total, left;
static double begun;

static double now(void) {
  return (double)uv_hrtime() / 1e9;
}

static double cpu(void) {
  struct rusage use;
  getrusage(RUSAGE_SELF, &use);
  return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static void *need(void *block) {
  if (!block) abort();
  return block;
}

static void print_rate(void) {
  double s = now() - begun;
  printf("per_s=%.6g us=%.6g ms=%.6g\n", (double)total / s, s / (double)total * 1e6,
         s / (double)total * 1e3);
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Latenesses or latencies, in microseconds. */
static double *samples;
static long samples_len, samples_cap;

static void sample(double us) {
  if (samples_len == samples_cap) {
    samples_cap = samples_cap ? samples_cap * 2 : 1024;
    samples = need(realloc(samples, (size_t)samples_cap * sizeof *samples));
  }
  samples[samples_len++] = us;
}

static void print_samples(void) {
  if (samples_len == 0) return;
  qsort(samples, (size_t)samples_len, sizeof *samples, compare);
  printf("min_us=%.6g p50_us=%.6g p99_us=%.6g max_us=%.6g ", samples[0], samples[samples_len / 2],
         samples[samples_len * 99 / 100], samples[samples_len - 1]);
}

/* ---- sleeps -------------------------------------------------------------------------------- */

struct sleeper {
  uv_timer_t timer;
  double due;
};

static void on_timer(uv_timer_t *timer) {
  sample((now() - ((struct sleeper *)timer)->due) * 1e6);
  uv_close((uv_handle_t *)timer, NULL);
}

static void bench_sleep(void) {
  struct sleeper *all = need(calloc((size_t)total, sizeof *all));
  uint64_t x = 12345;
  for (long i = 0; i < total; i++) {
    x = x * 16807 % 2147483647;
    uv_timer_init(loop, &all[i].timer);
    uv_update_time(loop);
    all[i].due = now() + (double)(x % 1000) / 1000;
    uv_timer_start(&all[i].timer, on_timer, x % 1000, 0);
  }
  uv_run(loop, UV_RUN_DEFAULT);
  printf("wall=%.6g cpu=%.6g ", now() - begun, cpu());
  print_samples();
  printf("\n");
}

/* ---- the threadpool ------------------------------------------------------------------------ */

struct call {
  uv_work_t work;
  long a, b, sum;
};

static long in_flight, width;
static uv_work_cb job;

static void add(uv_work_t *work) {
  struct call *c = (struct call *)work;
  c->sum = c->a + c->b;
}

static void block(uv_work_t *work) {
  (void)work;
  nanosleep(&(struct timespec){0, 300000000}, NULL);
}

static void refill(void);

static void on_called(uv_work_t *work, int status) {
  (void)status;
  free(work);
  in_flight--;
  refill();
}

static void refill(void) {
  for (; in_flight < width && left > 0; left--, in_flight++) {
    struct call *c = need(malloc(sizeof *c));
    c->a = 1;
    c->b = left;
    uv_queue_work(loop, &c->work, job, on_called);
  }
}

static void bench_calls(uv_work_cb fn, long at_once) {
  job = fn;
  width = at_once;
  refill();
  uv_run(loop, UV_RUN_DEFAULT);
  printf("wall=%.6g ", now() - begun);
  print_rate();
}

/* ---- processes ----------------------------------------------------------------------------- */

static void start_process(void);

static void on_closed(uv_handle_t *handle) {
  free(handle);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signum) {
  (void)status;
  (void)signum;
  uv_close((uv_handle_t *)process, on_closed);
  if (left > 0) start_process();
}

static void start_process(void) {
  char program[] = "/bin/true", *argv[] = {program, NULL};
  uv_process_options_t options = {.file = program, .args = argv, .exit_cb = on_exit_of};
  left--;
  if (uv_spawn(loop, need(malloc(sizeof(uv_process_t))), &options) < 0) abort();
}

static void bench_processes(int at_once, size_t ballast) {
  static char *volatile touched;
  if (ballast) touched = memset(need(malloc(ballast)), 1, ballast);
  begun = now();
  for (int i = 0; i < at_once; i++) start_process();
  uv_run(loop, UV_RUN_DEFAULT);
  print_rate();
}

/* ---- lines, and reports of an ffmpeg ------------------------------------------------------- */

static char buffer[1 << 18];
static size_t filled;
static long lines;
static void (*on_line)(const char *line, size_t len);

static void count_line(const char *line, size_t len) {
  (void)line;
  (void)len;
  __asm__ volatile("" ::: "memory");
}

/* "T <seq> <ns> …" */
static void stamped_line(const char *line, size_t len) {
  int64_t at = (int64_t)uv_hrtime();
  long seq;
  long long ns;
  if (len > 8 && sscanf(line, "T %ld %lld", &seq, &ns) == 2) sample((double)(at - ns) / 1e3);
}

static void split(void) {
  char *from = buffer, *end = buffer + filled, *eol;
  while ((eol = memchr(from, '\n', (size_t)(end - from)))) {
    *eol = '\0';
    lines++;
    on_line(from, (size_t)(eol - from));
    from = eol + 1;
  }
  filled = (size_t)(end - from);
  memmove(buffer, from, filled);
}

static void lend(uv_handle_t *handle, size_t size, uv_buf_t *out) {
  (void)handle;
  (void)size;
  *out = uv_buf_init(buffer + filled, (unsigned)(sizeof buffer - filled));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  (void)buf;
  if (n < 0) {
    uv_close((uv_handle_t *)stream, NULL);
    return;
  }
  filled += (size_t)n;
  split();
}

static void on_reader_exit(uv_process_t *process, int64_t status, int signum) {
  (void)status;
  (void)signum;
  uv_close((uv_handle_t *)process, NULL);
}

/* Runs argv and reads what it writes to its `fd`, a real pipe (FFREPORT cannot open a socket). */
static void read_child(char **argv, int fd) {
  static uv_pipe_t pipe_end;
  static uv_process_t process;
  uv_file ends[2];
  uv_stdio_container_t io[4] = {
      {UV_IGNORE, {0}}, {UV_IGNORE, {0}}, {UV_IGNORE, {0}}, {UV_IGNORE, {0}}};
  if (uv_pipe(ends, UV_NONBLOCK_PIPE, 0) < 0) abort();
  uv_pipe_init(loop, &pipe_end, 0);
  uv_pipe_open(&pipe_end, ends[0]);
  io[fd].flags = UV_INHERIT_FD;
  io[fd].data.fd = ends[1];
  uv_process_options_t options = {
      .file = argv[0], .args = argv, .stdio = io, .stdio_count = 4, .exit_cb = on_reader_exit};
  if (uv_spawn(loop, &process, &options) < 0) abort();
  close(ends[1]);
  uv_read_start((uv_stream_t *)&pipe_end, lend, on_read);
  uv_run(loop, UV_RUN_DEFAULT);
}

static void bench_lines(char *count) {
  char *argv[] = {getenv("LINEPROD"), count, NULL};
  on_line = count_line;
  read_child(argv, 1);
  printf("lines_per_s=%.6g lines=%ld\n", (double)lines / (now() - begun), lines);
}

static void bench_report(void (*fn)(const char *line, size_t len), char **argv) {
  on_line = fn;
  setenv("FFREPORT", "file=/dev/fd/3:level=32", 1);
  read_child(argv, 3);
  print_samples();
  printf("lines=%ld cpu=%.6g\n", lines, cpu());
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  const char *bench = argv[1];
  loop = uv_default_loop();
  total = left = argc > 2 ? atol(argv[2]) : 0;
  begun = now();
  if (strcmp(bench, "startup") == 0) uv_run(loop, UV_RUN_DEFAULT);
  if (strcmp(bench, "sleep") == 0) bench_sleep();
  if (strcmp(bench, "trip") == 0) bench_calls(add, 1);
  if (strcmp(bench, "calls") == 0) bench_calls(add, 1000);
  if (strcmp(bench, "nine") == 0) bench_calls(block, 3);
  if (strcmp(bench, "exec") == 0) bench_processes(1, 0);
  if (strcmp(bench, "exec8") == 0) bench_processes(8, 0);
  if (strcmp(bench, "exec_1gb") == 0) bench_processes(1, (size_t)1 << 30);
  if (strcmp(bench, "lines") == 0) bench_lines(argv[2]);
  if (strcmp(bench, "report") == 0) bench_report(stamped_line, argv + 2);
  if (strcmp(bench, "storm") == 0) bench_report(count_line, argv + 2);
  fflush(stdout);
  _exit(0);
}
