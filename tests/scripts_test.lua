-- Each script of scripts/ does what its first comment says; the examples of the README run.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local program = require("jobrun.test").program
local exec, fs = jobrun.exec, jobrun.fs

-- Runs a script; its stdout's lines, the result.
local function run(script, ...)
  local argv = { program, ... }
  argv[#argv + 1] = script
  argv.check = false
  local r = exec(argv)
  local lines = {}
  for line in r.stdout:gmatch("[^\n]+") do lines[#lines + 1] = line end
  lu.assertEquals(r.exit_code, 0, r.stdout .. r.stderr)
  return lines, r
end

local VIRTUAL = {
  sync_to_async_wait = { "before", "work begins", "work ends", "result\t42", "after" },
  sync_to_async_background = {
    "before", "not waiting", "background\tbegins", "still not waiting", "background\tends",
    "background's result", "after",
  },
  async_to_sync_wait = { "before", "sum\t500500", "after" },
  async_to_sync_background = { "before", "not waiting", "read a file", "after" },
  async_to_async = {
    "first\tbegins", "first\tends", "second\tbegins", "background\tbegins", "second\tends",
    "waiting for the background step", "background\tends", "done",
  },
  periodic_stop = { "run\t1", "run\t2", "run\t3", "stopping, done: every job runs once more", "run\t4" },
  loop_errors = {
    "run: this event loop is already running: call the function itself to wait for it, or spawn(fn) to go on "
      .. "meanwhile",
    "the way out:\tworked",
    "spawn: this event loop is closed, the script has ended: start tasks before, or in an on.stop hook",
  },
}

local helper = dofile "tests/ffmpeg_helper.lua"

function test_the_recipes_print_in_this_order()
  for name, expected in pairs(VIRTUAL) do
    local lines, r = run("scripts/" .. name .. ".lua", "--clock=virtual")
    lu.assertEquals(lines, expected, name)
    lu.assertEquals(r.stderr, "", name)
  end
end

function test_nine_blocking_calls_run_three_at_a_time()
  local lines, r = run "scripts/nine_blocking_calls.lua"
  for i = 1, 9 do lu.assertEquals(lines[i], ("%d\t%d"):format(i, i * i)) end
  lu.assertStrMatches(lines[10], "%d%.%d s")
  lu.assertTrue(r.elapsed >= 0.9)
end

function test_ffmpeg_report_has_come_when_the_call_returns()
  local lines = run "scripts/ffmpeg_report.lua"
  lu.assertStrContains(lines[1], "Stream #0:0")
  local n, status = lines[#lines]:match "^(%d+) lines had come when the call returned, exit status (%d+)$"
  lu.assertTrue(tonumber(n) > 30)
  lu.assertEquals(status, "0")
end

function test_the_main_job()
  local lines, r = run "scripts/hello.lua"
  local ticks, encoded = 0, false
  for _, line in ipairs(lines) do
    if line:find "^tick " then ticks = ticks + 1 end
    if line:find "^encoded %d+ bytes" then encoded = true end
  end
  lu.assertEquals(ticks, 9)
  lu.assertTrue(encoded)
  lu.assertTrue(r.elapsed >= 9)
end

function test_the_example_host()
  local r = exec { (os.getenv "JOBRUN_BUILD" or "build") .. "/tests/host" }
  lu.assertStrContains(r.stdout, "2 + 3 =\t5.0\ntick\n")
  lu.assertStrContains(r.stdout, "stopped by a\tsignal\n")
end

function test_the_example_of_a_host_with_an_epoll_loop()
  local r = exec { (os.getenv "JOBRUN_BUILD" or "build") .. "/tests/epoll_host" }
  lu.assertEquals(r.stdout, "beat\t1\nbeat\t2\nbeat\t3\ntick\ntick\n")
end

-- The first is the script it begins with, the second serves, the third and the fourth are a queue's two ends.
function test_the_examples_of_the_readme_run()
  local dir, examples = testing.tmpdir(), {}
  for code in fs.read("README.md"):gmatch "```lua\n(.-)```" do examples[#examples + 1] = code end
  lu.assertEquals(#examples, 4)
  fs.write(dir .. "/example.lua", examples[1])
  local r = exec { program, "example.lua", cwd = dir, check = false }
  lu.assertEquals(r.exit_code, 0, r.stderr)
  lu.assertStrContains(r.stdout, "encoded\tclip.mp4")
  lu.assertStrContains(r.stdout, "tick\t3")
  local served = examples[2]:gsub('http.listen "127.0.0.1:8080"', [[
    local c = http.client_for_test()
    print(c:get("/films/7").body, c:post("/films", { json = { name = "x" } }).body, c:get("/docs").status)
  ]])
  r = exec { program, "-e", served, check = false }
  lu.assertEquals(r.stdout, '{"id":7}\t{"name":"x","qty":1}\t200\n', r.stderr)
  fs.copy(helper.clip "clip.mp4", dir .. "/a.mov")
  local worker = exec.start { program, "--grace=0", "-e", examples[3], cwd = dir, check = false }
  testing.wait_for(function() return fs.exists(dir .. "/state.db.d/socket") end)
  r = exec { program, "-e", examples[4], cwd = dir, check = false }
  lu.assertEquals(r.stdout, "a.mov.mkv\n", r.stderr)
  lu.assertTrue(jobrun.probe(dir .. "/a.mov.mkv").duration > 0)
  r = exec { program, "push", "encode", '{"src": "a.mov"}', "--store", "sqlite:state.db", cwd = dir, check = false }
  lu.assertEquals(r.exit_code, 0, r.stderr)
  worker:stop()
  worker:wait()
end

-- ---- ffmpeg at work -------------------------------------------------------------------------------

local function run_with(script, ...)
  local argv = { program, "scripts/" .. script, ... }
  argv.check = false
  return exec(argv)
end

function test_a_folder_is_transcoded_two_at_a_time()
  local dir = testing.tmpdir()
  local from, to = dir .. "/in", dir .. "/out"
  fs.mkdir(from)
  for _, name in ipairs { "a.mp4", "b.mp4", "c.mp4" } do fs.copy(helper.clip "clip.mp4", from .. "/" .. name) end
  local r = run_with("transcode_folder.lua", from, to)
  lu.assertEquals(r.exit_code, 0, r.stderr)
  lu.assertStrContains(r.stdout, "3 films, 0 failed")
  lu.assertEquals(helper.entries(to), "a.mkv b.mkv c.mkv")
  helper.write(from .. "/d.mp4", "garbage")
  r = run_with("transcode_folder.lua", from, to)
  lu.assertEquals(r.exit_code, 1)
  lu.assertStrContains(r.stdout, "a.mp4\twas done already")
  lu.assertStrContains(r.stdout, "d.mp4\tfailed")
  lu.assertStrContains(r.stdout, "4 films, 1 failed")
  lu.assertEquals(helper.entries(to), "a.mkv b.mkv c.mkv")
end

-- The clock stands still while ffmpeg runs, and else jumps from night to night.
function test_a_nightly_job_in_a_zone()
  local dir = testing.tmpdir()
  local nights = {}
  local h = exec.start { program, "--clock=virtual=2025-03-29T12:00:00Z", "--log-format=text", "scripts/nightly.lua",
    helper.clip "clip.mp4", dir .. "/out.mp4", env = { TZ = "UTC" }, on_stderr = function(line)
      nights[#nights + 1] = line:match ': run %d+: .*/out.mp4: %d+ bytes, due at (%S+)$'
    end }
  testing.wait_for(function() return nights[3] end)
  h:stop()
  lu.assertEquals({ nights[1], nights[2], nights[3] },
    { "2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z", "2025-04-01T00:30:00Z" })
  lu.assertTrue(jobrun.probe(dir .. "/out.mp4").duration > 0)
end

function test_a_folder_is_watched()
  local dir = testing.tmpdir()
  local from, to, said = dir .. "/in", dir .. "/out", {}
  fs.mkdir(from)
  fs.copy(helper.clip "clip.mp4", from .. "/before.mp4")
  local h = exec.start { program, "scripts/watch_folder.lua", from, to, on_line = function(line) said[line] = true end }
  testing.wait_for(function() return said["watching"] end, 20)
  fs.copy(helper.clip "clip.ts", from .. "/later.ts")
  helper.write(from .. "/bad.mp4", "garbage")
  testing.wait_for(function()
    return fs.exists(from .. "/done/before.mp4") and fs.exists(from .. "/done/later.ts")
      and fs.exists(from .. "/failed/bad.mp4")
  end, 30)
  lu.assertEquals(helper.entries(to), "before.mkv later.mkv")
  h:signal "SIGTERM"
  lu.assertEquals(h:wait().exit_code, 0)
end

function test_an_encode_queue_that_is_killed_loses_and_doubles_no_file()
  local dir = testing.tmpdir()
  local from, to, encoded = dir .. "/in", dir .. "/out", {}
  fs.mkdir(from)
  local function start()
    return exec.start { program, "--quiet", "scripts/encode_queue.lua", from, to, dir .. "/queue.db", check = false,
      on_line = function(line)
        local name = line:match "^encoded (.*)"
        if name then encoded[name] = (encoded[name] or 0) + 1 end
      end }
  end
  local function count()
    return fs.exists(to) and #fs.list(to) or 0
  end
  fs.copy(helper.clip "clip.mp4", from .. "/caf\xe9.mp4") -- is left out, and in nobody's way
  for i = 1, 3 do
    fs.copy(helper.clip "clip.mp4", ("%s/%d.mp4"):format(from, 2 * i - 1))
    local h = start()
    fs.copy(helper.clip "clip.ts", ("%s/%d.ts"):format(from, 2 * i))
    local before = count()
    testing.wait_for(function() return count() > before end, 20) -- an encode runs, or one has just ended
    os.execute("kill -9 " .. h.pid)
    h:wait()
  end
  local h = start()
  local names = "1.mp4.mp4 2.ts.mp4 3.mp4.mp4 4.ts.mp4 5.mp4.mp4 6.ts.mp4"
  testing.wait_for(function() return helper.entries(to) == names end, 30)
  h:signal "SIGTERM"
  lu.assertEquals(h:wait().exit_code, 0)
  lu.assertEquals(helper.entries(to), names)
  for name, times in pairs(encoded) do lu.assertEquals(times, 1, name) end
  for name in names:gmatch "%S+" do lu.assertTrue(jobrun.probe(to .. "/" .. name).duration > 0) end
end

function test_an_encode_queue_encodes_what_was_written_anew()
  local dir = testing.tmpdir()
  local from, to, encoded = dir .. "/in", dir .. "/out", 0
  fs.mkdir(from)
  local h = exec.start { program, "--quiet", "scripts/encode_queue.lua", from, to, dir .. "/queue.db", check = false,
    on_line = function(line) encoded = encoded + (line:find "^encoded" and 1 or 0) end }
  local clip = helper.read(helper.clip "clip.ts")
  fs.write(from .. "/a.ts", clip:sub(1, #clip // 188 // 2 * 188)) -- the copy stalls for longer than anybody waits
  testing.wait_for(function() return encoded == 1 end, 20)
  local half = jobrun.probe(to .. "/a.ts.mp4").duration
  fs.write(from .. "/a.ts", clip)
  testing.wait_for(function() return encoded == 2 end, 20)
  lu.assertTrue(jobrun.probe(to .. "/a.ts.mp4").duration > half)
  h:signal "SIGTERM"
  lu.assertEquals(h:wait().exit_code, 0)
end

function test_an_encode_queue_gives_out_what_a_file_was_replaced_by()
  local dir = testing.tmpdir()
  local from, to, encoded = dir .. "/in", dir .. "/out", 0
  local function has_sound(path) return jobrun.probe(path).audio ~= nil end
  local first, second = helper.clip "clip.mp4", helper.clip "clip.ts"
  lu.assertNotEquals(has_sound(first), has_sound(second))
  fs.mkdir(from)
  fs.mkdir(dir .. "/bin")
  fs.write(dir .. "/bin/ffmpeg", '#!/bin/sh\nexec /usr/bin/ffmpeg -re "$@"\n') -- as slow as it plays
  exec { "chmod", "+x", dir .. "/bin/ffmpeg" }
  fs.copy(first, from .. "/a.mp4")
  local h = exec.start { program, "--quiet", "scripts/encode_queue.lua", from, to, dir .. "/queue.db", "2", check = false,
    env = { PATH = dir .. "/bin:" .. os.getenv "PATH" },
    on_line = function(line) encoded = encoded + (line:find "^encoded" and 1 or 0) end }
  testing.wait_for(function() return fs.exists(to) and #fs.list(to) > 0 end, 20) -- it is being encoded
  fs.copy(second, dir .. "/other")
  fs.rename(dir .. "/other", from .. "/a.mp4")
  testing.wait_for(function() return encoded > 0 and helper.entries(to) == "a.mp4.mp4" end, 20)
  h:signal "SIGTERM"
  lu.assertEquals(h:wait().exit_code, 0)
  lu.assertEquals(has_sound(to .. "/a.mp4.mp4"), has_sound(second))
end

-- Five processes are killed while they encode it.
function test_an_encode_queue_takes_up_again_what_was_killed_too_often()
  local dir = testing.tmpdir()
  local from, to = dir .. "/in", dir .. "/out"
  fs.mkdir(from)
  fs.copy(helper.clip "clip.mp4", from .. "/1.mp4")
  fs.mkdir(dir .. "/bin")
  fs.write(dir .. "/bin/ffmpeg", "#!/bin/sh\nkill -9 $PPID\n")
  exec { "chmod", "+x", dir .. "/bin/ffmpeg" }
  for _ = 1, 5 do
    exec { program, "--quiet", "scripts/encode_queue.lua", from, to, dir .. "/queue.db", check = false,
      env = { PATH = dir .. "/bin:" .. os.getenv "PATH" } }
  end
  local h = exec.start { program, "--quiet", "scripts/encode_queue.lua", from, to, dir .. "/queue.db", check = false }
  testing.wait_for(function() return helper.entries(to) == "1.mp4.mp4" end, 20)
  -- pipes and folders are no files, and take no worker; a link is what it leads to
  os.execute(("cd '%s' && mkfifo p1 p2 p3 && mkdir d && ln -s loop loop && ln -s 1.mp4 l.mp4"):format(from))
  testing.wait_for(function() return helper.entries(to) == "1.mp4.mp4 l.mp4.mp4" end, 20)
  h:signal "SIGTERM"
  lu.assertEquals(h:wait().exit_code, 0)
end

function test_an_hls_ladder()
  local dir = testing.tmpdir()
  for i, clip in ipairs { "clip.mp4", "clip.ts" } do -- with and without sound
    local to = ("%s/%d"):format(dir, i)
    local r = run_with("hls_ladder.lua", helper.clip(clip), to)
    lu.assertEquals(r.exit_code, 0, r.stderr)
    local master = helper.read(to .. "/master.m3u8")
    for n = 0, 2 do
      lu.assertStrContains(master, n .. ".m3u8")
      lu.assertStrContains(helper.read(("%s/%d.m3u8"):format(to, n)), "#EXT-X-ENDLIST")
    end
    lu.assertEquals(jobrun.probe(to .. "/2_000.ts").video.height, 144)
  end
end

-- ---- in the web -----------------------------------------------------------------------------------

-- Starts a script that serves; the handle, its address and its lines.
local function serve(script, ...)
  local address
  local argv = { program, "scripts/" .. script, ... }
  argv.on_stderr = function(line) address = address or line:match "listening on (http://[%d.:]+)" end
  argv.check = false
  local said = {}
  argv.on_line = function(line) said[#said + 1] = line end
  local h = exec.start(argv)
  return h, testing.wait_for(function() return address end), said
end

-- Asks by curl, a client of somebody else's; the body and the status.
local function curl(...)
  local r = exec { "curl", "-s", "-w", "\n%{http_code}", ... }
  local body, status = r.stdout:match "^(.*)\n(%d+)$"
  return body, tonumber(status)
end

function test_a_web_application_and_a_schedule_in_one_process()
  local json = jobrun.json
  local h, url, said = serve("http_schedule.lua", "127.0.0.1:0")
  testing.wait_for(function() return said[2] end)
  lu.assertEquals({ said[1], said[2] }, { "start", "tick\t1" })
  lu.assertEquals(json.decode((curl(url .. "/ticks?last=1")))[1].run, 1)
  local body, status = curl(url .. "/ticks?last=0")
  lu.assertEquals({ json.decode(body).detail[1].type, status }, { "greater_than_equal", 422 })
  body, status = curl("--json", '{"note":"hi"}', url .. "/ticks")
  lu.assertEquals({ json.decode(body).note, status }, { "hi", 201 })
  lu.assertStrContains((curl(url .. "/docs")), "<html")
  local events = exec { "curl", "-sN", "-m", "5", url .. "/events", check = false, on_line = function(line)
    if line:find "^data" then h:signal "SIGTERM" end
  end }
  lu.assertEquals(events.exit_code, 0) -- the stream ended with the server
  lu.assertEquals(h:wait().exit_code, 0)
  lu.assertEquals(said[#said - 1], "stop: every job once more")
  lu.assertStrMatches(said[#said], "tick\t%d+")
end

function test_a_webhook_starts_encodes_and_streams_their_progress()
  local json = jobrun.json
  local from, to = testing.tmpdir(), testing.tmpdir()
  fs.copy(helper.clip "clip.mp4", from .. "/film.mp4")
  helper.write(from .. "/bad.mp4", "garbage")
  local h, url = serve("webhook.lua", from, to, "127.0.0.1:0")
  url = url .. "/encodes"
  local body, status = curl("--json", '{"name":"film.mp4"}', url)
  lu.assertEquals({ json.decode(body).id, status }, { 1, 202 })
  lu.assertStrMatches(exec({ "curl", "-sN", url .. "/1/events" }).stdout, '.*event: done\ndata: {"id":1.*"percent":100.*')
  lu.assertTrue(jobrun.probe(to .. "/film.mkv").duration > 0)
  curl("--json", '{"name":"bad.mp4"}', url)
  lu.assertStrContains(exec({ "curl", "-sN", url .. "/2/events" }).stdout, "event: failed")
  lu.assertEquals(select(2, curl("--json", '{"name":"none.mp4"}', url)), 404)
  lu.assertEquals(select(2, curl("--json", '{"name":"../film.mp4"}', url)), 422)
  lu.assertEquals(select(2, curl(url .. "/9")), 404)
  h:signal "SIGTERM"
  lu.assertEquals(h:wait().exit_code, 0)
end
