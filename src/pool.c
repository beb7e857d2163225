/* Pools of worker threads.
 *
 * The lock is held for some list operations at a time, never while a call runs. Calls that are done
 * travel by an atomic list instead: pushed by workers, taken as a whole by the loop.
 *
 * SPDX-License-Identifier: MIT */
#include "pool.h"

#include <stdio.h>
#include <string.h>

#include "status.h"

enum { NAME_SIZE = 40, SPIN_NS = 20000, MOST_VAIN_SPINS = 7 };

/* A worker of a pool. */
struct jr_hand {
  jr_worker worker;
  jr_pool *pool;
  jr_entry *entry; /* which it runs */
  jr_list link;    /* in pool->idle */
  jr_list all;     /* in crew->hands */
  bool is_woken;
  bool is_given_up; /* with the call it runs */
  bool has_ended;
};

/* The fields up to `name` are the loop's or never change, the others are under the lock. */
struct jr_pool {
  jr_crew *crew;
  uint32_t refs, pending;
  uint32_t max;
  int64_t idle_ns;
  char name[NAME_SIZE];
  jr_list queue, idle;
  _Atomic uint32_t queued; /* also read without the lock */
  uint32_t workers;        /* threads that count */
  uint32_t idle_len, running, most, given_up;
  uint32_t starting; /* made, but have not looked at the queue yet */
  uint32_t waking;   /* the same of those that were idle */
  uint64_t done, failed, cancelled;
  bool is_spinning;   /* one of its workers looks at the queue */
  uint8_t vain_spins; /* how often in a row nothing came */
  uint8_t spin_pause; /* how many chances to look are left out yet */
  bool is_ended;
};

static void lock(jr_crew *crew) {
  uv_mutex_lock(&crew->lock);
}

static void unlock(jr_crew *crew) {
  uv_mutex_unlock(&crew->lock);
}

/* ---- workers, on their threads -------------------------------------------------------------- */

static jr_hand *hand_of(jr_worker *worker) {
  return jr_container_of(worker, jr_hand, worker);
}

/* Hands a finished call to the loop. Only the first of a batch has to wake it. */
static void deliver(jr_crew *crew, jr_call *call) {
  jr_entry *entry = jr_container_of(call, jr_entry, call);
  jr_entry *last = atomic_load_explicit(&crew->done, memory_order_relaxed);
  do {
    entry->next = last;
  } while (!atomic_compare_exchange_weak(&crew->done, &last, entry));
  if (!last) uv_async_send(crew->async);
}

/* Looks at the queue for a while, without the lock. */
static void spin(const jr_pool *pool) {
  uint64_t end = uv_hrtime() + SPIN_NS;
  do {
    for (int i = 0; i < 32; i++) {
      if (atomic_load_explicit(&pool->queued, memory_order_relaxed)) return;
#if defined(__x86_64__) || defined(__i386__)
      __builtin_ia32_pause();
#endif
    }
  } while (uv_hrtime() < end);
}

/* Locked: takes the worker that went idle last, to be signalled; NULL if there is none. */
static jr_hand *take_idle(jr_pool *pool) {
  if (jr_list_is_empty(&pool->idle)) return NULL;
  jr_hand *h = jr_container_of(pool->idle.prev, jr_hand, link);
  jr_list_remove(&h->link);
  pool->idle_len--;
  pool->waking++;
  h->is_woken = true;
  return h;
}

/* Locked: the same, unless one is on its way already. */
static jr_hand *wake_one(jr_pool *pool) {
  bool is_on_its_way = pool->is_spinning || pool->waking > 0;
  return is_on_its_way ? NULL : take_idle(pool);
}

static void signal_hand(jr_hand *h) {
  if (h) uv_cond_signal(&h->worker.cond);
}

/* Locked, but let go meanwhile: sleeps until it is woken (true) or the time is over. */
static bool wait_idle(jr_hand *h) {
  jr_pool *pool = h->pool;
  h->is_woken = false;
  jr_list_append(&pool->idle, &h->link);
  pool->idle_len++;
  uint64_t end = uv_hrtime() + (uint64_t)pool->idle_ns;
  while (!h->is_woken) {
    uint64_t now = uv_hrtime();
    if (now >= end) {
      jr_list_remove(&h->link);
      pool->idle_len--;
      return false;
    }
    uv_cond_timedwait(&h->worker.cond, &pool->crew->lock, end - now);
  }
  pool->waking--;
  return true;
}

