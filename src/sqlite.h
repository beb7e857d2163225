/* A connection to a SQLite store: opening it, its settings, its prepared statements, its failures.
 *
 * A connection belongs to one thread. The writer's holds an exclusive lock beside the file, so
 * there is one at most; in a store this process may write, every row of another node is a dead
 * one's.
 *
 * SPDX-License-Identifier: MIT */
#ifndef JR_SQLITE_H
#define JR_SQLITE_H

#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "cells.h"
#include "store.h"
#include "storesql.h"

enum { JR_SQLITE_ERROR = 2400 };

typedef struct jr_sqlite {
  sqlite3 *db;
  sqlite3_stmt *statements[JR_SQL_COUNT];
  int lock_fd;      /* -1: none */
  int file_fd;      /* the file itself, with a lock on it; -1: none */
  int64_t node;     /* this process's row in jr_node; 0: a reader */
  int64_t last_id;  /* no job has a larger one; at the opening also no node, and none is reserved */
  int64_t next_due; /* no job that waits is due before it */
  bool has_needs;   /* some job may wait for another */
  int wal_pages;    /* since the last checkpoint */
  int status;       /* of the last failure, and its sentence */
  char path[1024];
  char error[JR_SQLITE_ERROR];
} jr_sqlite;

/* Opens it, makes the tables where there are none, takes the lock. 0 or a negative status, with
 * `error` set and nothing left open: JR_ECORRUPT, UV_EBUSY (another process has it), JR_EUSAGE (a
 * newer schema, a network file system), UV_EROFS, UV_ENOSPC, … */
int jr_sqlite_open(jr_sqlite *c, const jr_store_opts *opts);
void jr_sqlite_close(jr_sqlite *c);

/* Runs one statement without values or rows. 0 or a negative status. */
int jr_sqlite_run(jr_sqlite *c, const char *sql);

/* The statement of JR_SQL_…, ready to be bound; NULL: `status` and `error` say why. */
sqlite3_stmt *jr_sqlite_get(jr_sqlite *c, int which);

/* Binds the integers, in order from parameter `from`. */
void jr_sqlite_bind(sqlite3_stmt *s, int from, int n, const int64_t *values);

/* Binds the next n cells to the parameters from `from` on; NULL for what is missing. */
void jr_sqlite_bind_cells(sqlite3_stmt *s, int from, int n, const jr_cells *cells, size_t *at);

/* 1: there is a row; 0: that was the last one; or a negative status. After 0 or a failure the
 * statement is reset; who stops before that calls sqlite3_reset. */
int jr_sqlite_step(jr_sqlite *c, sqlite3_stmt *s);

/* Steps to the end without looking at rows. 0 or a negative status. */
int jr_sqlite_finish(jr_sqlite *c, sqlite3_stmt *s);

/* Appends the row's columns, the first n. */
void jr_sqlite_add_columns(sqlite3_stmt *s, int n, jr_cells *out);

/* Sets status and error. Returns the status. */
int jr_sqlite_fail(jr_sqlite *c, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Moves the write-ahead log into the file, as far as nobody reads the old state; `whole`: and cuts
 * it. A failure is no harm: it comes again. */
void jr_sqlite_checkpoint(jr_sqlite *c, bool whole);

#endif
