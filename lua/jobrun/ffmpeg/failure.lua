--- The error of a run of ffmpeg or ffprobe that failed.
--
-- Its message is "PROGRAM: REASON (exit 1)", and `where` the line of the script that ran it.
--
-- SPDX-License-Identifier: MIT

local argv = require "jobrun.ffmpeg.argv"
local err = require "jobrun.core.error"
local report = require "jobrun.ffmpeg.report"

local M = {}

local LINES = 50 -- of the end of stderr

---@class jobrun.ffmpeg.Error an error object
---@field kind "spawn"|"usage"|"exists"|"not_found"|"permission"|"no_space"|"invalid_data"|"codec"
---|"filter"|"option"|"network"|"broken_pipe"|"output"|"strict"|"timeout"|"signal"|"exit"
---@field message string
---@field where string the script's line
---@field reason string the telling line
---@field exit_code? integer
---@field signal? string
---@field lines string[] the last 50 of stderr
---@field argv string[] the command
---@field elapsed number seconds
---@field progress? jobrun.ffmpeg.Progress
---@field retryable boolean the same call may work when it is made again
---@field stage? integer which one of a pipeline failed
---@field stages? table[] what became of each stage of a pipeline
---@field partial? string[] temporary files that were kept (keep_partial)

local function ending(exit_code, signal, stage)
  local how = {}
  if signal or exit_code then how[1] = signal or ("exit %d"):format(exit_code) end
  if stage then how[#how + 1] = ("stage %d"):format(stage) end
  return #how > 0 and (" (%s)"):format(table.concat(how, ", ")) or ""
end

---The end of stderr, passwords masked.
---@param lines string[]
---@return string[]
function M.last_lines(lines)
  local kept = table.move(lines, math.max(1, #lines - LINES + 1), #lines, 1, {})
  for i, line in ipairs(kept) do kept[i] = argv.mask(line) end
  return kept
end

---Makes the error object. `fields` has kind, reason, and whatever else the error shall carry.
---@param program string "ffmpeg" or "probe"
---@param fields table
---@return jobrun.ffmpeg.Error
function M.new(program, fields)
  fields.message = ("%s: %s%s"):format(program, fields.reason, ending(fields.exit_code, fields.signal, fields.stage))
  fields.retryable = report.is_retryable(fields.kind, fields.reason)
  return err.new(fields)
end

---Raises what `process.start` raised, saying what to do about a missing program.
---@param program string
---@param e any
---@param command string[]
function M.raise_spawn(program, e, command)
  if not err.is(e) then error(e, 0) end
  local reason = e.reason or e.message
  if e.kind == "not_found" and e.op == "exec" and not command[1]:find("/", 1, true) then
    reason = ("the program '%s' was not found (apt-get install ffmpeg)"):format(command[1])
  end
  error(err.new {
    kind = e.kind, code = e.code, op = e.op, cause = e, reason = reason, argv = command,
    message = ("%s: %s"):format(program, reason), retryable = e.kind == "spawn",
  })
end

local function last_text(lines)
  for i = #lines, 1, -1 do
    local text = lines[i]:match("^%s*(.-)%s*$")
    if text ~= "" then return text end
  end
end

-- ffmpeg catches SIGTERM and others, closes its files and exits with 255.
local function signal_in(lines)
  for i = #lines, 1, -1 do
    local number = lines[i]:match("^Exiting normally, received signal (%d+)")
    if number then return number end
  end
end

---Why and how a program failed by itself: kind and reason of an exit that was not asked for.
---@param log table the reader of its log (report.new)
---@param ended table what process:run returned
---@param lines string[] the end of stderr
---@return string kind
---@return string reason
function M.of_exit(log, ended, lines)
  if ended.signal then return "signal", "killed by " .. ended.signal end
  local received = signal_in(lines)
  if ended.exit_code == 255 and received then return "signal", "ended by signal " .. received end
  local reason = log:reason()
  if reason then return log:kind(), reason end
  return "exit", last_text(lines) or "it said nothing"
end

return M
