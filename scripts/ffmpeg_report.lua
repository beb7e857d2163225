-- ffmpeg with its report captured live while waiting for it. asyncio: FFREPORT to a temporary file and
-- a thread that polls it. Here each line is a callback, and all have come when the call returns.

local tmp <close> = fs.tmpdir() -- removed with what is in it when the script ends
local clip, result_file = tmp.path .. "/clip.mp4", tmp.path .. "/result.mkv"
ffmpeg {
  input = { raw = "testsrc2=size=320x240:rate=25:duration=2", f = "lavfi" },
  output = clip,
  vcodec = "libx264",
  pix_fmt = "yuv420p",
}

local lines = 0
local result = ffmpeg {
  input = clip,
  output = result_file,
  vcodec = "libx264",
  preset = "veryfast",
  map = "0",
  on_report = function(line, level)
    lines = lines + 1
    if line:find "Stream #0:0" then print(level, line) end
  end,
}
print(("%d lines had come when the call returned, exit status %d"):format(lines, result.exit_code))
