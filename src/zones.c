/* The zones of this machine, by name.
 *
 * SPDX-License-Identifier: MIT */
#include "zones.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uv.h>

#include "status.h"

#define DEFAULT_DIR       "/usr/share/zoneinfo"
#define DEFAULT_LOCALTIME "/etc/localtime"

enum { MAX_NAME = 255 };

static char *dup_text(jr_mem *mem, const char *text) {
  return jr_mem_dup(mem, text, strlen(text));
}

static void free_text(jr_mem *mem, char *text) {
  if (text) jr_mem_free(mem, text, strlen(text) + 1);
}

int jr_zones_init(jr_zones *zones, jr_mem *mem, const char *dir, const char *localtime) {
  const char *variable = getenv("TZDIR");
  if (!dir) dir = variable && *variable ? variable : DEFAULT_DIR;
  *zones = (jr_zones){.mem = mem};
  jr_list_init(&zones->named);
  jr_list_init(&zones->local);
  zones->dir = dup_text(mem, dir);
  zones->localtime = dup_text(mem, localtime ? localtime : DEFAULT_LOCALTIME);
  if (zones->dir && zones->localtime) return 0;
  jr_zones_fini(zones);
  return UV_ENOMEM;
}

static void zone_free(jr_mem *mem, jr_zone *zone) {
  jr_list_remove(&zone->link);
  jr_tz_free(zone->tz);
  free_text(mem, zone->name);
  free_text(mem, zone->path);
  jr_mem_free(mem, zone, sizeof *zone);
}

static void free_all(jr_mem *mem, jr_list *list) {
  JR_LIST_EACH_SAFE (it, list) zone_free(mem, jr_container_of(it, jr_zone, link));
}

void jr_zones_fini(jr_zones *zones) {
  free_all(zones->mem, &zones->named);
  free_all(zones->mem, &zones->local);
  free_text(zones->mem, zones->dir);
  free_text(zones->mem, zones->localtime);
  zones->dir = zones->localtime = NULL;
}

/* ---- files ----------------------------------------------------------------------------------- */

static jr_zone_stamp stamp_of(const struct stat *st) {
  return (jr_zone_stamp){
      .device = st->st_dev,
      .inode = st->st_ino,
      .size = (uint64_t)st->st_size,
      .changed_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec,
  };
}

static bool same_stamp(const jr_zone_stamp *a, const jr_zone_stamp *b) {
  return a->device == b->device && a->inode == b->inode && a->size == b->size &&
         a->changed_ns == b->changed_ns;
}

static int read_whole(int fd, uint8_t *bytes, size_t size, size_t *len) {
  for (*len = 0; *len < size;) {
    ssize_t n = read(fd, bytes + *len, size - *len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return uv_translate_sys_error(errno);
    if (n == 0) return 0;
    *len += (size_t)n;
  }
  return 0;
}

static int read_zone(jr_zones *zones, int fd, size_t size, jr_tz **out) {
  uint8_t *bytes = jr_mem_alloc(zones->mem, size);
  size_t len;
  if (!bytes) return UV_ENOMEM;
  int status = read_whole(fd, bytes, size, &len);
  if (status == 0) status = jr_tz_read(zones->mem, bytes, len, out);
  jr_mem_free(zones->mem, bytes, size);
  return status == UV_EINVAL ? UV_EFTYPE : status;
}

/* Opened without waiting, in case the name is one of a FIFO. */
static int load(jr_zones *zones, const char *path, jr_tz **out, jr_zone_stamp *stamp) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), status = 0;
  if (fd < 0) return uv_translate_sys_error(errno);
  if (fstat(fd, &st) < 0)
    status = uv_translate_sys_error(errno);
  else if (!S_ISREG(st.st_mode) || st.st_size == 0)
    status = S_ISDIR(st.st_mode) ? UV_ENOENT : UV_EFTYPE;
  else if (st.st_size > JR_TZ_MAX_FILE)
    status = UV_EFBIG;
  if (status == 0) status = read_zone(zones, fd, (size_t)st.st_size, out);
  if (status == 0) *stamp = stamp_of(&st);
  close(fd);
  return status;
}

/* ---- zones ----------------------------------------------------------------------------------- */

