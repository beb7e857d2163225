-- From waiting code into blocking code, in the background. asyncio: run_in_executor.
-- blocking(f, ...) runs f on the threadpool; in a task of its own the caller need not wait for it.

local function read_slowly(name) -- runs in a worker thread: sleep there really blocks
  sleep(0.2)
  return "read " .. name
end

print "before"
local task = spawn(blocking, read_slowly, "a file")
print "not waiting"
print(task:await())
print "after"