/* Locked. Looking in vain is worse than nothing: on a busy machine it takes the time of the very
 * thread that would bring the next call. So after each time in vain, twice as many chances are left
 * out. */
static bool may_spin(jr_pool *pool) {
  if (pool->is_spinning || pool->spin_pause == 0) return !pool->is_spinning;
  pool->spin_pause--;
  return false;
}

/* Locked, but let go meanwhile. */
static void spin_unlocked(jr_pool *pool) {
  pool->is_spinning = true;
  unlock(pool->crew);
  spin(pool);
  lock(pool->crew);
  pool->is_spinning = false;
  if (!jr_list_is_empty(&pool->queue))
    pool->vain_spins = 0;
  else if (pool->vain_spins < MOST_VAIN_SPINS)
    pool->vain_spins++;
  pool->spin_pause = (uint8_t)((1u << pool->vain_spins) - 1);
}

/* Locked, but let go meanwhile: true when there is a call to take, false when the worker is to end.
 */
static bool find_call(jr_hand *h) {
  jr_pool *pool = h->pool;
  if (jr_list_is_empty(&pool->queue) && !pool->is_ended && may_spin(pool)) spin_unlocked(pool);
  while (jr_list_is_empty(&pool->queue)) {
    if (pool->is_ended) return false;
    if (!wait_idle(h)) return !jr_list_is_empty(&pool->queue);
  }
  return true;
}

/* Locked. */
static void end_call(jr_hand *h) {
  jr_entry *entry = h->entry;
  jr_pool *pool = h->pool;
  entry->state = JR_ENTRY_DONE;
  entry->hand = NULL;
  h->entry = NULL;
  if (h->is_given_up) {
    pool->given_up--;
    return;
  }
  pool->running--;
  pool->done++;
  if (entry->call.status < 0) pool->failed++;
}

/* Locked. */
static void remove_queued(jr_entry *entry) {
  jr_list_remove(&entry->link);
  atomic_fetch_sub_explicit(&entry->pool->queued, 1, memory_order_relaxed);
}

/* Locked, with a call in the queue. */
static jr_call *begin_call(jr_hand *h) {
  jr_pool *pool = h->pool;
  jr_entry *entry = jr_container_of(pool->queue.next, jr_entry, link);
  remove_queued(entry);
  entry->state = JR_ENTRY_RUNNING;
  entry->hand = h;
  h->entry = entry;
  if (++pool->running > pool->most) pool->most = pool->running;
  return &entry->call;
}

/* A finished call is delivered after the next one was taken, so that the lock is taken once for
 * both; but before the worker may have to wait for a next one. */
static jr_call *next_call(jr_worker *worker, jr_call *finished) {
  jr_hand *h = hand_of(worker), *other = NULL;
  jr_pool *pool = h->pool;
  jr_crew *crew = pool->crew;
  lock(crew);
  if (finished)
    end_call(h);
  else
    pool->starting--;
  if (finished && (h->is_given_up || jr_list_is_empty(&pool->queue))) {
    unlock(crew);
    deliver(crew, finished);
    finished = NULL;
    lock(crew);
  }
  jr_call *call = !h->is_given_up && find_call(h) ? begin_call(h) : NULL;
  if (call && !jr_list_is_empty(&pool->queue)) other = wake_one(pool);
  if (!call && !h->is_given_up) pool->workers--;
  unlock(crew);
  signal_hand(other);
  if (finished) deliver(crew, finished);
  return call;
}

/* The loop is woken under the lock: as soon as that is free, it may join and close all. */
static void end_thread(jr_worker *worker) {
  jr_hand *h = hand_of(worker);
  jr_crew *crew = h->pool->crew;
  lock(crew);
  h->has_ended = true;
  atomic_store(&crew->has_ended, true);
  uv_cond_signal(&crew->ended);
  uv_async_send(crew->async);
  unlock(crew);
}

static const jr_worker_owner owner = {.next = next_call, .ended = end_thread};

/* ---- threads, on the loop ------------------------------------------------------------------- */

static void hand_free(jr_hand *h) {
  jr_crew *crew = h->pool->crew;
  lock(crew);
  jr_list_remove(&h->all);
  unlock(crew);
  jr_worker_fini(&h->worker);
  jr_pool_unref(h->pool);
  jr_mem_free(crew->mem, h, sizeof *h);
}

