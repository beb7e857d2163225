/* Strings and numbers of JSON.
 *
 * Both ways most bytes are plain ASCII, so the loops look at eight of them at a time and stop at
 * the first that needs thought.
 *
 * SPDX-License-Identifier: MIT */
#include "json.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char REPLACEMENT[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* ---- UTF-8 --------------------------------------------------------------------------------- */

static bool is_tail(unsigned char c) {
  return (c & 0xC0) == 0x80;
}

int jr_utf8_length(const unsigned char *at, const unsigned char *end) {
  unsigned char c = *at;
  if (c < 0x80) return 1;
  if (c < 0xC2 || c > 0xF4) return 0;
  int len = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
  if (end - at < len) return 0;
  for (int i = 1; i < len; i++)
    if (!is_tail(at[i])) return 0;
  if (c == 0xE0 && at[1] < 0xA0) return 0;  /* overlong */
  if (c == 0xED && at[1] > 0x9F) return 0;  /* a surrogate */
  if (c == 0xF0 && at[1] < 0x90) return 0;  /* overlong */
  if (c == 0xF4 && at[1] >= 0x90) return 0; /* beyond U+10FFFF */
  return len;
}

size_t jr_utf8_valid(const char *text, size_t len) {
  const unsigned char *at = (const unsigned char *)text, *end = at + len;
  while (at < end) {
    int n = jr_utf8_length(at, end);
    if (n == 0) break;
    at += n;
  }
  return (size_t)(at - (const unsigned char *)text);
}

