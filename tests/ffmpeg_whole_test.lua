-- More than one plain run: verify, two passes, pieces, what dead processes left.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local ffmpeg, encode_segments, probe, fs = jobrun.ffmpeg, jobrun.encode_segments, jobrun.probe, jobrun.fs
local error_of, clip, exec, sleep = helper.error_of, helper.clip, jobrun.exec, jobrun.sleep
local program = fs.realpath((os.getenv "JOBRUN_BUILD" or "build") .. "/jobrun")

-- ---- verify ---------------------------------------------------------------------------------------

local function encode(dir, more)
  local opts = { input = clip "clip.mp4", output = dir .. "/a.mkv", vcodec = "libx264", preset = "ultrafast" }
  for key, value in pairs(more) do opts[key] = value end
  return ffmpeg(opts)
end

function test_verify_looks_again_and_is_content()
  local r = encode(testing.tmpdir(), { verify = { frames = true, duration = 0.1 } })
  lu.assertTrue(r.ok)
end

function test_verify_sees_a_source_that_was_cut_short()
  local dir = testing.tmpdir()
  local whole, cut = dir .. "/whole.mkv", dir .. "/cut.mkv"
  ffmpeg { input = clip "clip.mp4", output = whole, codec = "copy" }
  helper.write(cut, helper.read(whole):sub(1, -20000)) -- its header says 2 s still
  lu.assertTrue(encode(dir, { input = cut, overwrite = true }).ok) -- ffmpeg noticed nothing
  os.remove(dir .. "/a.mkv")
  local e = error_of(encode, dir, { input = cut, verify = { duration = "100ms" } })
  lu.assertEquals({ e.kind, e.exit_code }, { "output", 0 })
  lu.assertStrContains(e.reason, "verify: " .. dir .. "/a.mkv is ")
  lu.assertFalse(fs.exists(dir .. "/a.mkv"))
end

function test_verify_counts_frames()
  local e = error_of(encode, testing.tmpdir(), { verify = { frames = 49 } })
  lu.assertStrContains(e.reason, "holds 50 frames, not 49")
end

function test_verify_needs_a_length()
  local dir = testing.tmpdir()
  local opts = { input = { raw = "testsrc2=d=1", f = "lavfi" }, output = dir .. "/a.mkv", verify = { duration = 0.1 } }
  lu.assertStrContains(error_of(ffmpeg, opts).reason, "is not known: give duration=")
  opts.duration = 1
  lu.assertTrue(ffmpeg(opts).ok)
end

function test_bad_verifies()
  for _, bad in ipairs { 1, { frame = true }, { duration = "x" }, { frames = "all" } } do
    lu.assertEquals(error_of(encode, testing.tmpdir(), { verify = bad }).kind, "usage")
  end
end

-- ---- two passes -----------------------------------------------------------------------------------

