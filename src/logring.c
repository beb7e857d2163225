/* The last log events, kept in memory.
 *
 * SPDX-License-Identifier: MIT */
#include "logring.h"

#include <string.h>

/* An event in the ring's bytes, with its message and its name (and the name's zero) behind it. The
 * other texts of an event are constants. */
typedef struct kept {
  jr_log_event event;
  char bytes[];
} kept;

int jr_log_ring_init(jr_log_ring *ring, void (*notify)(void *data), void *data) {
  ring->first = ring->next = 1;
  ring->head = 0;
  ring->notify = notify;
  ring->data = data;
  return -pthread_mutex_init(&ring->lock, NULL);
}

void jr_log_ring_fini(jr_log_ring *ring) {
  pthread_mutex_destroy(&ring->lock);
}

/* The oldest event, if it lies in [from, to), goes. */
static bool drop_oldest(jr_log_ring *ring, uint32_t from, uint32_t to) {
  if (ring->first == ring->next) return false;
  uint32_t place = ring->places[ring->first % JR_LOG_KEPT];
  if (place < from || place >= to) return false;
  ring->first++;
  return true;
}

/* Room for `size` bytes: the oldest events lie right behind the head, and make way. */
static void *make_room(jr_log_ring *ring, uint32_t size) {
  if (ring->head + size > JR_LOG_KEPT_BYTES) {
    while (drop_oldest(ring, ring->head, JR_LOG_KEPT_BYTES)) {
    }
    ring->head = 0;
  }
  while (drop_oldest(ring, ring->head, ring->head + size)) {
  }
  if (ring->next - ring->first == JR_LOG_KEPT) ring->first++;
  uint32_t place = ring->head;
  ring->places[ring->next++ % JR_LOG_KEPT] = place;
  ring->head += size;
  return ring->bytes + place;
}

void jr_log_ring_add(jr_log_ring *ring, const jr_log_event *event) {
  size_t len = event->len < JR_LOG_KEPT_TEXT ? event->len : JR_LOG_KEPT_TEXT;
  size_t name = event->name ? strlen(event->name) + 1 : 0;
  uint32_t size = (uint32_t)(sizeof(kept) + len + name + 7) & ~7u;
  pthread_mutex_lock(&ring->lock);
  kept *k = make_room(ring, size);
  k->event = *event;
  k->event.len = len;
  k->event.text = memcpy(k->bytes, event->text, len);
  if (name) k->event.name = memcpy(k->bytes + len, event->name, name);
  pthread_mutex_unlock(&ring->lock);
  ring->notify(ring->data);
}

uint64_t jr_log_ring_last(jr_log_ring *ring) {
  pthread_mutex_lock(&ring->lock);
  uint64_t last = ring->next - 1;
  pthread_mutex_unlock(&ring->lock);
  return last;
}

uint64_t jr_log_ring_read(jr_log_ring *ring, uint64_t after,
                          void (*fn)(void *data, const jr_log_event *event), void *data) {
  pthread_mutex_lock(&ring->lock);
  uint64_t number = after + 1 > ring->first ? after + 1 : ring->first;
  if (number < ring->next) {
    const void *at = ring->bytes + ring->places[number % JR_LOG_KEPT];
    fn(data, &((const kept *)at)->event);
  } else {
    number = 0;
  }
  pthread_mutex_unlock(&ring->lock);
  return number;
}
