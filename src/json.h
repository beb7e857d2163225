/* The letters of JSON (RFC 8259): strings and numbers, read and written, and UTF-8 (RFC 3629).
 *
 * What an array or object becomes is lib_json.c's business. Nothing here depends on the locale.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_JSON_H
#define JR_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"

/* The length of the UTF-8 character at `at`, 1 to 4, or 0 where it is none: overlong, a surrogate,
 * beyond U+10FFFF, cut off by `end`. at < end. */
int jr_utf8_length(const unsigned char *at, const unsigned char *end);

/* The first byte that does not begin a valid character; `len` if there is none. */
size_t jr_utf8_valid(const char *text, size_t len);

typedef struct jr_json_number {
  bool is_integer;
  int64_t integer;
  double real;
} jr_json_number;

/* Reads the number that begins at *at (a digit or '-'), and moves *at behind it. An integer that
 * fits 64 bits stays one, a larger one becomes real. On failure NULL is not returned: the result is
 * what was wrong (static), and *at is where. NULL is success. */
const char *jr_json_read_number(const char **at, const char *end, jr_json_number *out);

/* Reads the string whose first byte behind the quote is *at, and moves *at behind its closing
 * quote. Where it has no escapes *text points into the input, otherwise into `scratch`, whose
 * content is replaced. With `replace`, what is no UTF-8 and lone surrogates become U+FFFD. Result
 * as above; also "not enough memory". */
const char *jr_json_read_string(const char **at, const char *end, bool replace, jr_buf *scratch,
                                const char **text, size_t *len);

/* Appends a string in quotes. `text` must be UTF-8, or with `replace` becomes it; otherwise false,
 * with *bad the offset of the first wrong byte. */
bool jr_json_write_string(jr_buf *out, const char *text, size_t len, bool replace, size_t *bad);

void jr_json_write_integer(jr_buf *out, int64_t value);

/* Appends the shortest of the usual spellings that reads back as the same number, never one of an
 * integer: 1.0, 0.1, 1e+100. `value` is finite. */
void jr_json_write_real(jr_buf *out, double value);

/* Line and column, from 1, of an offset. Columns count characters. */
void jr_json_place(const char *text, size_t offset, int *line, int *column);

#endif
