-- Progress: from ffmpeg's key=value lines to numbers, percent and time left.
local lu = require "luaunit"
local progress = require "jobrun.ffmpeg.progress"

local BLOCK = [[
frame=21
fps=12.50
stream_0_0_q=21.0
stream_0_1_q=-1.0
bitrate=   0.5kbits/s
total_size=48
out_time_us=2500000
out_time_ms=2500000
out_time=00:00:02.500000
dup_frames=1
drop_frames=2
speed=0.5x
progress=%s
]]

local function feed(reader, text)
  local events = {}
  for line in text:gmatch("[^\n]+") do events[#events + 1] = reader:line(line) end
  return events
end

local function reader_of(length)
  local reader = progress.new(function() return 5 end)
  reader:set_length(length)
  return reader
end

function test_all_values_are_numbers()
  local events = feed(reader_of(), BLOCK:format "continue")
  lu.assertEquals(events, { {
    frame = 21, fps = 12.5, q = 21.0, bitrate = 500.0, total_size = 48, out_time = 2.5,
      dup_frames = 1, drop_frames = 2,
    speed = 0.5, elapsed = 5, done = false,
  } })
end

function test_values_ffmpeg_does_not_know_are_nil()
  local p = feed(reader_of(10), [[
bitrate=N/A
total_size=N/A
out_time_us=-9223372036854775807
speed=N/A
progress=continue]])[1]
  lu.assertEquals(p, { elapsed = 5, done = false, percent = 0 })
  p = feed(reader_of(), "out_time_us=N/A\nspeed=2.64e+03x\nspeed =\nfoo\nprogress=continue")[1]
  lu.assertEquals(p, { elapsed = 5, done = false, speed = 2640.0 })
end

function test_percent_and_eta()
  local p = feed(reader_of(10), BLOCK:format "continue")[1]
  lu.assertEquals(p.percent, 25.0)
  lu.assertEquals(p.eta, 15.0)
end

function test_eta_without_speed_comes_from_the_time_so_far()
  local p = feed(reader_of(10), "out_time_us=2000000\nspeed=N/A\nprogress=continue")[1]
  lu.assertEquals(p.eta, 20.0)
end

function test_percent_never_falls_and_reaches_100_only_on_success()
  local reader = reader_of(2)
  local seen = {}
  for _, us in ipairs { 1000000, 500000, 1500000, 2000000, 9000000, 100 } do
    seen[#seen + 1] = feed(reader, "out_time_us=" .. us .. "\nprogress=continue")[1].percent
  end
  lu.assertEquals(seen, { 50.0, 50.0, 75.0, 99.9, 99.9, 99.9 })
  lu.assertEquals(reader:finish(false).percent, 99.9)
  reader = reader_of(2)
  lu.assertEquals(reader:finish(true).percent, 100)
end

function test_the_end_block_is_kept_for_the_one_event_that_is_done()
  local reader = reader_of(10)
  lu.assertEquals(feed(reader, BLOCK:format "end"), {})
  local p = reader:finish(true)
  lu.assertEquals({ p.done, p.percent, p.eta, p.frame, p.out_time }, { true, 100, 0, 21, 2.5 })
  lu.assertEquals(reader.last, p)
end

function test_without_a_length_there_is_no_percent()
  local reader = reader_of(nil)
  lu.assertNil(feed(reader, BLOCK:format "continue")[1].percent)
  lu.assertNil(reader:finish(true).percent)
end

function test_a_run_without_any_block_has_an_event_too()
  lu.assertEquals(reader_of(3):finish(false), { done = true, elapsed = 5, percent = 0 })
end

function test_times_as_ffmpeg_reads_them()
  local cases = {
    ["12"] = 12, ["12.5"] = 12.5, [".5"] = 0.5, ["90s"] = 90, ["1500ms"] = 1.5,
      ["250us"] = 0.00025, ["01:02"] = 62,
    ["1:02:03.5"] = 3723.5, ["-1:00"] = -60, ["-2"] = -2,
  }
  for text, seconds in pairs(cases) do lu.assertAlmostEquals(progress.seconds(text), seconds, 1e-9,
    text) end
  for _, text in ipairs { "", "abc", "1:2:3:4", "5h",
    "N/A" } do lu.assertNil(progress.seconds(text), text) end
  lu.assertEquals(progress.seconds(3), 3)
  lu.assertNil(progress.seconds(true))
end

function test_duration_lines()
  lu.assertEquals(progress.duration_in("  Duration: 00:01:05.50, start: 0.000000, bitrate: 804 kb/s"), 65.5)
  lu.assertEquals(progress.duration_in("  Duration: N/A, start: 0.000000, bitrate: N/A"), false)
  lu.assertNil(progress.duration_in("    title           : Duration: 00:00:01"))
end

function test_length_of_the_result()
  local function length(inputs, outputs, ...) return progress.length_of(inputs, outputs, { ... }) end
  lu.assertEquals(length({ {} }, { {} }, 10), 10)
  lu.assertEquals(length({ { ss = 4 } }, { {} }, 10), 6)
  lu.assertEquals(length({ { ss = "4", t = "00:00:02" } }, { {} }, 10), 2)
  lu.assertEquals(length({ { ss = 4, to = 5 } }, { {} }, 10), 1)
  lu.assertEquals(length({ { sseof = -3 } }, { {} }, 10), 3)
  lu.assertEquals(length({ {} }, { { ss = 4, t = 20 } }, 10), 6)
  lu.assertEquals(length({ {} }, { { to = 3 } }, 10), 3)
  lu.assertEquals(length({ { stream_loop = 2 } }, { {} }, 10), 30)
  lu.assertEquals(length({ {}, {} }, { {} }, 10, 20), 20)
  lu.assertEquals(length({ {}, {} }, { { shortest = true } }, 10, 20), 10)
  lu.assertEquals(length({ {}, {} }, { {} }, 10, false), 10)
  lu.assertEquals(length({ {} }, { { t = 2 }, { t = 3 } }, 10), 3)
  lu.assertEquals(length({ { t = 5 } }, { {} }, false), 5)
  lu.assertEquals(length({ {} }, { { t = 5 } }, false), 5)
end

function test_a_length_nobody_can_tell()
  lu.assertNil(progress.length_of({ {} }, { {} }, { false }))
  lu.assertNil(progress.length_of({ { stream_loop = -1 } }, { {} }, { 10 }))
  lu.assertNil(progress.length_of({ {} }, { { ["frames:v"] = 1 } }, { 10 }))
  lu.assertNil(progress.length_of({ {} }, { { vframes = 1 } }, { 10 }))
end
