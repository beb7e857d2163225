/* Zones: POSIX rules, zone files good and broken, gaps and overlaps, names, and files that change.
 * That what is installed is read right is for tests/tz_check.py.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "tz.h"
#include "tzrule.h"
#include "zones_all.h"

/* ---- rules ----------------------------------------------------------------------------------- */

static jr_tz *from_rule(const char *rule) {
  jr_tz *tz = NULL;
  if (jr_tz_from_rule(&mem, rule, strlen(rule), &tz) < 0) fail_msg("\"%s\" is refused", rule);
  return tz;
}

/* The change at or after an instant: when, and to which offset. */
static void changes(const char *rule, const char *after, const char *at, int offset) {
  jr_tz *tz = from_rule(rule);
  char text[JR_STAMP_TEXT];
  jr_tz_span s = jr_tz_span_at(tz, jr_tz_span_at(tz, instant(after)).end);
  jr_stamp_format(s.start, 0, text);
  if (strcmp(text, at) != 0 || s.offset != offset)
    fail_msg("%s: %s %d, expected %s %d", rule, text, s.offset, at, offset);
  jr_tz_free(tz);
}

static void works_out_rules(void **state) {
  (void)state;
  changes("CET-1CEST,M3.5.0,M10.5.0/3", "2025-01-01T00:00Z", "2025-03-30T01:00:00Z", 7200);
  changes("CET-1CEST,M3.5.0,M10.5.0/3", "2025-06-01T00:00Z", "2025-10-26T01:00:00Z", 3600);
  changes("CET-1CEST,M3.5.0,M10.5.0/3", "8825-01-01T00:00Z", "8825-03-30T01:00:00Z", 7200);
  changes("CET-1CEST,M3.5.0,M10.5.0/3", "1625-01-01T00:00Z", "1625-03-30T01:00:00Z", 7200);
  changes("EST5EDT", "2025-01-01T00:00Z", "2025-03-09T07:00:00Z", -14400);
  changes("AEST-10AEDT,M10.1.0,M4.1.0/3", "2025-01-01T00:00Z", "2025-04-05T16:00:00Z", 36000);
  changes("IST-1GMT0,M10.5.0,M3.5.0/1", "2025-01-01T00:00Z", "2025-03-30T01:00:00Z", 3600);
  changes("<-03>3<-02>,M3.5.0/-2,M10.5.0/-1", "2025-01-01T00:00Z", "2025-03-30T01:00:00Z", -7200);
  changes("EET-2EEST,M3.4.4/50,M10.4.4/50", "2025-01-01T00:00Z", "2025-03-29T00:00:00Z", 10800);
  changes("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "2025-01-01T00:00Z", "2025-04-05T15:00:00Z",
          37800);
  changes("AAA0BBB,J60/0,J300/0", "2024-01-01T00:00Z", "2024-03-01T00:00:00Z", 3600);
  changes("AAA0BBB,J60/0,J300/0", "2025-01-01T00:00Z", "2025-03-01T00:00:00Z", 3600);
  changes("AAA0BBB,59/0,300/0", "2024-01-01T00:00Z", "2024-02-29T00:00:00Z", 3600);
  changes("AAA0BBB,59/0,300/0", "2025-01-01T00:00Z", "2025-03-01T00:00:00Z", 3600);
  changes("AAA0BBB,J1/-167,J300/0", "2025-11-01T00:00Z", "2025-12-25T01:00:00Z", 3600);
}

static void is_constant(const char *rule, int offset, bool is_dst) {
  jr_tz *tz = from_rule(rule);
  jr_tz_span s = jr_tz_span_at(tz, 0);
  assert_int_equal(s.start, -JR_TZ_EVER);
  assert_int_equal(s.end, JR_TZ_EVER);
  assert_int_equal(s.offset, offset);
  assert_int_equal(s.is_dst, is_dst);
  assert_int_equal(jr_tz_min_offset(tz), offset);
  jr_tz_free(tz);
}

static void knows_zones_that_never_change(void **state) {
  (void)state;
  is_constant("UTC0", 0, false);
  is_constant("<+0530>-5:30", 19800, false);
  is_constant("ABC+167:59:59", -JR_TZ_MAX_OFFSET, false);
  is_constant("XXX3EDT4,0/0,J365/23", -14400,
              true); /* daylight saving all year, as RFC 9636 writes it */
}

