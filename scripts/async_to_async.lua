-- From waiting code into waiting code, both ways: waiting for it is a call, in the background is
-- spawn. asyncio: `await f()`; a thread with a loop of its own, or create_task.

local function step(name, duration)
  print(name, "begins")
  sleep(duration)
  print(name, "ends")
end

step("first", 1)
local task = spawn(step, "background", 2)
step("second", 1)
print "waiting for the background step"
task:await()
print "done"
