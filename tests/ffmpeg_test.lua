-- ffmpeg{} with the real ffmpeg: results, files, endings, the handle.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local ffmpeg, probe, spawn, sleep = jobrun.ffmpeg, jobrun.probe, jobrun.spawn, jobrun.sleep
local entries, error_of = helper.entries, helper.error_of

local CLIP = helper.clip "clip.mp4"

local function merged(base, more)
  for key, value in pairs(more or {}) do base[key] = value end
  return base
end

-- Copies the clip: the quickest run there is.
local function copy(output, more)
  return merged({ input = CLIP, output = output, codec = "copy" }, more)
end

-- Runs in real time until it is ended: 60 s of picture.
local function endless(output, more)
  return merged({
    input = { raw = "testsrc2=s=64x48:r=25:d=60", f = "lavfi", re = true },
    output = output, vcodec = "libx264", preset = "ultrafast", stats_period = 0.05,
  }, more)
end

local function is_running(handle)
  return handle.progress and (handle.progress.frame or 0) > 5
end

-- ---- results ------------------------------------------------------------------------------------

function test_a_run_gives_a_result()
  local dir = testing.tmpdir()
  local r = ffmpeg { input = CLIP, output = dir .. "/o.mp4", vcodec = "libx264",
    preset = "ultrafast", acodec = "aac", map = "0" }
  lu.assertTrue(r.ok)
  lu.assertEquals(r.exit_code, 0)
  lu.assertFalse(r.stopped)
  lu.assertEquals(#r.outputs, 1)
  lu.assertEquals(r.outputs[1].path, dir .. "/o.mp4")
  lu.assertEquals(r.outputs[1].size, #helper.read(dir .. "/o.mp4"))
  lu.assertEquals(r.progress.frame, 50)
  lu.assertTrue(r.progress.done)
  lu.assertTrue(r.elapsed > 0 and r.cpu > 0 and r.max_rss > 1e6)
  lu.assertEquals(r.errors.count, 0)
  lu.assertEquals(r.argv[1], "ffmpeg")
  lu.assertEquals(entries(dir), "o.mp4")
  lu.assertAlmostEquals(probe(dir .. "/o.mp4").duration, 2, 0.2)
end

function test_the_output_has_another_name_while_it_is_written()
  local dir = testing.tmpdir()
  local h = ffmpeg.start(endless(dir .. "/o.mp4"))
  testing.wait_for(function() return is_running(h) end)
  lu.assertStrMatches(entries(dir), "%.o%.jobrun%-%d+%-%d+%.mp4")
  h:stop()
  lu.assertEquals(entries(dir), "o.mp4")
end

function test_names_no_shell_would_like()
  local dir = testing.tmpdir()
  local before = CLIP
  for _, name in ipairs { "-i.mp4", "a b'c\"d.mp4", "ü%d:ö.mp4", "$(x)\n`y`.mp4", "http:x", ".mp4" } do
    local r = ffmpeg(copy(name, { input = before, cwd = dir, f = "mp4" }))
    lu.assertEquals({ r.progress.frame, r.outputs[1].path }, { 50, name })
    before = name
  end
  lu.assertStrContains(entries(dir), "-i.mp4")
end

function test_the_longest_name_there_is()
  local dir = testing.tmpdir()
  local name = ("n"):rep(251) .. ".mp4"
  ffmpeg(copy(dir .. "/" .. name))
  lu.assertEquals(entries(dir), name)
end

function test_several_inputs_and_outputs()
  local dir = testing.tmpdir()
  local r = ffmpeg {
    inputs = { CLIP, { path = helper.clip "sound.wav" } },
    outputs = { { path = dir .. "/a.mkv", map = { "0:v", "1:a" } }, { path = dir .. "/b.wav",
      map = "1:a", acodec = "pcm_s16le" } },
    codec = "copy",
  }
  lu.assertEquals(#r.outputs, 2)
  lu.assertEquals(entries(dir), "a.mkv b.wav")
end

function test_what_it_writes_to_stdout_can_be_had()
  local r = ffmpeg { input = CLIP, output = { raw = "pipe:1", f = "md5" }, codec = "copy",
    capture_stdout = 100 }
  lu.assertStrMatches(r.stdout, "MD5=%x+\n")
  lu.assertFalse(r.stdout_cut)
  r = ffmpeg { input = CLIP, output = { raw = "pipe:1", f = "mpegts" }, codec = "copy",
    capture_stdout = 10 }
  lu.assertEquals(#r.stdout, 10)
  lu.assertTrue(r.stdout_cut)
end

function test_a_device_is_written_in_place()
  local r = ffmpeg { input = CLIP, output = { path = "/dev/null", f = "mpegts" }, codec = "copy" }
  lu.assertTrue(r.ok)
  r = ffmpeg { input = CLIP, output = { raw = "-", f = "null" } }
  lu.assertEquals(r.outputs, { { raw = "-" } })
end

function test_formats_of_several_files_are_written_in_place()
  local dir = testing.tmpdir()
  local r = ffmpeg(copy(dir .. "/list.m3u8", { hls_time = 1 }))
  lu.assertStrContains(entries(dir), "list.m3u8 list0.ts")
  lu.assertEquals(r.outputs[1].path, dir .. "/list.m3u8")
  lu.assertEquals(error_of(ffmpeg, copy(dir .. "/list.m3u8")).kind, "exists")
  ffmpeg { input = CLIP, output = dir .. "/i%02d.png", vframes = 2 }
  lu.assertStrContains(entries(dir), "i01.png i02.png list.m3u8")
end

function test_a_single_picture_is_renamed_like_any_file()
  local dir = testing.tmpdir()
  local r = ffmpeg { input = CLIP, output = dir .. "/thumb.jpg", vframes = 1 }
  lu.assertEquals(entries(dir), "thumb.jpg")
  lu.assertTrue(r.outputs[1].size > 0)
end

function test_the_environment_and_the_directory_of_the_child()
  local dir = testing.tmpdir()
  helper.write(dir .. "/ff",
    '#!/bin/sh\necho "$KEEP $FFREPORT $AV_LOG_FORCE_COLOR ${HOME:+home}" > env.txt\nexec ffmpeg "$@"\n')
  os.execute("chmod +x " .. dir .. "/ff")
  ffmpeg(copy("o.mp4", { bin = dir .. "/ff", cwd = dir, env = { KEEP = "kept",
    AV_LOG_FORCE_COLOR = false } }))
  lu.assertEquals(helper.read(dir .. "/env.txt"), "kept   home\n")
  lu.assertEquals(entries(dir), "env.txt ff o.mp4")
end

-- ---- report and progress ------------------------------------------------------------------------

function test_report_lines_arrive_while_ffmpeg_runs()
  local dir = testing.tmpdir()
  local lines, levels, first_at = {}, {}, nil
  local handle = ffmpeg.start(endless(dir .. "/o.mp4", {
    on_report = function(line, level)
      lines[#lines + 1], levels[level] = line, true
      first_at = first_at or jobrun.monotonic()
    end,
  }))
  testing.wait_for(function() return is_running(handle) end)
  local seen = #lines
  lu.assertTrue(seen > 5)
  handle:stop()
  lu.assertTrue(#lines > seen)
  local text = table.concat(lines, "\n")
  lu.assertStrContains(text, "ffmpeg started on")
  lu.assertStrContains(text, "Input #0, lavfi")
  lu.assertStrContains(text, "Stream mapping:")
  lu.assertNil(text:find("\n%[info%]"))
  lu.assertTrue(levels.info)
end

function test_progress_has_one_last_event_and_100_percent_on_success()
  local dir = testing.tmpdir()
  local events = {}
  ffmpeg {
    input = { path = CLIP, re = true, t = 0.5 }, output = dir .. "/o.mkv", codec = "copy",
      stats_period = 0.02,
    on_progress = function(p) events[#events + 1] = p end,
  }
  lu.assertTrue(#events > 3)
  local before = 0
  for i, p in ipairs(events) do
    lu.assertEquals(p.done, i == #events)
    lu.assertTrue(p.percent >= before and (p.done or p.percent < 100))
    before = p.percent
  end
  local last = events[#events]
  lu.assertEquals(last.percent, 100)
  lu.assertAlmostEquals(last.out_time, 0.5, 0.2)
end

function test_a_failed_run_has_its_last_event_too()
  local events = {}
  error_of(ffmpeg, { input = CLIP, output = { raw = "-", f = "null" }, vf = "nosuch",
    on_progress = function(p) events[#events + 1] = p end })
  lu.assertEquals(#events, 1)
  lu.assertTrue(events[1].done)
  lu.assertTrue((events[1].percent or 0) < 100)
end

function test_without_a_known_length_there_is_no_percent()
  local last
  local opts = {
    input = { raw = "testsrc2=s=32x32:d=0.2", f = "lavfi" }, output = { raw = "-", f = "null" },
    on_progress = function(p) last = p end,
  }
  ffmpeg(opts)
  lu.assertTrue(last.done)
  lu.assertNil(last.percent)
  opts.duration = 0.2
  ffmpeg(opts)
  lu.assertEquals(last.percent, 100)
end

-- ---- what is refused before the start -----------------------------------------------------------

function test_an_input_that_does_not_exist()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg, copy(dir .. "/o.mp4", { input = dir .. "/nope.mp4" }))
  lu.assertEquals(e.kind, "not_found")
  lu.assertStrContains(e.message, dir .. "/nope.mp4 does not exist")
  lu.assertStrMatches(e.where, ".*ffmpeg_helper%.lua:%d+") -- error_of calls it
end

function test_an_output_that_exists_is_left_alone()
  local dir = testing.tmpdir()
  helper.write(dir .. "/o.mp4", "precious")
  local e = error_of(ffmpeg, copy(dir .. "/o.mp4"))
  lu.assertEquals(e.kind, "exists")
  lu.assertStrContains(e.message, dir .. "/o.mp4 exists")
  lu.assertNil(e.argv)
  lu.assertEquals(helper.read(dir .. "/o.mp4"), "precious")
end

function test_a_missing_program_says_what_to_install()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg, copy(dir .. "/o.mp4", { bin = "no-such-ffmpeg" }))
  lu.assertEquals(e.kind, "not_found")
  lu.assertStrContains(e.message, "apt-get install ffmpeg")
  lu.assertEquals(e.argv[1], "no-such-ffmpeg")
  lu.assertEquals(entries(dir), "")
end

function test_a_directory_that_does_not_exist_or_is_the_output()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg, copy(dir .. "/no/o.mp4"))
  lu.assertEquals(e.kind, "not_found")
  lu.assertStrContains(e.message, "the directory of the output")
  lu.assertEquals(error_of(ffmpeg, copy(dir)).kind, "usage")
end

function test_names_that_were_meant_otherwise()
  local e = error_of(ffmpeg, copy("o.mp4", { input = "https://host/x.mp4" }))
  lu.assertStrContains(e.message, "{url=, protocols=}")
  e = error_of(ffmpeg, copy("o.mp4", { input = { path = "testsrc2", f = "lavfi" } }))
  lu.assertStrContains(e.message, "raw=")
  e = error_of(ffmpeg, copy("o.mp4", { cwd = "/no/such" }))
  lu.assertEquals({ e.kind, e.message:match("cwd: .*") },
    { "not_found", "cwd: the directory /no/such does not exist" })
  local dir = testing.tmpdir()
  e = error_of(ffmpeg, { input = CLIP, outputs = { dir .. "/o.mp4", dir .. "/o.mp4" } })
  lu.assertEquals({ e.kind, e.reason }, { "usage", ("two outputs are %s/o.mp4"):format(dir) })
end

function test_a_call_without_options()
  local e = error_of(ffmpeg)
  lu.assertEquals(e.kind, "usage")
  lu.assertStrContains(e.message, "expected a table of options, got nil")
end

function test_options_of_the_wrong_type()
  local bad = {
    timeout = "soon", on_report = 1, env = { X = {} }, nice = "low", overwrite = "maybe",
      capture_stdout = "all", cwd = 1,
  }
  lu.assertStrContains(error_of(ffmpeg, copy("o.mp4", { capture_stdout = -1 })).message, "capture_stdout")
  for key, value in pairs(bad) do
    local e = error_of(ffmpeg, copy("o.mp4", { [key] = value }))
    lu.assertEquals(e.kind, "usage", key)
    lu.assertStrContains(e.message, key)
  end
end

-- ---- overwrite ----------------------------------------------------------------------------------

function test_overwrite_replaces_when_the_new_file_is_whole()
  local dir = testing.tmpdir()
  helper.write(dir .. "/o.mp4", "old")
  error_of(ffmpeg, copy(dir .. "/o.mp4", { overwrite = true, map = "0:7" }))
  lu.assertEquals(helper.read(dir .. "/o.mp4"), "old")
  ffmpeg(copy(dir .. "/o.mp4", { overwrite = true }))
  lu.assertEquals(probe(dir .. "/o.mp4").video.codec_name, "h264")
  lu.assertEquals(entries(dir), "o.mp4")
end

function test_overwrite_skip_does_nothing_when_the_output_exists()
  local dir = testing.tmpdir()
  local r = ffmpeg(copy(dir .. "/o.mp4", { overwrite = "skip" }))
  lu.assertNil(r.skipped)
  helper.write(dir .. "/o.mp4", "kept")
  r = ffmpeg(copy(dir .. "/o.mp4", { overwrite = "skip" }))
  lu.assertTrue(r.ok and r.skipped)
  lu.assertEquals(r.outputs[1].size, 4)
  lu.assertTrue(ffmpeg.start(copy(dir .. "/o.mp4", { overwrite = "skip" })):wait().skipped)
end

function test_overwrite_newer_compares_the_times()
  local dir = testing.tmpdir()
  os.execute(("cp %s %s/in.mp4; touch -d '2001-01-01' %s/in.mp4"):format(CLIP, dir, dir))
  local opts = copy(dir .. "/o.mp4", { input = dir .. "/in.mp4", overwrite = "newer" })
  lu.assertNil(ffmpeg(opts).skipped)
  lu.assertTrue(ffmpeg(opts).skipped)
  os.execute(("touch -d '2000-01-01' %s/o.mp4"):format(dir))
  lu.assertNil(ffmpeg(opts).skipped)
end

function test_an_output_that_comes_into_being_meanwhile_is_not_replaced()
  local dir = testing.tmpdir()
  local h = ffmpeg.start(endless(dir .. "/o.mp4"))
  testing.wait_for(function() return is_running(h) end)
  helper.write(dir .. "/o.mp4", "first")
  lu.assertEquals(error_of(h.stop, h).kind, "exists")
  lu.assertEquals(entries(dir), "o.mp4")
  lu.assertEquals(helper.read(dir .. "/o.mp4"), "first")
end

function test_an_input_that_is_the_output_is_not_destroyed()
  local dir = testing.tmpdir()
  os.execute(("cp %s %s/a.mp4; ln -s a.mp4 %s/b.mp4"):format(CLIP, dir, dir))
  ffmpeg(copy(dir .. "/b.mp4", { input = dir .. "/a.mp4", overwrite = true }))
  lu.assertEquals(helper.read(dir .. "/a.mp4"), helper.read(CLIP))
  ffmpeg(copy(dir .. "/a.mp4", { input = dir .. "/a.mp4", overwrite = true }))
  lu.assertEquals(probe(dir .. "/a.mp4").video.nb_frames, 50)
end

-- ---- exit 0 is not success ----------------------------------------------------------------------

function test_nothing_encoded_is_a_failure()
  local dir = testing.tmpdir()
  for _, name in ipairs { "o.mp4", "o.ts", "o.wav" } do
    local e = error_of(ffmpeg, { input = CLIP, output = dir .. "/" .. name, ss = 100 })
    lu.assertEquals(e.kind, "output", name)
    lu.assertEquals(e.exit_code, 0)
  end
  lu.assertEquals(entries(dir), "")
end

function test_no_space_at_the_last_flush_is_a_failure()
  local e = error_of(ffmpeg, { input = CLIP, output = { path = "/dev/full", f = "mpegts" },
    codec = "copy" })
  lu.assertEquals(e.kind, "no_space")
  lu.assertEquals(e.exit_code, 0)
end

function test_strict_makes_an_error_line_a_failure()
  local opts = { input = helper.clip "damaged.ts", output = { raw = "-", f = "null" } }
  local r = ffmpeg(opts)
  lu.assertTrue(r.errors.count > 0 and #r.errors > 0)
  opts.strict = true
  local e = error_of(ffmpeg, opts)
  lu.assertTrue(e.kind == "strict" or e.kind == "invalid_data" or e.kind == "exit", e.kind)
end

-- ---- failures -----------------------------------------------------------------------------------

function test_the_error_tells_why()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg, { input = CLIP, output = dir .. "/o.mp4", vcodec = "libx264",
    preset = "warp" })
  lu.assertEquals(e.message, "ffmpeg: x264 [error]: invalid preset 'warp' (exit 1)")
  lu.assertStrMatches(tostring(e), ".*ffmpeg_helper%.lua:%d+: ffmpeg: .*") -- error_of calls it
  lu.assertEquals({ e.kind, e.reason, e.exit_code, e.retryable }, { "codec",
    "x264 [error]: invalid preset 'warp'", 1, false })
  lu.assertTrue(#e.lines > 5 and #e.lines <= 50)
  lu.assertEquals(e.argv[1], "ffmpeg")
  lu.assertTrue(e.elapsed > 0)
  lu.assertEquals(entries(dir), "")
end

function test_the_error_names_the_real_output()
  local e = error_of(ffmpeg, { input = CLIP, output = "/proc/o.mp4", codec = "copy" })
  lu.assertStrContains(e.reason, "/proc/o.mp4:")
  lu.assertNotStrContains(e.reason, "jobrun-")
end

function test_the_error_names_the_line_of_the_script_in_tasks_of_our_own_too()
  local dir = testing.tmpdir()
  local bad = { input = CLIP, output = dir .. "/o.mp4", vcodec = "nosuch" }
  local h = ffmpeg.start(bad)
  lu.assertStrMatches(error_of(h.wait, h).where, ".*ffmpeg_test%.lua:%d+")
  lu.assertStrMatches(error_of(jobrun.encode_segments, bad).where, ".*ffmpeg_helper%.lua:%d+")
  h = jobrun.pipeline.start(jobrun.stage.exec { "false" } | jobrun.stage.exec { "cat" })
  lu.assertStrMatches(error_of(h.wait, h).where, ".*ffmpeg_test%.lua:%d+")
end

function test_keep_partial_leaves_the_file_and_names_it()
  local dir = testing.tmpdir()
  local h = ffmpeg.start(endless(dir .. "/o.ts", { keep_partial = true }))
  testing.wait_for(function() return is_running(h) end)
  os.execute("kill -TERM " .. h.pid)
  local e = error_of(h.wait, h)
  lu.assertEquals(e.kind, "signal")
  lu.assertEquals(#e.partial, 1)
  lu.assertEquals(dir .. "/" .. entries(dir), e.partial[1])
end

function test_passwords_are_not_in_messages()
  local e = error_of(ffmpeg, {
    input = { url = "http://me:secret@127.0.0.1:1/x", protocols = { "http", "tcp" } },
      output = { raw = "-", f = "null" },
  })
  lu.assertEquals(e.kind, "network")
  lu.assertTrue(e.retryable)
  lu.assertNotStrContains(tostring(e) .. table.concat(e.lines), "secret")
  lu.assertStrContains(table.concat(e.argv, " "), "secret")
end

function test_a_callback_that_raises_ends_the_run()
  local dir = testing.tmpdir()
  for _, name in ipairs { "on_report", "on_progress", "on_stderr" } do
    local thrown = { name }
    local ok, e = pcall(ffmpeg, endless(dir .. "/o.mp4", { [name] = function() error(thrown) end }))
    lu.assertFalse(ok)
    lu.assertTrue(rawequal(e, thrown), name)
  end
  lu.assertEquals(entries(dir), "")
end

-- ---- endings ------------------------------------------------------------------------------------

function test_timeout()
  local dir = testing.tmpdir()
  local e = error_of(ffmpeg, endless(dir .. "/o.mp4", { timeout = "400ms" }))
  lu.assertEquals(e.kind, "timeout")
  lu.assertStrContains(tostring(e), "timed out after 0.4 s")
  lu.assertTrue(e.retryable)
  lu.assertEquals(entries(dir), "")
end

function test_stall_timeout()
  local dir = testing.tmpdir()
  os.execute("mkfifo " .. dir .. "/never")
  local e = error_of(ffmpeg, { input = { raw = dir .. "/never", f = "mpegts" }, output = dir .. "/o.mp4",
    stall_timeout = 0.3, grace = 0.2 })
  lu.assertEquals(e.kind, "timeout")
  lu.assertStrContains(e.reason, "no progress for 0.3 s")
  lu.assertEquals(entries(dir), "never")
end

function test_a_run_that_moves_does_not_stall()
  local dir = testing.tmpdir()
  local h = ffmpeg.start(endless(dir .. "/o.mp4", { stall_timeout = 2 }))
  testing.wait_for(function() return is_running(h) end)
  lu.assertTrue(h:stop().ok)
end

function test_stop_keeps_a_playable_file()
  local dir = testing.tmpdir()
  local last
  local h = ffmpeg.start(endless(dir .. "/o.mp4", { on_progress = function(p) last = p end,
    duration = 60 }))
  lu.assertTrue(helper.is_alive(h.pid))
  testing.wait_for(function() return is_running(h) end)
  local r = h:stop()
  lu.assertTrue(r.ok and r.stopped)
  lu.assertEquals(r.exit_code, 255)
  lu.assertEquals(entries(dir), "o.mp4")
  lu.assertTrue(probe(dir .. "/o.mp4").video.nb_frames > 0)
  lu.assertTrue(last.done and last.percent < 100)
  lu.assertEquals(h:wait(), r)
  lu.assertFalse(helper.is_alive(h.pid))
end

function test_a_callback_may_stop_the_run()
  local dir = testing.tmpdir()
  local h
  h = ffmpeg.start(endless(dir .. "/o.mp4", { on_progress = function(p)
    if not p.done then h:stop() end
  end }))
  lu.assertTrue(h:wait().stopped)
end

-- Cancels a run when `is_time(handle)` is true.
local function check_cancel(is_time)
  local dir = testing.tmpdir()
  local h = ffmpeg.start(endless(dir .. "/o.mp4"))
  testing.wait_for(function() return is_time(h) end)
  h:cancel()
  lu.assertEquals(error_of(h.wait, h).kind, "cancelled")
  lu.assertFalse(helper.is_alive(h.pid))
  lu.assertEquals(entries(dir), "")
end

function test_cancel_leaves_nothing()
  check_cancel(is_running)
end

function test_cancel_right_after_the_start_leaves_nothing()
  check_cancel(function() return true end)
end

function test_a_handle_that_is_closed_ends_the_run()
  local dir = testing.tmpdir()
  local pid
  do
    local h <close> = ffmpeg.start(endless(dir .. "/o.mp4"))
    pid = h.pid
    lu.assertTrue(h:is_running())
  end
  lu.assertFalse(helper.is_alive(pid))
  lu.assertEquals(entries(dir), "")
end

function test_cancelling_the_task_that_starts_leaves_nothing()
  local dir = testing.tmpdir()
  local t = spawn(function() ffmpeg.start(endless(dir .. "/o.mp4")):wait() end)
  for _ = 1, 20 do
    jobrun.yield()
    if entries(dir) ~= "" then break end
  end
  t:cancel()
  lu.assertEquals(error_of(t.await, t).kind, "cancelled")
  lu.assertEquals(entries(dir), "")
end

function test_cancelling_the_task_that_waits_ends_ffmpeg()
  local dir = testing.tmpdir()
  local events = {}
  local t = spawn(function()
    ffmpeg(endless(dir .. "/o.mp4", { on_progress = function(p) events[#events + 1] = p end }))
  end)
  testing.wait_for(function() return #events > 3 end)
  t:cancel()
  lu.assertEquals(error_of(t.await, t).kind, "cancelled")
  lu.assertEquals(entries(dir), "")
  local done = 0
  for _, p in ipairs(events) do done = done + (p.done and 1 or 0) end
  lu.assertEquals(done, 1)
end

function test_pause_and_resume()
  local dir = testing.tmpdir()
  local h = ffmpeg.start(endless(dir .. "/o.mp4"))
  testing.wait_for(function() return is_running(h) end)
  local function state()
    local file = io.open(("/proc/%d/stat"):format(h.pid))
    local text = file:read("a")
    file:close()
    return text:match("%) (%a)")
  end
  h:pause()
  testing.wait_for(function() return state() == "T" end)
  h:resume()
  testing.wait_for(function() return state() ~= "T" end)
  h:pause()
  lu.assertTrue(h:stop().stopped)
end

function test_ended_from_outside()
  for signal, expected in pairs { KILL = "killed by SIGKILL", TERM = "ended by signal 15" } do
    local dir = testing.tmpdir()
    local h = ffmpeg.start(endless(dir .. "/o.mp4"))
    testing.wait_for(function() return is_running(h) end)
    os.execute(("kill -%s %d"):format(signal, h.pid))
    local e = error_of(h.wait, h)
    lu.assertEquals(e.kind, "signal")
    lu.assertStrContains(e.reason, expected)
    lu.assertEquals(entries(dir), "")
  end
end

function test_wait_with_a_timeout_lets_the_run_go_on()
  local dir = testing.tmpdir()
  local h = ffmpeg.start(endless(dir .. "/o.mp4"))
  lu.assertEquals(error_of(h.wait, h, 0.05).kind, "timeout")
  lu.assertTrue(helper.is_alive(h.pid))
  testing.wait_for(function() return is_running(h) end)
  lu.assertTrue(h:stop().ok)
end

function test_two_at_once()
  local dir = testing.tmpdir()
  local a = spawn(ffmpeg, copy(dir .. "/a.mp4"))
  local b = spawn(ffmpeg, copy(dir .. "/b.mp4"))
  lu.assertTrue(a:await().ok and b:await().ok)
  lu.assertEquals(entries(dir), "a.mp4 b.mp4")
  sleep(0)
end