static void refuses_what_is_no_rule(void **state) {
  (void)state;
  static const char *const rules[] = {"",
                                      "U0",
                                      "UTC",
                                      "UTC0x",
                                      "UTC168",
                                      "UTC0:60",
                                      "<UTC0",
                                      "<U_C>0",
                                      "CET-1CEST,",
                                      "CET-1CEST,M3.5.0",
                                      "A0B",
                                      "CET-1CEST,M3.5.0,",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,M3.5.7,M10.5.0",
                                      "CET-1CEST,J0,J5",
                                      "CET-1CEST,J366,J5",
                                      "CET-1CEST,M3.5.0/168,M10.5.0",
                                      "CET-1CEST,M3.5.0,M10.5.0 ",
                                      "CET-1CEST,366,5",
                                      "CET-1CEST,M3.5.0/,M10.5.0",
                                      "CET-+1",
                                      "12A0"};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    jr_tz *tz = NULL;
    if (jr_tz_from_rule(&mem, rules[i], strlen(rules[i]), &tz) != UV_EINVAL)
      fail_msg("\"%s\" is taken", rules[i]);
  }
}

static void repeats_every_400_years(void **state) {
  (void)state;
  jr_tz *tz = from_rule("CET-1CEST,M3.5.0,M10.5.0/3");
  for (int64_t t = instant("1980-01-01T00:00Z"); t < instant("2400-01-01T00:00Z"); t += 1234567) {
    jr_tz_span a = jr_tz_span_at(tz, t);
    for (int k = -3; k <= 7; k++) {
      jr_tz_span b = jr_tz_span_at(tz, t + k * JR_ERA_SECONDS);
      assert_int_equal(b.start - a.start, k * JR_ERA_SECONDS);
      assert_int_equal(b.end - a.end, k * JR_ERA_SECONDS);
      assert_true(b.offset == a.offset && b.before == a.before && b.after == a.after);
    }
  }
  jr_tz_free(tz);
}

/* Spans meet, and each one's neighbours are what it says they are. */
static void walk(const jr_tz *tz, const char *from, const char *to) {
  jr_tz_span s = jr_tz_span_at(tz, instant(from));
  while (s.end < instant(to)) {
    jr_tz_span next = jr_tz_span_at(tz, s.end);
    assert_int_equal(next.start, s.end);
    assert_int_equal(next.before, s.offset);
    assert_int_equal(next.offset, s.after);
    assert_int_equal(jr_tz_span_at(tz, s.end - 1).start, s.start);
    s = next;
  }
}

static void spans_meet(void **state) {
  (void)state;
  static const char *const rules[] = {"CET-1CEST,M3.5.0,M10.5.0/3", "AAA0BBB,J1/-167,J365/167",
                                      "AAA0BBB,J1/0,J365/24", "AAA0BBB,J360/167,J3/-167",
                                      "AAA0BBB-100,M1.1.0/-167,M12.5.6/167"};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    jr_tz *tz = from_rule(rules[i]);
    walk(tz, "1000-01-01T00:00Z", "4000-01-01T00:00Z");
    jr_tz_free(tz);
  }
}

/* ---- wall times ------------------------------------------------------------------------------ */

static void means(const jr_tz *tz, const char *wall, jr_tz_wall_kind kind, const char *before,
                  const char *at, const char *after) {
  jr_tz_wall w = jr_tz_wall_at(tz, instant(wall));
  if (w.kind != kind || w.before != instant(before) || w.at != instant(at) ||
      w.after != instant(after))
    fail_msg("%s: %d %lld %lld %lld", wall, (int)w.kind, (long long)w.before, (long long)w.at,
             (long long)w.after);
}

