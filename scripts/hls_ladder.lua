-- An HLS ladder from one decode: the source is read and decoded once, scaled to three sizes, and each is
-- encoded with its own bit rate: jobrun hls_ladder.lua FILM OUT
-- OUT/master.m3u8 leads to the three playlists.

local film, to = arg[1], arg[2]
if not to then
  print "usage: jobrun hls_ladder.lua FILM OUT"
  os.exit(2)
end
fs.mkdir(to, { parents = true })

local RUNGS = { { height = 360, rate = "800k" }, { height = 240, rate = "400k" }, { height = 144, rate = "150k" } }

local has_sound = probe(film).audio ~= nil
local graph = { ("[0:v]split=%d"):format(#RUNGS) }
local maps, streams, options = {}, {}, {}
for i in ipairs(RUNGS) do graph[1] = graph[1] .. ("[in%d]"):format(i) end
for i, rung in ipairs(RUNGS) do
  graph[#graph + 1] = ("[in%d]scale=-2:%d[out%d]"):format(i, rung.height, i)
  maps[#maps + 1] = ("[out%d]"):format(i)
  options[("b:v:%d"):format(i - 1)] = rung.rate
  streams[i] = ("v:%d"):format(i - 1)
  if has_sound then
    maps[#maps + 1] = "0:a:0"
    streams[i] = ("%s,a:%d"):format(streams[i], i - 1)
  end
end

local output = {
  path = to .. "/%v.m3u8", map = maps, f = "hls", hls_time = 2, hls_playlist_type = "vod",
  hls_segment_filename = to .. "/%v_%03d.ts", master_pl_name = "master.m3u8",
  var_stream_map = table.concat(streams, " "),
  vcodec = "libx264", preset = "veryfast", pix_fmt = "yuv420p", force_key_frames = "expr:gte(t,n_forced*2)",
  acodec = has_sound and "aac" or nil,
}
for key, value in pairs(options) do output[key] = value end

local r = ffmpeg {
  input = film, filter_complex = table.concat(graph, ";"), output = output, overwrite = true, progress = true,
}
print(("%d playlists in %.1f s"):format(#RUNGS, r.elapsed))
