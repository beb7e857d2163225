--- The calendar's part of a declaration: what the words say of days, dates, times and zones, and the rule
--- that comes of it.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.rule"
local duration = require "jobrun.core.duration"
local task = require "jobrun.task"

local M = {}

local SECOND <const> = 1000000000
local DAY_UNIT <const>, WEEK_UNIT <const>, MONTH_UNIT <const> = 0, 1, 2 -- as jr_calendar_unit
local OF_DAY <const>, OF_HOUR <const>, OF_MINUTE <const> = 0, 1, 2 -- as jr_stamp_unit

local WEEKDAYS <const> = { sun = 0, mon = 1, tue = 2, wed = 3, thu = 4, fri = 5, sat = 6 }
local DAYS <const> = { "sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday" }
local GAPS <const> = { ["end"] = 0, shift = 1, skip = 2 } -- as jr_wall_gap
local OVERLAPS <const> = { first = 0, second = 1, both = 2 } -- as jr_wall_overlap

-- The wall clock, in whole nanoseconds.
local function now_ns()
  return math.floor(task.now() * SECOND)
end

-- ---- units --------------------------------------------------------------------------------------

---word → {unit, how many of it, weekdays}; of those that have no length of their own, or do not mean it.
M.units = {
  day = { DAY_UNIT, 1 }, days = { DAY_UNIT, 1 }, week = { DAY_UNIT, 7 }, weeks = { DAY_UNIT, 7 },
  month = { MONTH_UNIT, 1 }, months = { MONTH_UNIT, 1 }, year = { MONTH_UNIT, 12 }, years = { MONTH_UNIT, 12 },
  weekday = { WEEK_UNIT, 1, 0x3e }, weekend = { WEEK_UNIT, 1, 0x41 },
}
for i, day in ipairs(DAYS) do M.units[day] = { WEEK_UNIT, 1, 1 << (i - 1) } end

---Units that `every` does not know as lengths: they are there for the calendar alone.
M.only_calendar = {
  month = "months", months = true, year = "years", years = true, weekday = "once", weekend = "once",
}
for _, day in ipairs(DAYS) do M.only_calendar[day] = true end

local AT_UNITS <const> = {
  hour = OF_HOUR, hours = OF_HOUR, minute = OF_MINUTE, minutes = OF_MINUTE,
}
local AT_FORMS <const> = {
  [OF_DAY] = '"HH:MM" or "HH:MM:SS"', [OF_HOUR] = '":MM" or "MM:SS"', [OF_MINUTE] = '":SS"',
}

-- ---- times --------------------------------------------------------------------------------------

