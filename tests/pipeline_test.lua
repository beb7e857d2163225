-- pipeline: stages joined by the kernel's pipes, who is to blame, how it ends.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local pipeline, stage, fs, sleep = jobrun.pipeline, jobrun.stage, jobrun.fs, jobrun.sleep
local error_of, clip = helper.error_of, helper.clip

local function sh(line, more)
  local opts = { "sh", "-c", line }
  for key, value in pairs(more or {}) do opts[key] = value end
  return stage.exec(opts)
end

local cat = stage.exec { "cat" }

-- Pictures without end, or `seconds` of them, for the next stage.
local function source(seconds, more)
  local opts = {
    input = { raw = "testsrc2=s=128x96:r=25" .. (seconds and ":d=" .. seconds or ""), f = "lavfi" },
    vcodec = "rawvideo", f = "nut", stats_period = 0.01,
  }
  for key, value in pairs(more or {}) do opts[key] = value end
  return stage.ffmpeg(opts)
end

local function sink(path, more)
  local opts = { output = path, vcodec = "libx264", preset = "ultrafast", pix_fmt = "yuv420p", stats_period = 0.01 }
  for key, value in pairs(more or {}) do opts[key] = value end
  return stage.ffmpeg(opts)
end

-- ---- what it does ---------------------------------------------------------------------------------

