-- From plain code into waiting code, in the background. asyncio: a thread with an event loop of its
-- own. Here: spawn, and await when the result is wanted. (From C: jobrun_post.)

local function work(name)
  print(name, "begins")
  sleep(1)
  print(name, "ends")
  return name .. "'s result"
end

print "before"
local task = spawn(work, "background")
print "not waiting"
sleep(0.5)
print "still not waiting"
print(task:await())
print "after"
