-- The telling line and the kind of failure, from what ffmpeg 5.1 really said.
local lu = require "luaunit"
local report = require "jobrun.ffmpeg.report"

-- Lines as the C side gives them: "level: text", or a line of progress.
local function read(text)
  local log = report.new()
  for line in text:gmatch("[^\n]+") do
    local level, rest = line:match("^(%l+): (.*)$")
    log:note(rest or line, level or "info")
  end
  return log
end

local function judged(text)
  local log = read(text)
  return { log:kind(), log:reason() }
end

function test_the_first_error_tells_more_than_the_last_line()
  lu.assertEquals(judged [[
error: [mov,mp4,m4a,3gp,3g2,mj2 @ 0x55dc] moov atom not found
error: m/trunc.mp4: Invalid data found when processing input]], { "invalid_data",
  "moov atom not found" })
end

function test_lines_that_only_say_that_it_failed_are_passed_over()
  lu.assertEquals(judged [[
error: Error initializing output stream 0:0 -- Error while opening encoder for output stream #0:0
error: [h264_nvenc @ 0x557f] Cannot load libcuda.so.1
error: Conversion failed!]], { "codec", "Cannot load libcuda.so.1" })
end

function test_but_they_are_better_than_nothing()
  lu.assertEquals(judged "error: Conversion failed!", { "exit", "Conversion failed!" })
end

function test_a_fatal_line_beats_only_those()
  lu.assertEquals(judged [[
error: Conversion failed!
fatal: Error while processing the decoded data]], { "exit", "Error while processing the decoded data" })
  lu.assertEquals(judged [[
error: [mp4 @ 0x5574] Invalid stream specifier: b.
fatal: Stream map 'b' matches no streams.]], { "option", "Invalid stream specifier: b." })
end

function test_errors_before_the_last_progress_were_not_the_cause()
  lu.assertEquals(judged [[
error: [h264 @ 0x55b3] error while decoding MB 2 0
frame=   25 fps=0.0 q=-1.0 size=      98kB time=00:00:01.02 bitrate= 785.6kbits/s speed=0.927x
error: av_interleaved_write_frame(): No space left on device
frame=   51 fps=0.0 q=-1.0 Lsize=      98kB time=00:00:01.02 bitrate= 785.6kbits/s speed=0.927x
error: Conversion failed!]], { "no_space", "av_interleaved_write_frame(): No space left on device" })
end

function test_but_they_are_when_nothing_else_was_said()
  lu.assertEquals(judged [[
error: [h264 @ 0x55b3] error while decoding MB 2 0
size=      98kB time=00:00:01.02 bitrate= 785.6kbits/s speed=0.927x]], { "invalid_data",
  "error while decoding MB 2 0" })
end

function test_what_the_encoder_prints_itself_is_an_error()
  lu.assertEquals(judged [[
info: x264 [error]: baseline profile doesn't support 4:4:4
error: [libx264 @ 0x5607] Error setting profile baseline.]], { "codec",
  "x264 [error]: baseline profile doesn't support 4:4:4" })
end

function test_a_wrong_value_is_the_filters_where_the_filters_failed()
  lu.assertEquals(judged [[
error: [atempo @ 0x55e7] Value 500.000000 for parameter 'tempo' out of range [0.5 - 100]
error: [atempo @ 0x55e7] Error setting option tempo to value 500.
error: Error reinitializing filters!]], { "filter",
  "Value 500.000000 for parameter 'tempo' out of range [0.5 - 100]" })
end

function test_counts_and_the_first_lines()
  local text = {}
  for i = 1, 30 do
    text[#text + 1] = "warning: w" .. i
    text[#text + 1] = "error: e" .. i
  end
  local log = read(table.concat(text, "\n"))
  lu.assertEquals({ log.errors.count, #log.errors, log.errors[1], log.errors[20] }, { 30, 20, "e1",
    "e20" })
  lu.assertEquals({ log.warnings.count, #log.warnings }, { 30, 20 })
end

function test_signs_of_failure_that_come_with_exit_status_0()
  lu.assertEquals(read("error: Error writing trailer of /dev/full: No space left on device").unclosed,
    "Error writing trailer of /dev/full: No space left on device")
  lu.assertTrue(read("warning: Output file is empty, nothing was encoded (check -ss)").empty_output)
end

function test_nothing_said()
  local log = read ""
  lu.assertNil(log:reason())
  lu.assertEquals(log:kind(), "exit")
end

function test_what_is_worth_another_try()
  lu.assertTrue(report.is_retryable("network", "Connection refused"))
  lu.assertTrue(report.is_retryable("network", "HTTP error 503 Service Unavailable"))
  lu.assertFalse(report.is_retryable("network", "HTTP error 404 Not Found"))
  lu.assertTrue(report.is_retryable("timeout", "x"))
  lu.assertFalse(report.is_retryable("codec", "x"))
end
