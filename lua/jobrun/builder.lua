--- What `every` and `after` return: a sentence that is still being spoken.
---
--- A builder collects words, checks each where it stands, and becomes a job when it gets its
--- function. Units are fields; modifiers are methods, with `.` or with `:`. To get by without a
--- closure for each word, a modifier is only noted when it is looked up, and applied by the call
--- that follows.
---
--- A builder that never gets its function would be a job that silently never runs. While the script
--- loads they are all kept, in order, and the first one left over is an error with its line; one made
--- later is warned about when it is collected.
---
--- Scripts declare jobs by the hundred thousand, so a builder is one small array: words are strings and
--- thus never among its keys, each slot has a value from the start, and so __index sees words alone.
--
-- SPDX-License-Identifier: MIT

local calendar = require "jobrun.calendar"
local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local duration = require "jobrun.core.duration"
local err = require "jobrun.core.error"
local host = require "jobrun.core.host"
local life = require "jobrun.life"
local policies = require "jobrun.policies"

local select, setmetatable, type = select, setmetatable, type
local add, site = core.add, core.site

local M = {}

-- The slots of a builder; false where nothing was said.
local N <const> = 1 -- the argument of every, after, cron or once
local SOURCE <const>, LINE <const> = 2, 3 -- where it was said
local UNIT <const> = 4 -- its number, as core.units has it
local PERIOD <const> = 5 -- in ns
local PENDING <const> = 6 -- the modifier that waits for its call
local SAID <const> = 7 -- {modifier = value}
local STATE <const> = 8 -- "done" or "refused"
local WORD <const> = 9 -- the unit as it was said, where it is one of the calendar

---@class jobrun.Builder
local meta = { __name = "builder" }

local SECOND = 1000000000
local LEAST_NS = 1000 -- the shortest interval

-- Units as core.add knows them; the first three stand for default names without a word.
local GIVEN <const>, AFTER <const>, NONE <const> = 0, 1, 2
local CRON <const>, ONCE_AT <const> = -1, -2 -- sentences of these are told by their text
local UNITS, UNIT_NS, WORDS = {}, {}, {} -- word → number; number → ns, word
for word, unit in pairs(core.units) do
  UNITS[word], UNIT_NS[unit[1]], WORDS[unit[1]] = unit[1], unit[2], word
end

local OVERLAPS = { skip = 0, queue = 1, cancel = 2, allow = 3 } -- as jr_overlap
local NO_LIMIT = 0xffffffff

-- `modifiers[word](b, …)` gives what was said, to be kept in SAID.
local modifiers = {}
local ONLY_EVERY = { to = true, from_end = true, at = true, on = true, day_of_month = true }
local NOT_ONCE = { now = true, times = true, overlap = true, from = true, till = true, between = true }

-- ---- what is still open -----------------------------------------------------------------------

-- Most sentences are finished before the next one begins: only those that were not then are listed.
local newest, unfinished, loading = nil, {}, not life.loaded

---The sentence so far, for messages: `every(2).seconds`.
local BEGINS <const> = { [AFTER] = "after", [CRON] = "cron", [ONCE_AT] = "once" }
local function describe(b)
  local unit = b[UNIT]
  local text = ("%s(%s)"):format(BEGINS[unit] or "every", check.show(b[N]))
  local word = b[WORD] or WORDS[unit]
  return word and text .. "." .. word or text
end

-- A usage error about the sentence so far. With it the script was told: no need to say at the end of
-- loading that the sentence has no end.
local function refuse(b, fmt, ...)
  b[STATE] = b[STATE] or "refused"
  check.fail("%s%s", describe(b), fmt:format(...))
end

local function place(b)
  return ("%s:%d"):format(b[SOURCE], b[LINE])
end

local function check_finished(b)
  if b[STATE] then return end
  local text = describe(b)
  local example = b[PERIOD] and text or text .. ".seconds"
  error(err.new {
    kind = "usage",
    where = place(b),
    message = ("%s was never given a function: write %s(fn)"):format(text, example),
  })
end

