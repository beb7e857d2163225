/* Sizes and budgets that the hard build makes as small as they can be, so that every edge is met
 * all the time: `make test-hard` builds with -DJR_HARD.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_TUNE_H
#define JR_TUNE_H

#ifdef JR_HARD
enum {
  JR_TUNE_SPARE_BYTES = 0,  /* freed small blocks kept for new ones */
  JR_TUNE_FIRST_BYTES = 16, /* a new buffer's room */
  JR_TUNE_FIRST_ITEMS = 1,  /* a new array's room */
  JR_TUNE_FIRST_READ = 16,  /* bytes asked for in the first read of a pipe, and in later ones */
  JR_TUNE_READ = 16,
  JR_TUNE_RESUMES = 1,     /* resumes between two looks at the clock */
  JR_TUNE_TURN_NS = 0,     /* how long a turn of the loop resumes */
  JR_TUNE_SLICE_NS = 0,    /* how long one task may hand out lines before it gives way */
  JR_TUNE_GC_EVERY = 16,   /* a full collection each so many resumes; 0 = never */
  JR_TUNE_MESSAGE = 16,    /* a blocking call's own room for its message */
  JR_TUNE_SPARE_CALLS = 0, /* ended calls kept for new ones */
  JR_TUNE_CODE_SLOTS = 1   /* functions a Lua state remembers the code of */
};
#else
#ifdef __SANITIZE_ADDRESS__
enum { JR_TUNE_SPARE_BYTES = 0 };
#else
enum { JR_TUNE_SPARE_BYTES = 1024 * 1024 };
#endif
enum {
  JR_TUNE_FIRST_BYTES = 64,
  JR_TUNE_FIRST_ITEMS = 64,
  JR_TUNE_FIRST_READ = 4096,
  JR_TUNE_READ = 64 * 1024,
  JR_TUNE_RESUMES = 64,
  JR_TUNE_TURN_NS = 500000,
  JR_TUNE_SLICE_NS = 1000000,
  JR_TUNE_GC_EVERY = 0,
  JR_TUNE_MESSAGE = 640,
  JR_TUNE_SPARE_CALLS = 1024,
  JR_TUNE_CODE_SLOTS = 64
};
#endif

#endif
