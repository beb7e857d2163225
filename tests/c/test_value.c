/* Values between two Lua states: round trips, refusals, limits, and bytes that are no message.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <lauxlib.h>
#include <lualib.h>
#include <uv.h>

#include "pack.h"
#include "status.h"
#include "unpack.h"

typedef struct side {
  jr_mem mem;
  lua_State *L;
  jr_values values;
} side;

typedef struct pair {
  side from, to;
  jr_mem mem;
  jr_buf message;
} pair;

static void open_side(side *s, bool code) {
  jr_mem_init(&s->mem, NULL, NULL, 0);
  s->L = lua_newstate(jr_mem_lua_alloc, &s->mem);
  assert_non_null(s->L);
  luaL_openlibs(s->L);
  jr_values_init(&s->values, &s->mem, code);
  luaL_newmetatable(s->L, "jobrun.error");
  jr_values_open(&s->values, s->L);
}

static void close_side(side *s) {
  lua_close(s->L);
  jr_values_fini(&s->values);
  assert_int_equal(s->mem.used, 0);
}

static int open_pair(void **state) {
  pair *p = calloc(1, sizeof *p);
  if (!p) return -1;
  open_side(&p->from, true);
  open_side(&p->to, true);
  jr_mem_init(&p->mem, NULL, NULL, 0);
  jr_buf_init(&p->message, &p->mem);
  *state = p;
  return 0;
}

static int close_pair(void **state) {
  pair *p = *state;
  close_side(&p->from);
  close_side(&p->to);
  jr_buf_fini(&p->message);
  assert_int_equal(p->mem.used, 0);
  free(p);
  return 0;
}

/* Runs `code` on top of the values already there, as its arguments. */
static void run(lua_State *L, const char *code, int args) {
  if (luaL_loadbufferx(L, code, strlen(code), "@script.lua", "t") != LUA_OK)
    fail_msg("%s", lua_tostring(L, -1));
  lua_insert(L, -(args + 1));
  if (lua_pcall(L, args, LUA_MULTRET, 0) != LUA_OK)
    fail_msg("%s\nin: %s", lua_tostring(L, -1), code);
}

static int pack(pair *p, const char *make, jr_values_role role) {
  lua_State *L = p->from.L;
  lua_settop(L, 0);
  run(L, make, 0);
  int top = lua_gettop(L);
  p->message.len = 0;
  int status = jr_values_pack(&p->from.values, L, 1, top, role, &p->message);
  assert_int_equal(lua_gettop(L), top);
  return status;
}

/* What `make` returns in one state is given to `check` in the other. */
static void travel_as(pair *p, jr_values_role role, const char *make, const char *check) {
  lua_State *L = p->to.L;
  int status = pack(p, make, role);
  if (status < 0) fail_msg("%s: %s", jr_status_name(status), p->from.values.error);
  lua_settop(L, 0);
  int n = jr_values_unpack(&p->to.values, L, p->message.data, p->message.len);
  assert_int_equal(n, lua_gettop(p->from.L));
  assert_int_equal(n, lua_gettop(L));
  run(L, check, n);
}

static void travel(pair *p, const char *make, const char *check) {
  travel_as(p, JR_VALUES_RESULTS, make, check);
}

static void refused(pair *p, const char *make, jr_values_role role, const char *text) {
  assert_int_equal(pack(p, make, role), JR_EUSAGE);
  assert_string_equal(p->from.values.error, text);
}

/* ---- data ---------------------------------------------------------------------------------- */

static void scalars_arrive_exactly(void **state) {
  travel(
      *state,
      "return nil, true, false, 0, -1, (1 << 53) + 1, math.mininteger, 0.1, 2^53, 0/0, -0.0, 1/0, nil",
      "local a, b, c, d, e, f, g, h, i, j, k, l = ...\n"
      "assert(select('#', ...) == 13)\n"
      "assert(a == nil and b == true and c == false and d == 0 and e == -1)\n"
      "assert(f == 9007199254740993 and math.type(f) == 'integer' and g == math.mininteger)\n"
      "assert(h == 0.1 and i == 2^53 and math.type(i) == 'float' and j ~= j and 1/k == -1/0 and l == 1/0)");
}

