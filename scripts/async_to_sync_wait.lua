-- From waiting code into plain code, waiting for it: a call. (It holds up the other tasks; for code that
-- computes or blocks for long see async_to_sync_background.lua.)

local function plain(n)
  local sum = 0
  for i = 1, n do sum = sum + i end
  return sum
end

local function waiting()
  sleep(0.5)
  print("sum", plain(1000))
  sleep(0.5)
end

print "before"
waiting()
print "after"
