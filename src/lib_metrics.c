/* What was counted in C, for metrics.lua: the module "jobrun.core.metrics".
 *
 * Loading it begins the counting. The series of jobs are rendered here, as there may be very many;
 * all else goes to Lua as numbers.
 *
 * SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "buf.h"
#include "glue.h"
#include "jobrun.h"
#include "jobs.h"
#include "json.h"
#include "rt.h"

int jr_open_metrics(lua_State *L);

typedef struct meter {
  jr_trade trade;
  jr_histogram turns;
} meter;

static const meter *meter_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- the series of jobs -------------------------------------------------------------------- */

/* The names come first, once: label values without their quotes. */
typedef struct page {
  jr_buf text, names;
  bool open; /* OpenMetrics */
  double created;
  jr_jobs *jobs;
} page;

/* {name="…", ready for more labels; the names stand in the order of the jobs. */
typedef struct cursor {
  const char *name;
} cursor;

/* A label's value in quotes. It has three escapes, not those of JSON. */
static void write_value(jr_buf *out, const char *text) {
  const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);
  jr_buf_adds(out, "\"");
  while (at < end) {
    int n = jr_utf8_length(at, end);
    if (n == 0)
      jr_buf_adds(out, "\xef\xbf\xbd");
    else if (*at == '\n')
      jr_buf_adds(out, "\\n");
    else if (*at == '"' || *at == '\\')
      jr_buf_addf(out, "\\%c", *at);
    else
      jr_buf_add(out, at, (size_t)n);
    at += n ? n : 1;
  }
  jr_buf_adds(out, "\"");
}

static void write_names(page *p) {
  char name[256];
  JR_LIST_EACH (it, &p->jobs->all) {
    jr_job_name(jr_container_of(it, jr_job, link), name, sizeof name);
    jr_buf_adds(&p->names, "{name=");
    write_value(&p->names, name);
    jr_buf_add(&p->names, "", 1);
  }
}

static const char *next_name(cursor *at) {
  const char *name = at->name;
  at->name += strlen(name) + 1;
  return name;
}

static void write_head(page *p, const char *name, const char *type, const char *help) {
  const char *suffix = !p->open && strcmp(type, "counter") == 0 ? "_total" : "";
  jr_buf_addf(&p->text, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, suffix, help, name, suffix, type);
}

/* A line `metric suffix labels more} value`; there may be hundreds of thousands. */
static void write_line(page *p, const char *metric, const char *suffix, const char *labels,
                       const char *more, uint64_t value) {
  const char *parts[] = {metric, suffix, labels, more};
  size_t lengths[4], total = 24;
  for (int i = 0; i < 4; i++) total += lengths[i] = strlen(parts[i]);
  char *at = jr_buf_reserve(&p->text, total), digits[20];
  if (!at) return;
  char *start = at;
  for (int i = 0; i < 4; i++) {
    memcpy(at, parts[i], lengths[i]);
    at += lengths[i];
  }
  *at++ = '}';
  *at++ = ' ';
  int n = 0;
  do digits[n++] = (char)('0' + value % 10);
  while ((value /= 10) > 0);
  while (n > 0) *at++ = digits[--n];
  *at++ = '\n';
  p->text.len += (size_t)(at - start);
}

static void write_created(page *p, const char *metric, const char *labels, const char *more) {
  if (p->open) jr_buf_addf(&p->text, "%s_created%s%s} %.3f\n", metric, labels, more, p->created);
}

static void write_counter(page *p, const char *metric, const char *labels, const char *more,
                          uint64_t value) {
  write_line(p, metric, "_total", labels, more, value);
  write_created(p, metric, labels, more);
}

enum { LE_SIZE = 24 };

/* ,le="0.5" of each bound; one spelling in both formats. */
static void spell_bounds(const int64_t bounds[JR_METER_BUCKETS],
                         char spelt[JR_METER_BUCKETS][LE_SIZE]) {
  for (int i = 0; i < JR_METER_BUCKETS; i++) {
    double le = (double)bounds[i] / 1e9;
    snprintf(spelt[i], LE_SIZE, le < 1 ? ",le=\"%g\"" : ",le=\"%.1f\"", le);
  }
}

