/* Values that cross from one thread to another: integers, texts and nulls, in rows.
 *
 * One growing block with a sticky failure, as jr_buf, but in memory that any thread may free. The
 * reader walks it from the front; a text it gives lies in the block.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_CELLS_H
#define JR_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem.h"

typedef enum jr_cell_type { JR_CELL_ROW, JR_CELL_NULL, JR_CELL_INTEGER, JR_CELL_TEXT } jr_cell_type;

typedef struct jr_cell {
  jr_cell_type type;
  int64_t integer;
  const char *text; /* not terminated; borrowed */
  size_t len;
} jr_cell;

typedef struct jr_cells {
  jr_mem *mem;
  char *data;
  size_t len, cap;
  bool failed; /* something found no memory; what follows it is missing too */
} jr_cells;

void jr_cells_init(jr_cells *c, jr_mem *mem);
void jr_cells_fini(jr_cells *c);

/* Empties it; the block is kept. */
void jr_cells_reset(jr_cells *c);

/* The cells that follow, up to the next one, are a row. */
void jr_cells_add_row(jr_cells *c);
void jr_cells_add_null(jr_cells *c);
void jr_cells_add_integer(jr_cells *c, int64_t value);
void jr_cells_add_text(jr_cells *c, const char *text, size_t len);

/* All of another one's cells. */
void jr_cells_append(jr_cells *c, const jr_cells *other);

/* The cell at *at, which moves behind it; start with 0. False at the end. */
bool jr_cells_next(const jr_cells *c, size_t *at, jr_cell *out);

#endif
