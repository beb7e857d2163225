/* What a job is called.
 *
 * SPDX-License-Identifier: MIT */
#include "label.h"

#include <stdio.h>
#include <string.h>

#include "duration.h"

#define SECOND INT64_C(1000000000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define WEEK   (7 * DAY)

static const struct {
  const char *word;
  int64_t ns;
} units[] = {
    {"second", SECOND}, {"seconds", SECOND}, {"minute", MINUTE}, {"minutes", MINUTE},
    {"hour", HOUR},     {"hours", HOUR},     {"day", DAY},       {"days", DAY},
    {"week", WEEK},     {"weeks", WEEK},
};
enum { UNITS = sizeof units / sizeof *units };

const char *jr_unit_word(int unit, int64_t *ns) {
  int i = unit - JR_UNIT_FIRST;
  if (i < 0 || i >= UNITS) return NULL;
  *ns = units[i].ns;
  return units[i].word;
}

/* "2 seconds"; whole numbers apart, as printing a double takes longer than starting a run. */
static void write_interval(const jr_label *label, int64_t period_ns, char *text, size_t size) {
  int64_t ns;
  const char *word = jr_unit_word(label->unit, &ns);
  if (!word)
    jr_duration_format(period_ns, text);
  else if (period_ns % ns == 0)
    snprintf(text, size, "%lld %s", (long long)(period_ns / ns), word);
  else
    snprintf(text, size, "%.14g %s", (double)period_ns / (double)ns, word);
}

static int write_made(const jr_label *label, int64_t period_ns, char *name, size_t size) {
  const char *slash = strrchr(label->text, '/'), *file = slash ? slash + 1 : label->text;
  const char *word = label->unit == JR_UNIT_AFTER ? "after" : "every";
  char interval[JR_DURATION_TEXT];
  write_interval(label, period_ns, interval, sizeof interval);
  return snprintf(name, size, "%s %s %s:%d", word, interval, file, (int)label->line);
}

void jr_label_write(const jr_label *label, int64_t period_ns, char *name, size_t size) {
  if (label->unit == JR_UNIT_GIVEN) {
    snprintf(name, size, "%s", label->text);
    return;
  }
  int len = write_made(label, period_ns, name, size);
  if (label->ordinal > 1 && len > 0 && (size_t)len < size)
    snprintf(name + len, size - (size_t)len, " #%u", (unsigned)label->ordinal);
}