static void write_histogram(page *p, const char *metric, const char *labels, const jr_histogram *h,
                            char spelt[JR_METER_BUCKETS][LE_SIZE]) {
  uint64_t below = 0;
  for (int i = 0; i < JR_METER_BUCKETS; i++)
    write_line(p, metric, "_bucket", labels, spelt[i], below += h->buckets[i]);
  write_line(p, metric, "_bucket", labels, ",le=\"+Inf\"", h->count);
  jr_buf_addf(&p->text, "%s_sum%s} %.9g\n", metric, labels, h->sum_s);
  write_line(p, metric, "_count", labels, "", h->count);
  write_created(p, metric, labels, "");
}

static void write_outcomes(page *p) {
  static const char *const labels[JR_OUTCOMES] = {[JR_RUN_OK] = ",outcome=\"success\"",
                                                  [JR_RUN_ERROR] = ",outcome=\"failure\"",
                                                  [JR_RUN_TIMEOUT] = ",outcome=\"timeout\"",
                                                  [JR_RUN_CANCELLED] = ",outcome=\"cancelled\""};
  static const char metric[] = "jobrun_job_runs";
  cursor at = {p->names.data};
  write_head(p, metric, "counter", "Runs that ended, by how they ended.");
  JR_LIST_EACH (it, &p->jobs->all) {
    const jr_job_figures *f = jr_container_of(it, jr_job, link)->figures;
    const char *name = next_name(&at);
    for (int i = JR_RUN_OK; i < JR_OUTCOMES; i++)
      write_counter(p, metric, name, labels[i], f ? f->outcomes[i] : 0);
  }
}

static void write_missed(page *p) {
  static const char metric[] = "jobrun_job_runs_missed";
  cursor at = {p->names.data};
  write_head(p, metric, "counter",
             "Due times that did not run, as a run still went on or it was too late.");
  JR_LIST_EACH (it, &p->jobs->all) {
    const jr_job *job = jr_container_of(it, jr_job, link);
    const char *name = next_name(&at);
    write_counter(p, metric, name, ",reason=\"overlap\"", job->skipped);
    write_counter(p, metric, name, ",reason=\"late\"", job->missed);
  }
}

static void write_retries(page *p) {
  static const char metric[] = "jobrun_job_retries";
  cursor at = {p->names.data};
  write_head(p, metric, "counter", "Attempts of runs after the first.");
  JR_LIST_EACH (it, &p->jobs->all) {
    const jr_job_figures *f = jr_container_of(it, jr_job, link)->figures;
    write_counter(p, metric, next_name(&at), "", f ? f->retries : 0);
  }
}

/* Only of jobs that ran: an empty one is thirteen lines. */
static void write_histograms(page *p) {
  static const char duration[] = "jobrun_job_run_duration_seconds";
  static const char delay[] = "jobrun_job_start_delay_seconds";
  char spelt[JR_METER_BUCKETS][LE_SIZE];
  cursor at = {p->names.data};
  spell_bounds(jr_meter_run_bounds, spelt);
  write_head(p, duration, "histogram", "How long runs took.");
  JR_LIST_EACH (it, &p->jobs->all) {
    const jr_job_figures *f = jr_container_of(it, jr_job, link)->figures;
    const char *name = next_name(&at);
    if (f) write_histogram(p, duration, name, &f->duration, spelt);
  }
  at.name = p->names.data;
  spell_bounds(jr_meter_delay_bounds, spelt);
  write_head(p, delay, "histogram", "How long after their due time runs started.");
  JR_LIST_EACH (it, &p->jobs->all) {
    const jr_job_figures *f = jr_container_of(it, jr_job, link)->figures;
    const char *name = next_name(&at);
    if (f) write_histogram(p, delay, name, &f->delay, spelt);
  }
}