static void strings_arrive_exactly(void **state) {
  travel(*state, "return '', 'a\\0b', ('x'):rep(255), ('x'):rep(256), ('\\xff\\0'):rep(70000)",
         "local a, b, c, d, e = ...\n"
         "assert(a == '' and b == 'a\\0b' and c == ('x'):rep(255) and d == ('x'):rep(256))\n"
         "assert(e == ('\\xff\\0'):rep(70000))");
}

static void no_values_at_all(void **state) {
  travel(*state, "return", "assert(select('#', ...) == 0)");
}

static void tables_arrive_with_all_their_fields(void **state) {
  travel(
      *state,
      "return {}, {1, 2, 3}, {1, nil, 3, n = 3}, {x = {y = {z = 'deep'}}}, {[1.5] = 1, [true] = 2, [-1] = 3, [{}] = 4}",
      "local a, b, c, d, e = ...\n"
      "assert(next(a) == nil and #b == 3 and b[3] == 3 and c[1] == 1 and c[2] == nil and c[3] == 3 and c.n == 3)\n"
      "assert(d.x.y.z == 'deep' and e[1.5] == 1 and e[true] == 2 and e[-1] == 3)\n"
      "local n = 0 for k in pairs(e) do n = n + 1 if type(k) == 'table' then assert(e[k] == 4) end end assert(n == 4)");
}

static void long_arrays_and_records(void **state) {
  travel(*state,
         "local t, r = {}, {} for i = 1, 5000 do t[i] = i; r['k' .. i] = {i} end return t, r",
         "local t, r = ... assert(#t == 5000 and t[5000] == 5000)\n"
         "for i = 1, 5000 do assert(r['k' .. i][1] == i) end");
}

static void cycles_and_shared_tables_stay(void **state) {
  travel(
      *state,
      "local t = {} t.self = t local s = {} t.a, t.b = s, s s.up = t\n"
      "local k = {} t[k] = k return t, s, {s}",
      "local t, s, l = ... assert(t.self == t and t.a == s and t.b == s and s.up == t and l[1] == s)\n"
      "local found for k, v in pairs(t) do if type(k) == 'table' then assert(v == k) found = true end end assert(found)");
}

static void many_shared_tables(void **state) {
  travel(
      *state,
      "local s, t = {}, {} for i = 1, 1000 do s[i] = {} end for i = 1, 1000 do t[i] = s[i] end return s, t",
      "local s, t = ... for i = 1, 1000 do assert(s[i] == t[i] and s[i] ~= s[i + 1]) end");
}

static void error_objects_keep_their_metatable(void **state) {
  pair *p = *state;
  luaL_getmetatable(p->from.L, "jobrun.error");
  lua_setglobal(p->from.L, "meta");
  luaL_getmetatable(p->to.L, "jobrun.error");
  lua_setglobal(p->to.L, "meta");
  travel(p, "return {setmetatable({kind = 'x', cause = setmetatable({kind = 'y'}, meta)}, meta)}",
         "local e = (...)[1] assert(getmetatable(e) == meta and e.kind == 'x')\n"
         "assert(getmetatable(e.cause) == meta and e.cause.kind == 'y')");
}

/* ---- functions ----------------------------------------------------------------------------- */

static void functions_bring_their_upvalues(void **state) {
  travel(
      *state,
      "local n, t = 41, {x = 1} local function helper(x) return x + n end\n"
      "return function() n = n + 1 t.x = t.x + 1 return helper(0), t.x end",
      "local f = ... local a, x = f() assert(a == 42 and x == 2) a, x = f() assert(a == 43 and x == 3)");
}

static void shared_upvalues_stay_shared(void **state) {
  travel(*state, "local n = 0 return function() n = n + 1 end, function() return n end",
         "local inc, get = ... inc() inc() assert(get() == 2)");
}

static void functions_may_call_themselves(void **state) {
  travel(*state,
         "local function fact(n) return n < 2 and 1 or n * fact(n - 1) end\n"
         "local odd local function even(n) if n == 0 then return true end return odd(n - 1) end\n"
         "function odd(n) if n == 0 then return false end return even(n - 1) end\n"
         "return fact, even",
         "local fact, even = ... assert(fact(10) == 3628800 and even(10) and not even(7))");
}

