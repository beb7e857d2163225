-- probe: what a media file is.
local lu = require "luaunit"
local jobrun = require "jobrun"
local testing = require "jobrun.testing"
local helper = dofile "tests/ffmpeg_helper.lua"
local probe, ffmpeg = jobrun.probe, jobrun.ffmpeg
local error_of = helper.error_of

local CLIP = helper.clip "clip.mp4"

function test_numbers_are_numbers()
  local i = probe(CLIP)
  lu.assertAlmostEquals(i.duration, 2, 0.1)
  lu.assertEquals(#i.streams, 2)
  lu.assertEquals({ i.video.width, i.video.height, i.video.nb_frames, i.video.avg_frame_rate },
    { 128, 96, 50, 25.0 })
  lu.assertEquals({ i.audio.sample_rate, i.audio.channels, i.audio.codec_name }, { 44100, 1, "aac" })
  lu.assertEquals(i.format.size, #helper.read(CLIP))
  lu.assertTrue(rawequal(i.video, i.streams[1]))
  lu.assertEquals(i.format.filename, CLIP)
  lu.assertEquals(i.raw.streams[1].width, "128")
end

function test_what_is_unknown_is_nil()
  local dir = testing.tmpdir()
  ffmpeg { input = CLIP, output = dir .. "/o.h264", codec = "copy" }
  local i = probe(dir .. "/o.h264")
  lu.assertNil(i.duration)
  lu.assertNil(i.audio)
  lu.assertNil(i.format.duration)
  lu.assertEquals(i.video.codec_name, "h264")
end

function test_sound_alone_has_no_video()
  local i = probe(helper.clip "sound.wav")
  lu.assertNil(i.video)
  lu.assertEquals(i.audio.codec_name, "pcm_s16le")
  lu.assertAlmostEquals(i.duration, 1, 0.01)
end

function test_tags_are_strings_of_any_content()
  local dir = testing.tmpdir()
  local title = 'a "b" \\c`$=\nü'
  ffmpeg { input = CLIP, output = dir .. "/2024.mkv", codec = "copy", metadata = { title = title,
    comment = "007", ["x.y"] = "1.0" } }
  local tags = probe(dir .. "/2024.mkv").format.tags
  lu.assertEquals({ tags.title, tags.COMMENT, tags.X_Y }, { title, "007", "1.0" })
end

function test_a_raw_input_and_its_options()
  local i = probe { raw = "testsrc2=s=32x16:r=10:d=1", f = "lavfi" }
  lu.assertEquals({ i.video.width, i.video.height, i.video.r_frame_rate }, { 32, 16, 10.0 })
end

function test_chapters()
  local dir = testing.tmpdir()
  helper.write(dir .. "/meta", ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=one\n"
    .. "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=two\n")
  ffmpeg { inputs = { CLIP, { path = dir .. "/meta", f = "ffmetadata" } },
    output = dir .. "/o.mkv", codec = "copy", map_metadata = 1 }
  local i = probe(dir .. "/o.mkv")
  lu.assertEquals(#i.chapters, 2)
  lu.assertEquals({ i.chapters[2].tags.title, i.chapters[2].start_time }, { "two", 1.0 })
end

function test_failures_have_the_kinds_of_ffmpeg()
  lu.assertEquals(error_of(probe, "/nope.mp4").kind, "not_found")
  local e = error_of(probe, helper.clip "garbage.bin")
  lu.assertEquals(e.kind, "invalid_data")
  lu.assertStrMatches(e.message, "probe: .*Invalid data found when processing input %(exit 1%)")
  e = error_of(probe, helper.clip "cut.mp4")
  lu.assertEquals({ e.kind, e.reason }, { "invalid_data", "moov atom not found" })
  lu.assertEquals(error_of(probe, { url = "http://127.0.0.1:1/x", protocols = { "http",
    "tcp" } }).kind, "network")
end

function test_a_missing_program_says_what_to_install()
  local e = error_of(probe, CLIP, { bin = "no-such-ffprobe" })
  lu.assertEquals(e.kind, "not_found")
  lu.assertStrContains(e.message, "apt-get install ffmpeg")
end

function test_timeout()
  local dir = testing.tmpdir()
  os.execute("mkfifo " .. dir .. "/never")
  helper.write(dir .. "/slow", "#!/bin/sh\nexec sleep 60\n")
  os.execute("chmod +x " .. dir .. "/slow")
  lu.assertEquals(error_of(probe, CLIP, { bin = dir .. "/slow", timeout = 0.1 }).kind, "timeout")
end

function test_wrong_use()
  lu.assertEquals(error_of(probe, nil).kind, "usage")
  lu.assertStrContains(error_of(probe, CLIP, { timeot = 1 }).message, "timeout")
  lu.assertStrContains(error_of(probe, { url = "http://x" }).message, "protocols")
end
