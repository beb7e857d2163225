--- `jobrun --watch SCRIPT`: runs a script in a process of its own, and anew when its files change.
---
--- What changed is checked first (as `jobrun check` does); what does not load is told, and the old one goes on. Else it
--- is told to stop, has its grace for what runs, and the new one starts when it has gone.
--
-- SPDX-License-Identifier: MIT

local exec = require("jobrun.exec").exec
local fs = require "jobrun.fs"
local log = require "jobrun.log"
local on = require "jobrun.on"
local process = require "jobrun.process"
local program = require("jobrun.test").program
local sync = require "jobrun.sync"
local task = require "jobrun.task"

local M = {}

local QUIET <const> = 0.1 -- seconds without a change: whoever writes the files is done
local MOST_FOLDERS <const> = 256
local FORCE <const> = 25 -- what a script has beside its grace

-- ---- changes ------------------------------------------------------------------------------------

-- The script's folder and those below it.
local function folders_of(script)
  local found = { script:match "^(.*)/[^/]*$" or "." }
  local i = 1
  while found[i] do
    for _, entry in ipairs(fs.list(found[i])) do
      local is_ours = entry.type == "directory" and not entry.name:find "^%." and entry.name ~= "node_modules"
      if is_ours and #found < MOST_FOLDERS then found[#found + 1] = found[i] .. "/" .. entry.name end
    end
    i = i + 1
  end
  return found
end

-- An event that is set when a Lua file, or the script, changes; `moment` tells when it last did.
local function watch(script)
  local changed = sync.event()
  local name = script:match "[^/]*$"
  for _, folder in ipairs(folders_of(script)) do
    fs.watch(folder, function(event)
      if event.type ~= "overflow" and event.name ~= name and not (event.name or ""):find "%.lua$" then return end
      changed.moment = task.monotonic()
      changed:set()
    end)
  end
  return changed
end

local function wait_for_change(changed)
  changed:wait()
  repeat task.sleep(QUIET) until task.monotonic() - changed.moment >= QUIET
  changed:clear()
end

local function loads(script)
  local r = exec { program, "check", script, check = false }
  if r.exit_code == 0 then return true end
  log.error("watch: the change is not taken: %s", (r.stderr:gsub("^jobrun: ", ""):gsub("%s+$", "")))
  return false
end

-- ---- the script ---------------------------------------------------------------------------------

local function tell_end(script, r)
  local how = r.signal and "by " .. r.signal or "with status " .. r.exit_code
  log.info("watch: %s ended %s; a change starts it anew", script, how)
end

-- Starts the script; the child, and the task that lasts as long as it does.
local function start(script, argv, grace)
  local child = process.start { argv = argv, stdin = true, grace = grace, what = "watch", streams = {} }
  local runner = task.spawn(function()
    local r = child:run {}
    if not r.stopped then tell_end(script, r) end
  end)
  return child, runner
end

---@param script string
---@param grace string the script's own, in seconds
---@param ... string what the script's process is started with
function M.main(script, grace, ...)
  local argv = { program, ... }
  local main, child, runner = task.current(), nil, nil
  on.stop(function()
    if child then
      child:stop()
      runner:await()
    end
    main:cancel "the watch ends"
  end)
  local changed = watch(script)
  while true do
    child, runner = start(script, argv, tonumber(grace) + FORCE)
    repeat wait_for_change(changed) until loads(script)
    log.info("watch: %s has changed", script)
    child:stop()
    runner:await()
  end
end

return M
