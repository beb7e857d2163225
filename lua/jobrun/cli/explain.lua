--- `jobrun explain`: an expression in words.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local declared = require "jobrun.cli.declared"
local next_command = require "jobrun.cli.next"
local rules = require "jobrun.core.rule"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun explain EXPRESSION

A cron line, or a sentence such as every().day.at("10:30"), in words, with its next three times.

Examples:
  jobrun explain '*/15 9-17 * * mon-fri'
  jobrun explain 'every(2).weeks.on("mon", "thu").at("09:00")']]

local DST <const> = {
  fixed = "A time that does not exist runs at the end of the gap; one that comes twice runs the first time.",
  wildcard = "It goes by the wall clock as it passes: nothing in a gap, both passes of an hour that comes twice.",
}

-- The kinds of a line: a star, question mark or step in seconds, minutes or hours makes it one that goes by the clock.
local function dst_of(line)
  local fields = {}
  for field in line:gsub("^%s*[CT]%w*_?TZ=%S+%s+", ""):gmatch "%S+" do fields[#fields + 1] = field end
  if #fields < 5 then return line:find "@hourly" or line:find "@minutely" or line:find "@secondly" or "fixed" end
  local times = table.concat(fields, " ", 1, #fields - 3)
  return times:find "[*?/]" and "wildcard" or "fixed"
end

local function explain_cron(line)
  local words, why, column = rules.cron_words(line, "name")
  if not words then check.fail("explain: %s (column %d)", why, column) end
  print(words)
  local _, _, readings = rules.cron(line, "name")
  if readings then print(readings) end
  if not line:find "^%s*@every" and not line:find "@reboot" then
    print(DST[dst_of(line)] or DST.wildcard)
  end
  return function() require("jobrun").cron(line, { named = "name" }, print) end
end

local function is_sentence(text)
  return text:find "^%s*[%a_]+%s*[%(\"']" ~= nil
end

---@param ... string
function M.main(...)
  local options, rest = args.parse("explain", { help = true }, { h = "help" }, ...)
  if options.help then return print(M.help) end
  if #rest == 0 then check.fail("explain: expected an expression (jobrun help explain)") end
  local text = table.concat(rest, " ")
  local jobs
  if is_sentence(text) then
    jobs = declared.jobs(next_command.sentence(text, "explain"))
    print((jobs[1].name:gsub(" %(expression%):1$", "")))
  else
    jobs = declared.jobs(explain_cron(text))
  end
  local zone, name = rules.zone()
  local from = math.floor(task.now() * 1e9)
  for i, time in ipairs(next_command.times(jobs[1], from, nil, 3)) do
    local label = i == 1 and ("next (%s):"):format(name) or ""
    print(("%-" .. #name + 8 .. "s %s"):format(label, (rules.wall(zone, time.ns):gsub("T", " "))))
  end
end

return M