static void tells_gaps_from_overlaps(void **state) {
  (void)state;
  jr_tz *tz = from_rule("CET-1CEST,M3.5.0,M10.5.0/3");
  const char *at = "2025-03-30T01:00Z", *back = "2025-10-26T01:00Z";
  means(tz, "2025-03-30 01:59:59", JR_TZ_UNIQUE, "2025-03-30T00:59:59Z", "2025-03-30T00:59:59Z",
        "2025-03-30T00:59:59Z");
  means(tz, "2025-03-30 02:00:00", JR_TZ_GAP, at, at, "2025-03-30T00:00Z");
  means(tz, "2025-03-30 02:30:00", JR_TZ_GAP, "2025-03-30T01:30Z", at, "2025-03-30T00:30Z");
  means(tz, "2025-03-30 03:00:00", JR_TZ_UNIQUE, at, at, at);
  means(tz, "2025-10-26 01:59:59", JR_TZ_UNIQUE, "2025-10-25T23:59:59Z", "2025-10-25T23:59:59Z",
        "2025-10-25T23:59:59Z");
  means(tz, "2025-10-26 02:00:00", JR_TZ_OVERLAP, "2025-10-26T00:00Z", back, back);
  means(tz, "2025-10-26 02:59:59", JR_TZ_OVERLAP, "2025-10-26T00:59:59Z", back,
        "2025-10-26T01:59:59Z");
  means(tz, "2025-10-26 03:00:00", JR_TZ_UNIQUE, "2025-10-26T02:00Z", "2025-10-26T02:00Z",
        "2025-10-26T02:00Z");
  jr_tz_free(tz);
}

/* ---- files ----------------------------------------------------------------------------------- */

typedef struct file {
  uint8_t bytes[4096];
  size_t len;
} file;

static void put(file *f, const void *bytes, size_t len) {
  memcpy(f->bytes + f->len, bytes, len);
  f->len += len;
}

static void put_number(file *f, int64_t value, int width) {
  for (int i = width - 1; i >= 0; i--) f->bytes[f->len++] = (uint8_t)((uint64_t)value >> 8 * i);
}

static void put_header(file *f, char version, const int counts[6]) {
  put(f, "TZif", 4);
  put(f, &version, 1);
  put(f, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15);
  for (int i = 0; i < 6; i++) put_number(f, counts[i], 4);
}

/* A zone at +1 until 1000, then at +2 until 5000, then at +1 again; and as `rule` says. */
static file good_file(char version, const char *rule, int leap_seconds) {
  static const int none[6] = {0};
  const int counts[6] = {0, 0, leap_seconds, 2, 2, 8}; /* isut, isstd, leap, time, type, chars */
  int width = version < '2' ? 4 : 8;
  file f = {.len = 0};
  if (width == 8) put_header(&f, version, none);
  put_header(&f, version, counts);
  put_number(&f, 1000, width);
  put_number(&f, 5000 + leap_seconds, width);
  put(&f, "\1\0", 2);
  put_number(&f, 3600, 4);
  put(&f, "\0\0", 2);
  put_number(&f, 7200, 4);
  put(&f, "\1\4", 2);
  put(&f, "ONE\0TWO\0", 8);
  for (int i = 1; i <= leap_seconds; i++) {
    put_number(&f, 2000 + i, width);
    put_number(&f, i, 4);
  }
  if (width == 8) f.len += (size_t)sprintf((char *)f.bytes + f.len, "\n%s\n", rule);
  return f;
}

static int read_file(const file *f, jr_tz **out) {
  /* On the heap and no longer than it is, for the sanitizer. */
  uint8_t *copy = malloc(f->len ? f->len : 1);
  memcpy(copy, f->bytes, f->len);
  int status = jr_tz_read(&mem, copy, f->len, out);
  free(copy);
  return status;
}

static void check_good(const file *f) {
  jr_tz *tz = NULL;
  assert_int_equal(read_file(f, &tz), 0);
  jr_tz_span s = jr_tz_span_at(tz, 3000);
  assert_true(s.start == 1000 && s.end == 5000 && s.offset == 7200 && s.is_dst &&
              s.before == 3600 && s.after == 3600);
  assert_string_equal(s.abbr, "TWO");
  s = jr_tz_span_at(tz, 999);
  assert_true(s.start == -JR_TZ_EVER && s.end == 1000 && s.offset == 3600 && !s.is_dst);
  assert_string_equal(s.abbr, "ONE");
  assert_int_equal(jr_tz_offset_at(tz, 5000), 3600);
  jr_tz_free(tz);
}

static void reads_all_versions(void **state) {
  (void)state;
  for (char version = '2'; version <= '5'; version++) {
    file f = good_file(version, "ONE-1", 0);
    check_good(&f);
    f = good_file(version, "", 0);
    check_good(&f);
    f = good_file(version, "ONE-1TWO,M3.5.0,M10.5.0", 0);
    check_good(&f);
  }
  file f = good_file(0, "", 0);
  check_good(&f);
}

static void refuses_leap_seconds(void **state) {
  (void)state;
  file f = good_file('2', "ONE-1", 3);
  jr_tz *tz = NULL;
  assert_int_equal(read_file(&f, &tz), UV_ENOTSUP);
}

