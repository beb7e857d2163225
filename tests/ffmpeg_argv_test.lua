-- The argument list of ffmpeg: its order, its values, and the mistakes that are caught before
-- ffmpeg starts.
local lu = require "luaunit"
local argv = require "jobrun.ffmpeg.argv"

local function build(opts, names)
  local plan = argv.plan(opts)
  names = names or {}
  names.targets = names.targets or {}
  for i, output in ipairs(plan.outputs) do names.targets[i] = names.targets[i] or output.name end
  return argv.build(plan, names)
end

-- What stands behind the fixed beginning.
local function rest(opts)
  local list = build(opts)
  lu.assertEquals(table.concat(list, " ", 1, 10),
    "ffmpeg -nostdin -hide_banner -loglevel repeat+level+info -progress pipe:4 -stats_period 0.5 -n")
  return table.concat(list, " ", 11)
end

local function with_output(opts)
  opts.input, opts.output = "in.mp4", "out.mp4"
  return rest(opts):match("^%-i %./in%.mp4 ?(.-) ?%./out%.mp4$")
end

local function reason(opts)
  local ok, e = pcall(argv.plan, opts)
  lu.assertFalse(ok)
  lu.assertEquals(e.kind, "usage")
  return e.message
end

function test_the_whole_order()
  local list = build({
    input = { path = "in.mp4", ss = 1, t = 2, args = { "-x", "y" } },
    output = { path = "/tmp/o.mp4", args = { "-z" } },
    map = { "0:v", "0:a" },
    vcodec = "libx264", acodec = "aac", vf = "scale=2:2", af = "volume=1", b = "1M", ar = 44100,
    filter_complex = "[0:v]null[v]", global_args = { "-benchmark" },
  }, { report = true, replace = true })
  lu.assertEquals(list, {
    "ffmpeg", "-nostdin", "-loglevel", "repeat+level+info", "-progress", "pipe:4", "-stats_period",
      "0.5", "-y",
    "-benchmark",
    "-ss", "1", "-t", "2", "-x", "y", "-i", "./in.mp4",
    "-filter_complex", "[0:v]null[v]",
    "-map", "0:v", "-map", "0:a", "-vcodec", "libx264", "-acodec", "aac", "-vf", "scale=2:2",
      "-af", "volume=1",
    "-b", "1M", "-ar", "44100", "-z", "/tmp/o.mp4",
  })
end

function test_the_order_does_not_depend_on_the_table()
  local keys = { "vcodec", "acodec", "vf", "af", "b", "r", "s", "g", "bf", "crf", "preset", "tune",
    "ac", "ar", "t" }
  local expected = "-vcodec x -acodec x -vf x -af x -b x "
    .. "-ac x -ar x -bf x -crf x -g x -preset x -r x -s x -t x -tune x"
  for turn = 1, #keys do
    local opts = {}
    for i = 1, #keys do opts[keys[(i + turn) % #keys + 1]] = "x" end
    lu.assertEquals(with_output(opts), expected)
  end
end

function test_the_general_stands_before_the_particular()
  lu.assertEquals(with_output { codec = "copy", acodec = "aac", vcodec = "libx264" },
    "-codec copy -vcodec libx264 -acodec aac")
  lu.assertEquals(with_output { ["c:a:1"] = "mp3", ["c:a"] = "aac", c = "copy" },
    "-c copy -c:a aac -c:a:1 mp3")
end

function test_values()
  lu.assertEquals(with_output { shortest = true, vn = false, r = 25, ss = 1.5, t = 30.0, b = "1M" },
    "-b 1M -r 25 -shortest -ss 1.5 -t 30")
  lu.assertEquals(with_output { t = 0.1, ss = 1e-5, fs = 1 << 40 }, "-fs 1099511627776 -ss 1e-05 -t 0.1")
  lu.assertEquals(with_output { map = { "0:v", "1:a" } }, "-map 0:v -map 1:a")
  lu.assertEquals(with_output { map = {} }, "")
  lu.assertEquals(with_output { metadata = { title = "A b", artist = "C" } },
    "-metadata artist=C -metadata title=A b")
  lu.assertEquals(with_output { metadata = { "x=1", "y=2" } }, "-metadata x=1 -metadata y=2")
  lu.assertEquals(with_output { ["metadata:s:a:0"] = "language=deu" }, "-metadata:s:a:0 language=deu")
  lu.assertEquals(with_output { ["x264-params"] = "keyint=1", strict = "experimental" },
    "-strict experimental -x264-params keyint=1")
end

function test_strict_true_is_jobruns_own()
  local list = table.concat(build { input = "a", output = "b", strict = true }, " ")
  lu.assertStrContains(list, " -n -xerror -abort_on empty_output -i ")
end

