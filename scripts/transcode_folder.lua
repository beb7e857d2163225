-- Transcodes the films of a folder, two at a time, with retries and bars: jobrun transcode_folder.lua IN OUT
-- What is done already is skipped, so it can be run again. One that fails does not hold up the others.

local from, to = arg[1], arg[2]
if not to then
  print "usage: jobrun transcode_folder.lua IN OUT"
  os.exit(2)
end
fs.mkdir(to, { parents = true })

local films = {}
for _, entry in ipairs(fs.list(from)) do
  if entry.name:find "%.mp4$" or entry.name:find "%.mkv$" then films[#films + 1] = entry.name end
end
table.sort(films)

local failed = 0
map(films, function(name)
  local ok, result = pcall(ffmpeg, {
    input = from .. "/" .. name,
    output = to .. "/" .. name:gsub("%.%w+$", ".mkv"),
    overwrite = "newer", -- encode again only if the source has changed
    vcodec = "libx264", preset = "veryfast", crf = 26, acodec = "aac",
    retry = { n = 3, backoff = "10s" },
    verify = { duration = 0.5 },
    progress = true,
  })
  if not ok then
    failed = failed + 1
    print(name, "failed", result.reason or result)
  elseif result.skipped then
    print(name, "was done already")
  else
    print(name, "done")
  end
end, { limit = 2 })
print(("%d films, %d failed"):format(#films, failed))
os.exit(failed == 0 and 0 or 1)
