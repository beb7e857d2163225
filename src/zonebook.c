/* The zones of a runtime, watched.
 *
 * The folders of the zones in use are watched by inotify, so nothing is woken while nothing
 * changes; a package upgrade replaces many files in many steps, so it is looked at them when a
 * second has gone by since the last step.
 *
 * SPDX-License-Identifier: MIT */
#include "zonebook.h"

#include <stdlib.h>
#include <string.h>

#include "status.h"

#define SETTLE_NS JR_SEC

typedef struct watch {
  jr_list link;
  uv_fs_event_t handle;
  jr_zonebook *book;
  size_t size;
  char folder[];
} watch;

/* ---- changes -----------------------------------------------------------------------------------
 */

static void on_changed(void *data, jr_zone *zone, int status) {
  jr_zonebook *book = data;
  if (status < 0) {
    jr_logf(&book->rt->log, JR_LOG_WARN,
            "the zone %s keeps its rules: %s cannot be read (%s); reinstall tzdata", zone->name,
            zone->path, jr_status_text(status));
    return;
  }
  jr_logf(&book->rt->log, JR_LOG_INFO, "the rules of the zone %s changed", zone->name);
  if (book->on_change) book->on_change(book->rt, zone);
}

static void on_settled(jobrun *rt, jr_timer *timer) {
  jr_zonebook *book = jr_container_of(timer, jr_zonebook, settle);
  if (jr_zones_refresh(&book->zones, on_changed, book) < 0)
    jr_logf(&rt->log, JR_LOG_ERROR, "the changed time zones could not be read: %s",
            jr_status_text(UV_ENOMEM));
}

static void on_event(uv_fs_event_t *handle, const char *name, int events, int status) {
  jr_zonebook *book = jr_container_of(handle, watch, handle)->book;
  (void)name;
  (void)events;
  (void)status;
  jr_timer_start(book->rt, &book->settle, jr_clock_now(book->rt) + SETTLE_NS);
}

/* ---- watches -----------------------------------------------------------------------------------
 */

static bool is_watched(const jr_zonebook *book, const char *folder, size_t len) {
  JR_LIST_EACH (it, &book->watches) {
    const watch *w = jr_container_of(it, watch, link);
    if (strlen(w->folder) == len && memcmp(w->folder, folder, len) == 0) return true;
  }
  return false;
}

static int watch_folder(jr_zonebook *book, const char *folder, size_t len) {
  jobrun *rt = book->rt;
  size_t size = sizeof(watch) + len + 1;
  watch *w = jr_mem_zalloc(&rt->mem, size);
  if (!w) return UV_ENOMEM;
  memcpy(w->folder, folder, len);
  w->book = book;
  w->size = size;
  jr_list_append(&book->watches, &w->link);
  uv_fs_event_init(rt->loop, &w->handle);
  w->handle.data = rt;
  rt->open_uv++;
  uv_unref((uv_handle_t *)&w->handle);
  return uv_fs_event_start(&w->handle, on_event, w->folder, 0);
}

static void watch_zone(jr_zonebook *book, const jr_zone *zone) {
  const char *slash = zone->path ? strrchr(zone->path, '/') : NULL;
  if (!slash || is_watched(book, zone->path, (size_t)(slash - zone->path))) return;
  int status = watch_folder(book, zone->path, (size_t)(slash - zone->path));
  if (status == 0 || book->is_blind) return;
  book->is_blind = true;
  jr_logf(&book->rt->log, JR_LOG_WARN,
          "changes of %s will not be seen (%s): restart after an upgrade of tzdata", zone->path,
          jr_status_text(status));
}

/* ---- the book ----------------------------------------------------------------------------------
 */

int jr_zonebook_zone(jr_zonebook *book, const char *name, size_t len, jr_zone **out) {
  int status = name ? jr_zones_get(&book->zones, name, len, out)
                    : jr_zones_local(&book->zones, getenv("TZ"), out);
  if (status == 0) watch_zone(book, *out);
  return status;
}

static void on_close(jobrun *rt, jr_trade *trade) {
  jr_zonebook *book = jr_container_of(trade, jr_zonebook, trade);
  jr_timer_stop(rt, &book->settle);
  JR_LIST_EACH (it, &book->watches)
    uv_close((uv_handle_t *)&jr_container_of(it, watch, link)->handle, jr_uv_closed);
}

static void on_free(jobrun *rt, jr_trade *trade) {
  jr_zonebook *book = jr_container_of(trade, jr_zonebook, trade);
  JR_LIST_EACH_SAFE (it, &book->watches) {
    watch *w = jr_container_of(it, watch, link);
    jr_mem_free(&rt->mem, w, w->size);
  }
  jr_zones_fini(&book->zones);
  jr_mem_free(&rt->mem, book, sizeof *book);
}

static jr_zonebook *find(jobrun *rt) {
  JR_LIST_EACH (it, &rt->trades) {
    jr_trade *trade = jr_container_of(it, jr_trade, link);
    if (trade->free == on_free) return jr_container_of(trade, jr_zonebook, trade);
  }
  return NULL;
}

int jr_zonebook_get(jobrun *rt, jr_zonebook **out) {
  if ((*out = find(rt))) return 0;
  jr_zonebook *book = jr_mem_zalloc(&rt->mem, sizeof *book);
  if (!book) return UV_ENOMEM;
  int status = jr_zones_init(&book->zones, &rt->mem, NULL, NULL);
  if (status < 0) {
    jr_mem_free(&rt->mem, book, sizeof *book);
    return status;
  }
  book->rt = rt;
  book->trade = (jr_trade){.close = on_close, .free = on_free};
  book->settle.fire = on_settled;
  jr_list_init(&book->watches);
  jr_list_append(&rt->trades, &book->trade.link);
  *out = book;
  return 0;
}
