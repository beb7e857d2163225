/* lineprod N: writes N lines of about 80 bytes (60 to 99) to stdout as fast as it can.
 *
 * The lines look like ffmpeg's statistics. A block of them is made once and written again and
 * again, so the writer is not what a reader is measured by.
 *
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BLOCK_LINES = 12000, LINE_MAX_BYTES = 100 };

static char block[BLOCK_LINES * LINE_MAX_BYTES];
static size_t ends[BLOCK_LINES + 1]; /* where the block's first i lines end */

static void fill(void) {
  unsigned x = 1;
  for (int i = 0; i < BLOCK_LINES; i++) {
    x = (unsigned)(x * 16807ULL % 2147483647U);
    char *line = block + ends[i];
    int len = 59 + (int)(x % 40);
    int at =
        snprintf(line, LINE_MAX_BYTES, "frame=%d fps=%u q=%u.0 time=00:00:%02u.%02u bitrate=", i,
                 x % 100, x % 30, x % 60, x % 99);
    for (; at < len; at++) line[at] = (char)('a' + at % 26);
    line[at] = '\n';
    ends[i + 1] = ends[i] + (size_t)at + 1;
  }
}

static int write_all(const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(1, data, len);
    if (n <= 0) return -1;
    data += n;
    len -= (size_t)n;
  }
  return 0;
}

int main(int argc, char **argv) {
  long left = argc > 1 ? atol(argv[1]) : 1000000;
  fill();
  while (left > 0) {
    long n = left < BLOCK_LINES ? left : BLOCK_LINES;
    if (write_all(block, ends[n]) < 0) return 1;
    left -= n;
  }
  return 0;
}