static double running(const jr_job *job) {
  return job->going;
}
static double last_start(const jr_job *job) {
  return (double)job->last_start_ns / 1e9;
}
static double last_success(const jr_job *job) {
  return job->figures ? (double)job->figures->last_ok_ns / 1e9 : 0;
}
static double next_run(const jr_job *job) {
  int64_t next = jr_job_next_ns(job);
  return next == JR_NEVER ? 0 : (double)next / 1e9;
}
static double paused(const jr_job *job) {
  return job->state == JR_JOB_PAUSED;
}

static void write_gauges(page *p) {
  static const struct {
    const char *name, *help;
    double (*of)(const jr_job *job);
    bool is_instant; /* left out while it is 0 */
  } gauges[] = {
      {"jobrun_job_running", "Runs that go on.", running, false},
      {"jobrun_job_last_start_timestamp_seconds", "When the last run started.", last_start, true},
      {"jobrun_job_last_success_timestamp_seconds", "When a run last ended well.", last_success,
       true},
      {"jobrun_job_next_run_timestamp_seconds", "When the next run is planned.", next_run, true},
      {"jobrun_job_paused", "1 while the job is paused.", paused, false},
  };
  for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++) {
    cursor at = {p->names.data};
    write_head(p, gauges[i].name, "gauge", gauges[i].help);
    JR_LIST_EACH (it, &p->jobs->all) {
      const char *name = next_name(&at);
      double value = gauges[i].of(jr_container_of(it, jr_job, link));
      if (gauges[i].is_instant && value == 0) continue;
      jr_buf_addf(&p->text, gauges[i].is_instant ? "%s%s} %.3f\n" : "%s%s} %.0f\n", gauges[i].name,
                  name, value);
    }
  }
}

/* jobs(open, created) → the text of all families of jobs, in OpenMetrics or the older format; ""
 * where no job was ever declared */
static int metrics_jobs(lua_State *L) {
  jobrun *rt = jr_of(L);
  page p = {.open = lua_toboolean(L, 1), .created = luaL_checknumber(L, 2)};
  p.jobs = jr_jobs_find(rt);
  if (!p.jobs) {
    lua_pushliteral(L, "");
    return 1;
  }
  jr_buf_init(&p.text, &rt->mem);
  jr_buf_init(&p.names, &rt->mem);
  write_names(&p);
  write_outcomes(&p);
  write_missed(&p);
  write_retries(&p);
  write_histograms(&p);
  write_gauges(&p);
  bool failed = p.text.failed || p.names.failed;
  lua_pushlstring(L, p.text.data ? p.text.data : "", p.text.len);
  jr_buf_fini(&p.text);
  jr_buf_fini(&p.names);
  return failed ? jr_raise_status(L, "metrics", UV_ENOMEM) : 1;
}

/* ---- numbers ------------------------------------------------------------------------------- */

static void set_number(lua_State *L, const char *key, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, key);
}

/* turns() → {bounds}, {counts below each}, count, sum: how long the loop's turns took */
static int metrics_turns(lua_State *L) {
  const jr_histogram *h = &meter_of(L)->turns;
  lua_Integer below = 0;
  lua_createtable(L, JR_METER_BUCKETS, 0);
  lua_createtable(L, JR_METER_BUCKETS, 0);
  for (int i = 0; i < JR_METER_BUCKETS; i++) {
    below += (lua_Integer)h->buckets[i];
    lua_pushnumber(L, (double)jr_meter_delay_bounds[i] / 1e9);
    lua_rawseti(L, -3, i + 1);
    lua_pushinteger(L, below);
    lua_rawseti(L, -2, i + 1);
  }
  lua_pushinteger(L, (lua_Integer)h->count);
  lua_pushnumber(L, h->sum_s);
  return 4;
}

/* log_lines() → {level = count} */
static int metrics_log_lines(lua_State *L) {
  jr_log *log = &jr_of(L)->log;
  lua_createtable(L, 0, JR_LOG_LEVELS);
  for (int i = 0; i < JR_LOG_LEVELS; i++) {
    lua_pushinteger(L, (lua_Integer)atomic_load(&log->lines[i]));
    lua_setfield(L, -2, jr_log_level_name((jr_log_level)i));
  }
  return 1;
}

