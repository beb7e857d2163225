--- `jobrun run`: runs jobs of a script once, now.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local declared = require "jobrun.cli.declared"
local host = require "jobrun.core.host"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun run SCRIPT JOB...
jobrun run SCRIPT --all, which is jobrun --once SCRIPT

Loads the script and runs the named jobs, or all, once, now, side by side; its schedule does not start. Retries,
time limits and limits hold. Exit status 1 if a run failed.

Example:  jobrun run backup.lua nightly]]

-- The job, or nil and why there is none: loading has ended, so an error would be one of the script.
local function find(jobs, name)
  local names = {}
  for _, job in ipairs(jobs) do
    if job.name == name then return job end
    names[#names + 1] = job.name
  end
  table.sort(names)
  local known = #names > 0 and "; there are: " .. table.concat(names, ", ") or "; the script declares none"
  return nil, ("run: there is no job %s%s%s"):format(check.show(name), check.hint(name, names), known)
end

---@param ... string
function M.main(...)
  local options, rest = args.parse("run", { help = true, all = true }, { h = "help" }, ...)
  if options.help then return print(M.help) end
  if #rest < (options.all and 1 or 2) or options.all and #rest > 1 then
    check.fail("run: expected a script and the names of jobs, or --all (jobrun help run)")
  end
  core.hold()
  local main = task.spawn(declared.chunk(rest[1]))
  task.yield()
  while host.is_loading(main) do task.sleep(0.01) end -- that ends at the first wait of the main chunk, or with it
  if main.status == "failed" then main:await() end -- which says why
  local batch = core.batch()
  local chosen = options.all and core.list() or {}
  for i = 2, #rest do
    local job, why = find(core.list(), rest[i])
    if not job then args.give_up(2, "%s", why) end
    chosen[#chosen + 1] = job
  end
  for _, job in ipairs(chosen) do core.start(batch, job) end
  local _, failed = core.join(batch)
  if main.status == "waiting" then main:cancel "the jobs have run" end
  os.exit(failed == 0 and 0 or 1)
end

return M