function test_two_passes()
  local dir, events = testing.tmpdir(), {}
  local r = encode(dir, { two_pass = true, b = "200k", acodec = "copy", movflags = "+faststart",
    output = dir .. "/a.mp4", stats_period = 0.01, on_progress = function(p) events[#events + 1] = p end })
  lu.assertTrue(r.ok)
  lu.assertTableContains(r.argv, "-pass")
  lu.assertNotNil(probe(dir .. "/a.mp4").audio)
  local last, done = 0, 0
  for _, p in ipairs(events) do
    lu.assertTrue(p.percent >= last)
    last = p.percent
    if p.done then done = done + 1 end
  end
  lu.assertEquals({ last, done, events[#events].pass }, { 100, 1, 2 })
  lu.assertEquals(helper.entries(dir), "a.mp4")
end

function test_a_failed_first_pass_fails_once()
  local dir, done = testing.tmpdir(), 0
  local e = error_of(encode, dir, { two_pass = true, b = "200k", vcodec = "nosuch",
    on_progress = function(p) if p.done then done = done + 1 end end })
  lu.assertEquals({ e.kind, done, helper.entries(dir) }, { "codec", 1, "" })
end

function test_two_passes_see_an_output_that_exists_before_they_begin()
  local dir = testing.tmpdir()
  helper.write(dir .. "/a.mkv", "x")
  lu.assertEquals(error_of(encode, dir, { two_pass = true }).kind, "exists")
  lu.assertTrue(encode(dir, { two_pass = true, overwrite = "skip" }).skipped)
end

function test_two_passes_can_be_cancelled_and_leave_nothing()
  local dir = testing.tmpdir()
  local h = ffmpeg.start { input = { raw = "testsrc2", f = "lavfi" }, output = dir .. "/a.mkv", vcodec = "libx264",
    b = "200k", two_pass = true }
  h:cancel()
  lu.assertEquals(error_of(h.wait, h).kind, "cancelled")
  lu.assertEquals(helper.entries(dir), "")
end

-- ---- what dead processes left ---------------------------------------------------------------------

local function dead_pid()
  return tonumber(exec { "sh", "-c", "echo $$" }.stdout)
end

function test_left_over_files_of_dead_processes_go()
  local dir = testing.tmpdir()
  local dead, own = dead_pid(), tonumber(fs.realpath("/proc/self"):match "%d+$")
  local gone = (".a.jobrun-%d-7.mkv"):format(dead)
  local kept = {
    (".a.jobrun-%d-7.mp4"):format(dead), -- another output's
    (".ab.jobrun-%d-7.mkv"):format(dead),
    (".a.jobrun-%d-1.mkv"):format(own), -- ours, still alive
    ".a.jobrun-1-1.mkv",
    ".a.jobrun-x-1.mkv",
  }
  for _, name in ipairs { gone, table.unpack(kept) } do helper.write(dir .. "/" .. name, "x") end
  encode(dir, {})
  lu.assertFalse(fs.exists(dir .. "/" .. gone))
  for _, name in ipairs(kept) do lu.assertTrue(fs.exists(dir .. "/" .. name), name) end
end

-- A jobrun that encodes into `dir`, in real time, after its file has appeared.
local function start_encoding(dir, more)
  local script = ('ffmpeg { input = { raw = "testsrc2=s=64x48:d=60", f = "lavfi", re = true }, output = "a.mkv", %s }')
    :format(more or "")
  local h = exec.start { program, "-e", script, check = false, cwd = dir }
  testing.wait_for(function() return helper.entries(dir) ~= "" end, 20)
  return h
end

local function is_empty(dir) return helper.entries(dir) == "" end

function test_the_file_of_a_killed_jobrun_goes_with_its_ffmpeg()
  local dir = testing.tmpdir()
  local h = start_encoding(dir)
  h:signal "SIGKILL"
  h:wait()
  testing.wait_for(function() return is_empty(dir) end, 20)
end

function test_the_file_of_a_jobrun_ended_by_a_third_signal_goes_too()
  local dir = testing.tmpdir()
  local h = start_encoding(dir)
  while h:is_running() do
    h:signal "SIGINT"
    sleep(0.02)
  end
  h:wait()
  testing.wait_for(function() return is_empty(dir) end, 20)
end

function test_a_second_signal_cancels_and_leaves_nothing()
  local dir = testing.tmpdir()
  local h = start_encoding(dir)
  h:signal "SIGTERM"
  sleep(0.05)
  h:signal "SIGTERM"
  h:wait()
  lu.assertTrue(is_empty(dir))
end

function test_a_paused_program_hears_that_its_jobrun_was_killed()
  local dir = testing.tmpdir()
  local h = exec.start { program, "-e", [[
    local h = exec.start { "sh", "-c",
      "trap '' HUP; trap 'echo x >heard; exit' TERM; echo x >ready; while :; do sleep 0.02; done" }
    while not fs.exists "ready" do sleep(0.01) end
    h:pause()
    fs.write("paused", "x")
    h:wait()
  ]], check = false, cwd = dir }
  testing.wait_for(function() return fs.exists(dir .. "/paused") end, 20)
  h:signal "SIGKILL"
  h:wait()
  testing.wait_for(function() return fs.exists(dir .. "/heard") end, 20) -- SIGKILL would leave no word
end

function test_a_file_that_shall_be_kept_stays()
  local dir = testing.tmpdir()
  local h = start_encoding(dir, "keep_partial = true")
  h:signal "SIGKILL"
  h:wait()
  sleep(0.1)
  lu.assertStrContains(helper.entries(dir), ".jobrun-" .. h.pid .. "-")
  encode(dir, {})
  lu.assertEquals(helper.entries(dir), "a.mkv")
end

-- ---- pieces ---------------------------------------------------------------------------------------

local function in_pieces(dir, more)
  local opts = {
    input = clip "clip.mp4", output = dir .. "/a.mp4", segment_time = 0.4, workers = 2, vcodec = "libx264",
    preset = "ultrafast",
  }
  for key, value in pairs(more or {}) do opts[key] = value end
  return encode_segments(opts)
end

-- When the pictures are shown, in order.
local function times(path)
  local out = exec { "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time", "-of",
    "csv=p=0", path }.stdout
  local list = {}
  for time in out:gmatch "[%d.]+" do list[#list + 1] = tonumber(time) end
  table.sort(list)
  return list
end

local function gaps(path)
  local list, n = times(path), 0
  for i = 2, #list do
    if math.abs(list[i] - list[i - 1] - 0.04) > 0.001 then n = n + 1 end
  end
  return n
end

-- Each picture of the one as long after the first one as in the other.
local function assert_same_times(path, source)
  local is, should = times(path), times(source)
  lu.assertEquals(#is, #should)
  for i = 1, #is do lu.assertAlmostEquals(is[i] - is[1], should[i] - should[1], 0.0025, "picture " .. i) end
end

function test_pieces_make_the_same_film()
  local dir, events = testing.tmpdir(), {}
  local r = in_pieces(dir, { on_progress = function(p) events[#events + 1] = p end })
  lu.assertEquals({ r.ok, r.segments, r.resumed, r.frames }, { true, 5, 0, 50 })
  local info = probe(dir .. "/a.mp4", { count_packets = true })
  lu.assertEquals({ info.video.nb_read_packets, gaps(dir .. "/a.mp4") }, { 50, 0 })
  lu.assertAlmostEquals(info.duration, 2, 0.1)
  lu.assertEquals(info.audio.codec_name, "aac")
  lu.assertEquals({ events[#events].done, events[#events].percent }, { true, 100 })
  lu.assertEquals(helper.entries(dir), "a.mp4")
end

function test_reordered_pictures_keep_their_times()
  local dir = testing.tmpdir()
  local source = dir .. "/b.mp4"
  ffmpeg { input = clip "clip.mp4", output = source, vcodec = "libx264", bf = 2, g = 10, acodec = "copy" }
  in_pieces(dir, { input = source, preset = "medium" })
  lu.assertEquals(gaps(dir .. "/a.mp4"), 0)
end

function test_pictures_of_irregular_length_keep_their_times()
  local dir = testing.tmpdir()
  lu.assertTrue(in_pieces(dir, { input = clip "vfr.mkv", segment_time = 0.9 }).segments > 1)
  assert_same_times(dir .. "/a.mp4", clip "vfr.mkv")
end

function test_pictures_that_need_the_next_piece_are_not_lost()
  local dir = testing.tmpdir()
  lu.assertTrue(in_pieces(dir, { input = clip "open.ts", segment_time = 0.9 }).segments > 1)
  assert_same_times(dir .. "/a.mp4", clip "open.ts")
end

function test_pictures_that_an_edit_list_hides_stay_hidden()
  local dir = testing.tmpdir()
  ffmpeg { input = { path = clip "clip.mp4", ss = 0.5 }, output = dir .. "/cut.mp4", codec = "copy" }
  local r = in_pieces(dir, { input = dir .. "/cut.mp4", segment_time = 0.7 })
  local plain = ffmpeg { input = dir .. "/cut.mp4", output = { raw = "-", f = "null" } }
  lu.assertEquals({ r.frames, gaps(dir .. "/a.mp4") }, { plain.progress.frame, 0 })
  lu.assertTrue(r.frames < 40)
end

function test_sound_and_titles_of_a_film_of_odd_length_come_along()
  local dir = testing.tmpdir()
  in_pieces(dir, { input = clip "late.mkv", output = dir .. "/a.mkv", segment_time = 0.7 })
  assert_same_times(dir .. "/a.mkv", clip "late.mkv")
  local is, should = probe(dir .. "/a.mkv"), probe(clip "late.mkv")
  lu.assertAlmostEquals(is.video.start_time - is.format.start_time, should.video.start_time - should.format.start_time, 0.03)
  lu.assertAlmostEquals(is.duration, should.duration, 0.1)
  lu.assertEquals(is.format.tags.title, "late")
end

function test_filters_of_the_caller_come_behind()
  local dir = testing.tmpdir()
  in_pieces(dir, { vf = "scale=64:48", segment_time = 1.1 })
  lu.assertEquals(probe(dir .. "/a.mp4").video.width, 64)
end

function test_a_killed_process_is_resumed()
  local dir = testing.tmpdir()
  local script = ([[
    encode_segments { input = %q, output = %q, segment_time = 0.4, workers = 1, vcodec = "libx264", preset = "ultrafast",
      on_progress = function(p) if p.ready == 2 then sleep(60) end end }
  ]]):format(clip "clip.mp4", dir .. "/a.mp4")
  local h = exec.start { program, "-e", script, check = false }
  testing.wait_for(function() return fs.exists(dir .. "/.a.mp4.segments/done-00001.nut") end, 20)
  h:signal "SIGKILL"
  h:wait()
  lu.assertFalse(fs.exists(dir .. "/a.mp4"))
  local r = in_pieces(dir)
  lu.assertTrue(r.resumed >= 2, r.resumed)
  lu.assertEquals({ r.frames, gaps(dir .. "/a.mp4"), helper.entries(dir) }, { 50, 0, "a.mp4" })
end

function test_a_failed_call_is_resumed()
  local dir = testing.tmpdir()
  local seen = 0
  error_of(in_pieces, dir, { workers = 1, on_progress = function(p)
    seen = p.ready
    if p.ready == 2 then error {} end
  end })
  lu.assertTrue(seen >= 2)
  lu.assertEquals(helper.entries(dir), ".a.mp4.segments")
  local r = in_pieces(dir)
  lu.assertTrue(r.resumed >= 2, r.resumed)
  lu.assertEquals(helper.entries(dir), "a.mp4")
end

function test_pieces_of_another_call_are_not_used()
  local dir = testing.tmpdir()
  error_of(in_pieces, dir, { on_progress = function(p) if p.ready == 2 then error {} end end })
  lu.assertEquals(in_pieces(dir, { preset = "veryfast" }).resumed, 0)
end

function test_pieces_of_a_film_without_sound()
  local dir = testing.tmpdir()
  lu.assertEquals(in_pieces(dir, { input = clip "clip.ts", output = dir .. "/a.mkv" }).frames, 50)
end

function test_a_rate_that_changes_is_told_unless_it_may()
  local dir = testing.tmpdir()
  lu.assertStrContains(error_of(in_pieces, dir, { vf = "fps=10" }).reason, "holds 4 frames, not 10")
  lu.assertTrue(in_pieces(dir, { vf = "fps=10", verify = false }).ok)
end

function test_bad_pieces()
  local dir = testing.tmpdir()
  lu.assertEquals(error_of(in_pieces, dir, { input = dir .. "/none" }).kind, "not_found")
  lu.assertEquals(error_of(in_pieces, dir, { input = clip "sound.wav" }).kind, "invalid_data")
  lu.assertEquals(error_of(in_pieces, dir, { input = clip "garbage.bin" }).kind, "invalid_data")
  lu.assertEquals(error_of(in_pieces, dir, { workers = 0 }).kind, "usage")
  lu.assertEquals(error_of(in_pieces, dir, { map = "0" }).kind, "usage")
  lu.assertEquals(error_of(in_pieces, dir, { vf = { "null" } }).kind, "usage")
  lu.assertEquals(error_of(in_pieces, dir, { output = dir .. "/no/a.mp4" }).kind, "not_found")
  lu.assertEquals(error_of(in_pieces, dir, { vcodec = "nosuch" }).kind, "codec")
  lu.assertEquals(helper.entries(dir), "") -- nothing was done, so there is nothing to resume
  helper.write(dir .. "/a.mp4", "x")
  lu.assertEquals(error_of(in_pieces, dir).kind, "exists")
end
