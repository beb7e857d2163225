-- Ways for ffmpeg to fail, each made for real: the kind and the reason the error has.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local ffmpeg = jobrun.ffmpeg

local CLIP = helper.clip "clip.mp4"
local NOWHERE = { raw = "-", f = "null" }

-- name = { kind, a plain part of the reason, options }; input and output are the clip and nowhere
-- unless given, "DIR" in a path is a temporary directory.
local CASES = {
  missing_input = { "not_found", "nope.mp4 does not exist", { input = "DIR/nope.mp4" } },
  missing_input_of_a_pattern = { "not_found", "Could find no file", { input = "DIR/%d.png" } },
  directory_as_input = { "invalid_data", "Is a directory", { input = "DIR" } },
  garbage = { "invalid_data", "Invalid data found", { input = "GARBAGE" } },
  empty_input = { "invalid_data", "Invalid data found", { input = "/dev/null" } },
  no_index = { "invalid_data", "moov atom not found", { input = "CUT" } },
  unknown_encoder = { "codec", "Unknown encoder 'nosuch'", { vcodec = "nosuch" } },
  unknown_decoder = { "codec", "Unknown decoder 'nosuch'",
    { input = { path = CLIP, vcodec = "nosuch" } } },
  unknown_option = { "option", "Unrecognized option 'foo'", { args = { "-foo", "1" } } },
  bad_preset = { "codec", "invalid preset 'warp'", { vcodec = "libx264", preset = "warp" } },
  bad_crf = { "option", "'abc'", { vcodec = "libx264", crf = "abc" } },
  bad_profile = { "codec", "baseline profile doesn't support 4:4:4",
    { vcodec = "libx264", profile = "baseline", pix_fmt = "yuv444p" } },
  odd_size = { "codec", "not divisible by 2", { vcodec = "libx264", vf = "scale=65:49" } },
  no_such_stream = { "option", "matches no streams", { map = "0:7" } },
  no_streams_left = { "option", "does not contain any stream",
    { output = "DIR/o.mp4", vn = true, an = true } },
  bad_filter_value = { "filter", "Invalid size 'foo'", { vf = "scale=w=foo" } },
  no_such_filter = { "filter", "No such filter: 'nosuchfilter'", { vf = "nosuchfilter" } },
  filter_value_out_of_range = { "filter", "out of range", { af = "atempo=500" } },
  unconnected_graph = { "option", "Output with label 'b'",
    { filter_complex = "[0:v]null[a]", map = "[b]" } },
  lavfi_source = { "filter", "No such filter: 'nosuchsrc'",
    { input = { raw = "nosuchsrc", f = "lavfi" } } },
  unknown_extension = { "option", "suitable output format", { output = "DIR/o.xyz" } },
  unknown_output_format = { "option", "nosuchmux",
    { output = { path = "DIR/o.mp4", f = "nosuchmux" } } },
  unknown_input_format = { "option", "Unknown input format",
    { input = { path = CLIP, f = "nosuchfmt" } } },
  codec_not_for_the_container = { "codec", "Only VP8 or VP9",
    { output = "DIR/o.webm", codec = "copy" } },
  codec_without_a_tag = { "codec", "Could not find tag for codec rawvideo",
    { output = "DIR/o.mp4", vcodec = "rawvideo" } },
  missing_directory = { "not_found", "directory of the output", { output = "DIR/no/o.mp4" } },
  existing_output = { "exists", "exists", { output = CLIP } },
  bad_duration = { "option", "Invalid duration specification", { t = "abc" } },
  bad_frame_rate = { "option", "Invalid framerate", { r = "abc" } },
  bad_pixel_format = { "option", "Unknown pixel format", { pix_fmt = "nosuch" } },
  bad_muxer_flag = { "option", "'nosuch'", { output = "DIR/o.mp4", movflags = "nosuch" } },
  no_hardware = { "codec", "Cannot load libcuda", { input = { path = CLIP, hwaccel = "cuda" } } },
  no_hardware_encoder = { "codec", "Cannot load libcuda", { vcodec = "h264_nvenc" } },
  refused = { "network", "Connection refused",
    { input = { url = "http://127.0.0.1:1/x", protocols = { "http", "tcp" } } } },
  protocol_not_allowed = { "option", "not on whitelist",
    { input = { url = "http://127.0.0.1:1/x", protocols = { "file" } } } },
  disk_full = { "no_space", "No space left on device",
    { output = { path = "/dev/full", f = "mpegts" }, vcodec = "rawvideo" } },
  disk_full_at_the_header = { "no_space", "No space left on device",
    { output = { path = "/dev/full", f = "mp4" } } },
  damaged_then_disk_full = { "no_space", "No space left on device",
    { input = "DAMAGED", output = { path = "/dev/full", f = "mpegts" }, codec = "mpeg2video" } },
  not_writable = { "permission", "/sys/o.mp4: ", { output = "/sys/o.mp4", codec = "copy" } },
  nothing_encoded = { "output", "nothing was encoded", { output = "DIR/o.mp4", ss = 100 } },
  strict = { "strict", "", { input = "DAMAGED", strict = true } },
}

local PLACES = { GARBAGE = "garbage.bin", CUT = "cut.mp4", DAMAGED = "damaged.ts" }

local function place(file, dir)
  if type(file) == "table" then
    local copy = {}
    for key, value in pairs(file) do copy[key] = key == "path" and place(value, dir) or value end
    return copy
  end
  if PLACES[file] then return helper.clip(PLACES[file]) end
  return (file:gsub("^DIR", dir))
end

local function failure_of(options)
  local dir = testing.tmpdir()
  local opts = {}
  for key, value in pairs(options) do opts[key] = value end
  opts.input = place(options.input or CLIP, dir)
  opts.output = place(options.output or NOWHERE, dir)
  local ok, e = pcall(ffmpeg, opts)
  return { e = not ok and e or nil, left = helper.entries(dir) }
end

-- A few at a time: one ffmpeg takes 60 ms to start.
local results

local function run_all()
  if results then return results end
  results = {}
  local names = {}
  for name in pairs(CASES) do names[#names + 1] = name end
  local next_name = 0
  local function worker()
    while next_name < #names do
      next_name = next_name + 1
      local name = names[next_name]
      results[name] = failure_of(CASES[name][3])
    end
  end
  jobrun.scope(function()
    for _ = 1, 3 do jobrun.spawn(worker) end
  end)
  return results
end

function test_there_are_at_least_24()
  local n = 0
  for _ in pairs(CASES) do n = n + 1 end
  lu.assertTrue(n >= 24)
end

for name, case in pairs(CASES) do
  _G["test_" .. name] = function()
    lu.skipIf(name:find("hardware") and io.open("/dev/nvidiactl"), "there is hardware here")
    local result = run_all()[name]
    local e = result.e
    lu.assertNotNil(e, "it did not fail")
    lu.assertEquals(type(e), "table", tostring(e))
    lu.assertEquals(e.kind, case[1], e.message)
    lu.assertStrContains(e.reason, case[2])
    lu.assertStrMatches(tostring(e), ".*ffmpeg: .+")
    lu.assertEquals(result.left, "", "it left a file")
  end
end
