/* Changes of a file or of a folder's entries, as a bounded queue of events (inotify by libuv).
 *
 * A reader that is slower than the changes must not make the queue grow: an event equal to the
 * last one that waits is not added (a file that is written piece by piece gives one), and beyond
 * the limit only a flag is kept, which comes out as one `overflow` at the end: look yourself.
 *
 * Each watch is a trade of its own in the runtime, so that its handle is closed at the end.
 *
 * SPDX-License-Identifier: MIT */
#include "fswatch.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static jr_fsevent *event_of(jr_list *node) {
  return jr_container_of(node, jr_fsevent, link);
}

/* ---- the queue ----------------------------------------------------------------------------- */

const jr_fsevent *jr_fswatch_first(const jr_fswatch *w) {
  return jr_list_is_empty(&w->events) ? NULL : event_of(w->events.next);
}

void jr_fswatch_shift(jr_fswatch *w) {
  jr_fsevent *e = event_of(w->events.next);
  jr_list_remove(&e->link);
  w->count--;
  jr_mem_free(&w->rt->mem, e, sizeof *e + e->name_len + 1);
}

static bool is_repeat(const jr_fswatch *w, jr_fsevent_type type, const char *name) {
  if (jr_list_is_empty(&w->events)) return false;
  const jr_fsevent *last = event_of(w->events.prev);
  return last->type == type && strcmp(last->name, name) == 0;
}

static bool append(jr_fswatch *w, jr_fsevent_type type, const char *name) {
  size_t len = strlen(name);
  jr_fsevent *e = jr_mem_zalloc(&w->rt->mem, sizeof *e + len + 1);
  if (!e) return false;
  e->type = type;
  e->name_len = len;
  memcpy(e->name, name, len);
  jr_list_append(&w->events, &e->link);
  w->count++;
  return true;
}

static void on_change(uv_fs_event_t *handle, const char *name, int events, int status) {
  jr_fswatch *w = jr_container_of(handle, jr_fswatch, handle);
  jr_fsevent_type type = events & UV_RENAME ? JR_FSEVENT_RENAME : JR_FSEVENT_CHANGE;
  if (!name) name = "";
  if (status < 0 || (!is_repeat(w, type, name) && w->count >= JR_FSWATCH_LIMIT))
    w->overflowed = true;
  else if (!is_repeat(w, type, name) && !append(w, type, name))
    w->overflowed = true;
  jr_wake(&w->wait, 0);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void disown(jr_fswatch *w) {
  if (--w->owners > 0) return;
  jr_list_remove(&w->trade.link);
  jr_mem_free(&w->rt->mem, w, sizeof *w);
}

static void on_closed(uv_handle_t *handle) {
  jr_uv_closed(handle);
  disown(jr_container_of(handle, jr_fswatch, handle));
}

void jr_fswatch_close(jr_fswatch *w) {
  if (w->closed) return;
  w->closed = true;
  w->overflowed = false;
  while (w->count > 0) jr_fswatch_shift(w);
  uv_close((uv_handle_t *)&w->handle, on_closed);
  jr_wake(&w->wait, 0);
}

static void close_trade(jobrun *rt, jr_trade *trade) {
  (void)rt;
  jr_fswatch_close(jr_container_of(trade, jr_fswatch, trade));
}

void jr_fswatch_free(jr_fswatch *w) {
  jr_fswatch_close(w);
  disown(w);
}

static void init(jr_fswatch *w, jobrun *rt, bool is_folder) {
  w->rt = rt;
  w->is_folder = is_folder;
  w->trade.close = close_trade;
  jr_list_init(&w->events);
  jr_list_append(&rt->trades, &w->trade.link);
  uv_fs_event_init(rt->loop, &w->handle);
  w->handle.data = rt;
  uv_unref((uv_handle_t *)&w->handle);
  rt->open_uv++;
  w->owners = 2;
}

int jr_fswatch_new(jobrun *rt, const char *path, jr_fswatch **out) {
  struct stat st;
  if (stat(path, &st) < 0) return -errno;
  jr_fswatch *w = jr_mem_zalloc(&rt->mem, sizeof *w);
  if (!w) return UV_ENOMEM;
  init(w, rt, S_ISDIR(st.st_mode));
  int status = uv_fs_event_start(&w->handle, on_change, path, 0);
  if (status < 0) {
    jr_fswatch_free(w);
    return status;
  }
  *out = w;
  return 0;
}
