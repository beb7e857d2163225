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

local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local duration = require "jobrun.core.duration"
local err = require "jobrun.core.error"
local host = require "jobrun.core.host"
local life = require "jobrun.life"

local select, setmetatable, type = select, setmetatable, type
local add, site = core.add, core.site

local M = {}

-- The slots of a builder; false where nothing was said.
local N <const> = 1 -- the argument of every or after
local SOURCE <const>, LINE <const> = 2, 3 -- where it was said
local UNIT <const> = 4 -- its number, as core.units has it
local PERIOD <const> = 5 -- in ns
local PENDING <const> = 6 -- the modifier that waits for its call
local SAID <const> = 7 -- {modifier = value}
local STATE <const> = 8 -- "done" or "refused"

---@class jobrun.Builder
local meta = { __name = "builder" }

local SECOND = 1000000000
local LEAST_NS = 1000 -- the shortest interval

-- Units as core.add knows them; the first three stand for default names without a word.
local GIVEN <const>, AFTER <const>, NONE <const> = 0, 1, 2
local UNITS, UNIT_NS, WORDS = {}, {}, {} -- word → number; number → ns, word
for word, unit in pairs(core.units) do
  UNITS[word], UNIT_NS[unit[1]], WORDS[unit[1]] = unit[1], unit[2], word
end

local OVERLAPS = { skip = 0, queue = 1, cancel = 2, allow = 3 } -- as jr_overlap
local NO_LIMIT = 0xffffffff

-- `modifiers[word](b, …)` gives what was said, to be kept in SAID.
local modifiers = {}
local ONLY_EVERY = { now = true, times = true, to = true, from_end = true, overlap = true }

-- ---- what is still open -----------------------------------------------------------------------

-- Most sentences are finished before the next one begins: only those that were not then are listed.
local newest, unfinished, loading = nil, {}, not life.loaded

---The sentence so far, for messages: `every(2).seconds`.
local function describe(b)
  local unit = b[UNIT]
  local text = ("%s(%s)"):format(unit == AFTER and "after" or "every", check.show(b[N]))
  return WORDS[unit] and text .. "." .. WORDS[unit] or text
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
  if WORDS[b[UNIT]] then refuse(b, ': a second unit, "%s"', word) end
  refuse(b, ' has its time already: no unit "%s" behind it', word)
end

local function set_unit(b, word, unit)
  if b[PERIOD] then refuse_unit(b, word) end
  b[UNIT] = unit
  if b[N] == 1 then
    b[PERIOD] = UNIT_NS[unit]
    return
  end
  if UNITS[word .. "s"] then refuse(b, ": Use %ss instead of %s", word, word) end
  set_period(b, UNIT_NS[unit])
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

local words = { run = true } -- for "did you mean"
for word in pairs(UNITS) do words[word] = true end
for word in pairs(modifiers) do words[word] = true end

local function check_modifier(b, word)
  local said = b[SAID]
  if b[UNIT] == AFTER and ONLY_EVERY[word] then refuse(b, " runs once: .%s is only for every", word) end
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

local function jitter_of(b, jitter, name)
  if not jitter then return 0 end
  if jitter.ns >= b[PERIOD] then
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

local function policy_of(b, said)
  local is_once = b[UNIT] == AFTER
  if next(said) == nil then return is_once and ONCE or nil end
  local spread, jitter = spread_of(b, said.to), jitter_of(b, said.jitter, said.named)
  local overlap = said.overlap or NOTHING
  local times = is_once and 1 or said.times
  return core.policy(flags_of(said), times, said.timeout, spread, jitter, overlap.policy, overlap.limit)
end

local function limited(limit, fn)
  return function(...)
    return limit:with(fn, ...)
  end
end

local function add_with(b, said, fn, ...)
  local policy, name = policy_of(b, said), said.named
  if said.limit and type(fn) == "function" then fn = limited(said.limit, fn) end
  if not name then return add(b[SOURCE], b[LINE], b[UNIT], b[PERIOD], policy, said.tag, fn, ...) end
  check_name(b, name)
  local job = add(name, b[LINE], GIVEN, b[PERIOD], policy, said.tag, fn, ...)
  named[name] = job
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
  local b = begin { n or n == nil and 1, source, line, NONE, false, false, false, false }
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
  local b = begin { d or false, source, line, AFTER, false, false, {}, false }
  local ns, wrong = nanoseconds(d, SECOND)
  if not ns then refuse(b, ": %s", wrong) end
  b[PERIOD] = math.max(ns, 1)
  if ns == 0 then b[SAID].now = true end
  return b
end

return M
