--- `jobrun new`: a script to begin with.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"

local M = {}

M.help = [[
jobrun new NAME [--template=jobs|ffmpeg|http]

Writes NAME.lua, a script that runs, to begin with; a file that is there is left alone.

Example:  jobrun new nightly && jobrun nightly.lua]]

local TEMPLATES = {
  jobs = [[
#!/usr/bin/env jobrun
-- What is to be done every now and then. `jobrun next FILE` shows when; Ctrl-C stops it in order.

every(10).seconds.named("tick")(function(run)
  run:log("tick %d", run.id)
end)

every().day.at("02:30").named("nightly").retry { n = 3, backoff = "1m" }(function()
  local r = exec { "date", "-u" }
  log.info("it is %s", r.stdout)
end)

on.stop(function(why) log.info("stopping: %s", why) end)
]],
  ffmpeg = [[
#!/usr/bin/env jobrun
-- Encodes the file named on the command line: jobrun FILE in.mp4 out.mp4

local from, to = arg[1], arg[2]
if not to then
  print "usage: jobrun FILE IN OUT"
  os.exit(2)
end

local r = ffmpeg {
  input = from, output = to, vcodec = "libx264", preset = "medium", crf = 23, acodec = "aac",
  progress = true,
}
print(("%s: %d bytes"):format(r.outputs[1].path, r.outputs[1].size))
]],
  http = [[
#!/usr/bin/env jobrun
-- A web application and a schedule in one process: http://127.0.0.1:8080/docs

local t, ticks = http.t, 0

every(1).second.named("tick")(function() ticks = ticks + 1 end)

http.get("/", function() return { ticks = ticks } end)

http.post("/ticks", { body = t.object { add = t.int { above = 0 } } }, function(req)
  ticks = ticks + req.body.add
  return 201, { ticks = ticks }
end)

http.docs "/docs"
http.listen "127.0.0.1:8080"
]],
}

---@param ... string
function M.main(...)
  local options, rest = args.parse("new", { template = "text", help = true }, { h = "help" }, ...)
  if options.help then return print(M.help) end
  if #rest ~= 1 then check.fail("new: expected a name (jobrun help new)") end
  local template = options.template or "jobs"
  if not TEMPLATES[template] then
    check.fail("new: there is no template %s%s", check.show(template), check.hint(template, TEMPLATES))
  end
  local path = rest[1]:gsub("%.lua$", "") .. ".lua"
  local there = io.open(path)
  if there then
    there:close()
    check.fail("new: %s exists", path)
  end
  require("jobrun.fs").write(path, (TEMPLATES[template]:gsub("FILE", path)), { mode = "0755" })
  print("wrote " .. path)
end

return M