static void globals_are_the_receivers(void **state) {
  pair *p = *state;
  lua_pushinteger(p->to.L, 7);
  lua_setglobal(p->to.L, "here");
  travel(p, "here = 1 return function() return here, string.rep('x', 2) end",
         "local f = ... local a, b = f() assert(a == 7 and b == 'xx')");
}

static void an_upvalue_before_env_is_not_taken_for_it(void **state) {
  travel(*state, "local up = 5 return function() return up, type end",
         "local f = ... local a, b = f() assert(a == 5 and b == type)");
}

static void line_numbers_and_names_stay(void **state) {
  travel(*state, "\n\nreturn function()\n error('here') end",
         "local f = ... local ok, e = pcall(f) assert(e == 'script.lua:4: here', e)\n"
         "assert(debug.getinfo(f, 'S').linedefined == 3)");
}

static void modules_and_their_functions_go_by_name(void **state) {
  travel(*state,
         "package.loaded.mine = {version = 1} local c = coroutine.wrap(function() end)\n"
         "package.loaded.native = {go = c}\n"
         "return string, string.format, _G, {package.loaded.mine}, c, print",
         "local s, f, g, m, c, p = ... assert(s == string and f == string.format and g == _G)\n"
         "assert(m[1].version == 2 and c == 'native go here' and p == print)");
}

/* What package.loaded has is read once; entries that come later count all the same. */
static void modules_of_later_go_by_name_too(void **state) {
  pair *p = *state;
  travel(p, "return {}, string", "assert(select(2, ...) == string)");
  travel(p, "later = {} package.loaded.mine = later return later", "assert((...).version == 2)");
  travel(p, "package.loaded.mine = nil later = {} package.loaded.mine = later return {later}",
         "assert((...)[1].version == 2)");
  travel(p, "later = setmetatable({}, {}) package.loaded.mine = later return later",
         "assert((...).version == 2)");
  travel(
      p,
      "setmetatable(package.loaded, nil) package.loaded.native = {} return package.loaded.native",
      "assert((...).go == 'native go here')");
}

static void other_light_c_functions_go_by_pointer(void **state) {
  travel(*state, "local f = string.byte string.byte = nil return f",
         "assert((...) == string.byte)");
}

/* The function of a call is reused: it must behave as one that just arrived. */
static void called_functions_start_afresh(void **state) {
  pair *p = *state;
  const char *make = "local n = 0 return function() n = n + 1 saved = saved or function() return n "
                     "end return n end";
  for (int i = 0; i < 3; i++)
    travel_as(p, JR_VALUES_CALL, make,
              "local f = ... assert(f() == 1 and f() == 2) assert(saved() == 2)");
  for (int i = 0; i < 3; i++)
    travel_as(p, JR_VALUES_CALL, "return function() local m = math _ENV = {x = 1} return m, x end",
              "local m, x = (...)() assert(m == math and x == 1)");
}

static void other_functions_are_never_the_same(void **state) {
  pair *p = *state;
  const char *make = "n = (n or 0) + 1 local n = n return function() return n end";
  travel(p, make, "first = ... assert(first() == 1)");
  travel(p, make, "local second = ... assert(second() == 2 and first() == 1)");
  const char *make_helper = "n = n + 1 local n = n local function helper() return n end\n"
                            "return function() return helper end";
  travel_as(p, JR_VALUES_CALL, make_helper, "first = (...)() assert(first() == 3)");
  travel_as(p, JR_VALUES_CALL, make_helper,
            "second = (...)() assert(second() == 4 and first() == 3)");
}

static void many_functions_overflow_the_caches(void **state) {
  for (int round = 0; round < 2; round++)
    travel(
        *state,
        "fs = fs or {} if #fs == 0 then for i = 1, 300 do fs[i] = load('return function() return ' .. i .. ' end')() end "
        "end return table.unpack(fs)",
        "local fs = {...} for i = 1, 300 do assert(fs[i]() == i) end");
}

/* ---- refusals ------------------------------------------------------------------------------ */

