--- `store "sqlite:state.db"`: where jobs, their runs, queues and schedules are kept, so that they outlive the process.
---
--- What was acknowledged is on disk. Through `unix:PATH.d/socket` jobs are pushed to the process that has the file, and
--- waited for; they run over there. Without the word the store is `--store URL`, then $JOBRUN_STORE, then `memory:`.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.store"
local err = require "jobrun.core.error"
local fs = require "jobrun.fs"
local host = require "jobrun.core.host"
local log = require "jobrun.log"
local sync = require "jobrun.sync"
local task = require "jobrun.task"

local M = {}

-- url: what it was opened with; core: the open one; is_explicit: it was asked for by name
local state = { mutex = sync.mutex() }

local LOADING <const> = { __close = function() host.hold(-1) end }
local PATIENCE_S <const> = 2 -- for a store that another process has
local ORPHANS_S <const> = 15 -- how long children of a killed process have: the warden's grace and some

---@class jobrun.StoreUrl
---@field path string? of the file, where a symbolic link leads; ":memory:"
---@field may_lose_last boolean?
---@field socket string? of the process that has it

---Reads a store's URL.
---@param url any
---@return jobrun.StoreUrl
function M.parse(url)
  if type(url) ~= "string" or url == "" then
    check.fail('store: expected a URL such as "sqlite:state.db" or "memory:", got %s', check.show(url))
  end
  if url == "memory:" then return { path = ":memory:", may_lose_last = false } end
  local scheme, rest = url:match "^(%a+):(.*)$"
  if scheme == "postgres" or scheme == "postgresql" then
    check.fail("store: this jobrun has no PostgreSQL store: use sqlite:PATH")
  end
  if scheme == "unix" and rest ~= "" then return { socket = rest } end
  if scheme ~= "sqlite" then
    local hint = not scheme and (' (a file is "sqlite:%s")'):format(url) or ""
    check.fail("store: expected sqlite:PATH, unix:PATH.d/socket or memory:, got %s%s", check.show(url), hint)
  end
  local path, query = rest:match "^([^?]*)%??(.*)$"
  if path == "" then check.fail("store: %s names no file", check.show(url)) end
  if query ~= "" and query ~= "synchronous=normal" and query ~= "synchronous=full" then
    check.fail("store: expected ?synchronous=normal or ?synchronous=full, got %s", check.show("?" .. query))
  end
  return { path = core.target(path), may_lose_last = query == "synchronous=normal" }
end

---The path of the file of a store's URL, for a command; a word without a scheme is the path itself. Raises where there is
---no such file.
---@param what string
---@param url string
---@return string
function M.file_of(what, url)
  local parsed = M.parse(url:find "^%a[%w+]*:" and url or "sqlite:" .. url)
  local path = parsed.path or parsed.socket:match "^(.*)%.d/socket$"
  if not path or path == ":memory:" then check.fail("%s: %s is no store's file", what, check.show(url)) end
  if not core.is_there(path) then check.fail("%s: there is no store '%s'", what, path) end
  return path
end

-- ---- what a killed process left ------------------------------------------------------------------

-- Is a child of one of these runs still there? Its environment says whose it is.
local function is_orphan(pid, lost)
  local ok, text = pcall(fs.read, "/proc/" .. pid .. "/environ")
  if not ok then return false end -- it is gone, or another user's
  local job, fence = ("\0" .. text):match "%zJOBRUN_JOB=(%d+)", ("\0" .. text):match "%zJOBRUN_FENCE=(%d+)"
  return job ~= nil and lost[job] == fence
end

-- One that a run put in a session of its own (setsid, a daemon) is meant to outlive it, as it does a run that ends in
-- order. Its session began as its group, and a run's other children have groups that did not.
local function has_left(pid, lost)
  local ok, stat = pcall(fs.read, "/proc/" .. pid .. "/stat")
  local group, session = (ok and stat or ""):match "^.*%) %a %d+ (%d+) (%d+)"
  return session and (group == session or is_orphan(session, lost))
end

local function any_orphan(lost)
  for _, entry in ipairs(fs.list "/proc") do
    local pid = entry.name:match "^%d+$"
    if pid and is_orphan(pid, lost) and not has_left(pid, lost) then return pid end
  end
end

-- A run's children end with its process, in order (SIGTERM, 10 s, SIGKILL): until then its job must not start again.
local function wait_for_orphans(rows)
  local lost = {}
  for _, row in ipairs(rows) do lost[tostring(row[1])] = tostring(row[2]) end
  local give_up = task.monotonic() + ORPHANS_S
  local pid = any_orphan(lost)
  if pid then log.warn("store: waiting for process %s, of a run that was lost, to end (%d s at most)", pid, ORPHANS_S) end
  while pid and task.monotonic() < give_up do
    task.sleep(0.05)
    pid = any_orphan(lost)
  end
  if pid then log.warn("process %s, of a run that was lost, is still there: its job starts again beside it", pid) end
end

local function report_ended(store, id, queue, attempt)
  if queue ~= "" then
    log.error("%s: job %d was started for the last time (attempt %d) when its process ended: `jobrun retry %d` starts it "
      .. "again", queue, id, attempt, id)
    return
  end
  local job = store:call(core.query, "job", id)[1]
  if attempt < job.max_attempts then -- schedule.lua takes it up, or not
    return log.warn("schedule %s: a run was lost with its process (attempt %d of %d)", job.sched, attempt, job.max_attempts)
  end
  log.error("schedule %s: a run was lost with its process (attempt %d of %d): its next due time comes, and `jobrun trigger %s` "
    .. "runs it now", job.sched, attempt, job.max_attempts, job.sched)
end

