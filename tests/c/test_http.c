/* Heads and bodies of HTTP requests, case by case against RFC 9112 and RFC 9110, each both whole
 * and byte by byte; heads of responses.
 *
 * SPDX-License-Identifier: MIT */
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "httpbody.h"
#include "httphead.h"
#include "httpreply.h"

/* ---- heads --------------------------------------------------------------------------------- */

/* What comes of a text, however it is cut. */
static int parse_cut(jr_http_head *h, const char *text, size_t len, size_t step) {
  *h = (jr_http_head){0};
  int status = 0;
  for (size_t n = step; status == 0; n += step) {
    /* A copy of just these bytes, so that reading beyond them is found. */
    size_t have = n < len ? n : len;
    char *copy = malloc(have ? have : 1);
    memcpy(copy, text, have);
    size_t scanned = h->scanned;
    *h = (jr_http_head){.scanned = (uint16_t)scanned};
    status = jr_http_head_parse(h, copy, have);
    free(copy);
    if (have == len) break;
  }
  return status;
}

static int parse(jr_http_head *h, const char *text, size_t len) {
  int whole = parse_cut(h, text, len, len);
  const char *fault = h->fault;
  for (size_t step = 1; step < 8; step += 3) {
    int cut = parse_cut(h, text, len, step);
    if (cut != whole || (whole < 0 && strcmp(fault, h->fault) != 0))
      fail_msg("cut by %zu: %d (%s), whole: %d (%s): %s", step, cut, h->fault, whole, fault, text);
  }
  return parse_cut(h, text, len, len);
}

static int status_of(const char *text) {
  jr_http_head h;
  return parse(&h, text, strlen(text));
}

static void assert_part(const char *text, jr_http_part part, const char *expected) {
  if (part.len != strlen(expected) || memcmp(text + part.at, expected, part.len) != 0)
    fail_msg("expected %s, got %.*s", expected, part.len, text + part.at);
}

static void test_a_head_is_taken_apart(void **state) {
  (void)state;
  const char *text = "POST /a/b?c=d HTTP/1.1\r\nHost: example:8080\r\nX-Empty:\r\n"
                     "X-Odd: \t  a b\t \r\nContent-Length: 12\r\n\r\nbody";
  jr_http_head h;
  assert_int_equal(parse(&h, text, strlen(text)), (int)strlen(text) - 4);
  assert_part(text, h.method, "POST");
  assert_part(text, h.target, "/a/b?c=d");
  assert_part(text, h.host, "example:8080");
  assert_int_equal(h.fields, 4);
  assert_part(text, h.field[1].name, "X-Empty");
  assert_part(text, h.field[1].value, "");
  assert_part(text, h.field[2].value, "a b");
  assert_int_equal(h.length, 12);
  assert_true(h.keeps_alive);
  assert_false(h.is_chunked);
  assert_false(h.is_1_0);
}

#define H "GET / HTTP/1.1\r\nHost: a\r\n"