/* Takes the texts and the zone, also when it fails. */
static int add(jr_zones *zones, jr_list *list, char *name, char *path, jr_tz *tz,
               const jr_zone_stamp *stamp, jr_zone **out) {
  jr_zone *zone = name && tz ? jr_mem_alloc(zones->mem, sizeof *zone) : NULL;
  if (!zone) {
    free_text(zones->mem, name);
    free_text(zones->mem, path);
    jr_tz_free(tz);
    return UV_ENOMEM;
  }
  *zone = (jr_zone){.tz = tz, .name = name, .path = path, .stamp = *stamp};
  jr_list_append(list, &zone->link);
  *out = zone;
  return 0;
}

/* One that no file stands behind. */
static int add_rule(jr_zones *zones, jr_list *list, const char *name, const char *rule,
                    jr_zone **out) {
  jr_tz *tz = NULL;
  int status = jr_tz_from_rule(zones->mem, rule, strlen(rule), &tz);
  if (status < 0) return status;
  return add(zones, list, dup_text(zones->mem, name), NULL, tz, &(jr_zone_stamp){0}, out);
}

static bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         strchr("/_-+.", c);
}

/* No empty part, none that begins with a dot (which ".." does), nothing but the characters that
 * names of zones are made of. */
static bool is_name(const char *name, size_t len) {
  char before = '/';
  if (len == 0 || len > MAX_NAME) return false;
  for (size_t i = 0; i < len; before = name[i++]) {
    if (name[i] == 0 || !is_name_char(name[i])) return false;
    if (before == '/' && (name[i] == '/' || name[i] == '.')) return false;
  }
  return before != '/';
}

static jr_zone *find(const jr_zones *zones, const char *name, size_t len) {
  JR_LIST_EACH (it, &zones->named) {
    jr_zone *zone = jr_container_of(it, jr_zone, link);
    if (strlen(zone->name) == len && memcmp(zone->name, name, len) == 0) return zone;
  }
  return NULL;
}

static char *path_below(jr_mem *mem, const char *dir, const char *name, size_t len) {
  size_t dir_len = strlen(dir);
  char *path = jr_mem_alloc(mem, dir_len + len + 2);
  if (!path) return NULL;
  memcpy(path, dir, dir_len);
  path[dir_len] = '/';
  memcpy(path + dir_len + 1, name, len);
  path[dir_len + 1 + len] = 0;
  return path;
}

static int add_file(jr_zones *zones, const char *name, size_t len, jr_zone **out) {
  jr_tz *tz;
  jr_zone_stamp stamp;
  char *path = path_below(zones->mem, zones->dir, name, len);
  if (!path) return UV_ENOMEM;
  int status = load(zones, path, &tz, &stamp);
  if (status < 0) {
    free_text(zones->mem, path);
    return status == UV_ENOTDIR ? UV_ENOENT : status;
  }
  return add(zones, &zones->named, jr_mem_dup(zones->mem, name, len), path, tz, &stamp, out);
}

int jr_zones_get(jr_zones *zones, const char *name, size_t len, jr_zone **out) {
  if (!is_name(name, len)) return UV_EINVAL;
  jr_zone *zone = find(zones, name, len);
  if (zone) {
    *out = zone;
    return 0;
  }
  if (len == 3 && memcmp(name, "UTC", 3) == 0)
    return add_rule(zones, &zones->named, "UTC", "UTC0", out);
  return add_file(zones, name, len, out);
}

/* ---- the local zone -------------------------------------------------------------------------- */

/* What the link /etc/localtime points at, as a name of a zone; "localtime" for a plain file. */
static char *localtime_name(const jr_zones *zones) {
  static const char folder[] = "/zoneinfo/";
  char target[4096];
  ssize_t len = readlink(zones->localtime, target, sizeof target - 1);
  if (len < 0) return dup_text(zones->mem, "localtime");
  target[len] = 0;
  const char *name = strstr(target, folder);
  return dup_text(zones->mem, name ? name + sizeof folder - 1 : "localtime");
}

static int local_from_link(jr_zones *zones, jr_zone **out) {
  jr_tz *tz;
  jr_zone_stamp stamp = {0};
  char *name, *path = dup_text(zones->mem, zones->localtime);
  if (!path) return UV_ENOMEM;
  int status = load(zones, path, &tz, &stamp);
  bool is_missing = status == UV_ENOENT || status == UV_ENOTDIR;
  if (is_missing) status = jr_tz_from_rule(zones->mem, "UTC0", 4, &tz);
  if (status < 0) {
    free_text(zones->mem, path);
    return status;
  }
  name = is_missing ? dup_text(zones->mem, "UTC") : localtime_name(zones);
  return add(zones, &zones->local, name, path, tz, &stamp, out);
}

