/* Names and texts of status codes.
 *
 * SPDX-License-Identifier: MIT */
#include "status.h"

#include <uv.h>

/* Our names are given without their JR_ prefix, as libuv gives its own without UV_. */
const char *jr_status_name(int status) {
  switch (status) {
#define X(name, value, text)                                                                       \
  case name:                                                                                       \
    return &#name[3];
    JR_STATUS_LIST(X)
#undef X
#define X(name, text)                                                                              \
  case UV_##name:                                                                                  \
    return #name;
    UV_ERRNO_MAP(X)
#undef X
  default:
    return status == 0 ? "OK" : "UNKNOWN";
  }
}

const char *jr_status_text(int status) {
  switch (status) {
#define X(name, value, text)                                                                       \
  case name:                                                                                       \
    return text;
    JR_STATUS_LIST(X)
#undef X
#define X(name, text)                                                                              \
  case UV_##name:                                                                                  \
    return text;
    UV_ERRNO_MAP(X)
#undef X
  default:
    return status == 0 ? "no error" : "unknown error";
  }
}
