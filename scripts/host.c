/* A host program: loads a script, lends it a C function, runs it, stops it from another thread.
 *
 *   cc host.c $(pkg-config --cflags --libs jobrun lua5.4) -lpthread -o host && ./host
 *
 * SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>

#include "jobrun.h"

static int host_add(lua_State *L) {
  lua_pushnumber(L, luaL_checknumber(L, 1) + luaL_checknumber(L, 2));
  return 1;
}

static void *stop_soon(void *rt) {
  usleep(200000);
  jobrun_stop(rt, 1.0); /* from any thread; what runs has one second */
  return NULL;
}

int main(void) {
  static const char script[] =
      "local host = require 'host'\n"
      "print('2 + 3 =', host.add(2, 3))\n"
      "require('jobrun').on.stop(function(why) print('stopped by a', why) end)\n"
      "every(0.05).seconds(function() print 'tick' end)\n";
  static const jobrun_reg functions[] = {{"add", host_add}, {NULL, NULL}};
  jobrun *rt;
  pthread_t stopper;
  if (jobrun_new(&rt, NULL) < 0) return 1;
  jobrun_register(rt, "host", functions);
  int status = jobrun_load_string(rt, script, strlen(script), "=script");
  if (status == 0 && pthread_create(&stopper, NULL, stop_soon, rt) == 0) {
    status = jobrun_run(rt);
    pthread_join(stopper, NULL);
  }
  if (status < 0) fprintf(stderr, "%s: %s\n", jobrun_err_name(status), jobrun_last_error(rt));
  jobrun_free(rt);
  return status < 0;
}