function test_relative_paths_cannot_be_taken_for_options_or_protocols()
  lu.assertEquals(rest { input = "-i", output = "a:b.mp4" }, "-i ./-i ./a:b.mp4")
  lu.assertEquals(rest { input = "./a", output = "../b" }, "-i ./a ../b")
  lu.assertEquals(rest { input = "/a", output = ".hidden" }, "-i /a ./.hidden")
  lu.assertEquals(rest { input = "..a", output = "b" }, "-i ./..a ./b")
end

function test_raw_and_url()
  lu.assertEquals(rest { input = { raw = "testsrc2=d=1", f = "lavfi" }, output = { raw = "pipe:1",
    f = "nut" } },
    "-f lavfi -i testsrc2=d=1 -f nut pipe:1")
  lu.assertEquals(
    rest { input = { url = "https://h/x", protocols = { "https", "tls", "tcp" },
      user_agent = "me" }, output = "o.mp4" },
    "-protocol_whitelist https,tls,tcp -user_agent me -i https://h/x ./o.mp4")
end

function test_options_of_the_call_are_defaults_of_all_outputs()
  lu.assertEquals(
    rest { inputs = { "a", { path = "b", ss = 1 } }, outputs = { "c", { path = "d",
      vcodec = "copy" } }, vcodec = "x" },
    "-i ./a -ss 1 -i ./b -vcodec x ./c -vcodec copy ./d")
end

function test_arguments_pass_as_they_are()
  lu.assertEquals(rest { input = "a", output = "b", args = { "-foo", "b ar", "" } },
    "-i ./a -foo b ar  ./b")
end

function test_unknown_keys_name_the_nearest()
  lu.assertStrContains(reason { input = "a", output = "b", vcodek = "x" },
    "unknown option 'vcodek', did you mean 'vcodec'?")
  lu.assertStrContains(reason { input = "a", output = "b", on_reprot = 1 }, "did you mean 'on_report'?")
  lu.assertStrContains(reason { input = { path = "a", sss = 1 }, output = "b" }, "unknown option 'sss'")
  lu.assertStrContains(reason { input = "a", output = "b", ["-vf"] = "x" }, "did you mean 'vf'?")
  lu.assertStrContains(reason { input = "a", output = "b", ["bv:x"] = "x" }, "unknown option 'bv:x'")
  lu.assertStrContains(reason { input = "a", output = "b", y = true }, "see overwrite=true")
  lu.assertStrContains(reason { input = "a", output = "b", x264_params = "x" },
    "did you mean 'x264-params'?")
end

function test_missing_and_contradicting_files()
  lu.assertStrContains(reason { output = "b" }, "no input (use stage.ffmpeg in a pipeline)")
  lu.assertStrContains(reason { input = "a" }, "no output (use stage.ffmpeg in a pipeline)")
  lu.assertStrContains(reason { input = "a", inputs = { "b" }, output = "c" },
    "input or inputs, not both")
  lu.assertStrContains(reason { inputs = {}, output = "c" }, "inputs: expected a list")
  lu.assertStrContains(reason { input = { path = "a", url = "b" }, output = "c" },
    "input has both path and url")
  lu.assertStrContains(reason { input = { ss = 1 }, output = "c" }, "input needs one of path, url, raw")
  lu.assertStrContains(reason { input = { url = "http://x" }, output = "c" }, "a url needs protocols")
  lu.assertStrContains(reason { input = { "a", "b" }, output = "c" }, "several files go into inputs")
  lu.assertStrContains(reason { input = "", output = "c" }, "not empty")
  lu.assertStrContains(reason { input = 1, output = "c" }, "expected a path or a table, got number")
  lu.assertStrContains(reason "a", "expected a table of options, got string")
end

function test_values_that_no_argument_can_carry()
  local function reason_of_build(opts)
    opts.input, opts.output = "a", "b"
    local ok, e = pcall(build, opts)
    lu.assertFalse(ok)
    lu.assertEquals(e.kind, "usage")
    return e.message
  end
  lu.assertStrContains(reason_of_build { t = 0 / 0 }, "no number for ffmpeg")
  lu.assertStrContains(reason_of_build { vf = "a\0b" }, "zero byte")
  lu.assertStrContains(reason_of_build { vf = print },
    "expected a string, number, boolean or list, got function")
  lu.assertStrContains(reason_of_build { vf = { x = 1 } }, "expected a list")
  lu.assertStrContains(reason_of_build { args = { a = 1 } }, "args is not a list")
  lu.assertStrContains(reason_of_build { "x" }, "without a key")
end

function test_passwords_are_masked()
  lu.assertEquals(argv.mask "rtsp://me:secret@host/x and http://a:b@c",
    "rtsp://me:***@host/x and http://a:***@c")
  lu.assertEquals(argv.mask "http://host:80/a@b", "http://host:80/a@b")
end
