/* The few names of libcurl that are used, with their numbers, so that it is needed neither at build
 * time nor by a script that fetches nothing: it is opened at the first http.fetch. The numbers are
 * part of the ABI of libcurl.so.4, which has not changed since 2006 (curl's docs/libcurl/ABI.md).
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CURL_H
#define JR_CURL_H

typedef struct jr_curl_slist jr_curl_slist;

typedef struct jr_curl_message {
  int kind; /* JR_CURLMSG_DONE */
  void *easy;
  union {
    void *whatever;
    int result;
  } data;
} jr_curl_message;

enum { /* curl_easy_setopt(3) */
       JR_CURLOPT_NOBODY = 44,
       JR_CURLOPT_FOLLOWLOCATION = 52,
       JR_CURLOPT_MAXREDIRS = 68,
       JR_CURLOPT_NOSIGNAL = 99,
       JR_CURLOPT_TIMEOUT_MS = 155,
       JR_CURLOPT_CONNECTTIMEOUT_MS = 156,
       JR_CURLOPT_SUPPRESS_CONNECT_HEADERS = 265,
       JR_CURLOPT_WRITEDATA = 10001,
       JR_CURLOPT_URL = 10002,
       JR_CURLOPT_ERRORBUFFER = 10010, /* 256 bytes */
       JR_CURLOPT_USERAGENT = 10018,
       JR_CURLOPT_HTTPHEADER = 10023,
       JR_CURLOPT_HEADERDATA = 10029,
       JR_CURLOPT_CUSTOMREQUEST = 10036,
       JR_CURLOPT_ACCEPT_ENCODING = 10102,
       JR_CURLOPT_PRIVATE = 10103,
       JR_CURLOPT_COPYPOSTFIELDS = 10165,
       JR_CURLOPT_UNIX_SOCKET_PATH = 10231,
       JR_CURLOPT_PROTOCOLS_STR = 10318,       /* since 7.85 */
       JR_CURLOPT_REDIR_PROTOCOLS_STR = 10319, /* since 7.85 */
       JR_CURLOPT_WRITEFUNCTION = 20011,
       JR_CURLOPT_HEADERFUNCTION = 20079,
       JR_CURLOPT_POSTFIELDSIZE_LARGE = 30120,

       JR_CURLMOPT_MAX_HOST_CONNECTIONS = 7, /* curl_multi_setopt(3) */
       JR_CURLMOPT_SOCKETDATA = 10002,
       JR_CURLMOPT_TIMERDATA = 10005,
       JR_CURLMOPT_SOCKETFUNCTION = 20001,
       JR_CURLMOPT_TIMERFUNCTION = 20004,

       JR_CURLINFO_EFFECTIVE_URL = 0x100001, /* curl_easy_getinfo(3) */
       JR_CURLINFO_PRIVATE = 0x100015,
       JR_CURLINFO_RESPONSE_CODE = 0x200002,

       JR_CURL_WRITEFUNC_PAUSE = 0x10000001,
       JR_CURLMSG_DONE = 1,
       JR_CURL_POLL_IN = 1,
       JR_CURL_POLL_OUT = 2,
       JR_CURL_POLL_REMOVE = 4,
       JR_CURL_CSELECT_IN = 1,
       JR_CURL_CSELECT_OUT = 2,
       JR_CURL_CSELECT_ERR = 4,
       JR_CURL_SOCKET_TIMEOUT = -1,
       JR_CURL_GLOBAL_ALL = 3
};

/* Its functions: type, name behind "curl_", arguments. */
#define JR_CURL_FUNCTIONS(X)                                                                       \
  X(int, global_init, (long flags))                                                                \
  X(void *, easy_init, (void))                                                                     \
  X(void, easy_cleanup, (void *easy))                                                              \
  X(int, easy_setopt, (void *easy, int option, ...))                                               \
  X(int, easy_getinfo, (void *easy, int info, ...))                                                \
  X(int, easy_pause, (void *easy, int what))                                                       \
  X(const char *, easy_strerror, (int code))                                                       \
  X(void *, multi_init, (void))                                                                    \
  X(int, multi_cleanup, (void *multi))                                                             \
  X(int, multi_setopt, (void *multi, int option, ...))                                             \
  X(int, multi_add_handle, (void *multi, void *easy))                                              \
  X(int, multi_remove_handle, (void *multi, void *easy))                                           \
  X(int, multi_assign, (void *multi, int fd, void *socket))                                        \
  X(int, multi_socket_action, (void *multi, int fd, int events, int *running))                     \
  X(jr_curl_message *, multi_info_read, (void *multi, int *left))                                  \
  X(jr_curl_slist *, slist_append, (jr_curl_slist * list, const char *text))                       \
  X(void, slist_free_all, (jr_curl_slist * list))                                                  \
  X(const char *, version, (void))

typedef struct jr_curl {
#define X(type, name, arguments) type(*name) arguments;
  JR_CURL_FUNCTIONS(X)
#undef X
} jr_curl;

#endif
