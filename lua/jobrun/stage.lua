--- Stages of a pipeline: `stage.ffmpeg{…} | stage.exec{…}`. Building one checks nothing and starts
--- nothing; `pipeline` does.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"

local M = {}

---@class jobrun.Stage
---@operator bor(jobrun.Stage): jobrun.Stages
local stage_meta = { __name = "jobrun.stage" }

---@class jobrun.Stages: jobrun.Stage[]
---@operator bor(jobrun.Stage): jobrun.Stages
local stages_meta = { __name = "jobrun.stages" }

---The stages in `value`, a stage or several; nil if it is neither.
---@param value any
---@return jobrun.Stage[]?
function M.list(value)
  local meta = type(value) == "table" and getmetatable(value)
  if meta == stage_meta then return { value } end
  return meta == stages_meta and value or nil
end

local function join(left, right)
  local a, b = M.list(left), M.list(right)
  if not a or not b then
    check.fail("|: expected a stage on both sides (stage.ffmpeg{…}, stage.exec{…}), got %s",
      check.show(a and right or left))
  end
  local all = table.move(a, 1, #a, 1, {})
  return setmetatable(table.move(b, 1, #b, #all + 1, all), stages_meta)
end

stage_meta.__bor, stages_meta.__bor = join, join

local function new(word, module, options)
  if type(options) ~= "table" then
    check.fail("stage.%s: expected a table of options, got %s", word, check.show(options))
  end
  return setmetatable({ module = module, options = options }, stage_meta)
end

---ffmpeg as a stage. Without an input it reads the stage before (`input={f="nut"}` gives options for
---that), without an output it writes to the next one, for which it needs `f`.
---@param options jobrun.ffmpeg.Options
---@return jobrun.Stage
local function ffmpeg(options)
  return new("ffmpeg", "jobrun.ffmpeg.run", options)
end

---A program as a stage, from its stdin to its stdout.
---@param options jobrun.exec.Options
---@return jobrun.Stage
local function exec(options)
  return new("exec", "jobrun.exec", options)
end

M.stage = { ffmpeg = ffmpeg, exec = exec }

return M