/* Fields 20, 22 and 23, 24 of /proc/self/stat: threads, start (ticks since boot), bytes, pages. */
static bool read_stat(unsigned long long values[4]) {
  char text[1024];
  FILE *f = fopen("/proc/self/stat", "re");
  if (!f) return false;
  size_t n = fread(text, 1, sizeof text - 1, f);
  fclose(f);
  text[n] = '\0';
  const char *after_name = strrchr(text, ')');
  return after_name &&
         sscanf(after_name + 1,
                " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %llu %*d "
                "%llu %llu %llu",
                &values[0], &values[1], &values[2], &values[3]) == 4;
}

static double seconds_of(struct timeval t) {
  return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static int count_fds(void) {
  DIR *dir = opendir("/proc/self/fd");
  int n = -3; /* ".", ".." and its own */
  if (!dir) return 0;
  while (readdir(dir)) n++;
  closedir(dir);
  return n;
}

/* process() → {cpu, threads, started, virtual, resident, fds, max_fds}; what cannot be read is left
 * out */
static int metrics_process(lua_State *L) {
  struct rusage usage;
  struct rlimit files;
  struct timespec boot, now;
  unsigned long long stat[4];
  lua_createtable(L, 0, 7);
  getrusage(RUSAGE_SELF, &usage);
  set_number(L, "cpu", seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
  set_number(L, "fds", count_fds());
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
    set_number(L, "max_fds", (double)files.rlim_cur);
  if (!read_stat(stat)) return 1;
  clock_gettime(CLOCK_REALTIME, &now);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  double up = (double)(boot.tv_sec - now.tv_sec) + (double)(boot.tv_nsec - now.tv_nsec) / 1e9;
  set_number(L, "threads", (double)stat[0]);
  set_number(L, "started", (double)stat[1] / (double)sysconf(_SC_CLK_TCK) - up);
  set_number(L, "virtual", (double)stat[2]);
  set_number(L, "resident", (double)stat[3] * (double)sysconf(_SC_PAGESIZE));
  return 1;
}

/* ---- its life ------------------------------------------------------------------------------ */

static void close_meter(jobrun *rt, jr_trade *trade) {
  (void)trade;
  rt->turns = NULL;
}

static void free_meter(jobrun *rt, jr_trade *trade) {
  jr_mem_free(&rt->mem, jr_container_of(trade, meter, trade), sizeof(meter));
}

int jr_open_metrics(lua_State *L) {
  static const luaL_Reg functions[] = {{"jobs", metrics_jobs},
                                       {"turns", metrics_turns},
                                       {"log_lines", metrics_log_lines},
                                       {"process", metrics_process},
                                       {NULL, NULL}};
  jobrun *rt = jr_of(L);
  if (!rt) return jr_raise(L, "usage", 0, 1, "metrics are for the script, not for a blocking call");
  lua_getglobal(L, "require"); /* the trade there counts for us */
  lua_pushliteral(L, "jobrun.core.jobs");
  lua_call(L, 1, 0);
  luaL_newlibtable(L, functions);
  meter *m = jr_mem_zalloc(&rt->mem, sizeof *m);
  if (!m) return jr_raise_status(L, "metrics", UV_ENOMEM);
  m->trade = (jr_trade){.close = close_meter, .free = free_meter};
  jr_list_append(&rt->trades, &m->trade.link);
  rt->turns = &m->turns;
  jr_jobs_find(rt)->is_metered = true;
  lua_pushlightuserdata(L, m);
  luaL_setfuncs(L, functions, 1);
  lua_pushliteral(L, JOBRUN_VERSION);
  lua_setfield(L, -2, "version");
  lua_pushstring(L, LUA_RELEASE);
  lua_setfield(L, -2, "lua");
  lua_pushstring(L, uv_version_string());
  lua_setfield(L, -2, "libuv");
  return 1;
}
