--- One call of `ffmpeg{}`: one run, or two (two_pass), or the same again (retry), under a permit (limit).
--
--   begin   checks everything, waits for a permit, starts the first run    (suspends)
--   work    follows what was begun to the result or the error              (suspends)
--
-- `run` is the run of the moment, for a handle.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local err = require "jobrun.core.error"
local fs = require "jobrun.fs"
local limit = require "jobrun.limit"
local retry = require "jobrun.retry"
local run = require "jobrun.ffmpeg.run"

local Session = {}
Session.__index = Session

local M = {}

---@param opts table what the script passed
---@return table session
function M.open(opts)
  if type(opts) ~= "table" then check.fail("ffmpeg: expected a table of options, got %s", check.show(opts)) end
  return setmetatable({
    opts = opts,
    retry = retry.check("ffmpeg", opts.retry),
    limit = limit.of_option("ffmpeg", opts.limit, "ffmpeg"),
  }, Session)
end

-- The second pass is prepared first: it knows whether there is anything to do.
local function prepare_passes(self)
  self.logs = fs.tmpdir()
  local log = self.logs.path .. "/pass"
  self.second = run.prepare(self.opts, nil, { number = 2, log = log })
  if self.second.skipped then return self.second end
  return run.prepare(self.opts, nil, { number = 1, log = log })
end

local function begin_run(self)
  local first <close> = self.opts.two_pass == true and prepare_passes(self) or run.prepare(self.opts)
  if not first.skipped then
    if self.limit and not self.permit then self.permit = self.limit:acquire() end
    first:start()
  end
  self.run = first
end

---Prepares and starts the first run. (suspends)
function Session:begin()
  local ok, e = pcall(begin_run, self)
  if ok then return end
  self:leave()
  error(e, 0)
end

-- What it holds beside the run. (suspends)
function Session:leave()
  if self.logs then self.logs:close() end
  if self.permit then self.permit:release() end
  self.logs, self.permit = nil, nil
end

Session.__close = Session.leave

local function start_second(self)
  local second <close> = self.second
  second.bar = self.run.bar
  self.run = second
  second:start()
end

local function follow(self)
  if self.run.skipped then return self.run:skipped_result() end
  if self.second then
    local first = self.run:follow()
    if first.stopped then
      self.run:close_bar()
      local reason = "it was stopped in its first pass: nothing was written"
      error(err.new { kind = "output", message = "ffmpeg: " .. reason, reason = reason, argv = first.argv })
    end
    start_second(self)
  end
  return self.run:follow()
end

---Follows what was begun. (suspends)
---@return jobrun.ffmpeg.Result
function Session:work()
  local _ <close> = self
  return retry.call(self.retry, function(attempt)
    if attempt > 1 then begin_run(self) end
    return follow(self)
  end)
end

return M
