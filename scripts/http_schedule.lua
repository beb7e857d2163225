-- A web application and a schedule in one process: jobrun http_schedule.lua [ADDRESS]
-- Both begin when the script has loaded, after the start hook. Ctrl-C (or SIGTERM) takes no more requests and starts no
-- more runs; the stop hook then runs every job once more; what is under way comes to its end.
-- Try: curl localhost:8000/ticks?last=3 and http://127.0.0.1:8000/docs in a browser.

local ticks = {}

every(1).second.named("tick")(function(run)
  ticks[#ticks + 1] = { run = run.id, at = os.date("!%FT%TZ", math.floor(run.due)) }
  print("tick", run.id)
end)

local t = http.t

http.get("/", function() return { message = "the schedule runs beside this", ticks = #ticks } end)

http.get("/ticks", { query = { last = t.int { min = 1, max = 100, default = 10 } } }, function(req)
  return json.array { table.unpack(ticks, math.max(1, #ticks - req.query.last + 1)) }
end)

http.post("/ticks", { body = t.object { note = t.string { max_length = 80 } } }, function(req)
  ticks[#ticks + 1] = { note = req.body.note, at = os.date "!%FT%TZ" }
  return 201, ticks[#ticks]
end)

http.events("/events", function(_, send)
  local seen = #ticks
  while true do
    sleep(0.2)
    for i = seen + 1, #ticks do send("tick", ticks[i]) end
    seen = #ticks
  end
end)

http.docs("/docs", { title = "Ticks" })

on.start(function() print "start" end)
on.stop(function()
  print "stop: every job once more"
  jobs.run_all()
end)

http.listen(arg[1] or "127.0.0.1:8000")
