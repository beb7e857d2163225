/* How a cron line is read.
 *
 * Each field is described by one row of `fields`; one reader serves all of them. What only the days
 * have, L, W, # and +, is looked for where an item or a value of theirs begins or ends.
 *
 * SPDX-License-Identifier: MIT */
#include "cronline.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <uv.h>

#include "duration.h"

enum { SECOND, MINUTE, HOUR, DATE, MONTH, WEEKDAY, FIELDS };

static const char month_names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
static const char weekday_names[] = "sunmontuewedthufrisat";

typedef struct field {
  const char *name;
  int low, high;     /* as written */
  int size;          /* how many different values; a value is low + 0 … size - 1 */
  int hash_size;     /* of H without a range */
  const char *names; /* of three letters each, for low, low + 1, … */
  const char *expected;
} field;

static const field fields[FIELDS] = {
    {"second", 0, 59, 60, 60, "", "0-59"},
    {"minute", 0, 59, 60, 60, "", "0-59"},
    {"hour", 0, 23, 24, 24, "", "0-23"},
    {"day of month", 1, 31, 31, 28, "", "1-31, L, L-n, nW or LW"},
    {"month", 1, 12, 12, 12, month_names, "1-12 or jan-dec"},
    {"day of week", 0, 7, 7, 7, weekday_names, "0-7 or sun-sat"},
};

typedef struct text {
  const char *at, *end;
} text;

typedef struct reader {
  const char *line;
  jr_cron *cron;
  jr_cron_fault *fault;
  text name; /* the job's; at NULL: it has none */
  int index;
  const field *field; /* &fields[index] */
  text item;          /* what is left of it while it is read */
  const char *item_start;
  uint64_t bits; /* of the field, so far */
  bool any;      /* it has a star without a step */
} reader;

/* ---- faults ---------------------------------------------------------------------------------- */

/* Cut, so that the reason behind it still fits. */
static int shown_length(text t) {
  enum { MOST = 40 };
  return t.end - t.at > MOST ? MOST : (int)(t.end - t.at);
}

static int set_fault(const reader *r, const char *at, const char *field_name, const char *what) {
  jr_cron_fault *f = r->fault;
  size_t i = 0;
  f->column = (int)(at - r->line) + 1;
  f->field = field_name;
  for (; what[i]; i++) f->what[i] = what[i] >= 0 && what[i] < ' ' ? '?' : what[i]; /* one line */
  f->what[i] = 0;
  return UV_EINVAL;
}

/* About the line as a whole. */
static int __attribute__((format(printf, 3, 4)))
fail_line(const reader *r, const char *at, const char *fmt, ...) {
  char what[sizeof r->fault->what];
  va_list args;
  va_start(args, fmt);
  vsnprintf(what, sizeof what, fmt, args);
  va_end(args);
  return set_fault(r, at, NULL, what);
}

static const char *item_end(const char *p, const char *end) {
  while (p < end && *p != ',' && *p != ' ' && *p != '\t') p++;
  return p;
}

