/* What happened: the record of one run of a job, and the sink it goes to.
 *
 * Whoever runs jobs writes one record a run and knows nothing of where it ends up. The first sink
 * is a ring in memory: it keeps the last few hundred for whoever asks what ran, costs nothing
 * before the first run and never grows. A store is another sink behind the same two functions.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_RUN_H
#define JR_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "mem.h"

enum { JR_RUN_NAME = 64 };

typedef enum jr_outcome {
  JR_RUN_GOING, /* not ended yet */
  JR_RUN_OK,
  JR_RUN_ERROR,     /* it raised */
  JR_RUN_TIMEOUT,   /* its .timeout cancelled it */
  JR_RUN_CANCELLED, /* somebody else did: overlap, shutdown */
  JR_OUTCOMES
} jr_outcome;

/* Instants are wall-clock nanoseconds since 1970; the distances between them were taken on the
 * steady clock, so a stepped wall clock bends no duration. */
typedef struct jr_run_record {
  uint64_t id;  /* from 1, in order of start */
  uint32_t job; /* the job's number, from 1 in order of declaration */
  uint32_t attempt;
  int64_t due_ns, late_ns;      /* when it was planned for, and how long after that it started */
  int64_t started_ns, ended_ns; /* ended: 0 while it goes */
  jr_outcome outcome;
  bool by_hand;               /* somebody asked for it: it was not its time */
  char job_name[JR_RUN_NAME]; /* cut where it is longer */
} jr_run_record;

/* "going", "ok", "error", "timeout", "cancelled". */
const char *jr_outcome_name(jr_outcome outcome);

/* Both are called on the loop thread, outside Lua, with a record that is valid during the call.
 * Either may be NULL. They cannot fail as far as a run is concerned. */
typedef struct jr_run_sink {
  void (*begin)(void *data, const jr_run_record *record);
  void (*end)(void *data, const jr_run_record *record);
  void *data;
} jr_run_sink;

typedef struct jr_run_ring {
  jr_mem *mem;
  jr_run_record *records; /* NULL before the first */
  uint32_t cap, len, next;
  uint64_t dropped; /* records for which there was no memory */
} jr_run_ring;

/* A ring of the last `cap` ended runs; allocates nothing yet. */
void jr_run_ring_init(jr_run_ring *ring, jr_mem *mem, uint32_t cap);
void jr_run_ring_fini(jr_run_ring *ring);

/* The sink that writes into it; borrowed from the ring. */
jr_run_sink jr_run_ring_sink(jr_run_ring *ring);

/* The i-th newest record (0 = the last one), or NULL; borrowed until the next run ends. */
const jr_run_record *jr_run_ring_get(const jr_run_ring *ring, uint32_t i);

#endif
