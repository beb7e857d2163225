/* Status codes: 0 or a negative number. libuv's codes are used as they are; ours lie below
 * -10000, and this one list makes their names and their texts.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_STATUS_H
#define JR_STATUS_H

#define JR_STATUS_LIST(X)                                                                          \
  X(JR_ESCRIPT, -10001, "the script raised an error")                                              \
  X(JR_ESYNTAX, -10002, "the script does not load")                                                \
  X(JR_EUSAGE, -10003, "wrong use")                                                                \
  X(JR_ERUNNING, -10004, "this runtime is already running")                                        \
  X(JR_ECLOSED, -10005, "this runtime has been closed")                                            \
  X(JR_EDEADLOCK, -10006, "every task waits for another task")                                     \
  X(JR_ETHREAD, -10007, "called from another thread than the one the runtime runs on")             \
  X(JR_ELIMIT, -10008, "a limit was reached")                                                      \
  X(JR_ECORRUPT, -10009, "the file is damaged")

enum {
#define X(name, value, text) name = value,
  JR_STATUS_LIST(X)
#undef X
};

/* The name of a status ("ENOENT", "ESCRIPT"); "UNKNOWN" for a code nobody knows. Static memory. */
const char *jr_status_name(int status);

/* One sentence in English about a status. Static memory. */
const char *jr_status_text(int status);

#endif
