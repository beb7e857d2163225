/* The last log events, kept in memory for whoever asks what was said.
 *
 * Opened by the first reader: a script nobody looks into pays nothing. Bounded in events and in
 * bytes; the oldest go first, and a reader who was too slow is told how many it missed, by the
 * gap in the numbers.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_LOGRING_H
#define JR_LOGRING_H

#include <pthread.h>
#include <stdint.h>

#include "log.h"

enum { JR_LOG_KEPT = 1024, JR_LOG_KEPT_BYTES = 512 * 1024, JR_LOG_KEPT_TEXT = 8 * 1024 };

/* Half a megabyte; the owner brings the memory. */
typedef struct jr_log_ring {
  pthread_mutex_t lock;
  uint64_t first, next;       /* numbers, from 1: those in [first, next) are kept */
  uint32_t head;              /* where the next one goes */
  void (*notify)(void *data); /* after each event, on the thread that logged */
  void *data;
  uint32_t places[JR_LOG_KEPT]; /* in `bytes`, of the event with number n: n % JR_LOG_KEPT */
  _Alignas(8) char bytes[JR_LOG_KEPT_BYTES];
} jr_log_ring;

/* 0 or a negative status. */
int jr_log_ring_init(jr_log_ring *ring, void (*notify)(void *data), void *data);
void jr_log_ring_fini(jr_log_ring *ring);

/* Any thread. */
void jr_log_ring_add(jr_log_ring *ring, const jr_log_event *event);

/* The number of the newest event, 0 if there was none. Any thread. */
uint64_t jr_log_ring_last(jr_log_ring *ring);

/* Calls fn with the first event whose number is greater than `after`, under the lock, and returns
 * that number; 0 if there is none. fn must not log. Any thread. */
uint64_t jr_log_ring_read(jr_log_ring *ring, uint64_t after,
                          void (*fn)(void *data, const jr_log_event *event), void *data);

#endif