static jr_hand *hand_new(jr_pool *pool) {
  jr_crew *crew = pool->crew;
  jr_hand *h = jr_mem_zalloc(crew->mem, sizeof *h);
  if (!h) return NULL;
  h->pool = pool;
  h->worker.owner = &owner;
  h->worker.lock = &crew->lock;
  h->worker.log = crew->log;
  h->worker.furnish = crew->furnish;
  h->worker.signal = crew->signal;
  jr_list_init(&h->link);
  if (jr_worker_init(&h->worker, crew->mem) < 0) {
    jr_mem_free(crew->mem, h, sizeof *h);
    return NULL;
  }
  jr_pool_ref(pool);
  lock(crew);
  jr_list_append(&crew->hands, &h->all);
  unlock(crew);
  if (jr_worker_set_paths(&h->worker, crew->path, crew->cpath) == 0) return h;
  hand_free(h);
  return NULL;
}

static void count_start(jr_pool *pool, int by) {
  lock(pool->crew);
  pool->workers += (uint32_t)by;
  pool->starting += (uint32_t)by;
  unlock(pool->crew);
}

/* 0, or a negative status with nothing changed. */
static int start_hand(jr_pool *pool) {
  jr_hand *h = hand_new(pool);
  if (!h) return UV_ENOMEM;
  count_start(pool, 1);
  int status = jr_worker_start(&h->worker);
  if (status == 0) return 0;
  count_start(pool, -1);
  hand_free(h);
  return status;
}

/* Locked: more calls wait than workers are free or on their way, and one more may be made. */
static bool needs_hand(const jr_pool *pool) {
  uint32_t free = pool->idle_len + pool->starting + pool->waking + pool->is_spinning;
  return atomic_load_explicit(&pool->queued, memory_order_relaxed) > free &&
         pool->workers < pool->max;
}

/* ---- queueing ------------------------------------------------------------------------------- */

/* No thread could be made: the call stays if there are others to run it. */
static int keep_or_take_back(jr_entry *entry, int status) {
  jr_pool *pool = entry->pool;
  lock(pool->crew);
  bool is_stuck = pool->workers == 0 && entry->state == JR_ENTRY_QUEUED;
  if (is_stuck) {
    remove_queued(entry);
    entry->state = JR_ENTRY_NEW;
  }
  unlock(pool->crew);
  return is_stuck ? status : 0;
}

bool jr_pool_put(jr_entry *entry) {
  jr_pool *pool = entry->pool;
  lock(pool->crew);
  entry->state = JR_ENTRY_QUEUED;
  jr_list_append(&pool->queue, &entry->link);
  atomic_fetch_add_explicit(&pool->queued, 1, memory_order_relaxed);
  bool more = needs_hand(pool);
  jr_hand *h = wake_one(pool);
  unlock(pool->crew);
  signal_hand(h);
  return more;
}

int jr_pool_grow(jr_entry *entry) {
  int status = start_hand(entry->pool);
  return status < 0 ? keep_or_take_back(entry, status) : 0;
}

/* Locked. */
static void give_up(jr_entry *entry) {
  jr_hand *h = entry->hand;
  h->is_given_up = true;
  atomic_store(&entry->call.given_up, true);
  jr_worker_interrupt(&h->worker);
  entry->pool->workers--;
  entry->pool->running--;
  entry->pool->given_up++;
}

jr_entry_state jr_pool_withdraw(jr_entry *entry) {
  jr_pool *pool = entry->pool;
  lock(pool->crew);
  jr_entry_state was = entry->state;
  if (was == JR_ENTRY_QUEUED) {
    remove_queued(entry);
    entry->state = JR_ENTRY_NEW;
  } else if (was == JR_ENTRY_RUNNING) {
    give_up(entry);
  }
  if (was != JR_ENTRY_DONE) pool->cancelled++;
  bool more = was == JR_ENTRY_RUNNING && needs_hand(pool);
  unlock(pool->crew);
  if (more) start_hand(pool); /* where none can be made, those there are go on */
  return was;
}

/* ---- pools ---------------------------------------------------------------------------------- */

jr_pool *jr_pool_new(jr_crew *crew, const char *name, uint32_t max, int64_t idle_ns) {
  jr_pool *pool = jr_mem_zalloc(crew->mem, sizeof *pool);
  if (!pool) return NULL;
  pool->crew = crew;
  pool->refs = 1;
  pool->max = max;
  pool->idle_ns = idle_ns;
  snprintf(pool->name, sizeof pool->name, "%s", name);
  jr_list_init(&pool->queue);
  jr_list_init(&pool->idle);
  return pool;
}

void jr_pool_ref(jr_pool *pool) {
  pool->refs++;
}

void jr_pool_unref(jr_pool *pool) {
  if (--pool->refs == 0) jr_mem_free(pool->crew->mem, pool, sizeof *pool);
}

