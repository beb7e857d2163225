/* The head of an HTTP/1.1 response, as bytes.
 *
 * SPDX-License-Identifier: MIT */
#include "httpreply.h"

#include <stdio.h>
#include <string.h>

#include "civil.h"

static const struct {
  int status;
  const char *reason;
} reasons[] = {{200, "OK"},
               {201, "Created"},
               {202, "Accepted"},
               {204, "No Content"},
               {206, "Partial Content"},
               {301, "Moved Permanently"},
               {302, "Found"},
               {303, "See Other"},
               {304, "Not Modified"},
               {307, "Temporary Redirect"},
               {308, "Permanent Redirect"},
               {400, "Bad Request"},
               {401, "Unauthorized"},
               {403, "Forbidden"},
               {404, "Not Found"},
               {405, "Method Not Allowed"},
               {408, "Request Timeout"},
               {409, "Conflict"},
               {410, "Gone"},
               {412, "Precondition Failed"},
               {413, "Content Too Large"},
               {414, "URI Too Long"},
               {415, "Unsupported Media Type"},
               {416, "Range Not Satisfiable"},
               {417, "Expectation Failed"},
               {421, "Misdirected Request"},
               {422, "Unprocessable Content"},
               {425, "Too Early"},
               {428, "Precondition Required"},
               {429, "Too Many Requests"},
               {431, "Request Header Fields Too Large"},
               {500, "Internal Server Error"},
               {501, "Not Implemented"},
               {502, "Bad Gateway"},
               {503, "Service Unavailable"},
               {504, "Gateway Timeout"},
               {505, "HTTP Version Not Supported"}};

const char *jr_http_reason(int status) {
  for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
    if (reasons[i].status == status) return reasons[i].reason;
  return "";
}

void jr_http_date(char text[JR_HTTP_DATE], int64_t seconds) {
  static const char days[] = "SunMonTueWedThuFriSat";
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  int64_t day = jr_day_of(seconds);
  jr_date date = jr_date_from(day);
  int second = jr_second_of_day(seconds);
  snprintf(text, JR_HTTP_DATE, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
           days + 3 * jr_weekday(day), date.day, months + 3 * (date.month - 1), (int)date.year,
           second / 3600, second / 60 % 60, second % 60);
}

void jr_http_reply_line(jr_buf *out, int status, const char *date) {
  char line[16] = "HTTP/1.1 000 ";
  line[9] = (char)('0' + status / 100);
  line[10] = (char)('0' + status / 10 % 10);
  line[11] = (char)('0' + status % 10);
  jr_buf_add(out, line, 13);
  jr_buf_adds(out, jr_http_reason(status));
  jr_buf_add(out, "\r\nDate: ", 8);
  jr_buf_adds(out, date);
  jr_buf_add(out, "\r\n", 2);
}

/* Names are sent as browsers show them, however they are kept: Content-Type. */
void jr_http_reply_field(jr_buf *out, const char *name, size_t name_len, const char *value,
                         size_t len) {
  char *at = jr_buf_reserve(out, name_len + len + 4);
  if (!at) return;
  bool begins = true;
  for (size_t i = 0; i < name_len; i++) {
    char c = name[i];
    *at++ = begins && c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
    begins = c == '-';
  }
  memcpy(at, ": ", 2);
  memcpy(at + 2, value, len);
  memcpy(at + 2 + len, "\r\n", 2);
  out->len += name_len + len + 4;
}

void jr_http_reply_length(jr_buf *out, uint64_t length) {
  char digits[24];
  int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)length);
  jr_http_reply_field(out, "Content-Length", 14, digits, (size_t)n);
}