local function sorted_once(seconds)
  table.sort(seconds)
  local times = {}
  for _, second in ipairs(seconds) do
    if second ~= times[#times] then times[#times + 1] = second end
  end
  return times
end

-- "Europe/Berlin" behind the times of .at: it begins with neither a digit nor a colon.
local function is_zone(text)
  return type(text) == "string" and not text:find "^[%d:]"
end

---The modifiers of the calendar; `refuse(b, fmt, …)` raises about the sentence so far.
function M.modifiers(refuse)
  local modifiers = {}

  local function zone_of(b, word, name)
    if type(name) ~= "string" or name == "" then
      refuse(b, '.%s: expected a zone such as "Europe/Berlin", got %s', word, check.show(name))
    end
    local zone, why = core.zone(name)
    if not zone then refuse(b, ".%s: %s", word, why) end
    return { zone = zone, name = name }
  end

  ---At these times: "10:30" of a day, ":30" of an hour, ":15" of a minute; a zone may stand last.
  function modifiers.at(b, ...)
    local texts = { ... }
    local said = { texts = texts }
    if #texts > 1 and is_zone(texts[#texts]) then said.tz = zone_of(b, "at", table.remove(texts)) end
    if #texts == 0 then refuse(b, '.at: expected a time such as "10:30"') end
    for _, text in ipairs(texts) do
      if type(text) ~= "string" then refuse(b, ".at: expected a time as a text, got %s", check.show(text)) end
    end
    return said
  end

  ---On these days of the week: .on("mon", "thu").
  function modifiers.on(b, ...)
    local mask = 0
    if select("#", ...) == 0 then refuse(b, '.on: expected days, as in .on("mon", "thu")') end
    for _, name in ipairs { ... } do
      local day = type(name) == "string" and (WEEKDAYS[name:lower()] or WEEKDAYS[name:lower():match "^(%a%a%a)%a*day$"])
      if not day then
        refuse(b, ".on: unknown day %s%s", check.show(name), check.hint(name, WEEKDAYS))
      end
      mask = mask | 1 << day
    end
    return mask
  end

  ---On these days of the month: .day_of_month(15, "last").
  function modifiers.day_of_month(b, ...)
    local dates, last = 0, false
    if select("#", ...) == 0 then refuse(b, '.day_of_month: expected days, as in .day_of_month(15, "last")') end
    for _, day in ipairs { ... } do
      local number = math.type(day) and math.tointeger(day)
      if day == "last" then
        last = true
      elseif number and number >= 1 and number <= 31 then
        dates = dates | 1 << number
      else
        refuse(b, '.day_of_month: expected 1 to 31 or "last", got %s', check.show(day))
      end
    end
    return { dates = dates, last = last }
  end

  ---The zone whose wall clock counts.
  function modifiers.tz(b, name)
    return zone_of(b, "tz", name)
  end

  ---No due time before that: a date, a date and time, a time of today, or a duration from now.
  function modifiers.from(b, x)
    return { text = x, ns = M.moment(b, "from", x, refuse) and true }
  end

  ---No due time after that.
  function modifiers.till(b, x)
    return { text = x, ns = M.moment(b, "till", x, refuse) and true }
  end

  ---Only in that part of each day, both ends included; over midnight where it opens later than it closes.
  function modifiers.between(b, opens, closes)
    local seconds = {}
    for i, text in ipairs { opens or false, closes or false } do
      local second, why
      if type(text) == "string" then second, why = core.at(text, OF_DAY) end
      if not second then
        local got = why and ("%s: %s"):format(check.show(text), why) or check.show(text or nil)
        refuse(b, '.between: expected two times such as "09:00", "18:00", got %s', got)
      end
      seconds[i] = second
    end
    if seconds[1] == seconds[2] then refuse(b, ".between: both ends are %s", opens) end
    return seconds
  end

  ---What a change of the zone does: {gap = "end"|"shift"|"skip", overlap = "first"|"second"|"both"}.
  function modifiers.dst(b, opts)
    local o = check.options("dst", opts, { gap = "string", overlap = "string" })
    if o.gap and not GAPS[o.gap] then
      refuse(b, '.dst: gap: expected "end", "shift" or "skip", got %s', check.show(o.gap))
    end
    if o.overlap and not OVERLAPS[o.overlap] then
      refuse(b, '.dst: overlap: expected "first", "second" or "both", got %s', check.show(o.overlap))
    end
    return { gap = o.gap and GAPS[o.gap], overlap = o.overlap and OVERLAPS[o.overlap] }
  end

  return modifiers
end

-- ---- names --------------------------------------------------------------------------------------

---"mon, thu" of a set of weekdays.
function M.days_text(mask)
  local names = {}
  for i = 1, 7 do -- from Monday on
    if mask >> (i % 7) & 1 == 1 then names[#names + 1] = DAYS[i % 7 + 1]:sub(1, 3) end
  end
  return table.concat(names, ", ")
end

---"15, last" of days of the month.
function M.dates_text(said)
  local names = {}
  for day = 1, 31 do
    if said.dates >> day & 1 == 1 then names[#names + 1] = tostring(day) end
  end
  if said.last then names[#names + 1] = "last" end
  return table.concat(names, ", ")
end

-- ---- moments ------------------------------------------------------------------------------------

local HELP <const> = 'expected "2027-01-31", "2027-01-31 10:30", "10:30" or a duration such as "2h"'

-- The wall time `second` of a zone as an instant; of a gap, the end; of an overlap, the first.
local function instant_of(zone, second, ns)
  return core.instant(zone, second, GAPS["end"], OVERLAPS.first) * SECOND + ns
end

M.LAST_S = 9223372036 -- 2262-04-11: beyond it, or before 1970, instants in nanoseconds have no place

local function checked(b, word, x, refuse, second)
  if not (second >= 0 and second < M.LAST_S) then
    refuse(b, ".%s: expected a time between 1970 and 2262, got %s", word, check.show(x))
  end
end

---What a text or a duration means as an instant, in ns: a date is its midnight, a time is one of today.
---@param b table the builder, for `refuse`
---@param word string who asks
---@param x any
---@param zone? lightuserdata the local one by default
---@return integer ns
---@return string kind "time", "date", "datetime" or "duration"
function M.moment(b, word, x, refuse, zone)
  local function after(span)
    checked(b, word, x, refuse, (now_ns() // SECOND) + span // SECOND)
    return now_ns() + span, "duration"
  end
  if type(x) == "number" and x >= 0 and x < 1e9 then return after(math.floor(x * SECOND)) end
  if type(x) ~= "string" then refuse(b, ".%s: %s, got %s", word, HELP, check.show(x)) end
  local span = duration.parse(x)
  if span and x:find "%a" then return after(span) end
  local kind, second, ns, offset = core.stamp(x)
  if not kind then refuse(b, ".%s: %s, got %s (%s)", word, HELP, check.show(x), second) end
  checked(b, word, x, refuse, kind == "time" and 0 or second - (offset or 0))
  if offset then return (second - offset) * SECOND + ns, kind end
  zone = zone or M.local_zone(b, refuse)
  if kind == "time" then
    local today = core.local_time(zone, now_ns()) // 86400 * 86400
    second = today + second
  end
  return instant_of(zone, second, ns), kind
end

---The local zone: that of TZ, or of the machine.
function M.local_zone(b, refuse)
  local zone, why = core.zone()
  if not zone then refuse(b, ": the local zone: %s", why) end
  return zone
end

-- ---- rules --------------------------------------------------------------------------------------

local function zone_of(b, said, refuse)
  local tz = said.tz or said.at and said.at.tz
  if said.tz and said.at and said.at.tz then refuse(b, ".tz: .at names the zone %s already", said.at.tz.name) end
  return tz and tz.zone or M.local_zone(b, refuse)
end

local function times_of(b, said, unit, refuse)
  local seconds = {}
  for i, text in ipairs(said.at and said.at.texts or {}) do
    local second, why = core.at(text, unit)
    if not second then refuse(b, ".at: expected %s, got %s (%s)", AT_FORMS[unit], check.show(text), why) end
    seconds[i] = second
  end
  return sorted_once(seconds)
end

local function limits(b, said, zone, refuse)
  local from = said.from and M.moment(b, "from", said.from.text, refuse, zone)
  local till, kind
  if said.till then
    till, kind = M.moment(b, "till", said.till.text, refuse, zone)
    if till <= now_ns() and kind ~= "duration" then
      refuse(b, ".till: %s is past already", check.show(said.till.text))
    end
    if from and till < from then refuse(b, ".till: %s is before .from", check.show(said.till.text)) end
  end
  return from, till
end

-- Binds a rule to its zone, its beginning and its end.
local function finish(b, rule, said, refuse)
  local zone = zone_of(b, said, refuse)
  local dst, window = said.dst or {}, said.between or {}
  local from, till = limits(b, said, zone, refuse)
  local now = now_ns()
  core.bind(rule, zone, dst.gap, dst.overlap, from or now, from ~= nil)
  core.limit(rule, from, till, window[1], window[2])
  return rule
end

---True where what was said goes by the calendar and not by elapsed time.
---@param word string? the unit
---@param n any how many of it
function M.is_calendar(word, n, said)
  if said.on or said.day_of_month or M.only_calendar[word] then return true end
  if said.at then return true end
  return (word == "day" or word == "days" or word == "week" or word == "weeks")
    and math.tointeger(n) ~= nil
    and not (said.to or said.from_end)
end

local function check_at(b, word, said, refuse)
  if not said.at then return end
  if word == "second" or word == "seconds" then refuse(b, ".at: seconds have no time in them") end
  if (word == "week" or word == "weeks") and not said.on then
    refuse(b, '.at: on which day of the week? Write every().monday.at(…) or .on("mon").at(…)')
  end
end

local function whole_every(b, n, refuse)
  local every = math.tointeger(n)
  if not every then refuse(b, ": days, weeks, months and years are counted in whole numbers, got %s", check.show(n)) end
  if every > 1000000 then refuse(b, ": expected at most 1000000, got %s", check.show(n)) end
  return every
end

local function calendar_rule(b, word, n, said, refuse)
  local unit, times, mask = table.unpack(M.units[word] or {})
  local every = whole_every(b, n, refuse)
  local dates = said.day_of_month or {}
  if said.on then
    if unit ~= nil and not (word == "week" or word == "weeks") then
      refuse(b, ".on: only of weeks, as in every().week.on(…)")
    end
    unit, times, mask = WEEK_UNIT, 1, said.on
  elseif said.day_of_month then
    if unit ~= nil and not (word == "month" or word == "months") then
      refuse(b, ".day_of_month: only of months, as in every().month.day_of_month(…)")
    end
    unit, times = MONTH_UNIT, 1
  end
  return core.calendar(unit, every * times, mask or 0, dates.dates or 0, dates.last, times_of(b, said, OF_DAY, refuse))
end

---The rule of a sentence that begins with `every`; nil where it is one of elapsed time.
---@param word string? the unit
function M.rule(b, word, n, said, refuse)
  if not M.is_calendar(word, n, said) then return nil end
  check_at(b, word, said, refuse)
  if said.to then refuse(b, ".to: only of intervals, without times and days") end
  if said.from_end then refuse(b, ".from_end: only of intervals, without times and days") end
  local rule
  if AT_UNITS[word] then
    if said.on or said.day_of_month then refuse(b, ".%s: not of %s", said.on and "on" or "day_of_month", word) end
    local unit = AT_UNITS[word]
    local seconds = unit == OF_HOUR and 3600 or 60
    rule = core.hourly(seconds, whole_every(b, n, refuse), times_of(b, said, unit, refuse))
  else
    rule = calendar_rule(b, word, n, said, refuse)
  end
  return finish(b, rule, said, refuse)
end

---The rule of a cron line. Raises where the line is wrong.
---@param line string
---@param name string? the job's, for H
---@return userdata|"every"|"reboot" rule
---@return string|integer|nil zone CRON_TZ's, or the period of @every
---@return string|nil readings of an ambiguous line
function M.read_cron(b, line, name, refuse)
  local rule, detail, readings = core.cron(line, name)
  if rule then return rule, detail, readings end
  refuse(b, ": %s (column %d)", detail, readings)
end

---The same, bound to its zone and limits.
function M.cron_rule(b, line, said, refuse)
  local rule, zone_name = M.read_cron(b, line, said.named, refuse)
  if zone_name then
    if said.tz then refuse(b, ".tz: the line names the zone %s already", zone_name) end
    local zone, why = core.zone(zone_name)
    if not zone then refuse(b, ": %s", why) end
    said = setmetatable({ tz = { zone = zone, name = zone_name } }, { __index = said })
  end
  return finish(b, rule, said, refuse)
end

---The rule of a single moment. A time of day is today's, or tomorrow's where that is past.
function M.once_rule(b, x, said, refuse)
  local zone = zone_of(b, said, refuse)
  local ns, kind = M.moment(b, "once", x, refuse, zone)
  if kind == "time" and ns <= now_ns() then
    local day = core.local_time(zone, ns) // 86400 * 86400 + 86400
    local _, second, fraction = core.stamp(x)
    ns = instant_of(zone, day + second, fraction)
  end
  if ns <= now_ns() and kind ~= "duration" then refuse(b, " is past already") end
  local rule = core.once(ns // SECOND, ns % SECOND)
  core.bind(rule, zone, nil, nil, ns, false)
  return rule
end

---Of an interval: where its grid begins and ends, and in which part of the day it counts; or nothing.
---@return integer? from_ns
---@return integer? till_ns
---@return lightuserdata? zone
---@return integer? opens
---@return integer? closes
function M.span(b, said, refuse)
  if not (said.from or said.till or said.between) then
    if said.tz then refuse(b, ".tz: an interval goes by elapsed time and has no zone; say .at, .from, .till or .between") end
    if said.dst then refuse(b, ".dst: an interval goes by elapsed time, whatever the zone does") end
    return nil
  end
  local zone = zone_of(b, said, refuse)
  local from, till = limits(b, said, zone, refuse)
  local window = said.between or {}
  return from, till, zone, window[1], window[2]
end

---When a rule is next due, for checks; nil: never.
---@return integer? ns
function M.next(rule, after_ns)
  return (core.next(rule, after_ns or now_ns()))
end

return M
