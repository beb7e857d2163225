/* A few live lines at the bottom of the terminal that stderr is: the module
 * "jobrun.core.terminal". What stands in them is decided in lua/jobrun/terminal.lua.
 *
 * An update that comes less than a tenth of a second after another one is put off until then.
 *
 * The lines are drawn below everything else, the cursor at the end of the last one. Whoever wants
 * to write above them has them erased first and drawn again afterwards, in one synchronized update
 * (mode 2026) so that nothing flickers; log lines come through a sink of ours that does so. What
 * has to be erased is counted in rows of the terminal as wide as it is now: one that became
 * narrower has wrapped our lines.
 *
 * Log lines may come from any thread, so a lock guards all this.
 *
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <lauxlib.h>
#include <uv.h>

#include "buf.h"
#include "glue.h"
#include "rt.h"

int jr_open_terminal(lua_State *L);

enum { MAX_LINES = 64, USUAL_COLUMNS = 80, USUAL_ROWS = 24 };
#define REDRAW_NS   (100 * JR_MS)
#define BEGIN_FRAME "\033[?2026h"
#define END_FRAME   "\033[?2026l"

typedef struct terminal {
  jr_trade trade;
  jobrun *rt;
  jr_log_sink sink; /* the runtime's own; ours stands before it */
  void *sink_data;
  uv_mutex_t lock;
  uv_signal_t resized;
  uv_timer_t later; /* for an update that came too soon after another */
  bool is_drawn, has_signal, has_timer;
  int64_t drawn_ns;
  jr_buf text; /* the lines, with what colours them */
  int widths[MAX_LINES], drawn_widths[MAX_LINES];
  int lines, drawn_lines;
} terminal;

static terminal *terminal_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* ---- drawing ------------------------------------------------------------------------------- */

static struct winsize size_now(void) {
  struct winsize size = {0};
  ioctl(STDERR_FILENO, TIOCGWINSZ, &size);
  if (size.ws_col == 0) size.ws_col = USUAL_COLUMNS;
  if (size.ws_row == 0) size.ws_row = USUAL_ROWS;
  return size;
}

