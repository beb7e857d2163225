/* The store's thread, and how operations come to it and back.
 *
 *   loop                                       thread
 *   jr_store_submit: append to the mailbox ──> take all, in order
 *                                              BEGIN IMMEDIATE · each operation · COMMIT
 *   on_answers: done() of each <────────────── all of them, one post
 *
 * GROUP COMMIT. A commit costs one fdatasync, however much is in it. While one is under way the
 * mailbox fills, and the next transaction takes all of it: the more there is to do the more share a
 * commit, and nobody waits for company. No operation is answered before the commit it is part of.
 *
 * WHAT FAILS. An operation that fails leaves a transaction that others are in: it is rolled back,
 * and each is done again in one of its own. A failed commit fails all.
 *
 * The thread is not libuv's pool: four blocking jobs would keep a commit waiting there.
 *
 * SPDX-License-Identifier: MIT */
#include "store.h"

#include <string.h>

#include <uv.h>

#include "post.h"

enum { MOST_BACKLOG = 4000, IDLE_MS = 1000, SPARES = 256, SPARE_BYTES = 4096 };

struct jr_store {
  jr_trade trade;
  jr_post post; /* the answers */
  jobrun *rt;
  uv_thread_t thread;
  uv_mutex_t lock;
  uv_cond_t wake;
  jr_store_op *first, *last;     /* the mailbox; under the lock */
  jr_store_op *done, *done_last; /* under the lock */
  bool is_posted, sleeps;        /* under the lock */
  bool is_closing, has_thread;   /* loop */
  int64_t last_id;
  uint32_t in_flight, spare_count;
  uint32_t owners;     /* each operation that is out, and the runtime until it was closed */
  jr_store_op *spares; /* the loop's: operations that were freed, with their blocks */
  jr_store_opts opts;
  char path[1024];
  const jr_store_engine *engine;
  void *c; /* the connection; the thread's */
};

/* ---- operations ---------------------------------------------------------------------------- */

static void disown(jr_store *store);

static jr_store_op *take_spare(jr_store *store) {
  jr_store_op *op = store->spares;
  if (!op) return NULL;
  store->spares = op->next;
  store->spare_count--;
  jr_cells_reset(&op->in);
  jr_cells_reset(&op->out);
  return op;
}

jr_store_op *jr_store_op_new(jr_store *store, jr_verb verb) {
  jr_store_op *op = take_spare(store);
  if (!op) {
    op = jr_mem_shared_alloc(&store->rt->mem, sizeof *op);
    if (!op) return NULL;
    *op = (jr_store_op){.store = store};
    jr_cells_init(&op->in, &store->rt->mem);
    jr_cells_init(&op->out, &store->rt->mem);
  }
  op->verb = verb;
  op->status = 0;
  store->owners++;
  return op;
}

static void op_drop(jr_store_op *op) {
  jr_mem *mem = op->in.mem;
  jr_cells_fini(&op->in);
  jr_cells_fini(&op->out);
  jr_mem_shared_free(mem, op, sizeof *op);
}

/* Three of four allocations of an operation are saved, and these cross threads. */
void jr_store_op_free(jr_store_op *op) {
  jr_store *store = op->store;
  if (store->spare_count >= SPARES || op->in.cap > SPARE_BYTES || op->out.cap > SPARE_BYTES) {
    op_drop(op);
  } else {
    op->next = store->spares;
    store->spares = op;
    store->spare_count++;
  }
  disown(store);
}

/* 2024-01-01 is 0; 41 bits of ms, then the node's slot (one process owns a file: 0) and a counter,
 * 22 bits together. */
int64_t jr_store_id(jr_store *store, int64_t now_ms) {
  int64_t ms = now_ms - INT64_C(1704067200000);
  int64_t id = (ms > 0 ? ms : 0) << 22;
  if (id <= store->last_id) id = store->last_id + 1;
  return store->last_id = id;
}