static void goes_on_by_the_rule(void **state) {
  (void)state;
  file f = good_file('2', "ONE-1TWO,M3.5.0,M10.5.0/3", 0);
  jr_tz *tz = NULL;
  assert_int_equal(read_file(&f, &tz), 0);
  assert_int_equal(jr_tz_span_at(tz, 5000).end, instant("1970-03-29T01:00Z"));
  assert_int_equal(jr_tz_span_at(tz, instant("2370-04-01T00:00Z")).offset, 7200);
  walk(tz, "1969-01-01T00:00Z", "3200-01-01T00:00Z");
  jr_tz_free(tz);
}

/* Every byte flipped, every length: an error or a zone, never a wrong read. */
static void survives_broken_files(void **state) {
  (void)state;
  file good = good_file('2', "ONE-1TWO,M3.5.0,M10.5.0/3", 0);
  for (size_t len = 0; len < good.len; len++) {
    file f = good;
    jr_tz *tz = NULL;
    f.len = len;
    assert_int_equal(read_file(&f, &tz), UV_EINVAL);
  }
  for (size_t i = 0; i < good.len; i++) {
    for (int bit = 0; bit < 8; bit++) {
      file f = good;
      jr_tz *tz = NULL;
      f.bytes[i] ^= (uint8_t)(1 << bit);
      if (read_file(&f, &tz) == 0) jr_tz_span_at(tz, 3000);
      jr_tz_free(tz);
    }
  }
}

static void refuses_files_that_are_too_large(void **state) {
  (void)state;
  uint8_t *bytes = calloc(1, JR_TZ_MAX_FILE + 1);
  jr_tz *tz = NULL;
  assert_int_equal(jr_tz_read(&mem, bytes, JR_TZ_MAX_FILE + 1, &tz), UV_EFBIG);
  assert_int_equal(jr_tz_read(&mem, bytes, JR_TZ_MAX_FILE, &tz), UV_EINVAL);
  free(bytes);
}

static void does_without_memory(void **state) {
  (void)state;
  file f = good_file('2', "ONE-1TWO,M3.5.0,M10.5.0/3", 0);
  jr_tz *tz = NULL;
  mem.limit = 100;
  assert_int_equal(read_file(&f, &tz), UV_ENOMEM);
  assert_int_equal(jr_tz_from_rule(&mem, "UTC0", 4, &tz), UV_ENOMEM);
  mem.limit = 0;
}

/* ---- zones by name --------------------------------------------------------------------------- */

typedef struct folder {
  char path[64], file[256], link[128];
  jr_zones zones;
  int changed;
} folder;

static void write_file(const char *path, const void *bytes, size_t len) {
  FILE *out = fopen(path, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, len, out), len);
  fclose(out);
}

/* Copies `pattern` with the folder of the zones for each '$'. */
static void fill(char *out, size_t size, const char *pattern, const folder *f) {
  size_t len = 0;
  out[0] = 0;
  for (const char *p = pattern; *p; p++)
    len += (size_t)snprintf(out + len, size - len, "%.*s", *p == '$' ? 200 : 1,
                            *p == '$' ? f->zones.dir : p);
}

/* A folder of zones with Test/Zone in it, and a link to it that is not there yet. */
static void open_folder(folder *f) {
  file zone = good_file('2', "ONE-1", 0);
  char path[128];
  strcpy(f->path, "/tmp/zoneinfoXXXXXX");
  assert_non_null(mkdtemp(f->path));
  snprintf(path, sizeof path, "%s/zoneinfo", f->path);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(jr_zones_init(&f->zones, &mem, path, NULL), 0);
  jr_zones_fini(&f->zones);
  snprintf(f->link, sizeof f->link, "%s/localtime", f->path);
  assert_int_equal(jr_zones_init(&f->zones, &mem, path, f->link), 0);
  snprintf(f->file, sizeof f->file, "%s/Test", path);
  assert_int_equal(mkdir(f->file, 0700), 0);
  snprintf(f->file, sizeof f->file, "%s/Test/Zone", path);
  write_file(f->file, zone.bytes, zone.len);
  f->changed = 0;
}

static void close_folder(folder *f) {
  char command[128];
  jr_zones_fini(&f->zones);
  snprintf(command, sizeof command, "rm -rf '%s'", f->path);
  assert_int_equal(system(command), 0);
}

