-- The log: one event in three forms, and the events kept in memory.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local exec, json, log = jobrun.exec, jobrun.json, jobrun.log

-- What jobrun writes to stderr.
local function stderr_of(options, code, env)
  local argv = { program, table.unpack(options) }
  argv[#argv + 1], argv[#argv + 2] = "-e", code
  argv.env, argv.check = env or { NO_COLOR = false, CLICOLOR_FORCE = false, JOURNAL_STREAM = false }, false
  local r = exec(argv)
  return r.stderr, r.exit_code
end

local FAILING = [[
  local job
  job = every(1).hour.named("two words")(function(run)
    job:cancel()
    run:log("step %d", 2)
    sh "exit 3"
  end)
  job:run_now()]]

local function objects(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = json.decode(line) end
  return list
end

-- ---- forms ------------------------------------------------------------------------------------------

function test_logfmt_is_what_a_pipe_gets()
  local text = stderr_of({}, [[log.warn('a "word" = %s', "x\ny\1") log.info "b"]])
  local first, second = text:match "^(.-)\n(.-)$"
  lu.assertStrMatches(first, [[ts=%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ level=warn msg="a \"word\" = x\ny\u0001"]])
  lu.assertStrMatches(second, [[ts=[%d:.TZ-]+ level=info msg="b"]])
end

function test_what_a_job_logs_is_about_its_run()
  local text = stderr_of({}, [[
    every(1).hour.named("nightly").now().times(1)(function()
      log.info "a"
      spawn(function() log.warn "b" end):await()
      spawn(log.info, "c"):detach():await()
    end)
    log.info "d"]])
  lu.assertStrContains(text, [[level=info msg="a" name=nightly run=1]])
  lu.assertStrContains(text, [[level=warn msg="b" name=nightly run=1]])
  for line in text:gmatch "[^\n]+" do
    if line:find 'msg="[cd]"' then lu.assertNotStrContains(line, "name=") end
  end
end

function test_a_run_has_its_fields()
  local lines = {}
  for line in stderr_of({}, FAILING):gmatch "[^\n]+" do lines[#lines + 1] = line end
  lu.assertEquals(#lines, 2)
  lu.assertStrContains(lines[1], [[level=info msg="run 1: step 2" name="two words" run=1]])
  lu.assertStrMatches(lines[2], [[ts=%S+ level=error msg="run 1 failed: .*\nstack traceback:.*" ]]
    .. [[name="two words" run=1 event=end outcome=error duration_s=%d+%.%d%d%d exit_code=3]])
end

function test_json_has_the_same_fields()
  local list = objects(stderr_of({ "--log-format=json", "--log-level=debug" }, FAILING))
  lu.assertEquals(#list, 3)
  lu.assertEquals({ list[1].event, list[1].level, list[1].run, list[1].name }, { "start", "debug", "1", "two words" })
  lu.assertEquals({ list[2].msg, list[2].level, list[2].event }, { "run 1: step 2", "info", nil })
  local e = list[3]
  lu.assertEquals({ e.level, e.event, e.outcome, e.exit_code, e.run }, { "error", "end", "error", 3, "1" })
  lu.assertEquals(math.type(e.duration_s), "float")
  lu.assertStrMatches(e.ts, "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ")
end

function test_a_good_end_and_a_skip_are_events()
  local list = objects(stderr_of({ "--log-format=json", "--log-level=debug", "--clock=virtual" },
    [[every(1).second.named("n")(function() sleep(1.5) return jobs.CANCEL end)]]))
  local found = {}
  for i, e in ipairs(list) do found[i] = ("%s %s %s"):format(e.event, e.level, e.outcome) end
  lu.assertEquals(found, { "start debug nil", "skip warn nil", "end debug ok" })
  lu.assertEquals(list[3].duration_s, 1.5)
end

function test_hostile_bytes_stay_one_valid_object()
  local path = testing.tmpdir() .. "/log"
  exec { "sh", "-c", [[
    "$0" --log-format=json -e 'log.info(("\255\"\\\n\1\r"):rep(30000)) log.info "next"' 2>"$1"]], program, path }
  local text = jobrun.fs.read(path)
  local list = objects(text)
  lu.assertEquals(#list, 2)
  lu.assertStrContains(list[1].msg, "\u{fffd}\"\\\n\1\r\u{fffd}")
  lu.assertTrue(#text < 70000)
end

function test_text_is_for_people()
  local text = stderr_of({ "--log-format=text" }, FAILING)
  lu.assertStrMatches(text, '%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%.%d%d%d info  job "two words": run 1: step 2\n.*')
  lu.assertStrContains(text, 'error job "two words": run 1 failed: ')
  lu.assertStrContains(text, "\nstack traceback:\n")
end

-- ---- colours, levels, the journal -------------------------------------------------------------------

function test_colours()
  local plain = { NO_COLOR = false, CLICOLOR_FORCE = false, TERM = "xterm" }
  local function is_colored(options, env)
    for key, value in pairs(plain) do
      if env[key] == nil then env[key] = value end
    end
    return stderr_of({ "--log-format=text", table.unpack(options) }, "log.warn 'x'", env):find "\27%[33mwarn \27%[0m x" ~= nil
  end
  lu.assertFalse(is_colored({}, {}))
  lu.assertTrue(is_colored({}, { CLICOLOR_FORCE = "1" }))
  lu.assertFalse(is_colored({}, { CLICOLOR_FORCE = "0" }))
  lu.assertFalse(is_colored({}, { CLICOLOR_FORCE = "1", NO_COLOR = "1" }))
  lu.assertTrue(is_colored({ "--color=always" }, { NO_COLOR = "1" }))
  lu.assertFalse(is_colored({ "--color=never" }, { CLICOLOR_FORCE = "1" }))
end

-- stderr is a terminal, made by script(1).
local function on_terminal(env)
  return exec { "script", "-qec", ("%s -e 'log.warn \"x\"'"):format(program), "/dev/null", env = env }.stdout
end

function test_a_terminal_gets_coloured_text()
  local env = { NO_COLOR = false, CLICOLOR_FORCE = false, TERM = "xterm" }
  lu.assertStrContains(on_terminal(env), "\27[33mwarn \27[0m x")
  env.TERM = "dumb"
  local text = on_terminal(env)
  lu.assertStrContains(text, " warn  x")
  lu.assertNil(text:find "\27")
end

function test_quiet_and_levels()
  local code = "log.debug 'd' log.info 'i' log.warn 'w' log.error 'e'"
  local function shown(...)
    local text = ""
    for msg in stderr_of({ ... }, code):gmatch 'msg="(.-)"' do text = text .. msg end
    return text
  end
  lu.assertEquals(shown(), "iwe")
  lu.assertEquals(shown "--log-level=debug", "diwe")
  lu.assertEquals(shown "--quiet", "e")
  lu.assertEquals(shown "--log-level=off", "")
end

function test_lines_of_the_journal_have_a_priority()
  local function journal(options, which)
    return exec { "sh", "-c", ([[JOURNAL_STREAM=$(stat -Lc %%d:%%i /proc/self/fd/%d) exec "$0" %s -e '
      log.debug "d" log.info "i" log.warn "w\nv" log.error "e"']]):format(which, options), program }.stderr
  end
  local text = journal("--log-format=text --log-level=debug", 2):gsub("[%d-]+ [%d:.]+ ", "")
  lu.assertEquals(text, "<7>debug d\n<6>info  i\n<4>warn  w\n<4>v\n<3>error e")
  lu.assertStrMatches(journal("", 2), "<6>ts=%S+ level=info .*")
  lu.assertStrMatches(journal("", 1), "ts=%S+ level=info .*") -- it names another stream
end

function test_with_a_structured_form_each_line_has_it()
  local list = objects(stderr_of({ "--log-format=json" }, "sleep(0) error 'boom'"))
  lu.assertEquals({ #list, list[1].level }, { 1, "error" })
  lu.assertStrContains(list[1].msg, "(command line):1: boom\nstack traceback:")
  list = objects(stderr_of({ "--log-format=json" }, "every(0).seconds(print)"))
  lu.assertStrContains(list[1].msg, "(command line):1: every")
  list = objects(stderr_of({ "--log-format=json", "--grace=0" }, "os.execute 'kill $PPID' sleep(60)"))
  for _, e in ipairs(list) do lu.assertNotNil(e.ts) end
end

function test_wrong_words_are_refused()
  for option, text in pairs {
    ["--log-format=xml"] = "--log-format: expected auto, text, logfmt or json, got 'xml'",
    ["--color=red"] = "--color: expected auto, always or never, got 'red'",
    ["--quiet=1"] = "--quiet takes no value, got '1'",
  } do
    local err, status = stderr_of({ option }, "")
    lu.assertEquals(status, 2)
    lu.assertStrContains(err, text)
  end
end

-- ---- kept in memory ---------------------------------------------------------------------------------

function test_recent_events()
  log.recent(0)
  log.warn("one %d", 1)
  log.info "two"
  local list = log.recent(2)
  lu.assertEquals({ list[1].msg, list[1].level, list[2].msg, list[2].level }, { "one 1", "warn", "two", "info" })
  lu.assertEquals(list[2].seq, list[1].seq + 1)
  lu.assertAlmostEquals(list[2].ts, jobrun.now(), 60)
  log.debug "below the level"
  lu.assertEquals(log.recent(1)[1].msg, "two")
end

function test_following_hears_of_all_threads()
  local heard = {}
  local task = jobrun.spawn(function()
    for e in log.follow() do
      heard[#heard + 1] = e.msg
      if e.msg == "last" then return end
    end
  end)
  jobrun.sleep(0)
  log.info "here"
  jobrun.blocking(function() require("jobrun").log.info "there" end)
  log.info "last"
  task:await(20)
  lu.assertEquals(heard, { "here", "there", "last" })
end

function test_a_follower_that_is_cancelled_leaves()
  local task = jobrun.spawn(function()
    for _ in log.follow() do end
  end)
  jobrun.sleep(0)
  task:cancel()
  log.info "nobody hears it"
  lu.assertFalse(pcall(task.await, task))
end

function test_the_oldest_go_first()
  log.recent(0)
  local before = require("jobrun.core.log").last()
  for i = 1, 1500 do log.error("%d", i) end
  local list = log.recent(2000)
  lu.assertEquals(#list, 1024)
  lu.assertEquals({ list[1].msg, list[1].seq, list[1024].msg }, { "477", before + 477, "1500" })
  for i = 1, 200 do log.error("%d%s", i, ("x"):rep(10000)) end
  list = log.recent(2000)
  lu.assertTrue(#list > 50 and #list < 70, #list) -- half a megabyte of 8 KiB each
  lu.assertEquals(#list[1].msg, 8192)
  lu.assertEquals(list[#list].msg:match "^%d+", "200")
  for i = 2, #list do lu.assertEquals(list[i].seq, list[i - 1].seq + 1) end
  lu.assertEquals(log.follow(before)().seq, list[1].seq) -- who was too slow sees it by the numbers
end

function test_events_of_runs_have_their_fields()
  log.recent(0)
  local ended = false
  jobrun.jobs.on("end", function() ended = true end)
  jobrun.every(0.001).seconds.times(1).named("failing")(function() error "no" end)
  testing.wait_for(function() return ended end)
  local e = log.recent(1)[1]
  lu.assertEquals({ e.name, e.event, e.outcome, e.level }, { "failing", "end", "error", "error" })
  lu.assertEquals(math.type(e.run), "integer")
  lu.assertTrue(e.duration_s >= 0)
end

function test_the_log_is_not_read_in_a_blocking_call()
  local ok, e = pcall(jobrun.blocking, function() return require("jobrun").log.recent() end)
  lu.assertFalse(ok)
  lu.assertNotNil(tostring(e):find "core.log" or tostring(e):find "core.sync")
end
