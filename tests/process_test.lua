-- What exec and ffmpeg share: stdin from everywhere, priorities, limits, pause.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local exec, ffmpeg, channel, spawn = jobrun.exec, jobrun.ffmpeg, jobrun.channel, jobrun.spawn
local error_of, clip = helper.error_of, helper.clip

-- ---- stdin ----------------------------------------------------------------------------------------

function test_stdin_from_a_file()
  local dir = testing.tmpdir()
  helper.write(dir .. "/in", "from a file\0\n")
  lu.assertEquals(exec { "cat", stdin = { path = dir .. "/in" } }.stdout, "from a file\0\n")
  lu.assertEquals(exec { "cat", stdin = { path = "in" }, cwd = dir }.stdout, "from a file\0\n")
  lu.assertEquals(exec { "cat", stdin = { path = "/dev/null" } }.stdout, "")
end

function test_a_file_that_cannot_be_stdin()
  local dir = testing.tmpdir()
  local e = error_of(exec, { "cat", stdin = { path = dir .. "/none" } })
  lu.assertEquals({ e.kind, e.code, e.op }, { "not_found", "ENOENT", "stdin" })
  lu.assertStrContains(e.message, "cannot read '" .. dir .. "/none' as stdin")
  lu.assertEquals(error_of(exec, { "cat", stdin = { path = dir } }).code, "EISDIR")
  os.execute("mkfifo '" .. dir .. "/fifo'")
  lu.assertStrContains(error_of(exec, { "cat", stdin = { path = dir .. "/fifo" } }).message, "neither a file nor a device")
end

function test_stdin_from_a_channel()
  local ch = channel(2)
  spawn(function()
    for i = 1, 100 do ch:put(i .. "\n") end
    ch:close()
  end)
  lu.assertEquals(exec { "tail", "-n", "1", stdin = ch }.stdout, "100\n")
end

function test_megabytes_from_a_channel_at_the_readers_pace()
  local ch, put, piece = channel(), 0, ("x"):rep(300000)
  spawn(function()
    for _ = 1, 30 do
      ch:put(piece)
      put = put + 1
    end
    ch:close()
  end)
  local flag = testing.tmpdir() .. "/go"
  local h = exec.start { "sh", "-c", ("until [ -e '%s' ]; do sleep 0.01; done; wc -c"):format(flag), stdin = ch }
  testing.wait_for(function() return put > 0 end)
  jobrun.sleep(0.03)
  lu.assertTrue(put < 5, put) -- what a pipe takes
  helper.write(flag, "")
  lu.assertEquals(tonumber(h:wait().stdout), 9000000)
end

