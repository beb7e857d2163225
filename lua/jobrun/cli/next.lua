--- `jobrun next`: when jobs run next, from a script, a cron line or a sentence that begins with every.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local declared = require "jobrun.cli.declared"
local host = require "jobrun.core.host"
local json = require "jobrun.json"
local rules = require "jobrun.core.rule"
local task = require "jobrun.task"

local M = {}

M.help = [[
jobrun next SCRIPT [-n N] [--from ISO] [--until ISO] [--tz ZONE] [--json]
jobrun next --cron LINE ...
jobrun next --every CODE ...

When jobs run next. A script is loaded, none of it is run. Times are shown in the local zone.

  -n, --count N   how many times to tell (10)
  --from ISO      tell those after that moment, not after now; without an offset in the local zone
  --until ISO     tell none after that moment
  --tz ZONE       the local zone, for the declarations as well (the machine's)
  --json          one object for each job or expression; instants in UTC

Examples:
  jobrun next --cron '30 2 * * *' --tz Europe/Berlin --from 2025-03-29T12:00Z -n 3
  jobrun next --every 'every().day.at("10:30", "Europe/Amsterdam")'
  jobrun next backup.lua --until 2027-01-01]]

local SPEC = { count = "number", from = "text", ["until"] = "text", tz = "text", json = true, cron = "text",
  every = "text", help = true }

local SECOND <const> = 1000000000

local function moment(option, text, zone)
  local kind, second, ns, offset = rules.stamp(text)
  if kind ~= "datetime" and kind ~= "date" then
    check.fail('next: --%s: expected a date and time such as "2027-01-31T12:00:00Z", got %s%s', option,
      check.show(text), kind and "" or (" (%s)"):format(second))
  end
  return (offset and second - offset or rules.instant(zone, second)) * SECOND + ns
end

---The job of an expression, as a function that declares it.
local function expression(options)
  if options.cron then
    return function() require("jobrun").cron(options.cron, print) end
  end
  return M.sentence(options.every, "next: --every")
end

---A function that declares the job of a sentence: every(…), after(…), cron(…), once(…).
function M.sentence(text, what)
  local chunk, why = load("return " .. text, "=(expression)")
  if not chunk then check.fail("%s: %s", what, (why:gsub("^%(expression%):1: ", ""))) end
  return function()
    local builder = chunk()
    local meta = type(builder) == "table" and getmetatable(builder)
    if not meta or meta.__name ~= "builder" then
      check.fail('%s: expected a sentence such as every().day.at("10:30"), got %s', what, check.show(text))
    end
    builder(print)
  end
end

---The next n times of a job, as {ns, note}.
function M.times(job, from, till, n)
  local times = {}
  local after = from
  while #times < n do
    local ns, note = core.upcoming(job, after, #times)
    if not ns or till and ns > till then break end
    times[#times + 1] = { ns = ns, note = note, job = job }
    after = ns
  end
  return times
end

local function print_json(key, name, zone_name, from, times)
  local list = {}
  for i, time in ipairs(times) do list[i] = json.encode(rules.iso(time.ns)) end
  print(('{"%s":%s,"tz":%s,"from":%s,"next":[%s]}'):format(key, json.encode(name), json.encode(zone_name),
    json.encode(rules.iso(from)), table.concat(list, ",")))
end

local NOTES <const> = {
  moved = "its time does not exist that day: the clock goes forward",
  first = "its time comes twice, this is the first",
  second = "its time comes twice, this is the second",
}

local function in_days(ns, from)
  local seconds = (ns - from) // SECOND
  if seconds >= 172800 then return ("in %d days"):format(seconds // 86400) end
  local hours, minutes = seconds // 3600, seconds // 60 % 60
  if hours > 0 then return ("in %dh%02dm"):format(hours, minutes) end
  return minutes > 0 and ("in %dm%02ds"):format(minutes, seconds % 60) or ("in %ds"):format(seconds)
end

local function print_times(times, zone, from, with_names)
  local lines, width = {}, 0
  for i, time in ipairs(times) do
    local wall = rules.wall(zone, time.ns):gsub("T", " ")
    lines[i] = { wall, in_days(time.ns, from), with_names and "  " .. time.job.name or "" }
    width = math.max(width, #lines[i][2])
  end
  for i, line in ipairs(lines) do
    local note = times[i].note and ("  (%s)"):format(NOTES[times[i].note]) or ""
    print((("%s  %-" .. width .. "s%s%s"):format(line[1], line[2], line[3], note):gsub("%s+$", "")))
  end
  if #times == 0 then print "no run is planned" end
end

-- All times in one table, the earliest first; jobs that were declared earlier first within an instant.
local function merged(jobs, from, till, n)
  local all = {}
  for i, job in ipairs(jobs) do
    for _, time in ipairs(M.times(job, from, till, n)) do
      time.order = i
      all[#all + 1] = time
    end
  end
  table.sort(all, function(a, b)
    if a.ns ~= b.ns then return a.ns < b.ns end
    return a.order < b.order
  end)
  return table.move(all, 1, math.min(n, #all), 1, {})
end

local function local_zone(options)
  if options.tz then
    local found, why = rules.zone(options.tz)
    if not found then check.fail("next: --tz: %s", why) end
    rules.set_local(options.tz)
  end
  local zone, name = rules.zone()
  if not zone then check.fail("next: the local zone: %s", name) end
  return zone, name
end

---@param ... string
function M.main(...)
  local options, rest = args.parse("next", SPEC, { n = "count", h = "help" }, ...)
  if options.help then return print(M.help) end
  local is_expression = options.cron or options.every
  if options.cron and options.every then check.fail("next: --cron or --every, not both") end
  if is_expression and #rest > 0 then check.fail("next: a script or an expression, not both (%s)", rest[1]) end
  if not is_expression and #rest ~= 1 then check.fail("next: expected one script (jobrun help next)") end
  local zone, zone_name = local_zone(options)
  local now = math.floor(task.now() * SECOND)
  local from = options.from and moment("from", options.from, zone) or now
  host.step(from - now)
  local till = options["until"] and moment("until", options["until"], zone)
  local jobs = is_expression and declared.jobs(expression(options)) or declared.of_script(rest[1])
  local n = options.count or 10
  if not options.json then return print_times(merged(jobs, from, till, n), zone, from, not is_expression) end
  for _, job in ipairs(jobs) do
    local _, name = core.zone(job)
    local key, text = "name", job.name
    if is_expression then key, text = "expr", options.cron or options.every end
    print_json(key, text, name or zone_name, from, M.times(job, from, till, n))
  end
end

return M