-- Whoever had the store before is dead, or we would not have its lock: its runs are lost, its jobs start again.
local function rescue(store)
  local lost = store:call(core.lost) or {}
  if #lost > 0 and not host.is_virtual() then wait_for_orphans(lost) end
  local rescued, ended = store:call(core.rescue) or {}, 0
  for _, row in ipairs(rescued) do
    if row[3] ~= 1 then
      ended = ended + 1
      report_ended(store, row[1], row[2], row[4])
    end
  end
  if #rescued == 0 then return end
  log.warn("store: the last process ended without finishing %d run(s): %d of queues start(s) again",
    #rescued, #rescued - ended)
end

-- ---- opening -------------------------------------------------------------------------------------

local function client() return require "jobrun.store.client" end

-- A command may have it for a moment; a script that has it, and answers, is not waited for.
local function open_file(path, may_lose_last)
  local give_up = task.monotonic() + PATIENCE_S
  while true do
    local ok, store = pcall(core.open, path, may_lose_last, false)
    if ok then return store end
    if not err.is(store, "busy") or task.monotonic() > give_up or client().answers(path .. ".d/socket") then error(store, 0) end
    task.sleep(0.02)
  end
end

-- Who comes by the socket while it is rescued waits for that.
local function take(path, may_lose_last)
  local store = open_file(path, may_lose_last)
  state.door = path ~= ":memory:" and require("jobrun.control.door").open(path) or nil
  local ok, e = pcall(rescue, store)
  if ok then return store end
  task.shield(function() -- it may be the task's cancellation
    if state.door then state.door:close() end
    store:close()
  end)
  state.door = nil
  error(e, 0)
end

-- A script that opens a store first still declares.
local function open(url)
  local parsed = M.parse(url)
  local _ <close> = setmetatable({}, LOADING)
  host.hold(1)
  state.has_failed = true
  local store = parsed.socket and client().open(parsed.socket) or take(parsed.path, parsed.may_lose_last)
  state.has_failed = false
  state.core, state.url, state.path, state.is_client = store, url, parsed.path, parsed.socket ~= nil
  return store
end

---Names the script's store; it is opened when it is needed first, or when the script has loaded. A second, different URL
---is an error. `sqlite:PATH`: a file, made if it is not there, which one process at a time has; with
---`?synchronous=normal` it is faster and may lose the last seconds at power loss. `unix:PATH.d/socket`: the one that
---another process has. `memory:`: none that lasts.
---@param url string
function M.store(url)
  M.parse(url)
  if state.url and state.url ~= url then
    check.fail("store: the script has the store %s already, not %s", check.show(state.url), check.show(url))
  end
  local asked, by_host = core.url()
  if by_host and asked ~= url then
    check.fail("store: the script is to have the store %s (--store), but names %s itself", check.show(asked), check.show(url))
  end
  state.url = url
end

local function url_asked_for()
  if state.url then return state.url end
  local url = core.url()
  return url ~= "" and url or nil
end

---The script's store, opened if it is not. (suspends)
---@return table
function M.current()
  if state.core then return state.core end
  return state.mutex:with(function()
    if state.core then return state.core end
    local url = url_asked_for()
    state.is_explicit = url ~= nil
    return open(url or "memory:")
  end)
end

---For commands: the script's store is one that they have opened.
---@param db table
---@param path string
function M.lend(db, path)
  state.core, state.path = db, path
end

---For commands that open stores themselves: none is opened because the environment names one.
function M.keep_closed()
  state.keeps_closed = true
end

---Opens it if one was asked for by name. (suspends)
function M.open_asked()
  if state.keeps_closed or not url_asked_for() then return end
  state.mutex:with(function() end) -- whoever opens it just now tells how that failed
  if not state.has_failed then M.current() end
end

---The path of its file; ":memory:".
---@return string
function M.path()
  return state.path
end

---Was one asked for, so that schedules are kept in it? Its path, or nil.
---@return string?
function M.explicit_path()
  return state.is_explicit and state.path or nil
end

---Is it another process's?
---@return boolean
function M.is_client()
  return state.is_client or false
end

---One operation, see src/store.h. A failure that may pass (disk full, an I/O error, no memory) is tried again, 1 s later
---and then up to 30 s, for as long as the task lives: for what has to be written down in the end. (suspends)
---@param verb integer
---@return any ...
function M.insist(verb, ...)
  local store, wait = M.current(), 1
  while true do
    local results = table.pack(pcall(store.call, store, verb, ...))
    if results[1] then return table.unpack(results, 2, results.n) end
    local e = results[2]
    if not M.may_pass(e) then M.give_up(e) end
    log.error("%s; trying again in %d s", tostring(e), wait)
    task.sleep(wait)
    wait = math.min(wait * 2, 30)
  end
end

---The store is of no use any more (damaged, closed): what waits for it would wait for ever. Ends the script with status 1.
---@param e any
function M.give_up(e)
  if not err.is(e, "cancelled") then
    log.error("%s", tostring(e))
    os.exit(1)
  end
  error(e, 0)
end

local PASSING = { no_space = true, no_memory = true, system = true, busy = true }

---Is it an error of the store that may not come again?
---@param e any
---@return boolean
function M.may_pass(e)
  return err.is(e, nil) and e.op == "store" and PASSING[e.kind] or false
end

---Closes it, after all queues: for tests. (suspends)
function M.close()
  if state.door then state.door:close() end
  local queue = package.loaded["jobrun.queue"]
  if queue then queue.close() end
  if state.core then state.core:close() end
  state.core, state.url, state.path, state.is_explicit, state.is_client, state.door = nil, nil, nil, nil, nil, nil
end

return M