---Called when the script has loaded: raises a usage error at the line of the first builder that
---was never given a function.
function M.check_complete()
  local all = unfinished
  if newest then all[#all + 1] = newest end
  newest, unfinished, loading = nil, {}, false
  for _, b in ipairs(all) do check_finished(b) end
end

local late_meta -- of builders made after loading

local function warn_if_open(b)
  if b[STATE] then return end
  host.log("warn", ("%s: %s was never given a function"):format(place(b), describe(b)))
end

-- ---- durations --------------------------------------------------------------------------------

-- Whole nanoseconds of a number of `unit_ns` or a text such as "1h30m"; or nil and what is wrong.
local function nanoseconds(value, unit_ns)
  if value == 1 then return unit_ns end
  if type(value) == "number" then return duration.scale(value, unit_ns) end
  if type(value) == "string" then return duration.parse(value) end
  return nil, 'expected a number or a duration such as "1h30m"'
end

-- The same for the argument of a modifier, in seconds and more than none.
local function span_ns(b, word, value)
  local ns, wrong = nanoseconds(value, SECOND)
  if ns == 0 then wrong = "expected more than 0" end
  if wrong then refuse(b, ".%s: %s, got %s", word, wrong, check.show(value)) end
  return ns
end

-- ---- units ------------------------------------------------------------------------------------

local function set_period(b, unit_ns)
  local ns, wrong = nanoseconds(b[N], unit_ns)
  if not ns then refuse(b, ": %s", wrong) end
  if ns < LEAST_NS then refuse(b, ": an interval is at least 1us, got %s", duration.format(ns)) end
  b[PERIOD] = ns
end

local function refuse_unit(b, word)
  if b[WORD] or WORDS[b[UNIT]] then refuse(b, ': a second unit, "%s"', word) end
  refuse(b, ' has its time already: no unit "%s" behind it', word)
end

-- Days and weeks in whole numbers go by the calendar: that is seen when the sentence is complete.
local function set_unit(b, word, unit)
  if b[PERIOD] then refuse_unit(b, word) end
  b[UNIT] = unit
  if calendar.units[word] then
    b[WORD], b[SAID] = word, b[SAID] or {}
  end
  if b[N] == 1 then
    b[PERIOD] = UNIT_NS[unit]
    return
  end
  if UNITS[word .. "s"] then refuse(b, ": Use %ss instead of %s", word, word) end
  set_period(b, UNIT_NS[unit])
end

-- Months, years and days of the week have no length in ns; the calendar's rule takes its place.
local NOMINAL <const> = { month = 2629746 * SECOND, year = 31556952 * SECOND } -- on average
local function set_calendar_unit(b, word)
  if b[PERIOD] then refuse_unit(b, word) end
  local plural = calendar.only_calendar[word]
  if b[N] ~= 1 and type(plural) == "string" then
    if plural == "once" then refuse(b, ".%s: there is every().%s only", word, word) end
    refuse(b, ": Use %s instead of %s", plural, word)
  end
  b[WORD], b[SAID] = word, b[SAID] or {}
  b[PERIOD] = NOMINAL[word:match "^(%a-)s?$"] or 604800 * SECOND
end

-- ---- modifiers --------------------------------------------------------------------------------

local function no_arguments(word)
  return function(b, ...)
    if select("#", ...) > 0 then
      refuse(b, ".%s: no argument expected, got %s", word, check.show((...)))
    end
    return true
  end
end

---The first run at once, then on the grid.
modifiers.now = no_arguments "now"

---The next interval begins with the end of a run, not on the grid.
modifiers.from_end = no_arguments "from_end"

---Declared but not started: `job:resume()` starts it.
modifiers.paused = no_arguments "paused"

---The job's name, unique among the jobs alive.
function modifiers.named(b, name)
  if type(name) ~= "string" or name == "" then
    refuse(b, ".named: expected a name, got %s", check.show(name))
  end
  return name
end

---Adds tags; may be said several times.
function modifiers.tag(b, ...)
  local tags = b[SAID] and b[SAID].tag or {}
  if select("#", ...) == 0 then refuse(b, ".tag: expected a tag") end
  for i = 1, select("#", ...) do
    local tag = select(i, ...)
    if type(tag) ~= "string" then refuse(b, ".tag: expected strings, got %s", check.show(tag)) end
    tags[#tags + 1] = tag
  end
  return tags
end

-- n as a whole number from 1 to `most`, or nil.
local function whole(n, most)
  n = math.type(n) and math.tointeger(n)
  return n and n >= 1 and n <= most and n or nil
end

---The job ends with its n-th run.
function modifiers.times(b, n)
  local times = whole(n, math.maxinteger)
  if not times then refuse(b, ".times: expected a whole number from 1, got %s", check.show(n)) end
  return times
end

---What a due time does while a run is still going: "skip", "queue" one, "cancel" the old run, or
---"allow" (up to n at once).
function modifiers.overlap(b, word, n)
  if not OVERLAPS[word] then
    local got = check.show(word) .. check.hint(word, OVERLAPS)
    refuse(b, '.overlap: expected "skip", "queue", "cancel" or "allow", got %s', got)
  end
  if n ~= nil and not (word == "allow" and whole(n, NO_LIMIT)) then
    refuse(b, '.overlap: only "allow" takes a number, from 1; got %s', check.show(n))
  end
  return { policy = OVERLAPS[word], limit = n and whole(n, NO_LIMIT) or (word == "allow" and NO_LIMIT or 1) }
end

---A run that takes longer is cancelled.
function modifiers.timeout(b, d)
  return span_ns(b, "timeout", d)
end

---Each interval is drawn anew from n to `most`.
function modifiers.to(b, most)
  span_ns(b, "to", most)
  return most
end

---Each start is up to d behind the grid, never accumulated; {stable = true}: always by the same part
---of d, taken from the job's name.
function modifiers.jitter(b, d, opts)
  local checked = opts == nil and {} or check.options("jitter", opts, { stable = "boolean" })
  return { ns = span_ns(b, "jitter", d), stable = checked.stable }
end

---A run waits for a permit of the limit `name`, which lets n run at a time, with everything else
---that is under it.
function modifiers.limit(_, name, n)
  return require("jobrun.limit").limit(name, n)
end

for word, modifier in pairs(calendar.modifiers(refuse)) do modifiers[word] = modifier end
for word, modifier in pairs(policies.modifiers(refuse, span_ns)) do modifiers[word] = modifier end

local words = { run = true } -- for "did you mean"
for word in pairs(UNITS) do words[word] = true end
for word in pairs(calendar.only_calendar) do words[word] = true end
for word in pairs(modifiers) do words[word] = true end

local function check_modifier(b, word)
  local said = b[SAID]
  local kind = b[UNIT]
  if (kind == AFTER or kind == ONCE_AT) and (ONLY_EVERY[word] or NOT_ONCE[word]) then
    refuse(b, " runs once: .%s is only for every", word)
  end
  if kind == CRON and ONLY_EVERY[word] then refuse(b, ".%s: the line says when; that is only for every", word) end
  if kind == AFTER and (word == "tz" or word == "dst") then refuse(b, ".%s: it goes by elapsed time", word) end
  if said and said[word] ~= nil and word ~= "tag" then refuse(b, ": .%s is there twice", word) end
end

-- ---- names ------------------------------------------------------------------------------------

local named = setmetatable({}, { __mode = "v" }) -- explicit names of jobs
local function check_name(b, name)
  local other = named[name]
  if other and other.state ~= "done" and other.state ~= "cancelled" then
    refuse(b, ".named: there is a job named %s already", check.show(name))
  end
end

-- ---- becoming a job ---------------------------------------------------------------------------

-- FNV-1a, so that the same name gives the same part of `bound` in every process.
local function share_of(name, bound)
  local hash = 0xcbf29ce484222325
  for i = 1, #name do hash = (hash ~ name:byte(i)) * 0x100000001b3 end
  return (hash & math.maxinteger) % (bound + 1)
end

local function spread_of(b, to)
  if not to then return 0 end
  local most, wrong = nanoseconds(to, UNIT_NS[b[UNIT]] or SECOND)
  if not most then refuse(b, ".to: %s, got %s", wrong, check.show(to)) end
  if most < b[PERIOD] then
    refuse(b, ".to: expected at least %s, got %s", check.show(b[N]), check.show(to))
  end
  return most - b[PERIOD]
end

-- The interval, or the distance between the next two times of a rule.
local function distance_of(b, rule)
  local first = rule and calendar.next(rule)
  local second = first and calendar.next(rule, first)
  if second then return second - first end
  return rule and math.maxinteger or b[PERIOD]
end

local function jitter_of(b, jitter, name, rule)
  if not jitter then return 0 end
  if jitter.ns >= distance_of(b, rule) then
    refuse(b, ".jitter: expected less than the interval, got %s", duration.format(jitter.ns))
  end
  if not jitter.stable then return jitter.ns end
  if not name then refuse(b, ".jitter: stable = true needs .named") end
  return share_of(name, jitter.ns)
end

local function flags_of(said)
  return (said.now and "n" or "")
    .. (said.from_end and "e" or "")
    .. (said.paused and "p" or "")
    .. (said.jitter and said.jitter.stable and "j" or "")
end

local NOTHING <const> = {} -- was said
local ONCE = core.policy("", 1) -- of a job from after about which nothing more was said

-- The parts of a policy that few jobs have.
local function add_details(b, policy, said, rule)
  if rule then
    core.policy_rule(policy, rule)
  else
    local from, till, zone, opens, closes = calendar.span(b, said, refuse)
    if zone then core.policy_span(policy, from, till, zone, opens, closes) end
  end
  local catchup, retry = said.catchup or NOTHING, said.retry
  if said.grace or said.catchup then
    core.policy_lateness(policy, said.grace or 0, catchup.policy or 0, catchup.max or 0, catchup.window or 0)
  end
  if retry then
    core.policy_retry(policy, retry.n, retry.backoff, retry.max, retry.factor, retry.jitter, retry.cross)
  end
  return policy
end

local function policy_of(b, said, rule)
  local is_once = b[UNIT] == AFTER
  if next(said) == nil and not rule then return is_once and ONCE or nil end
  local spread, jitter = spread_of(b, said.to), jitter_of(b, said.jitter, said.named, rule)
  local overlap = said.overlap or NOTHING
  local times = is_once and 1 or said.times
  local policy = core.policy(flags_of(said), times, said.timeout, spread, jitter, overlap.policy, overlap.limit)
  return add_details(b, policy, said, rule)
end

-- The rule of the calendar that was said, or nil. A cron line may say an interval, or "once, now".
local function rule_of(b, said)
  local kind = b[UNIT]
  if kind == ONCE_AT then return calendar.once_rule(b, b[N], said, refuse) end
  if kind ~= CRON then return calendar.rule(b, b[WORD] or WORDS[kind], b[N], said, refuse) end
  local rule, period = calendar.read_cron(b, b[N], said.named, refuse)
  if rule == "every" then
    b[PERIOD] = period
  elseif rule == "reboot" then
    b[PERIOD], said.now, said.times = 1, true, 1
  else
    return calendar.cron_rule(b, b[N], said, refuse)
  end
end

local function limited(limit, fn)
  return function(...)
    return limit:with(fn, ...)
  end
end

-- "every 2 weeks on mon, thu at 09:00", 'cron "30 2 * * *"'; nil where the interval tells it all.
local function phrase(b, said)
  local kind = b[UNIT]
  if kind == CRON then return ('cron "%s"'):format(b[N]) end
  if kind == ONCE_AT then return ("once %s"):format(b[N]) end
  if not (said.at or said.on or said.day_of_month or calendar.only_calendar[b[WORD]]) then return nil end
  local text = "every " .. (b[N] == 1 and "" or b[N] .. " ") .. (b[WORD] or WORDS[kind] or said.on and "week" or "month")
  if said.on then text = text .. " on " .. calendar.days_text(said.on) end
  if said.day_of_month then text = text .. " on day " .. calendar.dates_text(said.day_of_month) end
  if said.at then text = text .. " at " .. table.concat(said.at.texts, ", ") end
  return text
end

local phrases = {} -- made name → how many jobs were given it
local function made_name(b, said)
  local text = phrase(b, said)
  if not text then return nil end
  text = ("%s %s:%d"):format(text, b[SOURCE]:match "[^/]*$", b[LINE])
  phrases[text] = (phrases[text] or 0) + 1
  return phrases[text] > 1 and ("%s #%d"):format(text, phrases[text]) or text
end

-- Loaded by the first job that has a name.
local function schedule()
  return require "jobrun.schedule"
end

local function add_with(b, said, fn, ...)
  if type(fn) ~= "function" then return nil end
  local name = said.named
  if name then check_name(b, name) end
  local policy = policy_of(b, said, rule_of(b, said))
  if said.limit then fn = limited(said.limit, fn) end
  if name then fn = schedule().wrap(name, fn) end
  local text = name or made_name(b, said)
  local job
  if text then
    job = add(text, b[LINE], GIVEN, b[PERIOD], policy, said.tag, fn, ...)
  else
    job = add(b[SOURCE], b[LINE], b[UNIT], b[PERIOD], policy, said.tag, fn, ...)
  end
  if job == false then refuse(b, " would never run: no time is left that it allows") end
  if name then
    named[name] = job
    schedule().declare(job, name, said, { b[N], b[WORD], b[PERIOD] })
  end
  return job
end

local function check_complete(b)
  if b[STATE] == "done" then refuse(b, " was given a function twice") end
  if b[PERIOD] then return end
  refuse(b, " has no unit: write %s.seconds, .minutes, .hours, .days or .weeks", describe(b))
end

-- Gives the builder its function, and the arguments behind it.
local function complete(b, fn, ...)
  check_complete(b)
  local job = add_with(b, b[SAID] or NOTHING, fn, ...)
  if not job then refuse(b, ": expected a function, got %s", check.show(fn)) end
  b[STATE] = "done"
  return job
end

-- ---- the words --------------------------------------------------------------------------------

local function check_open(b, word)
  if b[STATE] == "done" then refuse(b, " has its function already: .%s comes too late", word) end
  local method = b[PENDING]
  if method then refuse(b, ".%s is a method: write .%s(…)", method, method) end
end

function meta.__index(b, word)
  if b[STATE] or b[PENDING] then check_open(b, word) end
  local unit = UNITS[word]
  if unit then
    set_unit(b, word, unit)
  elseif calendar.only_calendar[word] then
    set_calendar_unit(b, word)
  elseif modifiers[word] or word == "run" then
    check_modifier(b, word)
    b[PENDING] = word
  else
    refuse(b, ": unknown word %s%s", check.show(word), check.hint(word, words))
  end
  return b
end

function meta.__newindex(b, word)
  refuse(b, ": words cannot be set (%s)", check.show(word))
end

local function apply(b, ...)
  local word = b[PENDING]
  b[PENDING] = false
  if word == "run" then return complete(b, ...) end
  local value = modifiers[word](b, ...)
  local said = b[SAID] or {}
  b[SAID] = said
  said[word] = value
  if word == "on" or word == "day_of_month" then b[PERIOD] = b[PERIOD] or 604800 * SECOND end
  return b
end

-- every(1):second(…): what was called is the builder itself, and comes first once more.
local function call_colon(b, _, ...)
  if b[PENDING] then return apply(b, ...) end
  if select("#", ...) == 0 then return b end
  return complete(b, ...)
end

---@param b jobrun.Builder
---@param ... any the function and its arguments, or what the modifier takes
function meta.__call(b, ...)
  if ... == b then return call_colon(b, ...) end
  if b[PENDING] then return apply(b, ...) end
  if b[SAID] or b[STATE] or not b[PERIOD] then return complete(b, ...) end
  local job = add(b[SOURCE], b[LINE], b[UNIT], b[PERIOD], nil, nil, ...)
  if not job then return complete(b, ...) end
  b[STATE] = "done"
  return job
end

meta.__tostring = describe

late_meta = { __gc = warn_if_open }
for event, handler in pairs(meta) do late_meta[event] = handler end

-- Notes a new builder. Makes it late_meta's or meta's.
local function begin(b)
  if not loading then return setmetatable(b, late_meta) end
  if newest and not newest[STATE] then unfinished[#unfinished + 1] = newest end
  newest = b
  return setmetatable(b, meta)
end

---A builder of jobs that run every n units, or every duration.
---@param ... number|string? how many units, or a duration
---@return jobrun.Builder
function M.every(...)
  local n = ...
  if n == nil and select("#", ...) > 0 then check.fail("every(nil): expected a number of units or a duration") end
  local source, line = site()
  local b = begin { n or n == nil and 1, source, line, NONE, false, false, false, false, false }
  if n == nil or n == 1 then return b end
  if type(n) ~= "number" then
    set_period(b)
  else
    local is_positive = n > 0 -- false for a NaN too
    if not is_positive then refuse(b, ": expected more than 0") end
  end
  return b
end

---A builder of a job that runs once, after a duration.
---@param d number|string seconds, or "5m"
---@return jobrun.Builder
function M.after(d)
  local source, line = site()
  local b = begin { d or false, source, line, AFTER, false, false, {}, false, false }
  local ns, wrong = nanoseconds(d, SECOND)
  if not ns then refuse(b, ": %s", wrong) end
  b[PERIOD] = math.max(ns, 1)
  if ns == 0 then b[SAID].now = true end
  return b
end

-- Modifiers as options: {tz = "Europe/Berlin", retry = {n = 3}, tag = {"a", "b"}, now = true}.
local AS_TABLE <const> = { retry = true, dst = true }
local function apply_options(b, opts)
  local keys = {}
  for word in pairs(opts) do keys[#keys + 1] = word end
  table.sort(keys, function(x, y) return tostring(x) < tostring(y) end)
  for _, word in ipairs(keys) do
    local value = opts[word]
    if type(word) ~= "string" or not modifiers[word] then
      refuse(b, ": unknown option %s%s", check.show(word), check.hint(word, modifiers))
    end
    check_modifier(b, word)
    b[PENDING] = word
    if value == true then
      apply(b)
    elseif type(value) == "table" and not AS_TABLE[word] then
      apply(b, table.unpack(value))
    elseif value == false then
      b[PENDING] = false
    else
      apply(b, value)
    end
  end
end

-- What follows the text of cron and once: options or a zone, a function, its arguments.
local function finish(b, opts, fn, ...)
  if opts then apply_options(b, opts) end
  if fn == nil then return b end
  return complete(b, fn, ...)
end

---A job that runs by a cron line.
---@param line string
---@param opts? table modifiers, as {tz = "Europe/Berlin", timeout = "10m"}
---@param fn? function
---@return jobrun.Job|jobrun.Builder
function M.cron(line, opts, fn, ...)
  local source, line_number = site()
  local b = begin { line or false, source, line_number, CRON, false, false, {}, false, false }
  if type(line) ~= "string" then refuse(b, ': expected a cron line such as "30 2 * * *"') end
  b[PERIOD] = SECOND
  local _, _, readings = calendar.read_cron(b, line, "checked again with the job's own name", refuse)
  if readings then host.log("warn", ("%s: %s: %s"):format(place(b), describe(b), readings)) end
  if type(opts) == "table" then return finish(b, opts, fn, ...) end
  if opts ~= nil and type(opts) ~= "function" then
    refuse(b, ": expected options or a function behind the line, got %s", check.show(opts))
  end
  return finish(b, nil, opts, fn, ...)
end

---A job that runs once, at a time of the wall clock.
---@param moment string "2027-01-01 00:00", with or without an offset; "10:30", today or tomorrow
---@param zone? string the zone it is meant in
---@param fn? function
---@return jobrun.Job|jobrun.Builder
function M.once(moment, zone, fn, ...)
  local source, line = site()
  local b = begin { moment or false, source, line, ONCE_AT, false, false, {}, false, false }
  b[PERIOD] = SECOND
  calendar.moment(b, "once", moment, refuse)
  if zone ~= nil and type(zone) ~= "function" then return finish(b, { tz = zone }, fn, ...) end
  return finish(b, nil, zone, fn, ...)
end

return M
