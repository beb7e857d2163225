-- The main job: ticks every second, and meanwhile encodes a small generated clip with ffmpeg, whose report
-- lines arrive as callbacks while it runs. It ends by itself after about ten seconds.

local tmp <close> = fs.tmpdir() -- removed with what is in it when the encode has ended

every(1).second.named("tick").times(9)(function(run)
  print(("tick %d, %.1f ms after its time"):format(run.id, run.late * 1000))
end)

local lines = 0
local result = ffmpeg {
  input = { raw = "testsrc2=size=320x240:rate=25:duration=8", f = "lavfi", args = { "-re" } },
  output = tmp.path .. "/clip.mp4",
  vcodec = "libx264",
  pix_fmt = "yuv420p",
  duration = 8, -- lavfi does not tell; a file does
  on_report = function(line, level)
    lines = lines + 1
    if level ~= "info" or line:find("^Output") then print("ffmpeg says: " .. line) end
  end,
  on_progress = function(p) print(("encoding: %3.0f %%"):format(p.percent)) end,
}
print(("encoded %d bytes in %.1f s, %d report lines"):format(result.outputs[1].size, result.elapsed, lines))