/* TZ as a name: without the colon before it, without the path to the zones. */
static const char *name_in_tz(const jr_zones *zones, const char *value) {
  size_t dir_len = strlen(zones->dir);
  if (*value == ':') value++;
  if (strncmp(value, zones->dir, dir_len) == 0 && value[dir_len] == '/') value += dir_len + 1;
  return *value ? value : "UTC";
}

int jr_zones_local(jr_zones *zones, const char *tz_value, jr_zone **out) {
  if (!jr_list_is_empty(&zones->local)) {
    *out = jr_container_of(zones->local.next, jr_zone, link);
    return 0;
  }
  if (!tz_value) return local_from_link(zones, out);
  const char *name = name_in_tz(zones, tz_value);
  if (strcmp(name, zones->localtime) == 0) return local_from_link(zones, out);
  int status = jr_zones_get(zones, name, strlen(name), out);
  if (status != UV_EINVAL && status != UV_ENOENT) return status;
  int as_rule = add_rule(zones, &zones->local, name, name, out);
  return as_rule == UV_EINVAL ? status : as_rule;
}

/* ---- reading again --------------------------------------------------------------------------- */

static bool is_local(const jr_zones *zones, const jr_zone *zone) {
  return zones->local.next == &zone->link;
}

/* A new name for the local zone is nice to have, no more: without memory it keeps the old one. */
static void rename_local(jr_zones *zones, jr_zone *zone) {
  char *name = localtime_name(zones);
  if (!name) return;
  free_text(zones->mem, zone->name);
  zone->name = name;
}

/* 1 if the zone is another one now, 0, or why its file cannot be read. */
static int refresh(jr_zones *zones, jr_zone *zone) {
  struct stat st;
  jr_tz *tz;
  if (!zone->path) return 0;
  if (stat(zone->path, &st) < 0) return -errno;
  jr_zone_stamp stamp = stamp_of(&st);
  if (same_stamp(&stamp, &zone->stamp)) return 0;
  int status = load(zones, zone->path, &tz, &zone->stamp);
  if (status < 0) return status;
  if (is_local(zones, zone)) rename_local(zones, zone);
  bool changed = !jr_tz_equals(zone->tz, tz);
  jr_tz_free(changed ? zone->tz : tz);
  if (changed) zone->tz = tz;
  return changed;
}

static int refresh_all(jr_zones *zones, jr_list *list, jr_zone_news tell, void *data) {
  int count = 0;
  JR_LIST_EACH (it, list) {
    jr_zone *zone = jr_container_of(it, jr_zone, link);
    int status = refresh(zones, zone);
    if (status == UV_ENOMEM) return status;
    if (status != 0) tell(data, zone, status < 0 ? status : 0);
    if (status > 0) count++;
  }
  return count;
}

int jr_zones_refresh(jr_zones *zones, jr_zone_news tell, void *data) {
  int named = refresh_all(zones, &zones->named, tell, data);
  int local = refresh_all(zones, &zones->local, tell, data);
  return named < 0 ? named : local < 0 ? local : named + local;
}

/* ---- words ----------------------------------------------------------------------------------- */

void jr_zones_explain(const jr_zones *zones, int status, const char *name, size_t len,
                      jr_buf *out) {
  int shown = len > MAX_NAME ? MAX_NAME : (int)len;
  if (status == UV_EINVAL)
    jr_buf_addf(out, "\"%.*s\" is not the name of a zone, as \"Europe/Berlin\" is", shown, name);
  else if (status == UV_ENOENT && access(zones->dir, F_OK) < 0)
    jr_buf_addf(out,
                "there is no zone \"%.*s\": %s, where zones are described, does not exist "
                "(install tzdata, or set TZDIR)",
                shown, name, zones->dir);
  else if (status == UV_ENOENT)
    jr_buf_addf(out, "there is no zone \"%.*s\" in %s", shown, name, zones->dir);
  else if (status == UV_EFTYPE)
    jr_buf_addf(out, "%s/%.*s does not describe a zone", zones->dir, shown, name);
  else if (status == UV_ENOTSUP)
    jr_buf_addf(
        out,
        "the zone \"%.*s\" counts leap seconds, which clocks do not; take it without \"right/\"",
        shown, name);
  else
    jr_buf_addf(out, "cannot read the zone \"%.*s\": %s", shown, name, jr_status_text(status));
}
