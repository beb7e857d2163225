/* One line of ffmpeg's log.
 *
 * SPDX-License-Identifier: MIT */
#include "ffline.h"

#include <string.h>

enum { MAX_CONTEXTS = 2, MAX_CONTEXT = 128 };

static const char *const names[] = {"panic", "fatal",   "error", "warning",
                                    "info",  "verbose", "debug", "trace"};

const char *jr_fflevel_name(jr_fflevel level) {
  return names[level];
}

static bool starts(const char *p, const char *end, const char *word) {
  size_t len = strlen(word);
  return (size_t)(end - p) >= len && memcmp(p, word, len) == 0;
}

/* The length of "[level] " (of "[level]" + `behind`, that is) at p, with the level; 0 if there is
 * none. */
static size_t level_tag(const char *p, const char *end, const char *behind, jr_fflevel *level) {
  if (p == end || *p != '[') return 0;
  for (int i = JR_FF_PANIC; i <= JR_FF_TRACE; i++) {
    size_t len = strlen(names[i]);
    const char *close = p + 1 + len;
    if (!starts(p + 1, end, names[i]) || close == end || *close != ']') continue;
    if (!starts(close + 1, end, behind)) continue;
    *level = (jr_fflevel)i;
    return len + 2 + strlen(behind);
  }
  return 0;
}

/* The length of "[name @ 0x55d0c0] " at p, or 0. */
static size_t context(const char *p, const char *end) {
  if (p == end || *p != '[') return 0;
  size_t most = (size_t)(end - p) < MAX_CONTEXT ? (size_t)(end - p) : MAX_CONTEXT;
  const char *close = memchr(p, ']', most);
  if (!close || close + 1 == end || close[1] != ' ') return 0;
  return memmem(p, (size_t)(close - p), " @ 0x", 5) ? (size_t)(close - p) + 2 : 0;
}

/* The length of the level's tag, behind up to two contexts; `*before` is how long these are. */
static size_t find_level(const char *text, size_t size, jr_fflevel *level, size_t *before) {
  const char *p = text, *end = p + size;
  size_t tag = level_tag(p, end, " ", level);
  for (int i = 0; i < MAX_CONTEXTS && tag == 0; i++) {
    size_t len = context(p, end);
    if (len == 0) return 0;
    p += len;
    tag = level_tag(p, end, " ", level);
  }
  *before = (size_t)(p - text);
  return tag;
}

/* Cuts the level's tag out by moving what stands before it up to what stands behind. */
static bool cut_level(jr_ffline *out, jr_fflevel *level) {
  size_t before, tag = find_level(out->text, out->len, level, &before);
  if (tag == 0) return false;
  memmove(out->text + tag, out->text, before);
  out->text += tag;
  out->len -= tag;
  return true;
}

/* The level in `x264 [error]: text`, which ends with this line. */
static void read_encoder_level(const char *p, size_t len, jr_fflevel *level) {
  const char *end = p + len;
  if (starts(p, end, "x264 [") || starts(p, end, "x265 [")) level_tag(p + 5, end, ":", level);
}

void jr_ffline_parse(char *line, size_t len, jr_fflevel *level, jr_ffline *out) {
  *out = (jr_ffline){.text = line, .len = len};
  bool tagged = cut_level(out, level);
  out->level = *level;
  if (!tagged) read_encoder_level(out->text, out->len, &out->level);
  const char *end = out->text + out->len;
  out->is_progress = starts(out->text, end, "frame=") || starts(out->text, end, "size=");
  out->is_notable = out->level <= JR_FF_WARNING || out->is_progress ||
                    memmem(out->text, out->len, "Duration:", 9);
}

jr_fflevel jr_ffline_level(const char *line, size_t len, jr_fflevel *level) {
  size_t before;
  if (find_level(line, len, level, &before)) return *level;
  jr_fflevel own = *level;
  read_encoder_level(line, len, &own);
  return own;
}