/* About the item that is read: `minute "5-60": ` and the reason. */
static int __attribute__((format(printf, 3, 4)))
fail_item(const reader *r, const char *at, const char *fmt, ...) {
  char what[sizeof r->fault->what];
  text item = {r->item_start, r->item.end};
  int len =
      snprintf(what, sizeof what, "%s \"%.*s\": ", r->field->name, shown_length(item), item.at);
  va_list args;
  va_start(args, fmt);
  vsnprintf(what + len, sizeof what - (size_t)len, fmt, args);
  va_end(args);
  return set_fault(r, at, r->field->name, what);
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static char lower(char c) {
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_letter(char c) {
  return lower(c) >= 'a' && lower(c) <= 'z';
}

static bool is_at(const reader *r, char c) {
  return r->item.at < r->item.end && *r->item.at == c;
}

static bool take(reader *r, char c) {
  if (!is_at(r, c)) return false;
  r->item.at++;
  return true;
}

/* A number from low to high. `what` is said before it where it lies outside: "the step ". */
static int read_number(reader *r, int low, int high, const char *what, int *out) {
  const char *start = r->item.at;
  int value = 0;
  while (r->item.at < r->item.end && is_digit(*r->item.at)) {
    value = value * 10 + (*r->item.at++ - '0');
    if (value > 9999) value = 9999;
  }
  text digits = {start, r->item.at};
  if (value < low || value > high)
    return fail_item(r, start, "%s%.*s is outside %d-%d", what, shown_length(digits), start, low,
                     high);
  *out = value;
  return 0;
}

static int find_name(const reader *r, const char *three) {
  const char *names = r->field->names;
  for (int i = 0; names[i * 3]; i++) {
    const char *name = names + i * 3;
    if (lower(three[0]) == name[0] && lower(three[1]) == name[1] && lower(three[2]) == name[2])
      return r->field->low + i;
  }
  return -1;
}

/* Letters, all of them one name; an L may follow a weekday. */
static int read_name(reader *r, int *out) {
  text word = {r->item.at, r->item.at};
  while (word.end < r->item.end && is_letter(*word.end)) word.end++;
  int len = (int)(word.end - word.at), value = len >= 3 ? find_name(r, word.at) : -1;
  bool has_suffix = len == 4 && r->index == WEEKDAY && word.at[3] == 'L';
  if (value < 0)
    return fail_item(r, word.at, "\"%.*s\" is not expected here (allowed: %s)", shown_length(word),
                     word.at, r->field->expected);
  if (len > 3 && !has_suffix)
    return fail_item(r, word.at, "\"%.*s\" is no name here; did you mean \"%.3s\"? (allowed: %s)",
                     shown_length(word), word.at, r->field->names + (value - r->field->low) * 3,
                     r->field->expected);
  r->item.at += 3;
  *out = value;
  return 0;
}

static int read_value(reader *r, int *out) {
  if (r->item.at == r->item.end) return fail_item(r, r->item.at, "expected %s", r->field->expected);
  if (is_letter(*r->item.at)) return read_name(r, out);
  if (is_digit(*r->item.at)) return read_number(r, r->field->low, r->field->high, "", out);
  return fail_item(r, r->item.at, "\"%c\" is not expected here (allowed: %s)", *r->item.at,
                   r->field->expected);
}

/* A number of up to four digits that must be there: a step, a count. */
static int read_count(reader *r, int high, const char *what, int *out) {
  if (r->item.at == r->item.end || !is_digit(*r->item.at))
    return fail_item(r, r->item.at, "%sis missing; expected 1-%d", what, high);
  return read_number(r, 1, high, what, out);
}

/* ---- items ----------------------------------------------------------------------------------- */

/* The values first, first + step, … up to first + length, in a circle. */
static void add_values(reader *r, int first, int length, int step) {
  const field *f = r->field;
  for (int i = 0; i <= length; i += step)
    r->bits |= UINT64_C(1) << (f->low + (first - f->low + i) % f->size);
}

/* How far it is from one value to another, in a circle where need be. */
static int distance(const reader *r, int from, int to) {
  return to >= from ? to - from : to - from + r->field->size;
}

/* ["/" n]; *step 1 and *has_step false where there is none. */
static int read_step(reader *r, int *step, bool *has_step) {
  *step = 1;
  *has_step = take(r, '/');
  return *has_step ? read_count(r, r->field->size, "the step ", step) : 0;
}

static int read_star(reader *r) {
  int step;
  bool has_step;
  if (is_at(r, '?') && r->index != DATE && r->index != WEEKDAY)
    return fail_item(r, r->item.at, "\"?\" stands for a day only (allowed: %s, or *)",
                     r->field->expected);
  r->item.at++;
  int status = read_step(r, &step, &has_step);
  add_values(r, r->field->low, r->field->size - 1, step);
  r->any |= !has_step;
  return status;
}

static int hash_of(const reader *r, int size) {
  uint64_t h = UINT64_C(0xcbf29ce484222325);
  for (const char *p = r->name.at; p < r->name.end; p++)
    h = (h ^ (uint8_t)*p) * UINT64_C(0x100000001b3);
  h = (h ^ (uint64_t)r->index) * UINT64_C(0x100000001b3);
  return (int)((uint32_t)(h ^ h >> 32) % (uint32_t)size);
}

/* "(" v "-" v ")" behind an H */
static int read_hash_range(reader *r, int *first, int *length) {
  int last, status = read_value(r, first);
  if (status < 0) return status;
  if (!take(r, '-'))
    return fail_item(r, r->item.at, "expected a range, as in H(%d-%d)", r->field->low,
                     r->field->high);
  if ((status = read_value(r, &last)) < 0) return status;
  if (!take(r, ')')) return fail_item(r, r->item.at, "expected \")\" behind the range");
  *length = distance(r, *first, last);
  return 0;
}

static int read_hash(reader *r) {
  int first = r->field->low, length = r->field->hash_size - 1, step, status = 0;
  bool has_step;
  if (!r->name.at) return fail_item(r, r->item.at, "\"H\" needs the job to have a name");
  r->item.at++;
  if (take(r, '(')) status = read_hash_range(r, &first, &length);
  if (status < 0 || (status = read_step(r, &step, &has_step)) < 0) return status;
  if (!has_step) step = length + 1;
  int offset = hash_of(r, step <= length ? step : length + 1);
  add_values(r, first + offset, length - offset, step);
  return 0;
}

/* L, LW, L-n of the day of the month */
static int read_last(reader *r) {
  int before = 0, status = 0;
  r->item.at++;
  if (take(r, 'W')) {
    r->cron->last_workday = true;
    return 0;
  }
  if (take(r, '-')) status = read_count(r, 30, "the number of days ", &before);
  r->cron->dates_from_last |= UINT32_C(1) << (31 - before);
  return status;
}

/* v#n, v#L, vL of the day of the week, from behind the v */
static int read_which(reader *r, int weekday) {
  r->cron->has_special_weekdays = true;
  uint8_t bit = (uint8_t)(1 << weekday % 7);
  int n;
  if (take(r, 'L') || (take(r, '#') && take(r, 'L'))) {
    r->cron->last_weekdays |= bit;
    return 0;
  }
  int status = read_count(r, 5, "the number ", &n);
  if (status == 0) r->cron->nth_weekdays[n - 1] |= bit;
  return status;
}

static int read_range(reader *r, int first) {
  int last = r->field->high, step, status;
  bool has_step, has_range = take(r, '-');
  if (has_range && (status = read_value(r, &last)) < 0) return status;
  if ((status = read_step(r, &step, &has_step)) < 0) return status;
  if (!has_range && !has_step) last = first;
  add_values(r, first, distance(r, first, last), step);
  return 0;
}

static int read_plain(reader *r) {
  int first, status = read_value(r, &first);
  if (status < 0) return status;
  if (r->index == DATE && take(r, 'W')) {
    r->cron->workdays |= UINT32_C(1) << first;
    return 0;
  }
  if (r->index == WEEKDAY && (is_at(r, '#') || is_at(r, 'L'))) return read_which(r, first);
  return read_range(r, first);
}

static int read_item_kind(reader *r) {
  if (is_at(r, '*') || is_at(r, '?')) return read_star(r);
  if (is_at(r, 'H')) return read_hash(r);
  if (is_at(r, 'L') && r->index == DATE) return read_last(r);
  if (is_at(r, 'L') && r->index == WEEKDAY)
    return fail_item(r, r->item.at, "\"L\" needs a day before it, as in 5L, the last Friday");
  return read_plain(r);
}

static int read_item(reader *r) {
  int status = read_item_kind(r);
  if (status < 0 || r->item.at == r->item.end) return status;
  return fail_item(r, r->item.at, "\"%c\" is not expected here (allowed: %s)", *r->item.at,
                   r->field->expected);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static int fail_empty(reader *r, text whole) {
  const char *at = r->item.at;
  bool has_plus = whole.at > r->line && whole.at[-1] == '+';
  r->item_start = whole.at - has_plus;
  r->item.end = whole.end;
  return fail_item(r, at, "an item is empty (allowed: %s)", r->field->expected);
}

static int read_items(reader *r, text whole) {
  for (const char *p = whole.at;; p++) {
    r->item_start = p;
    r->item = (text){p, item_end(p, whole.end)};
    p = r->item.end;
    if (r->item.at == p) return fail_empty(r, whole);
    int status = read_item(r);
    if (status < 0) return status;
    if (p == whole.end) return 0;
  }
}

static void store_bits(reader *r) {
  jr_cron *c = r->cron;
  switch (r->index) {
  case SECOND:
    c->seconds = r->bits;
    break;
  case MINUTE:
    c->minutes = r->bits;
    break;
  case HOUR:
    c->hours = (uint32_t)r->bits;
    break;
  case MONTH:
    c->months = (uint16_t)r->bits;
    break;
  case DATE:
    c->dates = (uint32_t)r->bits;
    c->any_date = r->any;
    break;
  case WEEKDAY:
    c->weekdays = (uint8_t)r->bits;
    c->any_weekday = r->any;
    break;
  }
}

static int read_field(reader *r, int index, text whole) {
  r->index = index;
  r->field = &fields[index];
  r->bits = 0;
  r->any = false;
  if (index == WEEKDAY && *whole.at == '+') {
    r->cron->is_both = true;
    whole.at++;
  }
  int status = read_items(r, whole);
  if (status == 0) store_bits(r);
  return status;
}

static bool has_any(text t, const char *chars) {
  for (const char *p = t.at; p < t.end; p++)
    if (strchr(chars, *p)) return true;
  return false;
}

static bool begins_with_stepped_star(text t) {
  return t.end - t.at >= 2 && (*t.at == '*' || *t.at == '?') && t.at[1] == '/';
}

/* What the fields say together. `f` has all six; that of the seconds may be empty. */
static void sum_up(jr_cron *c, const text *f) {
  c->is_fixed =
      !has_any(f[SECOND], "*?/") && !has_any(f[MINUTE], "*?/") && !has_any(f[HOUR], "*?/");
  c->gap = c->is_fixed ? JR_GAP_END : JR_GAP_SKIP;
  c->overlap = c->is_fixed ? JR_TWICE_FIRST : JR_TWICE_BOTH;
  c->is_ambiguous = !c->is_both && !c->any_date && !c->any_weekday &&
                    (begins_with_stepped_star(f[DATE]) || begins_with_stepped_star(f[WEEKDAY]));
}

static int fail_dates(const reader *r, const text *f) {
  text days = f[DATE], months = f[MONTH], weekdays = f[WEEKDAY];
  return fail_line(
      r, days.at,
      "no date ever matches day of month \"%.*s\", month \"%.*s\", day of week \"%.*s\"",
      shown_length(days), days.at, shown_length(months), months.at, shown_length(weekdays),
      weekdays.at);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

static text trim(text t) {
  while (t.at < t.end && is_blank(*t.at)) t.at++;
  while (t.at < t.end && is_blank(t.end[-1])) t.end--;
  return t;
}

static text next_word(text *rest) {
  *rest = trim(*rest);
  text word = {rest->at, rest->at};
  while (word.end < rest->end && !is_blank(*word.end)) word.end++;
  rest->at = word.end;
  return word;
}

static int fail_count(const reader *r, int count, const char *at) {
  return fail_line(
      r, at,
      "expected 5 fields (minute hour day month weekday), or 6 with the seconds first; found %d%s",
      count, count == 7 ? " (there is none for the year)" : "");
}

/* Splits a line into f[SECOND] … f[WEEKDAY]. */
static int split(const reader *r, text rest, text f[FIELDS]) {
  text words[FIELDS], extra = {0};
  int count = 0;
  for (text word = next_word(&rest); word.at < word.end; word = next_word(&rest), count++) {
    if (count < FIELDS) words[count] = word;
    if (count == FIELDS) extra = word;
  }
  if (count < FIELDS - 1 || count > FIELDS)
    return fail_count(r, count, extra.at ? extra.at : rest.end);
  bool has_seconds = count == FIELDS;
  f[SECOND] = (text){r->line, r->line};
  memcpy(f + !has_seconds, words, (size_t)count * sizeof *words);
  return 0;
}

static int read_fields(reader *r, text line) {
  text f[FIELDS];
  int status = split(r, line, f);
  if (status < 0) return status;
  if (f[SECOND].at == f[SECOND].end) r->cron->seconds = 1;
  for (int i = f[SECOND].at == f[SECOND].end; i < FIELDS; i++)
    if ((status = read_field(r, i, f[i])) < 0) return status;
  sum_up(r->cron, f);
  return jr_cron_has_dates(r->cron) ? 0 : fail_dates(r, f);
}

static bool is_text(text t, const char *s) {
  size_t len = strlen(s);
  return (size_t)(t.end - t.at) == len && memcmp(t.at, s, len) == 0;
}

typedef struct alias {
  const char *name, *line;
} alias;

static const alias aliases[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
    {"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
    {"@hourly", "0 * * * *"}, {"@minutely", "* * * * *"}, {"@secondly", "* * * * * *"},
};
enum { ALIASES = sizeof aliases / sizeof *aliases };

static int read_every(reader *r, text rest) {
  jr_duration_fault why;
  rest = trim(rest);
  int status = jr_duration_parse(rest.at, (size_t)(rest.end - rest.at), &r->cron->period_ns, &why);
  r->cron->kind = JR_CRON_EVERY;
  if (status < 0) return fail_line(r, rest.at + why.column - 1, "@every: %s", why.what);
  return r->cron->period_ns > 0 ? 0 : fail_line(r, rest.at, "@every: expected more than 0");
}

static int read_alias(reader *r, text line) {
  text word = next_word(&line);
  if (is_text(word, "@every")) return read_every(r, line);
  text extra = trim(line);
  if (extra.at < extra.end)
    return fail_line(r, extra.at, "nothing is expected behind \"%.*s\"", shown_length(word),
                     word.at);
  if (is_text(word, "@reboot")) {
    r->cron->kind = JR_CRON_REBOOT;
    return 0;
  }
  for (int i = 0; i < ALIASES; i++) {
    const char *plain = aliases[i].line;
    if (is_text(word, aliases[i].name)) return read_fields(r, (text){plain, plain + strlen(plain)});
  }
  return fail_line(
      r, word.at,
      "\"%.*s\" is unknown; there are @yearly @monthly @weekly @daily @hourly @minutely @secondly "
      "@reboot, and @every with a duration",
      shown_length(word), word.at);
}

/* Takes CRON_TZ=ZONE from the front. */
static int read_zone(reader *r, text *line) {
  text rest = *line, word = next_word(&rest);
  const char *equals = memchr(word.at, '=', (size_t)(word.end - word.at));
  if (!equals) return 0;
  text variable = {word.at, equals}, zone = {equals + 1, word.end};
  if (!is_text(variable, "CRON_TZ") && !is_text(variable, "TZ"))
    return fail_line(r, word.at, "\"%.*s\" is not expected here (only CRON_TZ= and TZ= are)",
                     shown_length(word), word.at);
  if (zone.at == zone.end)
    return fail_line(r, zone.at, "expected a zone behind \"=\", as in CRON_TZ=Europe/Berlin");
  r->cron->zone_at = (uint16_t)(zone.at - r->line);
  r->cron->zone_len = (uint16_t)(zone.end - zone.at);
  *line = trim(rest);
  return 0;
}

static int read_line(reader *r, text line) {
  if (line.end - line.at > JR_CRON_MAX_LINE)
    return fail_line(r, line.at + JR_CRON_MAX_LINE, "expected a line of at most %d bytes",
                     JR_CRON_MAX_LINE);
  line = trim(line);
  int status = read_zone(r, &line);
  if (status < 0) return status;
  return line.at < line.end && *line.at == '@' ? read_alias(r, line) : read_fields(r, line);
}

int jr_cron_parse(const char *line, size_t len, const char *name, size_t name_len, jr_cron *out,
                  jr_cron_fault *fault) {
  jr_cron cron = {.kind = JR_CRON_TIMES};
  reader r = {
      .line = line, .cron = &cron, .fault = fault, .name = {name, name ? name + name_len : NULL}};
  int status = read_line(&r, (text){line, line + len});
  if (status == 0) *out = cron;
  return status;
}