static void put_code_point(jr_buf *out, uint32_t c) {
  char b[4];
  size_t n = 0;
  if (c < 0x80) {
    b[n++] = (char)c;
  } else if (c < 0x800) {
    b[n++] = (char)(0xC0 | c >> 6);
    b[n++] = (char)(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    b[n++] = (char)(0xE0 | c >> 12);
    b[n++] = (char)(0x80 | (c >> 6 & 0x3F));
    b[n++] = (char)(0x80 | (c & 0x3F));
  } else {
    b[n++] = (char)(0xF0 | c >> 18);
    b[n++] = (char)(0x80 | (c >> 12 & 0x3F));
    b[n++] = (char)(0x80 | (c >> 6 & 0x3F));
    b[n++] = (char)(0x80 | (c & 0x3F));
  }
  jr_buf_add(out, b, n);
}

/* Has one of the eight bytes to be looked at: a quote, a backslash, a control, beyond ASCII? */
static bool is_plain8(const char *at) {
  const uint64_t ones = UINT64_C(0x0101010101010101), highs = UINT64_C(0x8080808080808080);
  uint64_t v;
  memcpy(&v, at, 8);
  uint64_t quote = v ^ ones * '"', backslash = v ^ ones * '\\';
  uint64_t odd = (quote - ones) | (backslash - ones) | (v - ones * 0x20) | v;
  return (odd & highs) == 0;
}

/* Behind the plain ASCII at `at`. */
static const char *skip_plain(const char *at, const char *end) {
  while (end - at >= 8 && is_plain8(at)) at += 8;
  while (at < end && *at != '"' && *at != '\\' && (unsigned char)*at >= 0x20 &&
         (unsigned char)*at < 0x80)
    at++;
  return at;
}

/* ---- reading strings ----------------------------------------------------------------------- */

static int hex4(const char *at, const char *end) {
  int value = 0;
  if (end - at < 4) return -1;
  for (int i = 0; i < 4; i++) {
    char c = at[i];
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

/* \uXXXX, `*at` behind the u. */
static const char *read_unicode(const char **at, const char *end, bool replace, jr_buf *out) {
  int first = hex4(*at, end);
  if (first < 0) return "expected four hexadecimal digits behind \\u";
  uint32_t c = (uint32_t)first;
  const char *next = *at + 4;
  if (c >= 0xD800 && c <= 0xDBFF && end - next >= 6 && next[0] == '\\' && next[1] == 'u') {
    int low = hex4(next + 2, end);
    if (low >= 0xDC00 && low <= 0xDFFF) {
      c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
      next += 6;
    }
  }
  if (c >= 0xD800 && c <= 0xDFFF) {
    if (!replace) return "half of a surrogate pair";
    c = 0xFFFD;
  }
  put_code_point(out, c);
  *at = next;
  return NULL;
}

/* `*at` behind the backslash. */
static const char *read_escape(const char **at, const char *end, bool replace, jr_buf *out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (*at == end) return "the string has no end";
  char c = *(*at)++;
  if (c == 'u') {
    const char *wrong = read_unicode(at, end, replace, out);
    if (wrong) *at -= 2;
    return wrong;
  }
  const char *found = c ? strchr(from, c) : NULL;
  if (!found) {
    *at -= 2;
    return "unknown escape: only \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX exist";
  }
  jr_buf_add(out, &to[found - from], 1);
  return NULL;
}

/* Copies until the closing quote; what came before is in `out`. */
static const char *read_copying(const char **at, const char *end, bool replace, jr_buf *out) {
  while (*at < end) {
    const char *plain = skip_plain(*at, end);
    jr_buf_add(out, *at, (size_t)(plain - *at));
    *at = plain;
    if (plain == end) break;
    unsigned char c = (unsigned char)*plain;
    if (c == '"') return out->failed ? "not enough memory" : NULL;
    if (c < 0x20) return "a control character in a string must be written as an escape";
    if (c == '\\') {
      (*at)++;
      const char *wrong = read_escape(at, end, replace, out);
      if (wrong) return wrong;
      continue;
    }
    int n = jr_utf8_length((const unsigned char *)plain, (const unsigned char *)end);
    if (n == 0 && !replace) return "not UTF-8";
    if (n == 0)
      jr_buf_add(out, REPLACEMENT, 3);
    else
      jr_buf_add(out, plain, (size_t)n);
    *at += n ? n : 1;
  }
  return "the string has no end";
}

const char *jr_json_read_string(const char **at, const char *end, bool replace, jr_buf *scratch,
                                const char **text, size_t *len) {
  const char *start = *at, *p = start;
  while ((p = skip_plain(p, end)) < end && (unsigned char)*p >= 0x80) {
    int n = jr_utf8_length((const unsigned char *)p, (const unsigned char *)end);
    if (n == 0) break;
    p += n;
  }
  *text = start;
  *len = (size_t)(p - start);
  *at = p;
  if (p < end && *p == '"') {
    (*at)++;
    return NULL;
  }
  scratch->len = 0;
  scratch->failed = false;
  jr_buf_add(scratch, start, *len);
  const char *wrong = read_copying(at, end, replace, scratch);
  if (wrong) return wrong;
  (*at)++;
  *text = scratch->len ? scratch->data : "";
  *len = scratch->len;
  return NULL;
}

/* ---- numbers ------------------------------------------------------------------------------- */

static bool is_digit(const char *at, const char *end) {
  return at < end && *at >= '0' && *at <= '9';
}

/* Powers of ten that a double holds exactly. */
static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                              1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                              1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
enum { EXACT_TENS = 22, NUMBER_TEXT = 512 };
static const uint64_t EXACT_MANTISSA = UINT64_C(1) << 53;

/* glibc gives the C locale without making anything. */
static locale_t get_c_locale(void) {
  return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static double parse_exactly(const char *text, locale_t c_locale) {
  return strtod_l(text, NULL, c_locale);
}

/* A number that the short ways do not reach. Digits beyond what decides a double are rare: more
 * than NUMBER_TEXT bytes need a copy of their own. */
static bool parse_slowly(const char *start, size_t len, double *out) {
  char small[NUMBER_TEXT], *text = len < sizeof small ? small : malloc(len + 1);
  if (!text) return false;
  memcpy(text, start, len);
  text[len] = '\0';
  *out = parse_exactly(text, get_c_locale());
  if (text != small) free(text);
  return true;
}

typedef struct spelled {
  uint64_t mantissa; /* of the first 19 digits */
  int digits, fraction;
  bool is_negative, has_fraction, has_exponent;
  int exponent;
} spelled;

static void read_digits(const char **at, const char *end, spelled *n) {
  for (; is_digit(*at, end); (*at)++) {
    if (n->has_fraction) n->fraction++;
    if (n->digits == 0 && **at == '0') continue;
    if (n->digits < 19) n->mantissa = n->mantissa * 10 + (uint64_t)(**at - '0');
    n->digits++;
  }
}

static const char *read_exponent(const char **at, const char *end, spelled *n) {
  bool negative = false;
  (*at)++;
  n->has_exponent = true;
  if (*at < end && (**at == '+' || **at == '-')) negative = *(*at)++ == '-';
  if (!is_digit(*at, end)) return "expected a digit in the exponent";
  for (; is_digit(*at, end); (*at)++)
    if (n->exponent < 100000) n->exponent = n->exponent * 10 + (**at - '0');
  if (negative) n->exponent = -n->exponent;
  return NULL;
}

static const char *read_spelling(const char **at, const char *end, spelled *n) {
  n->is_negative = **at == '-';
  if (n->is_negative) (*at)++;
  if (!is_digit(*at, end)) return "expected a digit";
  if (**at == '0' && is_digit(*at + 1, end)) return "a number does not begin with 0";
  read_digits(at, end, n);
  if (*at < end && **at == '.') {
    (*at)++;
    n->has_fraction = true;
    if (!is_digit(*at, end)) return "expected a digit behind the point";
    read_digits(at, end, n);
  }
  if (*at < end && (**at == 'e' || **at == 'E')) return read_exponent(at, end, n);
  return NULL;
}

static bool fits_integer(const spelled *n) {
  if (n->has_fraction || n->has_exponent || n->digits > 19) return false;
  return n->mantissa <= (uint64_t)INT64_MAX + n->is_negative;
}

const char *jr_json_read_number(const char **at, const char *end, jr_json_number *out) {
  const char *start = *at;
  spelled n = {0};
  const char *wrong = read_spelling(at, end, &n);
  if (wrong) return wrong;
  out->is_integer = fits_integer(&n);
  if (out->is_integer) {
    out->integer = n.is_negative ? (int64_t)(0 - n.mantissa) : (int64_t)n.mantissa;
    return NULL;
  }
  int scale = n.exponent - n.fraction;
  if (n.digits <= 19 && n.mantissa <= EXACT_MANTISSA && scale >= -EXACT_TENS &&
      scale <= EXACT_TENS) { /* both are exact, so is one rounding */
    double m = (double)n.mantissa;
    out->real = scale < 0 ? m / tens[-scale] : m * tens[scale];
    if (n.is_negative) out->real = -out->real;
    return NULL;
  }
  if (!parse_slowly(start, (size_t)(*at - start), &out->real)) return "not enough memory";
  if (isfinite(out->real)) return NULL;
  *at = start;
  return "too large for a number";
}

void jr_json_write_integer(jr_buf *out, int64_t value) {
  char text[24], *at = text + sizeof text;
  uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
  do *--at = (char)('0' + rest % 10);
  while (rest /= 10);
  if (value < 0) *--at = '-';
  jr_buf_add(out, at, (size_t)(text + sizeof text - at));
}

/* Numbers with few decimals, as most are: true if value = whole / 10^k for a k up to 6. */
static bool write_short(jr_buf *out, double value) {
  double size = fabs(value);
  if (size >= 1e9 || size < 1e-5) return false;
  for (int k = 1; k <= 6; k++) {
    double whole = rint(size * tens[k]);
    if (whole / tens[k] != size) continue;
    char text[40], *at = text + sizeof text;
    uint64_t rest = (uint64_t)whole;
    for (int i = 0; i < k; i++, rest /= 10) *--at = (char)('0' + rest % 10);
    *--at = '.';
    do *--at = (char)('0' + rest % 10);
    while (rest /= 10);
    if (value < 0) *--at = '-';
    jr_buf_add(out, at, (size_t)(text + sizeof text - at));
    return true;
  }
  return false;
}

void jr_json_write_real(jr_buf *out, double value) {
  char text[40];
  if (write_short(out, value)) return;
  locale_t c_locale = get_c_locale();
  for (int precision = 15; precision <= 17; precision++) {
    snprintf(text, sizeof text, "%.*g", precision, value);
    for (char *p = text; *p; p++)
      if ((*p < '0' || *p > '9') && *p != '-' && *p != '+' && *p != 'e')
        *p = '.'; /* the locale's */
    if (precision == 17 || parse_exactly(text, c_locale) == value) break;
  }
  jr_buf_adds(out, text);
  if (!strpbrk(text, ".e")) jr_buf_add(out, ".0", 2);
}

/* ---- writing strings ----------------------------------------------------------------------- */

static void write_escape(jr_buf *out, unsigned char c) {
  static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
  const char *found = c ? strchr(from, c) : NULL;
  if (found) {
    char pair[2] = {'\\', to[found - from]};
    jr_buf_add(out, pair, 2);
  } else {
    jr_buf_addf(out, "\\u%04x", c);
  }
}

bool jr_json_write_string(jr_buf *out, const char *text, size_t len, bool replace, size_t *bad) {
  const char *at = text, *end = text + len, *kept = text; /* kept … at is still to be copied */
  char *room = jr_buf_reserve(out, len + 2);
  if (!room) return true;
  jr_buf_add(out, "\"", 1);
  while ((at = skip_plain(at, end)) < end) {
    unsigned char c = (unsigned char)*at;
    int n = jr_utf8_length((const unsigned char *)at, (const unsigned char *)end);
    if (c >= 0x80 && n > 0) {
      at += n;
      continue;
    }
    if (c >= 0x80 && !replace) {
      *bad = (size_t)(at - text);
      return false;
    }
    jr_buf_add(out, kept, (size_t)(at - kept));
    if (c >= 0x80)
      jr_buf_add(out, REPLACEMENT, 3);
    else
      write_escape(out, c);
    kept = ++at;
  }
  jr_buf_add(out, kept, (size_t)(at - kept));
  jr_buf_add(out, "\"", 1);
  return true;
}

void jr_json_place(const char *text, size_t offset, int *line, int *column) {
  *line = *column = 1;
  for (size_t i = 0; i < offset; i++) {
    if (text[i] == '\n') {
      ++*line;
      *column = 1;
    } else if (!is_tail((unsigned char)text[i])) {
      ++*column;
    }
  }
}
