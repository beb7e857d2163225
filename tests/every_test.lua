-- jobrun: --clock=virtual
-- The words that declare jobs, used right and used wrong.
local lu = require "luaunit"
local jobrun = require "jobrun"
local every, after, jobs, sleep = jobrun.every, jobrun.after, jobrun.jobs, jobrun.sleep
local helper = dofile "tests/jobs_helper.lua"
local recorder, assert_times = helper.recorder, helper.assert_times
local usage_of, refuses = helper.usage_of, helper.refuses

local function line_here(offset)
  return debug.getinfo(2, "l").currentline + (offset or 0)
end

local function nothing() end

-- ---- the words, used right --------------------------------------------------------------------

function test_words_work_with_points_and_colons()
  local times, note = recorder()
  every(1):second(note)
  every(1):second():named("colon"):tag("a", "b"):times(1):run(note)
  every(1).second.named("point").tag("a").times(1).run(note)
  lu.assertEquals(#jobs.list "a", 2)
  lu.assertEquals(jobs.list("b")[1].name, "colon")
  sleep(2.5)
  assert_times(times, { 1, 1, 1, 2 })
end

function test_a_builder_shows_what_was_said()
  local builder = every(2).seconds
  lu.assertEquals(tostring(builder), "every(2).seconds")
  builder(nothing)
end

function test_default_names_tell_the_interval_and_the_line()
  local line = line_here(1)
  local job = every(1).second(nothing)
  lu.assertEquals(job.name, "every 1 second every_test.lua:" .. line)
  line = line_here(1)
  job = every "1h30m"(nothing)
  lu.assertEquals(job.name, "every 1h30m every_test.lua:" .. line)
  line = line_here(1)
  job = after("90s", nothing)
  lu.assertEquals(job.name, "after 1m30s every_test.lua:" .. line)
end

function test_default_names_that_repeat_are_numbered()
  local names = {}
  local line = line_here(1)
  for i = 1, 3 do names[i] = every(0.5).seconds(nothing).name end
  local base = "every 0.5 seconds every_test.lua:" .. line
  lu.assertEquals(names, { base, base .. " #2", base .. " #3" })
end

function test_a_name_is_free_again_when_its_job_has_ended()
  local job = every(1).second.named("backup")(nothing)
  refuses(function() every(1).second.named("backup")(nothing) end,
    'every(1).second.named: there is a job named "backup" already')
  job:cancel()
  lu.assertEquals(every(1).second.named("backup")(nothing).name, "backup")
end

function test_times_ends_the_job_with_its_nth_run()
  local times, note = recorder()
  local job = every(1).second.times(2)(note)
  sleep(5)
  assert_times(times, { 1, 2 })
  lu.assertEquals({ job.runs, job.state, job.next_run }, { 2, "done", nil })
  lu.assertEquals(jobs.list(), {})
end

function test_to_takes_durations_too()
  local times, note = recorder()
  every("1m").to("90s")(note)
  sleep(200)
  lu.assertTrue(#times == 2 or #times == 3)
  lu.assertTrue(times[1] >= 60 and times[1] <= 90)
end

function test_after_runs_once()
  local times, note = recorder()
  local job = after("2s", note)
  after(0, note)
  after(1.5).named("late").tag("x")(note)
  lu.assertEquals(jobs.list("x")[1].name, "late")
  sleep(10)
  assert_times(times, { 0, 1.5, 2 })
  lu.assertEquals(job.state, "done")
end

function test_after_passes_arguments()
  local got
  after(1, function(a, b, run) got = { a, b, run.attempt } end, "x", "y")
  sleep(2)
  lu.assertEquals(got, { "x", "y", 1 })
end

-- ---- the words, used wrong --------------------------------------------------------------------

function test_an_interval_must_be_a_positive_number()
  refuses(function() every(0).seconds(nothing) end, "every(0): expected more than 0")
  refuses(function() every(-1).seconds(nothing) end, "every(-1): expected more than 0")
  lu.assertStrContains(usage_of(function() every(0 / 0).seconds(nothing) end), "nan): expected more than 0")
  local message = usage_of(function() every {} end)
  lu.assertStrContains(message, '): expected a number or a duration such as "1h30m"')
  refuses(function() every(math.huge).seconds(nothing) end,
    "every(inf).seconds: expected less than 292 years")
  refuses(function() every(1e-12).seconds(nothing) end,
    "every(1e-12).seconds: an interval is at least 1us, got 0s")
end

function test_the_error_blames_the_line_of_the_script()
  local line = line_here(1)
  local _, where = usage_of(function() every(0) end)
  lu.assertStrContains(where, "every_test.lua:" .. line)
end

function test_a_wrong_duration_tells_where_it_is_wrong()
  refuses(function() every "1h30x" end,
    'every("1h30x"): column 5: expected a unit (w, d, h, m, s, ms, us, ns)')
  refuses(function() every "" end, 'every(""): column 1: expected a number, as in "1h30m"')
  refuses(function() every "0s" end, 'every("0s"): an interval is at least 1us, got 0s')
  refuses(function() after "soon" end, 'after("soon"): column 1: expected a digit')
  refuses(function() after(-1) end, "after(-1): expected a number that is not negative")
  refuses(function() after() end, 'after(false): expected a number or a duration such as "1h30m"')
end

function test_the_singular_is_for_one()
  refuses(function() every(2).second(nothing) end, "every(2).second: Use seconds instead of second")
  refuses(function() every(0.5).hour(nothing) end, "every(0.5).hour: Use hours instead of hour")
  refuses(function() every(3).week(nothing) end, "every(3).week: Use weeks instead of week")
end

function test_a_second_unit_is_an_error()
  refuses(function() every(1).second.minute(nothing) end, 'every(1).second: a second unit, "minute"')
  refuses(function() every("90s").seconds(nothing) end,
    'every("90s") has its time already: no unit "seconds" behind it')
  refuses(function() after(1).seconds(nothing) end,
    'after(1) has its time already: no unit "seconds" behind it')
end

function test_an_unknown_word_names_the_nearest()
  refuses(function() every(1).secnd(nothing) end,
    "every(1): unknown word \"secnd\", did you mean 'second'?")
  refuses(function() every(1).second.nmaed("x") end,
    "every(1).second: unknown word \"nmaed\", did you mean 'named'?")
  refuses(function() every(1).xyzzy(nothing) end, 'every(1): unknown word "xyzzy"')
  refuses(function() every(1).second.tag = 1 end, 'every(1).second: words cannot be set ("tag")')
end

function test_a_builder_wants_a_unit_and_a_function()
  refuses(function() every(2)(nothing) end,
    "every(2) has no unit: write every(2).seconds, .minutes, .hours, .days or .weeks")
  refuses(function() every(1).second() end, "every(1).second: expected a function, got nil")
  refuses(function() every(1).second("x") end, 'every(1).second: expected a function, got "x"')
  refuses(function() after("5m", 3) end, 'after("5m"): expected a function, got 3')
end

function test_a_function_twice_is_an_error()
  local builder = every(1).second
  builder(nothing)
  refuses(function() builder(nothing) end, "every(1).second was given a function twice")
  refuses(function() builder.tag("x") end, "every(1).second has its function already: .tag comes too late")
end

function test_modifiers_check_what_they_get()
  local b = every(5).seconds
  refuses(function() b.now(1) end, "every(5).seconds.now: no argument expected, got 1")
  refuses(function() b.named("") end, 'every(5).seconds.named: expected a name, got ""')
  refuses(function() b.tag() end, "every(5).seconds.tag: expected a tag")
  refuses(function() b.tag("a", 1) end, "every(5).seconds.tag: expected strings, got 1")
  refuses(function() b.times(0) end, "every(5).seconds.times: expected a whole number from 1, got 0")
  refuses(function() b.times(1.5) end, "every(5).seconds.times: expected a whole number from 1, got 1.5")
  refuses(function() b.times "2" end, 'every(5).seconds.times: expected a whole number from 1, got "2"')
  refuses(function() b.overlap("skp") end, 'every(5).seconds.overlap: expected "skip", "queue", "cancel" '
    .. 'or "allow", got "skp", did you mean \'skip\'?')
  refuses(function() b.overlap("queue", 2) end,
    'every(5).seconds.overlap: only "allow" takes a number, from 1; got 2')
  refuses(function() b.overlap("allow", 0) end,
    'every(5).seconds.overlap: only "allow" takes a number, from 1; got 0')
  refuses(function() b.timeout(0) end, "every(5).seconds.timeout: expected more than 0, got 0")
  refuses(function() b.timeout("5x") end,
    'every(5).seconds.timeout: column 2: expected a unit (w, d, h, m, s, ms, us, ns), got "5x"')
  refuses(function() b.jitter(1, { stabel = true }) end,
    "jitter: unknown option \"stabel\", did you mean 'stable'?")
  b(nothing)
end

function test_modifiers_that_do_not_go_together()
  refuses(function() every(1).second.named("a").named("b") end, "every(1).second: .named is there twice")
  refuses(function() every(1).second.now().now() end, "every(1).second: .now is there twice")
  refuses(function() every(5).seconds.to(4)(nothing) end, "every(5).seconds.to: expected at least 5, got 4")
  refuses(function() every(5).seconds.jitter(5)(nothing) end,
    "every(5).seconds.jitter: expected less than the interval, got 5s")
  refuses(function() every(5).seconds.jitter(1, { stable = true })(nothing) end,
    "every(5).seconds.jitter: stable = true needs .named")
  refuses(function() after(1).times(2) end, "after(1) runs once: .times is only for every")
  refuses(function() return every(1).second.now.named end, "every(1).second.now is a method: write .now(…)")
end

function test_a_nil_count_is_no_missing_count()
  lu.assertStrContains(usage_of(function() every(nil).seconds(nothing) end), "every(nil): expected a number")
end

helper.prepare_tests()
