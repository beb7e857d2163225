/* Environment variables from a file: the lines that shells, systemd and docker all read alike.
 *
 * SPDX-License-Identifier: MIT */
#include "envfile.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Without the blanks at both ends; in place. */
static char *trimmed(char *text) {
  while (isspace((unsigned char)*text)) text++;
  char *end = text + strlen(text);
  while (end > text && isspace((unsigned char)end[-1])) end--;
  *end = 0;
  return text;
}

static char *unquoted(char *text) {
  size_t len = strlen(text);
  if (len < 2 || (*text != '"' && *text != '\'') || text[len - 1] != *text) return text;
  text[len - 1] = 0;
  return text + 1;
}

static bool is_name(const char *text) {
  if (!isalpha((unsigned char)*text) && *text != '_') return false;
  while (isalnum((unsigned char)*text) || *text == '_') text++;
  return *text == 0;
}

/* False where the line is none. */
static bool set(char *line) {
  line = trimmed(line);
  if (*line == 0 || *line == '#') return true;
  if (strncmp(line, "export ", 7) == 0) line = trimmed(line + 7);
  char *equals = strchr(line, '=');
  if (!equals) return false;
  *equals = 0;
  char *name = trimmed(line), *value = unquoted(trimmed(equals + 1));
  return is_name(name) && setenv(name, value, 0) == 0;
}

int jr_envfile_load(const char *path, char *why, size_t size) {
  FILE *file = fopen(path, "r");
  if (!file) {
    snprintf(why, size, "cannot open %s: %s", path, strerror(errno));
    return -1;
  }
  char *line = NULL;
  size_t cap = 0;
  bool good = true;
  for (int n = 1; good && getline(&line, &cap, file) >= 0; n++) {
    good = set(line);
    if (!good) snprintf(why, size, "%s:%d: expected NAME=VALUE", path, n);
  }
  free(line);
  fclose(file);
  return good ? 0 : -1;
}
