-- From plain code into waiting code, waiting for it. asyncio: `asyncio.run(f())`.
-- A script's main chunk is a task already, so this is a call.

local function work()
  print "work begins"
  sleep(1) -- other tasks run meanwhile
  print "work ends"
  return 42
end

print "before"
print("result", work())
print "after"
