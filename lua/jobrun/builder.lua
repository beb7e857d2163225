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

local M = {}

-- The slots of a builder; false where nothing was said.
local WORD <const> = 1 -- "every" or "after"
local N <const> = 2 -- its argument
local SOURCE <const>, LINE <const> = 3, 4 -- where it was said
local PLACE <const> = 5 -- in `open`
local UNIT <const> = 6 -- the word: "seconds"
local PERIOD <const> = 7 -- in ns
local PENDING <const> = 8 -- the modifier that waits for its call
local SAID <const> = 9 -- {modifier = value}
local STATE <const> = 10 -- "done" or "refused"

---@class jobrun.Builder
local meta = { __name = "builder" }

local SECOND = 1000000000
local LEAST_NS = 1000 -- the shortest interval

local UNITS, PLURALS = {}, {} -- word → ns; singular → plural
for word, seconds in pairs { second = 1, minute = 60, hour = 3600, day = 86400, week = 604800 } do
  UNITS[word], UNITS[word .. "s"] = seconds * SECOND, seconds * SECOND
  PLURALS[word] = word .. "s"
end

local OVERLAPS = { skip = 0, queue = 1, cancel = 2, allow = 3 } -- as jr_overlap
local NO_LIMIT = 0xffffffff

-- `modifiers[word](b, …)` gives what was said, to be kept in SAID.
local modifiers = {}
local ONLY_EVERY = { now = true, times = true, to = true, from_end = true, overlap = true }

-- ---- what is still open -----------------------------------------------------------------------

local open, open_len, loading = {}, 0, not life.loaded

-- Most sentences are finished before the next one begins, so this is a stack with few gaps.
local function forget(b)
  local place = b[PLACE]
  if not place then return end
  b[PLACE] = false
  open[place] = false
  while open_len > 0 and not open[open_len] do
    open[open_len] = nil
    open_len = open_len - 1
  end
end

---The sentence so far, for messages: `every(2).seconds`.
local function describe(b)
  local text = ("%s(%s)"):format(b[WORD], check.show(b[N]))
  return b[UNIT] and text .. "." .. b[UNIT] or text
end

-- A usage error about the sentence so far. With it the script was told: no need to say at the end of
-- loading that the sentence has no end.
local function refuse(b, fmt, ...)
  forget(b)
  b[STATE] = b[STATE] or "refused"
  check.fail("%s%s", describe(b), fmt:format(...))
end

local function site(b)
  return ("%s:%d"):format(b[SOURCE], b[LINE])
end

local function raise_open(b)
  local text = describe(b)
  local example = b[PERIOD] and text or text .. ".seconds"
  error(err.new {
    kind = "usage",
    where = site(b),
    message = ("%s was never given a function: write %s(fn)"):format(text, example),
  })
end

---Called when the script has loaded: raises a usage error at the line of the first builder that
---was never given a function.
function M.check_complete()
  local left, len = open, open_len
  open, open_len, loading = {}, 0, false
  for i = 1, len do
    if left[i] then raise_open(left[i]) end
  end
end

local late_meta -- of builders made after loading

local function warn_if_open(b)
  if b[STATE] then return end
  host.log("warn", ("%s: %s was never given a function"):format(site(b), describe(b)))
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

local function set_unit(b, word)
  if b[UNIT] then refuse(b, ': a second unit, "%s"', word) end
  if b[PERIOD] then refuse(b, ' has its time already: no unit "%s" behind it', word) end
  if b[N] ~= 1 and PLURALS[word] then
    refuse(b, ".%s: Use %s instead of %s", word, PLURALS[word], word)
  end
  b[UNIT] = word
  set_period(b, UNITS[word])
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

local words = { run = true } -- for "did you mean"
for word in pairs(UNITS) do words[word] = true end
for word in pairs(modifiers) do words[word] = true end

local function check_modifier(b, word)
  local said = b[SAID]
  if b[WORD] == "after" and ONLY_EVERY[word] then refuse(b, " runs once: .%s is only for every", word) end
  if said and said[word] ~= nil and word ~= "tag" then refuse(b, ": .%s is there twice", word) end
end

-- ---- names ------------------------------------------------------------------------------------

local named = setmetatable({}, { __mode = "v" }) -- explicit names of jobs
local repeated = {} -- default name → how often it was given
local names_at = {} -- line → {source, n, unit, default name}: a loop says the same again and again