static int get(folder *f, const char *name, jr_zone **out) {
  return jr_zones_get(&f->zones, name, strlen(name), out);
}

static void finds_zones_by_name(void **state) {
  (void)state;
  folder f;
  jr_zone *zone = NULL, *again = NULL, *utc = NULL;
  open_folder(&f);
  assert_int_equal(get(&f, "Test/Zone", &zone), 0);
  assert_string_equal(zone->name, "Test/Zone");
  assert_int_equal(jr_tz_offset_at(zone->tz, 3000), 7200);
  assert_int_equal(get(&f, "Test/Zone", &again), 0);
  assert_ptr_equal(zone, again);
  assert_int_equal(get(&f, "UTC", &utc), 0);
  assert_int_equal(jr_tz_offset_at(utc->tz, 3000), 0);
  close_folder(&f);
}

static void explains(folder *f, const char *name, int status, const char *why) {
  jr_zone *zone = NULL;
  jr_buf text;
  char expected[256];
  jr_buf_init(&text, &mem);
  assert_int_equal(get(f, name, &zone), status);
  jr_zones_explain(&f->zones, status, name, strlen(name), &text);
  jr_buf_add(&text, "", 1);
  fill(expected, sizeof expected, why, f);
  assert_string_equal(text.data, expected);
  jr_buf_fini(&text);
}

static void refuses_names_that_lead_elsewhere(void **state) {
  (void)state;
  folder f;
  static const char *const names[] = {"",
                                      "/etc/passwd",
                                      "../zoneinfo/Test/Zone",
                                      "Test/../Test/Zone",
                                      "Test//Zone",
                                      "Test/",
                                      "/",
                                      ".",
                                      "..",
                                      "Test/.hidden",
                                      "Test Zone",
                                      "a\nb",
                                      "Test/Zone\x80",
                                      "x%n"};
  open_folder(&f);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    jr_zone *zone = NULL;
    if (get(&f, names[i], &zone) != UV_EINVAL) fail_msg("\"%s\" is taken", names[i]);
  }
  char name[400];
  jr_zone *zone = NULL;
  memset(name, 'a', sizeof name);
  assert_int_equal(jr_zones_get(&f.zones, name, sizeof name, &zone), UV_EINVAL);
  assert_int_equal(jr_zones_get(&f.zones, "Test/Zone\0x", 11, &zone), UV_EINVAL);
  explains(&f, "../x", UV_EINVAL, "\"../x\" is not the name of a zone, as \"Europe/Berlin\" is");
  close_folder(&f);
}

static void says_why_there_is_no_such_zone(void **state) {
  (void)state;
  folder f;
  char path[160];
  open_folder(&f);
  explains(&f, "Test/Nowhere", UV_ENOENT, "there is no zone \"Test/Nowhere\" in $");
  explains(&f, "Test", UV_ENOENT, "there is no zone \"Test\" in $");
  explains(&f, "Test/Zone/Deep", UV_ENOENT, "there is no zone \"Test/Zone/Deep\" in $");
  snprintf(path, sizeof path, "%s/Empty", f.zones.dir);
  write_file(path, "", 0);
  explains(&f, "Empty", UV_EFTYPE, "$/Empty does not describe a zone");
  snprintf(path, sizeof path, "%s/Large", f.zones.dir);
  write_file(path, "TZif", 4);
  assert_int_equal(truncate(path, JR_TZ_MAX_FILE + 1), 0);
  explains(&f, "Large", UV_EFBIG, "cannot read the zone \"Large\": file too large");
  snprintf(path, sizeof path, "%s/Leap", f.zones.dir);
  file leap = good_file('2', "", 1);
  write_file(path, leap.bytes, leap.len);
  explains(
      &f, "Leap", UV_ENOTSUP,
      "the zone \"Leap\" counts leap seconds, which clocks do not; take it without \"right/\"");
  snprintf(path, sizeof path, "%s/Fifo", f.zones.dir);
  assert_int_equal(mkfifo(path, 0600), 0);
  explains(&f, "Fifo", UV_EFTYPE, "$/Fifo does not describe a zone");
  close_folder(&f);
}