static void test_what_two_programs_could_read_in_two_ways_is_refused(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int status;
  } cases[] = {
      /* lines */
      {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
      {H "A: b\n\r\n", 400},
      {H "A: b\r\r\n\r\n", 400},
      {H "A: b\rC: d\r\n\r\n", 400},
      {H "A: b\r\n\n", 400},
      {"\r\n\r\n", 400},
      /* request line (RFC 9112 §3) */
      {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
      {"GET /\r\nHost: a\r\n\r\n", 400},
      {"GET\r\n\r\n", 400},
      {"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/11\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
      {"PRI * HTTP/2.0\r\n\r\n", 505},
      {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET http://u@a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      /* fields (§5) */
      {H "A : b\r\n\r\n", 400},
      {H ": b\r\n\r\n", 400},
      {H "A\r\n\r\n", 400},
      {H "A B: c\r\n\r\n", 400},
      {H " A: b\r\n\r\n", 400},
      {H "A: b\r\n c\r\n\r\n", 400},
      {H "A: b\r\n\tc\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
      {H "A: b\x01\r\n\r\n", 400},
      {H "A: b\x7f\r\n\r\n", 400},
      {H "A\x80: b\r\n\r\n", 400},
      /* Host (§3.2) */
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {H "Host: a\r\n\r\n", 400},
      {H "hOST: b\r\n\r\n", 400},
      {"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
      {"GET http://b/ HTTP/1.1\r\n\r\n", 400},
      /* Content-Length and Transfer-Encoding (§6) */
      {H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
      {H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
      {H "Content-Length: 5, 5\r\n\r\n", 400},
      {H "Content-Length: +5\r\n\r\n", 400},
      {H "Content-Length: -5\r\n\r\n", 400},
      {H "Content-Length: 0x5\r\n\r\n", 400},
      {H "Content-Length: 5 5\r\n\r\n", 400},
      {H "Content-Length:\r\n\r\n", 400},
      {H "Content-Length: 9999999999999999999\r\n\r\n", 400},
      {H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
      {H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {H "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
      {H "Transfer-Encoding: chunked, identity\r\n\r\n", 501},
      {H "Transfer-Encoding: identity\r\n\r\n", 501},
      {H "Transfer-Encoding: \"chunked\"\r\n\r\n", 501},
      {H "Transfer-Encoding: xchunked\r\n\r\n", 501},
      {H "Transfer-Encoding:\r\n\r\n", 501},
      {"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {H "Expect: 200-ok\r\n\r\n", 417},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (status_of(cases[i].text) != -cases[i].status)
      fail_msg("expected %d, got %d: %s", cases[i].status, -status_of(cases[i].text),
               cases[i].text);
}

static void test_what_is_right_is_taken(void **state) {
  (void)state;
  static const char *const cases[] = {
      H "\r\n",
      "\r\n" H "\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost:\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
      "GET /%20?a=[1]|{2} HTTP/1.1\r\nHost: a\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
      "X-Own~1 / HTTP/1.1\r\nHost: a\r\n\r\n",
      H "A: \xc3\xa4\xff\t\"q\"\r\n\r\n",
      H "Content-Length: 007\r\n\r\n",
      H "transfer-encoding: Chunked\r\n\r\n",
      H "Expect: 100-Continue\r\n\r\n",
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (status_of(cases[i]) != (int)strlen(cases[i]))
      fail_msg("got %d: %s", status_of(cases[i]), cases[i]);
}

static void test_the_absolute_form_names_the_host(void **state) {
  (void)state;
  const char *text = "GET HTTP://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n";
  jr_http_head h;
  assert_true(parse(&h, text, strlen(text)) > 0);
  assert_part(text, h.host, "b:81");
  assert_part(text, h.target, "/x?y");
}

static bool keeps_alive(const char *text) {
  jr_http_head h;
  assert_true(parse(&h, text, strlen(text)) > 0);
  return h.keeps_alive;
}

static void test_connections_are_kept_as_the_client_says(void **state) {
  (void)state;
  assert_true(keeps_alive(H "\r\n"));
  assert_false(keeps_alive(H "Connection: close\r\n\r\n"));
  assert_false(keeps_alive(H "Connection: x , CLOSE\r\n\r\n"));
  assert_false(keeps_alive(H "Connection: close\r\nConnection: keep-alive\r\n\r\n"));
  assert_true(keeps_alive(H "Connection: closed,\r\n\r\n"));
  assert_false(keeps_alive("GET / HTTP/1.0\r\n\r\n"));
  assert_true(keeps_alive("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
}

static void fill(char *to, char c, size_t n) {
  memset(to, c, n);
  to[n] = 0;
}

static void test_sizes_are_bounded(void **state) {
  (void)state;
  static char text[40000], long_one[20000];
  jr_http_head h;
  fill(long_one, 'a', JR_HTTP_TARGET_BYTES - 1);
  snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", long_one);
  assert_int_equal(parse_cut(&h, text, strlen(text), 1000), (int)strlen(text));
  fill(long_one, 'a', JR_HTTP_TARGET_BYTES);
  snprintf(text, sizeof text, "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n", long_one);
  assert_int_equal(parse_cut(&h, text, strlen(text), 1000), -414);
  fill(long_one, 'a', 17000);
  snprintf(text, sizeof text, "GET /%s", long_one);
  assert_int_equal(parse_cut(&h, text, strlen(text), 1000), -414);
  snprintf(text, sizeof text, H "A: %s", long_one);
  assert_int_equal(parse_cut(&h, text, strlen(text), 1000), -431);
  char *end = text + snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
  for (int i = 1; i < JR_HTTP_FIELDS; i++) end += sprintf(end, "A%d: b\r\n", i);
  strcpy(end, "\r\n");
  assert_true(parse_cut(&h, text, strlen(text), 1000) > 0);
  strcpy(end, "B: c\r\n\r\n");
  assert_int_equal(parse_cut(&h, text, strlen(text), 1000), -431);
  assert_int_equal(parse(&h, "GET /\0 HTTP/1.1\r\n\r\n", 19), -400);
}

/* ---- bodies -------------------------------------------------------------------------------- */

/* The content, or the fault in angle brackets; `rest` is what comes behind it. */
static void read_cut(const char *text, size_t len, int64_t length, size_t step, char *out,
                     size_t *rest) {
  jr_http_body b;
  jr_http_body_init(&b, length);
  size_t at = 0, have = 0;
  *out = 0;
  for (int status = 0; status == 0;) {
    size_t taken, n;
    const char *piece;
    if (at == have) have = have + step < len ? have + step : len;
    status = jr_http_body_read(&b, text + at, have - at, &taken, &piece, &n);
    strncat(out, piece, n);
    at += taken;
    if (status < 0) sprintf(out, "<%s>", b.fault);
    if (status == 0 && taken == 0 && have == len) strcat(out, "<more>");
    if (taken == 0 && have == len) break;
  }
  *rest = len - at;
}

static void assert_body(const char *text, int64_t length, const char *expected) {
  char out[600];
  size_t rest, len = strlen(text);
  for (size_t step = 1; step <= len; step++) {
    read_cut(text, len, length, step, out, &rest);
    assert_string_equal(out, expected);
    if (*out != '<') assert_string_equal(text + len - rest, strchr(text, '|') ? "|next" : "");
  }
}

static void test_a_body_ends_where_its_length_says(void **state) {
  (void)state;
  assert_body("abcde|next", 5, "abcde");
  assert_body("|next", 0, "");
  assert_body("abc", 5, "abc<more>");
}

static void test_chunks_are_put_together(void **state) {
  (void)state;
  assert_body("3\r\nabc\r\n0\r\n\r\n|next", -1, "abc");
  assert_body("3\r\nabc\r\n00A\r\n0123456789\r\n000\r\n\r\n|next", -1, "abc0123456789");
  assert_body("3;ext=1;q=\"x\"\r\nabc\r\n0;last\r\n\r\n|next", -1, "abc");
  assert_body("2\r\n\r\n\r\n0\r\nTrail: er\r\nB:\r\n\r\n|next", -1, "\r\n");
  assert_body("0\r\n\r\n|next", -1, "");
  assert_body("3\r\nab", -1, "ab<more>");
}

static void test_malformed_chunks_are_refused(void **state) {
  (void)state;
  assert_body("\r\n", -1, "<a chunk's size is malformed>");
  assert_body("x\r\n", -1, "<a chunk's size is malformed>");
  assert_body("0x3\r\nabc\r\n", -1, "<a chunk's size is malformed>");
  assert_body("-1\r\n", -1, "<a chunk's size is malformed>");
  assert_body("3 \r\nabc\r\n", -1, "<a chunk's size is malformed>");
  assert_body(" 3\r\nabc\r\n", -1, "<a chunk's size is malformed>");
  assert_body("3\nabc\r\n", -1, "<a chunk's size is malformed>");
  assert_body("00000000000000003\r\n", -1, "<a chunk's size has more than 16 digits>");
  assert_body("3\rabc\r\n", -1, "<a chunk does not end with CR LF>");
  assert_body("3\r\nabcd\r\n", -1, "<a chunk does not end with CR LF>");
  assert_body("3\r\nabc\n", -1, "<a chunk does not end with CR LF>");
  assert_body("3\r\nabc\r0", -1, "<a chunk does not end with CR LF>");
  assert_body("3;a\n\r\nabc", -1, "<a chunk's extension is malformed>");
  assert_body("0\r\nA b: c\r\n\r\n", -1, "<a trailer's name is malformed>");
  assert_body("0\r\n: c\r\n\r\n", -1, "<a trailer's name is malformed>");
  assert_body("0\r\n A: c\r\n\r\n", -1, "<a trailer's name is malformed>");
  assert_body("0\r\nA: b\nC: d\r\n\r\n", -1, "<a trailer's value has control characters>");
  assert_body("0\r\nA: b\r\n\r0", -1, "<a chunk does not end with CR LF>");
}

static void test_extensions_and_trailers_are_bounded(void **state) {
  (void)state;
  static char text[6000], filler[5000];
  char out[600];
  size_t rest;
  fill(filler, 'x', JR_HTTP_EXTENSION_BYTES);
  snprintf(text, sizeof text, "0;%s\r\n\r\n", filler);
  read_cut(text, strlen(text), -1, 7, out, &rest);
  assert_string_equal(out, "");
  snprintf(text, sizeof text, "0;x%s\r\n\r\n", filler);
  read_cut(text, strlen(text), -1, 7, out, &rest);
  assert_string_equal(out, "<a chunk's extension is longer than 256 bytes>");
  fill(filler, 'x', JR_HTTP_TRAILER_BYTES);
  snprintf(text, sizeof text, "0\r\nA: %s\r\n\r\n", filler);
  read_cut(text, strlen(text), -1, 7, out, &rest);
  assert_string_equal(out, "<the trailers are longer than 4 KB>");
}

/* ---- responses ----------------------------------------------------------------------------- */

static void test_dates_are_written_as_the_standard_has_them(void **state) {
  (void)state;
  char text[JR_HTTP_DATE];
  jr_http_date(text, 784111777); /* the example of RFC 9110 §5.6.7 */
  assert_string_equal(text, "Sun, 06 Nov 1994 08:49:37 GMT");
  jr_http_date(text, 1709251199);
  assert_string_equal(text, "Thu, 29 Feb 2024 23:59:59 GMT");
}

static void test_a_head_is_written(void **state) {
  (void)state;
  jr_mem mem;
  jr_buf out;
  jr_mem_init(&mem, NULL, NULL, 0);
  jr_buf_init(&out, &mem);
  jr_http_reply_line(&out, 422, "D");
  jr_http_reply_field(&out, "x-request-id", 12, "a", 1);
  jr_http_reply_length(&out, 18446744073709551615u);
  jr_http_reply_line(&out, 299, "D");
  jr_buf_add(&out, "", 1);
  assert_string_equal(out.data,
                      "HTTP/1.1 422 Unprocessable Content\r\nDate: D\r\nX-Request-Id: a\r\n"
                      "Content-Length: 18446744073709551615\r\n"
                      "HTTP/1.1 299 \r\nDate: D\r\n");
  jr_buf_fini(&out);
  assert_int_equal(mem.used, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_head_is_taken_apart),
      cmocka_unit_test(test_what_two_programs_could_read_in_two_ways_is_refused),
      cmocka_unit_test(test_what_is_right_is_taken),
      cmocka_unit_test(test_the_absolute_form_names_the_host),
      cmocka_unit_test(test_connections_are_kept_as_the_client_says),
      cmocka_unit_test(test_sizes_are_bounded),
      cmocka_unit_test(test_a_body_ends_where_its_length_says),
      cmocka_unit_test(test_chunks_are_put_together),
      cmocka_unit_test(test_malformed_chunks_are_refused),
      cmocka_unit_test(test_extensions_and_trailers_are_bounded),
      cmocka_unit_test(test_dates_are_written_as_the_standard_has_them),
      cmocka_unit_test(test_a_head_is_written),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
