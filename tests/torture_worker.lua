-- torture_worker.lua STORE WITNESS WHAT: runs the jobs that are there and pushes more, telling an outside witness what it
-- has seen: a line for each push that was acknowledged, each start, each end, and each end that was acknowledged. With WHAT
-- "push" it pushes another job for each that has ended, until it is killed; with "drain" it ends when all have. Run by
-- torture_test.lua.
store("sqlite:" .. arg[1])
local path, goes_on = arg[2], arg[3] == "push"
local q = queue.open("torture", { concurrency = 4 })

-- One write(2) on a file opened to append: lines of several processes do not mix.
local witness = assert(io.open(path, "a"))
witness:setvbuf "full"
local function tell(fmt, ...)
  witness:write(fmt:format(...), "\n")
  witness:flush()
end

-- The child says if another one of its job is still there.
local CHILD <const> = [[
file=$0.$JOBRUN_JOB
old=$(cat "$file" 2>/dev/null)
if [ -n "$old" ] && grep -qsz "^JOBRUN_JOB=$JOBRUN_JOB$" "/proc/$old/environ"; then echo "overlap $JOBRUN_JOB" >> "$0"; fi
echo $$ > "$file"
sleep 0.03]]

q:handle(function(job)
  tell("start %d %d %d %s", job.id, job.attempt, job.fence, job.reason)
  if job.args.child then exec { "sh", "-c", CHILD, path } else sleep(0.001) end
  if job.args.fails and job.attempt == 1 then error("the first attempt fails", 0) end
  tell("end %d %d", job.id, job.fence)
end)

scope(function()
  for i = 1, 20 do
    spawn(function()
      repeat
        local id = q:push({ child = i % 5 == 0, fails = i % 7 == 0 }, { retry = { n = 500, backoff = 0.01, max = 0.05 } })
        tell("pushed %d", id)
        queue.wait(id)
        tell("done %d", id)
      until not goes_on
    end)
  end
end)

-- What earlier processes left is done too.
repeat
  sleep(0.005)
  local left = 0
  for state, count in pairs(queue.stats().torture) do
    if state ~= "completed" then left = left + count end
  end
until left == 0
tell "drained"
os.exit(0)