bool jr_store_is_closing(const jr_store *store) {
  return store->is_closing;
}

void jr_store_submit(jr_store *store, jr_store_op *op) {
  op->next = NULL;
  if (op->verb == JR_VERB_CLOSE) store->is_closing = true;
  jr_op_begin(store->rt);
  store->in_flight++;
  uv_mutex_lock(&store->lock);
  if (store->first)
    store->last->next = op;
  else
    store->first = op;
  store->last = op;
  bool wakes = store->sleeps;
  store->sleeps = false;
  uv_mutex_unlock(&store->lock);
  if (wakes) uv_cond_signal(&store->wake);
}

/* ---- on the thread ------------------------------------------------------------------------- */

/* The operation failed with what the connection says. */
static void refuse(jr_store *store, jr_store_op *op, int status) {
  const char *text =
      op->in.failed ? "the store: not enough memory" : store->engine->error(store->c);
  op->status = status;
  jr_cells_reset(&op->out);
  jr_cells_add_text(&op->out, text, strlen(text));
}

static int do_one(jr_store *store, jr_store_op *op) {
  op->status = 0;
  jr_cells_reset(&op->out);
  if (op->in.failed) return UV_ENOMEM;
  return store->engine->perform(store->c, op->verb, &op->in, &op->out);
}

/* The operations from `first` up to `end` in one transaction. */
static int transact(jr_store *store, jr_store_op *first, const jr_store_op *end) {
  int status = store->engine->begin(store->c);
  for (jr_store_op *op = first; status == 0 && op != end; op = op->next) status = do_one(store, op);
  if (status == 0) status = store->engine->commit(store->c);
  if (status < 0) store->engine->roll_back(store->c);
  return status;
}

static void work_off(jr_store *store, jr_store_op *first, const jr_store_op *end) {
  if (first == end || transact(store, first, end) == 0) return;
  for (jr_store_op *op = first; op != end; op = op->next) {
    int status = transact(store, op, op->next);
    if (status < 0) refuse(store, op, status);
  }
}

/* The loop waits for this operation, so last_id is ours. */
static void open_here(jr_store *store, jr_store_op *op) {
  const jr_store_opts *opts = &store->opts;
  int status = store->engine->open(store->c, opts, &store->last_id);
  if (status == 0 && !opts->is_reader)
    status = store->engine->join(store->c, jr_store_id(store, opts->now_ms), opts->now_ms);
  if (status == 0) return;
  refuse(store, op, status);
  store->engine->close(store->c);
}

static void answer(jr_store *store, jr_store_op *first, jr_store_op *last) {
  uv_mutex_lock(&store->lock);
  if (store->done)
    store->done_last->next = first;
  else
    store->done = first;
  store->done_last = last;
  bool posts = !store->is_posted;
  store->is_posted = true;
  uv_mutex_unlock(&store->lock);
  if (posts) jr_post_put(store->rt, &store->post);
}

/* All that is in the mailbox; waits for something. When nothing has come for a while the engine
 * tidies up. */
static jr_store_op *take_all(jr_store *store, jr_store_op **last) {
  uv_mutex_lock(&store->lock);
  while (!store->first) {
    store->sleeps = true;
    if (store->engine->backlog(store->c) == 0) {
      uv_cond_wait(&store->wake, &store->lock);
    } else if (uv_cond_timedwait(&store->wake, &store->lock, IDLE_MS * UINT64_C(1000000)) < 0) {
      uv_mutex_unlock(&store->lock);
      store->engine->tidy(store->c);
      uv_mutex_lock(&store->lock);
    }
  }
  store->sleeps = false;
  jr_store_op *first = store->first;
  *last = store->last;
  store->first = store->last = NULL;
  uv_mutex_unlock(&store->lock);
  return first;
}

