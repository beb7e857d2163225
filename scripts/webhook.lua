-- A webhook that encodes, two films at a time: jobrun webhook.lua IN OUT [ADDRESS]
-- POST /encodes {"name": "film.mp4"} answers at once with the encode's id; GET /encodes/1/events is its progress as
-- server-sent events; DELETE /encodes/1 cancels it. With HOOK_TOKEN in the environment, requests must bear it.
-- Try: curl --json '{"name":"film.mp4"}' localhost:8080/encodes; curl -N localhost:8080/encodes/1/events

local from, to = arg[1], arg[2]
if not to then
  print "usage: jobrun webhook.lua IN OUT [ADDRESS]"
  os.exit(2)
end

local t = http.t
local encodes = {} -- by id: {name, state, percent, reason, task, followers}
local hook = env.HOOK_TOKEN and http.group("/encodes", http.bearer(env.HOOK_TOKEN)) or http.group "/encodes"

local function said(id)
  local e = encodes[id] or http.fail(404, "no such encode")
  return { id = id, name = e.name, state = e.state, percent = e.percent, reason = e.reason }
end

local function tell(e)
  for follower in pairs(e.followers) do follower:set() end
end

local function encode(e)
  e.state = "going"
  local ok, failure = pcall(ffmpeg, {
    input = from .. "/" .. e.name, output = to .. "/" .. e.name:gsub("%.%w+$", "") .. ".mkv", overwrite = true,
    vcodec = "libx264", preset = "veryfast", acodec = "aac",
    on_progress = function(p)
      e.percent = p.percent
      tell(e)
    end,
  })
  e.state = ok and "done" or failure.kind == "cancelled" and "cancelled" or "failed"
  e.reason = not ok and failure.reason or nil
  tell(e)
  if not ok and failure.kind == "cancelled" then error(failure, 0) end
end

hook.post("", { body = t.object { name = t.string { pattern = "^[^/.][^/]*$" } }, status = 202 }, function(req)
  if not fs.exists(from .. "/" .. req.body.name) then http.fail(404, "no such film") end
  local id = #encodes + 1
  local e = { name = req.body.name, state = "waiting", followers = {} }
  encodes[id] = e
  e.task = spawn(function() limit("films", 2):with(encode, e) end)
  e.task:detach() -- it goes on though its request is answered
  return said(id)
end)

hook.get("/{id:int}", function(req) return said(req.params.id) end)

hook.delete("/{id:int}", function(req)
  said(req.params.id)
  encodes[req.params.id].task:cancel "cancelled by request"
end)

hook.events("/{id:int}/events", function(req, send)
  local id, news = req.params.id, event()
  said(id)
  local e = encodes[id]
  e.followers[news] = true
  local _ <close> = setmetatable({}, { __close = function() e.followers[news] = nil end })
  repeat
    send(e.state, said(id))
    local is_over = e.state ~= "waiting" and e.state ~= "going"
    if not is_over then
      news:wait()
      news:clear()
    end
  until is_over
end)

http.listen(arg[3] or "127.0.0.1:8080")
