-- A nightly encode at 02:30 of a zone, tried again where it fails, never beyond the next night:
--
--   jobrun scripts/nightly.lua IN OUT [ZONE]        jobrun next scripts/nightly.lua
--
-- On the night without a 02:30 it runs at the first moment after the gap, on the one with two of them once.

local input, output, zone = arg[1] or "in.mp4", arg[2] or "out.mp4", arg[3] or "Europe/Berlin"

cron("30 2 * * *", { tz = zone, named = "nightly", timeout = "4h", retry = { n = 3, backoff = "5m" } }, function(run)
  local r = ffmpeg { input = input, output = output, overwrite = true, vcodec = "libx264", preset = "ultrafast" }
  run:log("%s: %d bytes, due at %s", r.outputs[1].path, r.outputs[1].size, os.date("!%FT%TZ", run.due // 1))
end)