function test_bytes_pass_through_all_stages()
  local r = pipeline(sh "printf 'c\\na\\nb\\n'" | stage.exec { "sort" } | stage.exec { "tr", "a-z", "A-Z" })
  lu.assertEquals({ r.ok, r.stdout, r.exit_code, r.early_close, r.stopped }, { true, "A\nB\nC\n", 0, false, false })
  lu.assertEquals(#r.stages, 3)
end

function test_stages_as_a_list_with_options_in_it()
  local r = pipeline { sh "echo x", cat, timeout = 20 }
  lu.assertEquals(r.stdout, "x\n")
end

function test_the_operator_joins_lists_too()
  local pair = cat | cat
  lu.assertEquals(pipeline((sh "echo x" | pair) | (cat | cat)).stdout, "x\n")
  lu.assertEquals(#pair, 2) -- and changes none of them
end

function test_a_pipeline_of_one_stage()
  lu.assertEquals(pipeline(sh "echo x").stdout, "x\n")
end

function test_megabytes_arrive_unchanged()
  local r = pipeline(sh "head -c 30000000 /dev/zero" | cat | stage.exec { "wc", "-c" })
  lu.assertEquals(tonumber(r.stdout), 30000000)
end

function test_ffmpeg_through_a_filter_into_ffmpeg()
  local dir = testing.tmpdir()
  local raw = stage.ffmpeg { input = clip "clip.mp4", map = "0", vcodec = "rawvideo", acodec = "pcm_s16le", f = "nut" }
  local r = pipeline(raw | cat | sink(dir .. "/b.mp4", { map = "0", acodec = "aac" }), { timeout = 60 })
  local info = jobrun.probe(dir .. "/b.mp4")
  lu.assertAlmostEquals(info.duration, 2, 0.1)
  lu.assertNotNil(info.audio)
  lu.assertEquals(#r.outputs, 2)
  lu.assertEquals(r.outputs[2].path, dir .. "/b.mp4")
  lu.assertEquals(helper.entries(dir), "b.mp4")
end

function test_errors_of_all_stages_are_counted()
  local damaged = stage.ffmpeg { input = clip "damaged.ts", vcodec = "rawvideo", f = "nut" }
  local r = pipeline(damaged | cat | stage.ffmpeg { output = { raw = "-", f = "null" } })
  lu.assertTrue(r.errors.count > 0 and #r.errors > 0)
  lu.assertEquals(r.errors.count, r.stages[1].errors.count + r.stages[3].errors.count)
end

function test_progress_tells_the_stage_and_a_pipe_has_the_length_of_its_source()
  local dir, seen = testing.tmpdir(), { {}, {}, {} }
  local pictures = stage.ffmpeg { input = clip "clip.mp4", an = true, vcodec = "rawvideo", f = "nut" }
  pipeline(pictures | cat | sink(dir .. "/b.mp4"), {
    on_progress = function(p, number) table.insert(seen[number], p) end,
  })
  lu.assertEquals(#seen[2], 0)
  for _, number in ipairs { 1, 3 } do
    local list = seen[number]
    lu.assertEquals({ list[#list].done, list[#list].percent }, { true, 100 })
    for i = 1, #list - 1 do lu.assertFalse(list[i].done) end
  end
end

function test_options_for_the_pipe_that_is_read()
  local dir = testing.tmpdir()
  pipeline(sh "head -c 115200 /dev/zero"
    | sink(dir .. "/a.mp4", { input = { f = "rawvideo", s = "64x48", pix_fmt = "rgb24", r = 25 } }))
  lu.assertEquals(jobrun.probe(dir .. "/a.mp4", { count_packets = true }).video.nb_read_packets, 12)
end

function test_stdin_of_the_first_stage()
  lu.assertEquals(pipeline(stage.exec { "cat", stdin = "text" } | cat).stdout, "text")
end

function test_lines_of_the_last_stage()
  local lines = {}
  pipeline(sh "seq 1000" | stage.exec { "cat", on_line = function(line) lines[#lines + 1] = line end })
  lu.assertEquals({ #lines, lines[1000] }, { 1000, "1000" })
end

function test_what_a_last_ffmpeg_writes_can_be_captured()
  local r = pipeline(stage.ffmpeg { input = clip "sound.wav", f = "wav" } | stage.ffmpeg { capture_stdout = true, f = "s16le" })
  lu.assertEquals(#r.stdout, 44100 * 2)
end

-- ---- who is to blame ------------------------------------------------------------------------------

local function failure(...)
  local e = error_of(pipeline, ...)
  return { e.kind, e.stage, e.exit_code or e.signal }, e
end

function test_a_reader_that_has_enough_is_success()
  local r = pipeline(source() | stage.exec { "head", "-c", "1000" })
  lu.assertEquals({ #r.stdout, r.early_close, r.exit_code }, { 1000, true, 0 })
  r = pipeline(stage.exec { "yes" } | cat | stage.exec { "head", "-n", "2" })
  lu.assertEquals({ r.stdout, r.early_close }, { "y\ny\n", true })
end

function test_an_upstream_failure_is_a_failure_and_nothing_short_is_kept()
  local dir = testing.tmpdir()
  local nut = dir .. "/short.nut"
  jobrun.ffmpeg { input = clip "clip.mp4", output = { path = nut, vcodec = "rawvideo", an = true } }
  local found, e = failure(sh("head -c 500000 '" .. nut .. "'; exit 3") | sink(dir .. "/b.mp4"))
  lu.assertEquals(found, { "exit", 1, 3 })
  lu.assertStrContains(tostring(e), "(exit 3, stage 1)")
  lu.assertEquals(helper.entries(dir), "short.nut")
end

function test_an_upstream_death_is_a_failure()
  lu.assertEquals(failure(sh "echo x; kill -9 $$" | cat), { "signal", 1, "SIGKILL" })
end

function test_a_downstream_failure_is_the_cause_of_a_broken_pipe()
  local dir = testing.tmpdir()
  local found, e = failure(source() | sink(dir .. "/b.mp4", { vcodec = "nosuch" }))
  lu.assertEquals(found, { "codec", 2, 1 })
  lu.assertEquals(e.reason, "Unknown encoder 'nosuch'")
  lu.assertEquals(#e.stages, 2)
  lu.assertFalse(e.stages[1].ok)
  lu.assertEquals(helper.entries(dir), "")
end

function test_the_middle_one_is_to_blame()
  local found, e = failure(stage.exec { "yes" } | sh "echo bad >&2; exit 4" | cat)
  lu.assertEquals(found, { "exit", 2, 4 })
  lu.assertEquals(e.lines, { "bad" })
end

function test_the_first_of_two_failures_is_the_cause()
  lu.assertEquals(failure(sh "exit 5" | sh "cat; exit 6"), { "exit", 1, 5 })
end

function test_a_broken_pipe_of_the_last_stage_counts()
  lu.assertEquals(failure(cat | sh "kill -PIPE $$"), { "signal", 2, "SIGPIPE" })
end

function test_a_stage_that_does_not_notice_is_ended()
  local began = jobrun.monotonic()
  lu.assertEquals(failure(stage.exec { "sleep", "100" } | stage.exec { "false" }), { "exit", 2, 1 })
  lu.assertTrue(jobrun.monotonic() - began < 30)
end

function test_bad_input_of_a_later_stage()
  local found = failure(sh "echo garbage" | sink(testing.tmpdir() .. "/b.mp4"))
  lu.assertEquals(found, { "invalid_data", 2, 1 })
end

function test_check_false_of_a_stage()
  local r = pipeline(sh("echo x; exit 3", { check = false }) | cat)
  lu.assertEquals({ r.stdout, r.stages[1].exit_code }, { "x\n", 3 })
end

-- ---- how it ends ----------------------------------------------------------------------------------

local function all_gone(pids)
  for _, pid in ipairs(pids) do
    if helper.is_alive(pid) then return false end
  end
  return true
end

function test_the_time_is_up()
  local found, e = failure(stage.exec { "sleep", "100" } | cat, { timeout = 0.05 })
  lu.assertEquals(found, { "timeout", 1, "SIGTERM" })
  lu.assertStrContains(e.reason, "the pipeline timed out after 0.05 s")
end

function test_the_time_of_one_stage_is_up()
  local found = failure(sh "echo x; exec sleep 100" | sh("exec sleep 100", { timeout = 0.05 }) | cat)
  lu.assertEquals(found, { "timeout", 2, "SIGTERM" })
end

function test_stop_ends_the_first_stage_and_the_rest_finishes()
  local dir = testing.tmpdir()
  local frames = 0
  local h = pipeline.start(source() | sink(dir .. "/b.mp4"), {
    on_progress = function(p, number) if number == 2 then frames = p.frame or 0 end end,
  })
  testing.wait_for(function() return frames > 30 end, 20)
  local r = h:stop()
  lu.assertEquals({ r.ok, r.stopped, r.exit_code }, { true, true, 0 })
  lu.assertTrue(jobrun.probe(dir .. "/b.mp4").duration > 1)
  lu.assertTrue(all_gone(h.pids))
end

function test_stop_from_a_callback()
  local h
  h = pipeline.start(stage.exec { "yes" } | stage.exec { "cat", on_line = function() h:stop() end })
  lu.assertTrue(h:wait().stopped)
end

function test_cancel_ends_all()
  local dir = testing.tmpdir()
  local h = pipeline.start(source() | cat | sink(dir .. "/b.mp4"))
  testing.wait_for(function() return helper.entries(dir) ~= "" end, 20)
  h:cancel "enough"
  lu.assertEquals(error_of(h.wait, h).kind, "cancelled")
  lu.assertTrue(all_gone(h.pids))
  lu.assertEquals(helper.entries(dir), "")
end

function test_a_cancelled_task_ends_all()
  local e = error_of(jobrun.timeout, 0.05, function()
    pipeline(stage.exec { "yes" } | stage.exec { "cat", capture_stdout = 10 })
  end)
  lu.assertEquals(e.kind, "timeout")
end

function test_a_callback_that_raises_ends_all_and_is_raised()
  local e = error_of(pipeline, stage.exec { "yes" } | stage.exec { "cat", on_line = function() error { mine = 1 } end })
  lu.assertEquals(e.mine, 1)
end

function test_pause_and_resume()
  local count = 0
  local h <close> = pipeline.start(stage.exec { "yes" } | stage.exec { "cat", on_line = function() count = count + 1 end })
  testing.wait_for(function() return count > 0 end)
  h:pause()
  local function is_stopped(pid) return helper.read(("/proc/%d/stat"):format(pid)):find("%) T") end
  testing.wait_for(function() return is_stopped(h.pids[1]) and is_stopped(h.pids[2]) end)
  local before
  testing.wait_for(function() -- what was on its way has come
    local same = before == count
    before = count
    sleep(0.02)
    return same
  end)
  h:resume()
  testing.wait_for(function() return count > before end)
end

function test_a_closed_handle_ends_all()
  local pids
  do
    local h <close> = pipeline.start(stage.exec { "sleep", "100" } | cat)
    pids = h.pids
  end
  lu.assertTrue(all_gone(pids))
end

function test_a_program_that_is_not_there_leaves_nothing()
  local e = error_of(pipeline, stage.exec { "sleep", "100" } | stage.exec { "no-such-program" } | cat)
  lu.assertEquals({ e.kind, e.stage }, { "not_found", 2 })
end

-- ---- bad calls ------------------------------------------------------------------------------------

local function usage(expected, fn, ...)
  local e = error_of(fn, ...)
  lu.assertEquals(e.kind, "usage")
  lu.assertStrContains(e.message, expected)
end

function test_wrong_calls_are_told()
  usage("expected stages", pipeline, 3)
  usage("no stages", pipeline, {})
  usage("item 2 is no stage", pipeline, { cat, "sort" })
  usage("unknown option \"timout\", did you mean 'timeout'?", pipeline, cat, { timout = 1 })
  usage("expected a stage on both sides", function() return cat | "sort" end)
  usage("expected a table of options", stage.exec, "cat")
  usage("stdin comes from the stage before", pipeline, { cat, stage.exec { "cat", stdin = "x" } })
  usage("its stdout goes to the next stage", pipeline, { stage.exec { "cat", on_line = print }, cat })
  local film = helper.clip "clip.mp4"
  usage("the stage behind gets nothing", pipeline, { stage.ffmpeg { input = film, output = "x.mkv" }, cat })
  usage("nobody reads the stage before", pipeline, { cat, stage.ffmpeg { input = film, output = "x.mkv" } })
  usage("needs its format", pipeline, { stage.ffmpeg { input = clip "clip.mp4" }, cat })
  usage("no input", pipeline, { stage.ffmpeg { output = "x.mkv" }, cat })
  usage("no output", pipeline, { cat, stage.ffmpeg { f = "nut" } })
  usage("an option of the whole pipeline", pipeline, { cat, stage.ffmpeg { output = "x.mkv", retry = 2 } })
end

function test_an_output_that_exists()
  local path = testing.tmpdir() .. "/a.mp4"
  helper.write(path, "x")
  lu.assertEquals(error_of(pipeline, { source(1), sink(path) }).kind, "exists")
  lu.assertTrue(pipeline { source(1), sink(path, { overwrite = "skip" }) }.skipped)
  lu.assertEquals(fs.read(path), "x")
end

function test_retry_of_a_whole_pipeline()
  local flag = testing.tmpdir() .. "/flag"
  local r = pipeline(sh("test -e '" .. flag .. "' && echo ok || { touch '" .. flag .. "'; kill -9 $$; }") | cat,
    { retry = { n = 2, backoff = 0.01 } })
  lu.assertEquals(r.stdout, "ok\n")
end
