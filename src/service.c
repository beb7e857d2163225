/* A runtime as a service of systemd's.
 *
 * The sign of life is a timer of the loop: a script that blocks it gives none, and is restarted.
 *
 * SPDX-License-Identifier: MIT */
#include "service.h"

#include <stdio.h>
#include <string.h>

#include "jobs.h"
#include "notify.h"
#include "status.h"

typedef struct service {
  jr_trade trade;
  jobrun *rt;
  uv_timer_t alive;
  bool has_timer, has_failed;
} service;

static void tell(jobrun *rt, const char *text) {
  int status = jr_notify(text, strlen(text));
  if (status < 0)
    jr_logf(&rt->log, JR_LOG_WARN, "the service manager at $NOTIFY_SOCKET was not told: %s",
            jr_status_text(status));
}

void jr_service_ready(jobrun *rt) {
  char text[64];
  if (!rt->is_service) return;
  const jr_jobs *jobs = jr_jobs_find(rt);
  snprintf(text, sizeof text, "READY=1\nSTATUS=running, %u job(s)", jobs ? jobs->len : 0);
  tell(rt, text);
}

void jr_service_stopping(jobrun *rt) {
  if (rt->is_service) tell(rt, "STOPPING=1\nSTATUS=stopping");
}

/* One that is lost comes again before the manager loses patience; a failure is said once. */
static void on_alive(uv_timer_t *timer) {
  service *s = jr_container_of(timer, service, alive);
  static const char text[] = "WATCHDOG=1";
  if (s->has_failed)
    jr_notify(text, sizeof text - 1);
  else if (jr_notify(text, sizeof text - 1) < 0) {
    s->has_failed = true;
    tell(s->rt, text);
  }
}

static void close_service(jobrun *rt, jr_trade *trade) {
  service *s = jr_container_of(trade, service, trade);
  (void)rt;
  if (s->has_timer) uv_close((uv_handle_t *)&s->alive, jr_uv_closed);
}

static void free_service(jobrun *rt, jr_trade *trade) {
  jr_mem_free(&rt->mem, jr_container_of(trade, service, trade), sizeof(service));
}

int jr_service_open(jobrun *rt) {
  uint64_t ms = jr_notify_watchdog_ms();
  rt->is_service = true;
  if (ms == 0) return 0;
  service *s = jr_mem_zalloc(&rt->mem, sizeof *s);
  if (!s) return UV_ENOMEM;
  s->trade = (jr_trade){.close = close_service, .free = free_service};
  s->rt = rt;
  jr_list_append(&rt->trades, &s->trade.link);
  int status = uv_timer_init(rt->loop, &s->alive);
  if (status < 0) return status;
  s->has_timer = true;
  s->alive.data = rt;
  rt->open_uv++;
  uv_unref((uv_handle_t *)&s->alive);
  return uv_timer_start(&s->alive, on_alive, 0, ms);
}
