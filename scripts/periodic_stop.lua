-- A periodic job with a clean stop that runs all jobs once more. asyncio + schedule: a thread with a
-- run_pending loop, an event to end it, and run_all at the end.

every(1).second.named("count")(function(run) print("run", run.id) end)

on.stop(function(why)
  print("stopping, " .. why .. ": every job runs once more")
  jobs.run_all()
end)

sleep(3.5) -- what the program does; then SIGTERM or Ctrl-C would stop it just the same
os.exit(0)