static void refusals_tell_the_path(void **state) {
  pair *p = *state;
  refused(p, "local db = io.stdout\n\nreturn function() return db end", JR_VALUES_CALL,
          "upvalue 'db' (userdata) of function at script.lua:3 cannot travel to a worker thread");
  refused(p, "return print, 1, {x = {y = coroutine.create(print)}}", JR_VALUES_CALL,
          "argument 2, field 'x.y' (thread) cannot travel to a worker thread");
  refused(p, "return print, {{1, {z = io.stdout}}}", JR_VALUES_CALL,
          "argument 1, field '[1][2].z' (userdata) cannot travel to a worker thread");
  refused(p, "return print, setmetatable({}, {})", JR_VALUES_CALL,
          "argument 1 (table with a metatable) cannot travel to a worker thread");
  refused(p, "return print, {[io.stdout] = 1}", JR_VALUES_CALL,
          "argument 1, a key (userdata) cannot travel to a worker thread");
  refused(p, "return coroutine.wrap(print)", JR_VALUES_CALL,
          "the function (C function with upvalues) cannot travel to a worker thread");
  refused(
      p,
      "local db = {handle = io.stdout}\nlocal function query() return db end\nreturn print, function() return query end",
      JR_VALUES_CALL,
      "argument 1, upvalue 'query', upvalue 'db', field 'handle' (userdata) of function at script.lua:2 cannot "
      "travel to a worker thread");
  refused(p, "return 1, io.stdout", JR_VALUES_RESULTS,
          "result 2 (userdata) cannot travel back from a worker thread");
}

static void a_failure_always_travels(void **state) {
  pair *p = *state;
  assert_int_equal(
      pack(p, "return {file = io.stdout, co = coroutine.create(print), ok = 1}", JR_VALUES_FAILURE),
      0);
  lua_settop(p->to.L, 0);
  assert_int_equal(jr_values_unpack(&p->to.values, p->to.L, p->message.data, p->message.len), 1);
  run(p->to.L, "local e = ... assert(e.file == 'userdata' and e.co == 'thread' and e.ok == 1)", 1);
}

static const char nest[] = "local t = {} for i = 1, %d do t = {t} end return 1, t";

static void depth_has_a_limit(void **state) {
  pair *p = *state;
  char make[100];
  snprintf(make, sizeof make, nest, JR_VALUES_DEPTH - 1);
  travel(p, make,
         "local t, n = select(2, ...), 0 while t do t, n = t[1], n + 1 end assert(n == 200)");
  snprintf(make, sizeof make, nest, JR_VALUES_DEPTH);
  assert_int_equal(pack(p, make, JR_VALUES_CALL), JR_ELIMIT);
  assert_string_equal(p->from.values.error,
                      "argument 1: tables and functions nested deeper than 200 cannot travel");
  assert_int_equal(pack(p, make, JR_VALUES_FAILURE), 0);
}

static void size_has_a_limit(void **state) {
  pair *p = *state;
  assert_int_equal(pack(p, "local s = ('x'):rep(64 << 20) return s, s, s, s", JR_VALUES_RESULTS),
                   JR_ELIMIT);
  assert_string_equal(p->from.values.error, "the values of one call take more than 256 MiB");
  jr_buf_fini(&p->message);
}

/* ---- memory and bad bytes ------------------------------------------------------------------ */

static const char everything[] =
    "local n = 1 local t = {1, 2, {x = 'y'}} t.t = t\n"
    "return 1, 2.5, 'text', ('long'):rep(100), t, function() n = n + 1 return n, t end, string, print, nil, true";

static void no_memory_is_an_error(void **state) {
  pair *p = *state;
  assert_int_equal(pack(p, everything, JR_VALUES_RESULTS), 0);
  size_t needed = p->message.cap;
  for (size_t limit = 1; limit < needed; limit += 7) {
    jr_buf_fini(&p->message);
    p->mem.limit = limit;
    int status = pack(p, everything, JR_VALUES_RESULTS);
    assert_true(status == UV_ENOMEM || (status == 0 && p->message.len <= limit));
  }
  p->mem.limit = 0;
}

static int unpack_protected(lua_State *L) {
  pair *p = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_pushinteger(L, jr_values_unpack(&p->to.values, L, p->message.data, p->message.len));
  return 1;
}

static int try_unpack(pair *p) {
  lua_State *L = p->to.L;
  lua_settop(L, 0);
  lua_pushcfunction(L, unpack_protected);
  lua_pushlightuserdata(L, p);
  assert_int_equal(lua_pcall(L, 1, 1, 0), LUA_OK);
  int n = (int)lua_tointeger(L, -1);
  lua_settop(L, 0);
  return n;
}