static void does_with_utc_where_there_are_no_zones(void **state) {
  (void)state;
  folder f = {0};
  jr_zone *zone = NULL;
  strcpy(f.path, "/tmp/none");
  assert_int_equal(jr_zones_init(&f.zones, &mem, "/tmp/nowhere/zoneinfo", "/tmp/nowhere/localtime"),
                   0);
  assert_int_equal(get(&f, "UTC", &zone), 0);
  explains(
      &f, "Europe/Berlin", UV_ENOENT,
      "there is no zone \"Europe/Berlin\": $, where zones are described, does not exist (install tzdata, or set "
      "TZDIR)");
  assert_int_equal(jr_zones_local(&f.zones, NULL, &zone), 0);
  assert_string_equal(zone->name, "UTC");
  jr_zones_fini(&f.zones);
}

/* ---- the local zone -------------------------------------------------------------------------- */

static void local_is(const char *tz, int status, const char *name, int offset) {
  folder f;
  jr_zone *zone = NULL, *again = NULL;
  char value[256];
  open_folder(&f);
  assert_int_equal(symlink(f.file, f.link), 0);
  if (tz) fill(value, sizeof value, tz, &f);
  int found = jr_zones_local(&f.zones, tz ? value : NULL, &zone);
  if (found != status) fail_msg("%s: %d, expected %d", tz ? tz : "-", found, status);
  if (status == 0) {
    assert_string_equal(zone->name, name);
    assert_int_equal(jr_tz_offset_at(zone->tz, 3000), offset);
    assert_int_equal(jr_zones_local(&f.zones, tz ? value : NULL, &again), 0);
    assert_ptr_equal(zone, again);
  }
  close_folder(&f);
}

static void local_zone_by_variable_or_link(void **state) {
  (void)state;
  local_is(NULL, 0, "Test/Zone", 7200);
  local_is("Test/Zone", 0, "Test/Zone", 7200);
  local_is(":Test/Zone", 0, "Test/Zone", 7200);
  local_is("$/Test/Zone", 0, "Test/Zone", 7200);
  local_is(":$/Test/Zone", 0, "Test/Zone", 7200);
  local_is(":$/../localtime", UV_EINVAL, NULL, 0);
  local_is("", 0, "UTC", 0);
  local_is("UTC", 0, "UTC", 0);
  local_is("ABC-3", 0, "ABC-3", 10800);
  local_is("CET-1CEST,M3.5.0,M10.5.0/3", 0, "CET-1CEST,M3.5.0,M10.5.0/3", 3600);
  local_is("Nowhere/Land", UV_ENOENT, NULL, 0);
  local_is("/etc/passwd", UV_EINVAL, NULL, 0);
}

static void local_zone_by_the_path_of_the_link(void **state) {
  (void)state;
  folder f;
  jr_zone *zone = NULL;
  open_folder(&f);
  file plain = good_file('2', "ONE-1", 0);
  write_file(f.link, plain.bytes, plain.len);
  assert_int_equal(jr_zones_local(&f.zones, f.link, &zone), 0);
  assert_string_equal(zone->name, "localtime");
  close_folder(&f);
}

/* ---- reading again --------------------------------------------------------------------------- */

static void on_changed(void *data, jr_zone *zone, int status) {
  if (status < 0) return;
  (void)zone;
  ((folder *)data)->changed++;
}

static int refresh(folder *f) {
  f->changed = 0;
  int count = jr_zones_refresh(&f->zones, on_changed, f);
  assert_int_equal(count, f->changed);
  return count;
}

/* As a package manager does it: written beside it, and renamed. */
static void replace(const folder *f, const void *bytes, size_t len) {
  char path[sizeof f->file + 4];
  snprintf(path, sizeof path, "%s.new", f->file);
  write_file(path, bytes, len);
  assert_int_equal(rename(path, f->file), 0);
}

static void reads_zones_again(void **state) {
  (void)state;
  folder f;
  jr_zone *zone = NULL, *local = NULL;
  open_folder(&f);
  assert_int_equal(symlink(f.file, f.link), 0);
  assert_int_equal(get(&f, "Test/Zone", &zone), 0);
  assert_int_equal(jr_zones_local(&f.zones, NULL, &local), 0);
  assert_int_equal(refresh(&f), 0);
  file same = good_file('2', "ONE-1", 0), other = good_file('2', "ONE-1TWO,M3.5.0,M10.5.0/3", 0);
  replace(&f, same.bytes, same.len);
  assert_int_equal(refresh(&f), 0);
  replace(&f, other.bytes, other.len);
  assert_int_equal(refresh(&f), 2);
  assert_int_equal(jr_tz_offset_at(zone->tz, instant("2025-07-01T00:00Z")), 7200);
  assert_int_equal(jr_tz_offset_at(local->tz, instant("2025-07-01T00:00Z")), 7200);
  assert_int_equal(refresh(&f), 0);
  close_folder(&f);
}

