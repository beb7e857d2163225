/* Telling the service manager how we are.
 *
 * SPDX-License-Identifier: MIT */
#include "notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int jr_notify(const char *text, size_t len) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *name = getenv("NOTIFY_SOCKET");
  if (!name || !*name) return 0;
  size_t n = strlen(name);
  if (*name != '/' && *name != '@') return -EAFNOSUPPORT;
  if (n >= sizeof address.sun_path) return -ENAMETOOLONG;
  memcpy(address.sun_path, name, n);
  if (*name == '@') address.sun_path[0] = '\0';
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
  ssize_t sent =
      sendto(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&address, size);
  int status = sent < 0 ? -errno : 0;
  close(fd);
  return status;
}

uint64_t jr_notify_watchdog_ms(void) {
  const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
  char *end;
  if (!usec || !*usec || (pid && *pid && strtol(pid, NULL, 10) != (long)getpid())) return 0;
  errno = 0;
  unsigned long long value = strtoull(usec, &end, 10);
  if (errno || *end || *usec == '-' || value == 0) return 0;
  return value < 2000 ? 1 : value / 2000;
}