function test_who_puts_into_the_channel_of_a_program_that_is_gone_is_told()
  local ch = channel()
  local t = spawn(function()
    while true do ch:put(("x"):rep(100000)) end
  end):detach()
  lu.assertEquals(#exec { "head", "-c", "5", stdin = ch }.stdout, 5)
  lu.assertEquals(error_of(t.await, t).kind, "closed")
end

function test_only_strings_go_through()
  local ch = channel(1)
  ch:put(7)
  local e = error_of(exec, { "cat", stdin = ch })
  lu.assertEquals(e.kind, "usage")
  lu.assertStrContains(e.message, "only strings")
end

function test_a_run_that_is_fed_can_be_cancelled()
  local ch = channel()
  local e = error_of(jobrun.timeout, 0.03, exec, { "cat", stdin = ch })
  lu.assertEquals(e.kind, "timeout")
  lu.assertTrue(ch.closed)
end

function test_ffmpeg_reads_what_it_is_given()
  local dir, bytes = testing.tmpdir(), helper.read(clip "clip.ts")
  local ch = channel(1)
  spawn(function()
    for i = 1, #bytes, 5000 do ch:put(bytes:sub(i, i + 4999)) end
    ch:close()
  end)
  for i, stdin in ipairs { bytes, { path = clip "clip.ts" }, ch } do
    local path = ("%s/%d.mkv"):format(dir, i)
    ffmpeg { stdin = stdin, input = { f = "mpegts" }, output = path, codec = "copy" }
    lu.assertEquals(jobrun.probe(path, { count_packets = true }).video.nb_read_packets, 50)
  end
end

function test_bad_stdins()
  for _, bad in ipairs { 3, {}, { path = "" }, { path = "x", more = 1 }, { path = "a\0b" } } do
    lu.assertEquals(error_of(exec, { "cat", stdin = bad }).kind, "usage")
  end
end

-- ---- priorities and limits ------------------------------------------------------------------------

function test_ionice()
  lu.assertEquals(exec { "ionice", ionice = "idle" }.stdout, "idle\n")
  lu.assertEquals(exec { "ionice", ionice = 6 }.stdout, "best-effort: prio 6\n")
  for _, bad in ipairs { "fast", 8, -1, 1.5 } do
    lu.assertEquals(error_of(exec, { "true", ionice = bad }).kind, "usage")
  end
end

function test_rlimits()
  local r = exec { "sh", "-c", "ulimit -n; ulimit -t; ulimit -c", rlimits = { nofile = 77, cpu = { 5, 9 }, core = 0 } }
  lu.assertEquals(r.stdout, "77\n5\n0\n")
  local e = error_of(exec, { "head", "-c", "100000", "/dev/zero", stdin = "", rlimits = { as = 1 } })
  lu.assertTrue(e.kind == "signal" or e.kind == "exit" or e.kind == "spawn", e.kind)
  lu.assertStrContains(error_of(exec, { "true", rlimits = { nofiles = 3 } }).message, "did you mean 'nofile'?")
  for _, bad in ipairs { { nofile = -1 }, { nofile = "x" }, { nofile = { 1 } }, { nofile = 1.5 } } do
    lu.assertEquals(error_of(exec, { "true", rlimits = bad }).kind, "usage")
  end
end

-- What the kernel says of a live process.
local function status_of(pid, field)
  return helper.read(("/proc/%d/status"):format(pid)):match(field .. ":%s*(%S+)")
end

function test_ffmpeg_has_the_same_options()
  local dir = testing.tmpdir()
  local is_root = exec({ "id", "-u" }).stdout == "0\n"
  os.execute("chmod 777 '" .. dir .. "'")
  local own_nice = tonumber(exec({ "nice" }).stdout)
  local h = ffmpeg.start {
    input = { raw = "testsrc2=s=64x48:r=25", f = "lavfi", re = true }, output = "o.mkv", cwd = dir, vcodec = "mpeg4",
    nice = 3, ionice = "idle", umask = 0x3f, rlimits = { nofile = 99 }, user = is_root and "nobody" or nil,
  }
  lu.assertEquals(tonumber(exec({ "ps", "-o", "ni=", "-p", h.pid }).stdout), own_nice + 3)
  lu.assertEquals(exec({ "ionice", "-p", h.pid }).stdout, "idle\n")
  lu.assertEquals(tonumber(status_of(h.pid, "Umask"), 8), 0x3f)
  lu.assertStrContains(helper.read(("/proc/%d/limits"):format(h.pid)), "Max open files            99 ")
  if is_root then lu.assertEquals(status_of(h.pid, "Uid"), exec({ "id", "-u", "nobody" }).stdout:match "%d+") end
  testing.wait_for(function() return (h.progress or {}).frame end, 20)
  lu.assertTrue(h:stop().ok)
  lu.assertEquals(helper.entries(dir), "o.mkv")
end

function test_bad_options_of_the_process()
  for key, value in pairs { nice = "low", umask = -1, user = {}, cwd = 3, ionice = 9 } do
    local e = error_of(ffmpeg, { input = clip "clip.mp4", output = "x.mkv", [key] = value })
    lu.assertEquals(e.kind, "usage", key)
    lu.assertStrContains(e.message, key)
  end
  local e = error_of(exec, { "true", user = "no-such-user" })
  lu.assertStrContains(e.message, "cannot run as user 'no-such-user'")
end

function test_a_file_size_limit_fails_ffmpeg()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg, { input = clip "clip.mp4", output = dir .. "/a.avi", vcodec = "rawvideo",
    rlimits = { fsize = 100000 } })
  lu.assertTrue(e.kind == "no_space" or e.kind == "signal", e.kind)
  lu.assertEquals(helper.entries(dir), "")
end

-- ---- pause ----------------------------------------------------------------------------------------

function test_pause_and_resume_of_a_program()
  local count = 0
  local function on_line() count = count + 1 end
  local h <close> = exec.start { "yes", on_line = on_line } -- a shell may be stopped while it waits in vfork, which is no T
  testing.wait_for(function() return count > 2 end)
  h:pause()
  testing.wait_for(function() return helper.read(("/proc/%d/stat"):format(h.pid)):find("%) T") end)
  h:resume()
  local before = count
  testing.wait_for(function() return count > before + 3 end)
end

function test_a_paused_program_can_be_stopped()
  local h = exec.start { "sleep", "100" }
  h:pause()
  h:stop()
  lu.assertTrue(h:wait().stopped)
end