uint32_t jr_pool_pending(jr_pool *pool, int by) {
  return pool->pending += (uint32_t)by;
}

/* Locked. */
static void end_pool(jr_pool *pool) {
  pool->is_ended = true;
  for (jr_hand *h; (h = take_idle(pool));) signal_hand(h);
}

void jr_pool_end(jr_pool *pool) {
  lock(pool->crew);
  end_pool(pool);
  unlock(pool->crew);
}

bool jr_pool_is_ended(const jr_pool *pool) {
  return pool->is_ended; /* only the loop changes it */
}

jr_crew *jr_pool_crew(const jr_pool *pool) {
  return pool->crew;
}

const char *jr_pool_name(const jr_pool *pool) {
  return pool->name;
}

jr_pool_stats jr_pool_get_stats(jr_pool *pool) {
  lock(pool->crew);
  jr_pool_stats stats = {.max = pool->max,
                         .workers = pool->workers,
                         .idle = pool->idle_len,
                         .queued = atomic_load(&pool->queued),
                         .running = pool->running,
                         .most = pool->most,
                         .given_up = pool->given_up,
                         .done = pool->done,
                         .failed = pool->failed,
                         .cancelled = pool->cancelled};
  unlock(pool->crew);
  return stats;
}

/* ---- the crew ------------------------------------------------------------------------------- */

int jr_crew_init(jr_crew *crew) {
  int status = crew->signal = jr_worker_signal();
  if (status < 0) return status;
  if ((status = uv_mutex_init(&crew->lock)) < 0) return status;
  if ((status = uv_cond_init(&crew->ended)) < 0) {
    uv_mutex_destroy(&crew->lock);
    return status;
  }
  atomic_init(&crew->has_ended, false);
  atomic_init(&crew->done, NULL);
  jr_list_init(&crew->hands);
  return 0;
}

static void replace_text(jr_mem *mem, char **place, const char *text) {
  if (*place && text && strcmp(*place, text) == 0) return;
  if (*place) jr_mem_free(mem, *place, strlen(*place) + 1);
  *place = text ? jr_mem_dup(mem, text, strlen(text)) : NULL;
}

void jr_crew_set_paths(jr_crew *crew, const char *path, const char *cpath) {
  replace_text(crew->mem, &crew->path, path);
  replace_text(crew->mem, &crew->cpath, cpath);
}

void jr_crew_fini(jr_crew *crew) {
  jr_crew_set_paths(crew, NULL, NULL);
  uv_cond_destroy(&crew->ended);
  uv_mutex_destroy(&crew->lock);
}

jr_entry *jr_crew_take_done(jr_crew *crew) {
  jr_entry *last = atomic_exchange(&crew->done, NULL), *first = NULL;
  while (last) {
    jr_entry *before = last->next;
    last->next = first;
    first = last;
    last = before;
  }
  return first;
}

/* One that has ended (or has not, by `ended`), or NULL. */
static jr_hand *find_hand(jr_crew *crew, bool ended) {
  JR_LIST_EACH (it, &crew->hands) {
    jr_hand *h = jr_container_of(it, jr_hand, all);
    if (h->has_ended == ended) return h;
  }
  return NULL;
}

void jr_crew_reap(jr_crew *crew) {
  if (!atomic_exchange(&crew->has_ended, false)) return;
  for (;;) {
    lock(crew);
    jr_hand *h = find_hand(crew, true);
    unlock(crew);
    if (!h) return;
    uv_thread_join(&h->worker.thread);
    hand_free(h);
  }
}

void jr_crew_end(jr_crew *crew) {
  lock(crew);
  JR_LIST_EACH (it, &crew->hands) end_pool(jr_container_of(it, jr_hand, all)->pool);
  unlock(crew);
}

const jr_hand *jr_crew_wait(jr_crew *crew, int64_t ns) {
  uint64_t end = uv_hrtime() + (uint64_t)ns, now;
  jr_hand *h;
  lock(crew);
  while ((h = find_hand(crew, false)) && (now = uv_hrtime()) < end)
    uv_cond_timedwait(&crew->ended, &crew->lock, end - now);
  unlock(crew);
  return h;
}

void jr_hand_describe(jr_crew *crew, const jr_hand *h, char *text, size_t size) {
  lock(crew);
  snprintf(text, size, "%s on a thread of executor '%s'",
           h->entry ? h->entry->call.name : "the end of a worker", h->pool->name);
  unlock(crew);
}