local function base_name(b)
  local what
  if b[UNIT] then
    what = ("%s %.14g %s"):format(b[WORD], b[N], b[UNIT])
  else
    what = b[WORD] .. " " .. duration.format(b[PERIOD])
  end
  return ("%s %s:%d"):format(what, b[SOURCE]:match "[^/]*$", b[LINE])
end

-- The name, and the number behind it where it repeats.
local function default_name(b)
  local at = names_at[b[LINE]]
  if not at or at[1] ~= b[SOURCE] or at[2] ~= b[N] or at[3] ~= b[UNIT] then
    at = { b[SOURCE], b[N], b[UNIT], base_name(b) }
    names_at[b[LINE]] = at
  end
  local name = at[4]
  local ordinal = (repeated[name] or 0) + 1
  repeated[name] = ordinal
  return name, ordinal
end

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
  local most, wrong = nanoseconds(to, b[UNIT] and UNITS[b[UNIT]] or SECOND)
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

local function extra_of(tags, ...)
  local n = select("#", ...)
  if n == 0 and not tags then return nil end
  local extra = { ... }
  extra.n, extra.tags = n, tags
  return extra
end

local function add_with(b, said, fn, ...)
  local spread, jitter = spread_of(b, said.to), jitter_of(b, said.jitter, said.named)
  local name, ordinal = said.named, 1
  if name then
    check_name(b, name)
  else
    name, ordinal = default_name(b)
  end
  local times = b[WORD] == "after" and 1 or said.times
  local overlap = said.overlap or {}
  local extra, flags = extra_of(said.tag, ...), flags_of(said)
  local job = core.add(fn, name, ordinal, b[PERIOD], extra, flags, times, said.timeout, spread, jitter,
    overlap.policy, overlap.limit)
  if said.named then named[name] = job end
  return job
end

-- Gives the builder its function.
local function complete(b, fn, ...)
  if b[STATE] == "done" then refuse(b, " was given a function twice") end
  if type(fn) ~= "function" then refuse(b, ": expected a function, got %s", check.show(fn)) end
  if not b[PERIOD] then
    refuse(b, " has no unit: write %s.seconds, .minutes, .hours, .days or .weeks", describe(b))
  end
  local job
  if b[SAID] then
    job = add_with(b, b[SAID], fn, ...)
  else
    local name, ordinal = default_name(b)
    job = core.add(fn, name, ordinal, b[PERIOD], extra_of(nil, ...))
  end
  forget(b)
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
  check_open(b, word)
  if UNITS[word] then
    set_unit(b, word)
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

local function apply(b, word, ...)
  b[PENDING] = false
  if word == "run" then return complete(b, ...) end
  local value = modifiers[word](b, ...)
  local said = b[SAID]
  if not said then
    said = {}
    b[SAID] = said
  end
  said[word] = value
  return b
end

-- every(1):second(…): what was called is the builder itself, and comes first once more.
local function call_colon(b, _, ...)
  if b[PENDING] then return apply(b, b[PENDING], ...) end
  if select("#", ...) == 0 then return b end
  return complete(b, ...)
end

---@param b jobrun.Builder
---@param ... any the function and its arguments, or what the modifier takes
function meta.__call(b, ...)
  if (...) == b then return call_colon(b, ...) end
  if b[PENDING] then return apply(b, b[PENDING], ...) end
  return complete(b, ...)
end

meta.__tostring = describe

late_meta = { __gc = warn_if_open }
for event, handler in pairs(meta) do late_meta[event] = handler end

local function begin(word, n)
  local source, line = core.site()
  local b = { word, n, source, line, false, false, false, false, false, false }
  if not loading then return setmetatable(b, late_meta) end
  open_len = open_len + 1
  open[open_len] = b
  b[PLACE] = open_len
  return setmetatable(b, meta)
end

---A builder of jobs that run every n units, or every duration.
---@param n? number|string
---@return jobrun.Builder
function M.every(n)
  if n == nil then n = 1 end
  local b = begin("every", n)
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
  if d == nil then check.fail("after: expected a number or a duration such as \"1h30m\"") end
  local b = begin("after", d)
  local ns, wrong = nanoseconds(d, SECOND)
  if not ns then refuse(b, ": %s", wrong) end
  b[PERIOD] = math.max(ns, 1)
  b[SAID] = { now = ns == 0 or nil }
  return b
end

return M