static void on_thread(void *data) {
  jr_store *store = data;
  for (bool ends = false; !ends;) {
    jr_store_op *last, *first = take_all(store, &last), *from = first;
    if (from->verb == JR_VERB_OPEN) {
      open_here(store, from);
      from = from->next;
    }
    ends = last->verb == JR_VERB_CLOSE;
    work_off(store, from, ends ? last : NULL);
    if (ends) store->engine->close(store->c);
    answer(store, first, last);
    if (!ends && store->engine->backlog(store->c) > MOST_BACKLOG) store->engine->tidy(store->c);
  }
}

/* ---- on the loop --------------------------------------------------------------------------- */

static void join(jr_store *store) {
  if (store->has_thread) uv_thread_join(&store->thread);
  store->has_thread = false;
}

/* Tasks may hold answers beyond the end of the store. */
static void disown(jr_store *store) {
  if (--store->owners > 0) return;
  for (jr_store_op *op; (op = take_spare(store));) op_drop(op);
  jr_mem_free(&store->rt->mem, store->c, store->engine->size);
  jr_mem_free(&store->rt->mem, store, sizeof *store);
}

static void store_free(jr_store *store) {
  join(store);
  jr_list_remove(&store->trade.link);
  uv_mutex_destroy(&store->lock);
  uv_cond_destroy(&store->wake);
  disown(store);
}

static void complete_all(jr_store *store) {
  uv_mutex_lock(&store->lock);
  jr_store_op *op = store->done;
  store->done = store->done_last = NULL;
  store->is_posted = false;
  uv_mutex_unlock(&store->lock);
  for (jr_store_op *next; op; op = next) {
    next = op->next;
    jr_op_end(store->rt);
    store->in_flight--;
    op->done(op);
  }
}

static void on_answers(jobrun *rt, jr_post *post) {
  jr_store *store = jr_container_of(post, jr_store, post);
  (void)rt;
  complete_all(store);
  if (store->is_closing && store->in_flight == 0) store_free(store);
}

/* Nobody closed it: all tasks have ended, so what is in flight is the last. */
static int settle(jobrun *rt, jr_trade *trade, const char **what) {
  jr_store *store = jr_container_of(trade, jr_store, trade);
  (void)what;
  if (!store->is_closing) {
    jr_store_op *op = jr_store_op_new(store, JR_VERB_CLOSE);
    if (!op) return 0; /* `close` tries again */
    op->done = jr_store_op_free;
    jr_store_submit(store, op);
  }
  join(store);
  uv_mutex_lock(&rt->post_lock);
  jr_list_remove(&store->post.link);
  uv_mutex_unlock(&rt->post_lock);
  complete_all(store);
  return 0;
}

static void free_trade(jobrun *rt, jr_trade *trade) {
  (void)rt;
  store_free(jr_container_of(trade, jr_store, trade));
}

int jr_store_new(jobrun *rt, const jr_store_opts *opts, jr_store **out) {
  if (strlen(opts->path) >= sizeof(((jr_store *)0)->path)) return UV_ENAMETOOLONG;
  jr_store *store = jr_mem_zalloc(&rt->mem, sizeof *store);
  void *c = store ? jr_mem_zalloc(&rt->mem, opts->engine->size) : NULL;
  if (!c) {
    if (store) jr_mem_free(&rt->mem, store, sizeof *store);
    return UV_ENOMEM;
  }
  *store = (jr_store){.rt = rt,
                      .owners = 1,
                      .opts = *opts,
                      .engine = opts->engine,
                      .c = c,
                      .post.fn = on_answers,
                      .trade = {.settle = settle, .free = free_trade}};
  strcpy(store->path, opts->path);
  store->opts.path = store->path;
  jr_list_init(&store->post.link);
  jr_list_append(&rt->trades, &store->trade.link);
  uv_mutex_init(&store->lock);
  uv_cond_init(&store->wake);
  int status = uv_thread_create(&store->thread, on_thread, store);
  store->has_thread = status == 0;
  if (status < 0)
    store_free(store);
  else
    *out = store;
  return status;
}
