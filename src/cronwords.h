/* A cron line in English: "30 2 * * mon-fri" is "at 02:30, on Monday to Friday".
 *
 * It is told from what was understood and not from how it was written, so it shows what will
 * happen.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CRONWORDS_H
#define JR_CRONWORDS_H

#include "buf.h"
#include "cron.h"

/* Appends the words. Where memory fails, the buffer says so. */
void jr_cron_words(const jr_cron *cron, jr_buf *out);

/* Appends what to say about a line that other crons read differently: both readings. Only of a line
 * with is_ambiguous. */
void jr_cron_readings(const jr_cron *cron, jr_buf *out);

#endif