static void keeps_a_zone_whose_file_is_broken_or_gone(void **state) {
  (void)state;
  folder f;
  jr_zone *zone = NULL;
  open_folder(&f);
  assert_int_equal(get(&f, "Test/Zone", &zone), 0);
  file other = good_file('2', "ONE-1TWO,M3.5.0,M10.5.0/3", 0);
  replace(&f, other.bytes, other.len / 2);
  assert_int_equal(refresh(&f), 0);
  assert_int_equal(unlink(f.file), 0);
  assert_int_equal(refresh(&f), 0);
  assert_int_equal(jr_tz_offset_at(zone->tz, 3000), 7200);
  write_file(f.file, other.bytes, other.len);
  assert_int_equal(refresh(&f), 1);
  close_folder(&f);
}

static void follows_the_link_to_another_zone(void **state) {
  (void)state;
  folder f;
  jr_zone *local = NULL;
  char path[160];
  open_folder(&f);
  assert_int_equal(jr_zones_local(&f.zones, NULL, &local), 0);
  assert_string_equal(local->name, "UTC");
  snprintf(path, sizeof path, "%s/Other", f.zones.dir);
  file other = good_file('2', "ONE-1TWO,M3.5.0,M10.5.0/3", 0);
  write_file(path, other.bytes, other.len);
  assert_int_equal(symlink(path, f.link), 0);
  assert_int_equal(refresh(&f), 1);
  assert_string_equal(local->name, "Other");
  assert_int_equal(unlink(f.link), 0);
  assert_int_equal(symlink(f.file, f.link), 0);
  assert_int_equal(refresh(&f), 1);
  assert_string_equal(local->name, "Test/Zone");
  close_folder(&f);
}

static void fails_cleanly_at_each_allocation(void **state) {
  (void)state;
  folder f;
  open_folder(&f);
  assert_int_equal(symlink(f.file, f.link), 0);
  for (size_t limit = mem.used; limit < mem.used + 2000; limit += 8) {
    jr_zones some;
    jr_zone *zone = NULL;
    mem.limit = limit;
    int status = jr_zones_init(&some, &mem, f.zones.dir, f.link);
    if (status < 0) {
      assert_int_equal(status, UV_ENOMEM);
      continue;
    }
    status = jr_zones_get(&some, "Test/Zone", 9, &zone);
    assert_true(status == 0 || status == UV_ENOMEM);
    status = jr_zones_local(&some, NULL, &zone);
    assert_true(status == 0 || status == UV_ENOMEM);
    status = jr_zones_local(&some, "ABC-3", &zone);
    assert_true(status == 0 || status == UV_ENOMEM);
    jr_zones_fini(&some);
  }
  mem.limit = 0;
  close_folder(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(works_out_rules),
      cmocka_unit_test(knows_zones_that_never_change),
      cmocka_unit_test(refuses_what_is_no_rule),
      cmocka_unit_test(repeats_every_400_years),
      cmocka_unit_test(spans_meet),
      cmocka_unit_test(tells_gaps_from_overlaps),
      cmocka_unit_test(reads_all_versions),
      cmocka_unit_test(refuses_leap_seconds),
      cmocka_unit_test(goes_on_by_the_rule),
      cmocka_unit_test(survives_broken_files),
      cmocka_unit_test(refuses_files_that_are_too_large),
      cmocka_unit_test(does_without_memory),
      cmocka_unit_test(finds_zones_by_name),
      cmocka_unit_test(refuses_names_that_lead_elsewhere),
      cmocka_unit_test(says_why_there_is_no_such_zone),
      cmocka_unit_test(does_with_utc_where_there_are_no_zones),
      cmocka_unit_test(local_zone_by_variable_or_link),
      cmocka_unit_test(local_zone_by_the_path_of_the_link),
      cmocka_unit_test(reads_zones_again),
      cmocka_unit_test(keeps_a_zone_whose_file_is_broken_or_gone),
      cmocka_unit_test(follows_the_link_to_another_zone),
      cmocka_unit_test(fails_cleanly_at_each_allocation),
  };
  return cmocka_run_group_tests(tests, setup_zones, teardown_zones);
}