static void every_cut_message_is_refused(void **state) {
  pair *p = *state;
  assert_int_equal(
      pack(p, "local t = {1, {x = 'y', [2.5] = true}, 'z'} t.t = t return t, 'abc', 1, nil",
           JR_VALUES_RESULTS),
      0);
  size_t whole = p->message.len;
  char *copy = malloc(whole), *bytes = p->message.data;
  assert_non_null(copy);
  memcpy(copy, bytes, whole);
  for (size_t len = 0; len < whole; len++) {
    p->message.data = malloc(len ? len : 1); /* of just that size, for the sanitizer */
    memcpy(p->message.data, copy, len);
    p->message.len = len;
    assert_int_equal(try_unpack(p), UV_EINVAL);
    free(p->message.data);
  }
  p->message.data = bytes;
  p->message.len = whole;
  assert_int_equal(try_unpack(p), 4);
  free(copy);
}

/* A plain reader takes any bytes: it says no, or makes some values of them. */
static void spoilt_messages_do_no_harm(void **state) {
  pair *p = *state;
  assert_int_equal(
      pack(p, "local t = {1, {x = 'y', [2.5] = true}, 'z'} t.t = t return t, 'abc', 1, nil",
           JR_VALUES_RESULTS),
      0);
  p->to.values.code = false;
  uint32_t random = 12345;
  for (int i = 0; i < 20000; i++) {
    random = random * 1664525 + 1013904223;
    size_t place = (random >> 8) % p->message.len;
    char was = p->message.data[place];
    p->message.data[place] = (char)(random >> 16);
    assert_true(try_unpack(p) >= UV_EINVAL);
    p->message.data[place] = was;
  }
}

static void a_plain_reader_takes_no_code(void **state) {
  pair *p = *state;
  static const char *const made[] = {"return function() end", "return print", "return string"};
  for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
    p->from.values.code = p->to.values.code = true;
    assert_int_equal(pack(p, made[i], JR_VALUES_RESULTS), 0);
    p->to.values.code = false;
    assert_int_equal(try_unpack(p), UV_EINVAL);
    p->from.values.code = false;
    if (i < 2) assert_int_equal(pack(p, made[i], JR_VALUES_RESULTS), JR_EUSAGE);
  }
}

/* The receiving state gets a "mine" of its own and knows another "native". */
static int open_named(void **state) {
  if (open_pair(state) < 0) return -1;
  pair *p = *state;
  run(p->to.L,
      "package.preload.mine = function() return {version = 2} end\n"
      "package.loaded.native = {go = 'native go here'}",
      0);
  return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_pair, close_pair)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(scalars_arrive_exactly),
      TEST(strings_arrive_exactly),
      TEST(no_values_at_all),
      TEST(tables_arrive_with_all_their_fields),
      TEST(long_arrays_and_records),
      TEST(cycles_and_shared_tables_stay),
      TEST(many_shared_tables),
      TEST(error_objects_keep_their_metatable),
      TEST(functions_bring_their_upvalues),
      TEST(shared_upvalues_stay_shared),
      TEST(functions_may_call_themselves),
      TEST(globals_are_the_receivers),
      TEST(an_upvalue_before_env_is_not_taken_for_it),
      TEST(line_numbers_and_names_stay),
      cmocka_unit_test_setup_teardown(modules_of_later_go_by_name_too, open_named, close_pair),
      cmocka_unit_test_setup_teardown(modules_and_their_functions_go_by_name, open_named,
                                      close_pair),
      TEST(other_light_c_functions_go_by_pointer),
      TEST(called_functions_start_afresh),
      TEST(other_functions_are_never_the_same),
      TEST(many_functions_overflow_the_caches),
      TEST(refusals_tell_the_path),
      TEST(a_failure_always_travels),
      TEST(depth_has_a_limit),
      TEST(size_has_a_limit),
      TEST(no_memory_is_an_error),
      TEST(every_cut_message_is_refused),
      TEST(spoilt_messages_do_no_harm),
      TEST(a_plain_reader_takes_no_code),
  };
  return cmocka_run_group_tests_name("value", tests, NULL, NULL);
}