static void put(const char *text, size_t len) {
  while (len > 0) {
    ssize_t n = write(STDERR_FILENO, text, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return; /* the terminal is gone */
    text += n;
    len -= (size_t)n;
  }
}

static int rows_drawn(const terminal *t, int columns) {
  int rows = 0;
  for (int i = 0; i < t->drawn_lines; i++)
    rows += t->drawn_widths[i] > columns ? (t->drawn_widths[i] + columns - 1) / columns : 1;
  return rows;
}

/* Begins an update: what is drawn goes. */
static void erase(terminal *t) {
  char code[48];
  int len = 0, rows = t->is_drawn ? rows_drawn(t, size_now().ws_col) : 0;
  len += snprintf(code, sizeof code, BEGIN_FRAME "%s", rows ? "\r" : "");
  if (rows > 1) len += snprintf(code + len, sizeof code - (size_t)len, "\033[%dA", rows - 1);
  if (rows) len += snprintf(code + len, sizeof code - (size_t)len, "\033[J");
  put(code, (size_t)len);
  t->is_drawn = false;
}

/* Ends it: the lines are drawn, if there are any. */
static void draw(terminal *t) {
  put(t->text.data, t->text.len);
  put(END_FRAME, sizeof END_FRAME - 1);
  t->is_drawn = t->lines > 0;
  t->drawn_lines = t->lines;
  memcpy(t->drawn_widths, t->widths, sizeof t->widths);
  t->drawn_ns = (int64_t)uv_hrtime();
}

static void log_above(void *data, const jr_log_event *event) {
  terminal *t = data;
  uv_mutex_lock(&t->lock);
  bool is_in_the_way = t->is_drawn;
  if (is_in_the_way) erase(t);
  t->sink(t->sink_data, event);
  if (is_in_the_way) draw(t);
  uv_mutex_unlock(&t->lock);
}

/* Lines that are now too long are left to the next update. */
static void on_resize(uv_signal_t *handle, int signum) {
  terminal *t = jr_container_of(handle, terminal, resized);
  int columns = size_now().ws_col;
  bool fits = true;
  (void)signum;
  uv_mutex_lock(&t->lock);
  for (int i = 0; i < t->lines; i++) fits = fits && t->widths[i] <= columns;
  erase(t);
  if (fits)
    draw(t);
  else
    put(END_FRAME, sizeof END_FRAME - 1);
  uv_mutex_unlock(&t->lock);
}

/* ---- for Lua ------------------------------------------------------------------------------- */

/* size() → columns, rows; nil if stderr is no terminal */
static int terminal_size(lua_State *L) {
  if (!isatty(STDERR_FILENO)) return 0;
  struct winsize size = size_now();
  lua_pushinteger(L, size.ws_col);
  lua_pushinteger(L, size.ws_row);
  return 2;
}

static void on_later(uv_timer_t *timer) {
  terminal *t = jr_container_of(timer, terminal, later);
  uv_mutex_lock(&t->lock);
  erase(t);
  draw(t);
  uv_mutex_unlock(&t->lock);
}

/* True if an update comes so soon after another that it is put off. */
static bool put_off(terminal *t) {
  int64_t left = t->drawn_ns + REDRAW_NS - (int64_t)uv_hrtime();
  if (!t->has_timer || left <= 0) return false;
  if (!uv_is_active((uv_handle_t *)&t->later))
    uv_timer_start(&t->later, on_later, (uint64_t)(left / JR_MS + 1), 0);
  return true;
}

static void follow_size(terminal *t, bool on) {
  if (!t->has_signal) return;
  if (on)
    uv_signal_start(&t->resized, on_resize, SIGWINCH);
  else
    uv_signal_stop(&t->resized);
}

/* lines(above, text, width…): text, which has as many lines as there are widths, replaces what is
 * drawn; above, unless it is empty, goes above it for good and ends with a newline */
static int terminal_lines(lua_State *L) {
  terminal *t = terminal_of(L);
  size_t above_len, len;
  const char *above = luaL_checklstring(L, 1, &above_len), *text = luaL_checklstring(L, 2, &len);
  int lines = lua_gettop(L) - 2, widths[MAX_LINES];
  luaL_argcheck(L, lines <= MAX_LINES, 3, "too many lines");
  for (int i = 0; i < lines; i++) widths[i] = (int)luaL_checkinteger(L, i + 3);
  bool begins = t->lines == 0 && lines > 0, ends = t->lines > 0 && lines == 0;
  uv_mutex_lock(&t->lock);
  t->text.len = 0;
  jr_buf_add(&t->text, text, len);
  memcpy(t->widths, widths, sizeof *widths * (size_t)lines);
  t->lines = lines;
  if (lines != t->drawn_lines || above_len > 0 || !put_off(t)) {
    erase(t);
    put(above, above_len);
    draw(t);
  }
  uv_mutex_unlock(&t->lock);
  if (begins || ends) follow_size(t, begins);
  return 0;
}

/* hide(): until show(), something else is written */
static int terminal_hide(lua_State *L) {
  terminal *t = terminal_of(L);
  uv_mutex_lock(&t->lock);
  erase(t);
  uv_mutex_unlock(&t->lock);
  return 0;
}

static int terminal_show(lua_State *L) {
  terminal *t = terminal_of(L);
  uv_mutex_lock(&t->lock);
  draw(t);
  uv_mutex_unlock(&t->lock);
  return 0;
}

/* ---- its life ------------------------------------------------------------------------------ */

static void close_terminal(jobrun *rt, jr_trade *trade) {
  terminal *t = jr_container_of(trade, terminal, trade);
  rt->log.sink = t->sink;
  rt->log.data = t->sink_data;
  if (t->is_drawn) {
    erase(t);
    put(END_FRAME, sizeof END_FRAME - 1);
  }
  t->lines = 0;
  if (t->has_signal) uv_close((uv_handle_t *)&t->resized, jr_uv_closed);
  if (t->has_timer) uv_close((uv_handle_t *)&t->later, jr_uv_closed);
}

static void free_terminal(jobrun *rt, jr_trade *trade) {
  terminal *t = jr_container_of(trade, terminal, trade);
  uv_mutex_destroy(&t->lock);
  jr_buf_fini(&t->text);
  jr_list_remove(&trade->link);
  jr_mem_free(&rt->mem, t, sizeof *t);
}

static terminal *new_terminal(jobrun *rt) {
  terminal *t = jr_mem_zalloc(&rt->mem, sizeof *t);
  if (!t) return NULL;
  if (uv_mutex_init(&t->lock) < 0) {
    jr_mem_free(&rt->mem, t, sizeof *t);
    return NULL;
  }
  t->rt = rt;
  t->trade.close = close_terminal;
  t->trade.free = free_terminal;
  jr_buf_init(&t->text, &rt->mem);
  jr_list_append(&rt->trades, &t->trade.link);
  t->sink = rt->log.sink;
  t->sink_data = rt->log.data;
  rt->log.data = t;
  rt->log.sink = log_above;
  return t;
}

static void adopt(terminal *t, uv_handle_t *handle) {
  handle->data = t->rt;
  t->rt->open_uv++;
  uv_unref(handle);
}

/* Without its handle a change of size is seen at the next update. */
static void open_handles(terminal *t) {
  t->has_signal = uv_signal_init(t->rt->loop, &t->resized) == 0;
  t->has_timer = uv_timer_init(t->rt->loop, &t->later) == 0;
  if (t->has_signal) adopt(t, (uv_handle_t *)&t->resized);
  if (t->has_timer) adopt(t, (uv_handle_t *)&t->later);
}

int jr_open_terminal(lua_State *L) {
  static const luaL_Reg functions[] = {{"size", terminal_size},
                                       {"lines", terminal_lines},
                                       {"hide", terminal_hide},
                                       {"show", terminal_show},
                                       {NULL, NULL}};
  terminal *t = new_terminal(jr_of(L));
  if (!t) return jr_raise_status(L, "terminal", UV_ENOMEM);
  open_handles(t);
  luaL_newlibtable(L, functions);
  lua_pushlightuserdata(L, t);
  luaL_setfuncs(L, functions, 1);
  return 1;
}
