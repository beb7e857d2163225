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
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.jobs"
local duration = require "jobrun.core.duration"
local err = require "jobrun.core.error"
local host = require "jobrun.core.host"

local M = {}

local SECOND = 1000000000
local LEAST_NS = 1000 -- the shortest interval

local UNITS = {} -- every word for a unit → {ns =, singular =, plural =}
for word, seconds in pairs { second = 1, minute = 60, hour = 3600, day = 86400, week = 604800 } do
  local unit = { ns = seconds * SECOND, singular = word, plural = word .. "s" }
  UNITS[unit.singular], UNITS[unit.plural] = unit, unit
end

local OVERLAPS = { skip = 0, queue = 1, cancel = 2, allow = 3 } -- as jr_overlap
local NO_LIMIT = 0xffffffff

-- `modifiers[word](spec, ...)`; those in ONLY_EVERY make no sense for a single run.
local modifiers = {}
local ONLY_EVERY = { now = true, times = true, to = true, from_end = true, overlap = true }

---@class jobrun.Builder
---@field package [1] table what was said so far
local meta = {}

-- ---- what is still open -----------------------------------------------------------------------

local open, open_len, loading = {}, 0, true

local function note_open(spec)
  open_len = open_len + 1
  open[open_len] = spec
  spec.place = open_len
end

-- Most sentences are finished before the next one begins, so this is a stack with few gaps.
local function note_done(spec)
  spec.done = true
  if not spec.place then return end
  open[spec.place] = false
  while open_len > 0 and not open[open_len] do
    open[open_len] = nil
    open_len = open_len - 1
  end
end

---The sentence so far, for messages: `every(2).seconds`.
local function describe(spec)
  local text = ("%s(%s)"):format(spec.word, check.show(spec.n))
  return spec.unit and text .. "." .. spec.unit_word or text
end

---Called when the script has loaded: raises a usage error at the line of the first builder that
---was never given a function.
function M.check_complete()
  loading = false
  for i = 1, open_len do
    local spec = open[i]
    if spec then
      open, open_len = {}, 0
      error(err.new {
        kind = "usage",
        where = spec.site,
        message = ("%s was never given a function: write %s(fn)"):format(
          describe(spec),
          spec.period and describe(spec) or describe(spec) .. ".seconds"
        ),
      })
    end
  end
end

local late_meta -- of builders made after loading

local function warn_if_open(builder)
  local spec = builder[1]
  if spec.done then return end
  host.log("warn", ("%s: %s was never given a function"):format(spec.site, describe(spec)))
end

-- ---- durations --------------------------------------------------------------------------------

-- Whole nanoseconds of a number of `unit_ns` or a text such as "1h30m"; `what` is for messages.
local function nanoseconds(what, value, unit_ns)
  local ns, wrong
  if type(value) == "number" then
    ns, wrong = duration.scale(value, unit_ns)
  elseif type(value) == "string" then
    ns, wrong = duration.parse(value)
  else
    wrong = 'expected a number or a duration such as "1h30m"'
  end
  if not ns then check.fail("%s: %s, got %s", what, wrong, check.show(value)) end
  return ns
end

local function positive_ns(what, value, unit_ns)
  local ns = nanoseconds(what, value, unit_ns or SECOND)
  if ns <= 0 then check.fail("%s: expected more than 0, got %s", what, check.show(value)) end
  return ns
end

-- ---- units ------------------------------------------------------------------------------------

local function check_period(spec, ns)
  if ns < LEAST_NS then
    check.fail("%s: an interval is at least 1us, got %s", describe(spec), duration.format(ns))
  end
  spec.period = ns
end

local function set_unit(spec, word)
  local unit = UNITS[word]
  if spec.unit then check.fail('%s: a second unit, "%s"', describe(spec), word) end
  if spec.period then check.fail('%s has its time already: no unit "%s" behind it', describe(spec), word) end
  if word == unit.singular and spec.n ~= 1 then
    check.fail("%s.%s: Use %s instead of %s", describe(spec), word, unit.plural, unit.singular)
  end
  spec.unit, spec.unit_word = unit, word
  check_period(spec, nanoseconds(describe(spec), spec.n, unit.ns))
end

-- ---- modifiers --------------------------------------------------------------------------------

local function no_arguments(word)
  return function(spec, ...)
    if select("#", ...) > 0 then
      check.fail("%s.%s: no argument expected, got %s", describe(spec), word, check.show((...)))
    end
    spec[word] = true
  end
end

---The first run at once, then on the grid.
modifiers.now = no_arguments "now"

---The next interval begins with the end of a run, not on the grid.
modifiers.from_end = no_arguments "from_end"

---Declared but not started: `job:resume()` starts it.
modifiers.paused = no_arguments "paused"

---The job's name, unique among the jobs alive.
function modifiers.named(spec, name)
  if type(name) ~= "string" or name == "" then
    check.fail("%s.named: expected a name, got %s", describe(spec), check.show(name))
  end
  spec.named = name
end

---Adds tags; may be said several times.
function modifiers.tag(spec, ...)
  local tags = spec.tag or {}
  if select("#", ...) == 0 then check.fail("%s.tag: expected a tag", describe(spec)) end
  for i = 1, select("#", ...) do
    local tag = select(i, ...)
    if type(tag) ~= "string" then
      check.fail("%s.tag: expected strings, got %s", describe(spec), check.show(tag))
    end
    tags[#tags + 1] = tag
  end
  spec.tag = tags
end

---The job ends with its n-th run.
function modifiers.times(spec, n)
  local times = math.type(n) and math.tointeger(n)
  if not times or times < 1 then
    check.fail("%s.times: expected a whole number from 1, got %s", describe(spec), check.show(n))
  end
  spec.times = times
end

---What a due time does while a run is still going: "skip", "queue" one, "cancel" the old run, or
---"allow" (up to n at once).
function modifiers.overlap(spec, word, n)
  if not OVERLAPS[word] then
    check.fail(
      '%s.overlap: expected "skip", "queue", "cancel" or "allow", got %s%s',
      describe(spec),
      check.show(word),
      check.hint(word, OVERLAPS)
    )
  end
  local limit = n ~= nil and math.type(n) and math.tointeger(n)
  if n ~= nil and (word ~= "allow" or not limit or limit < 1 or limit > NO_LIMIT) then
    check.fail('%s.overlap: only "allow" takes a number, from 1; got %s', describe(spec), check.show(n))
  end
  spec.overlap, spec.limit = word, limit or (word == "allow" and NO_LIMIT or 1)
end

---A run that takes longer is cancelled.
function modifiers.timeout(spec, d)
  spec.timeout = positive_ns(describe(spec) .. ".timeout", d)
end

---Each interval is drawn anew from n to b.
function modifiers.to(spec, b)
  nanoseconds(describe(spec) .. ".to", b, 1)
  spec.to = b
end

---Each start is up to d behind the grid, never accumulated; {stable = true}: always by the same part
---of d, taken from the job's name.
function modifiers.jitter(spec, d, opts)
  spec.jitter = positive_ns(describe(spec) .. ".jitter", d)
  if opts ~= nil then spec.stable = check.options("jitter", opts, { stable = "boolean" }).stable end
end

local words = { run = true } -- for "did you mean"
for word in pairs(UNITS) do words[word] = true end
for word in pairs(modifiers) do words[word] = true end

local function check_modifier(spec, word)
  if spec.once and ONLY_EVERY[word] then
    check.fail("%s runs once: .%s is only for every", describe(spec), word)
  end
  if spec[word] ~= nil and word ~= "tag" then check.fail("%s: .%s is there twice", describe(spec), word) end
end

-- ---- names ------------------------------------------------------------------------------------

local named = setmetatable({}, { __mode = "v" }) -- explicit names of jobs
local repeated = {} -- default name → how often it was given

local function base_name(spec)
  if not spec.unit then
    return ("%s %s %s"):format(spec.word, duration.format(spec.period), spec.line)
  end
  return ("every %.14g %s %s"):format(spec.n, spec.unit_word, spec.line)
end

-- The name, and the number behind it where a default name repeats.
local function name_of(spec)
  local name = spec.named
  if not name then
    name = base_name(spec)
    local n = (repeated[name] or 0) + 1
    repeated[name] = n
    return name, n
  end
  local other = named[name]
  if other and other.state ~= "done" and other.state ~= "cancelled" then
    check.fail("%s.named: there is a job named %s already", describe(spec), check.show(name))
  end
  return name, 1
end

-- ---- becoming a job ---------------------------------------------------------------------------

-- FNV-1a, so that the same name gives the same part of `bound` in every process.
local function share_of(name, bound)
  local hash = 0xcbf29ce484222325
  for i = 1, #name do hash = (hash ~ name:byte(i)) * 0x100000001b3 end
  return (hash & math.maxinteger) % (bound + 1)
end

local function spread_of(spec)
  if not spec.to then return 0 end
  local most = nanoseconds(describe(spec) .. ".to", spec.to, (spec.unit or UNITS.second).ns)
  if most < spec.period then
    check.fail("%s.to: expected at least %s, got %s", describe(spec), check.show(spec.n), check.show(spec.to))
  end
  return most - spec.period
end

local function jitter_of(spec)
  if not spec.jitter then return 0 end
  if spec.jitter >= spec.period then
    local d = duration.format(spec.jitter)
    check.fail("%s.jitter: expected less than the interval, got %s", describe(spec), d)
  end
  if not spec.stable then return spec.jitter end
  if not spec.named then check.fail("%s.jitter: stable = true needs .named", describe(spec)) end
  return share_of(spec.named, spec.jitter)
end

local function flags_of(spec)
  return (spec.now and "n" or "")
    .. (spec.from_end and "e" or "")
    .. (spec.paused and "p" or "")
    .. (spec.stable and "j" or "")
end

local function extra_of(spec, ...)
  local n = select("#", ...)
  if n == 0 and not spec.tag then return nil end
  local extra = n == 0 and {} or { ... }
  extra.n, extra.tags = n, spec.tag
  return extra
end

local function complete(spec, fn, ...)
  if type(fn) ~= "function" then
    check.fail("%s: expected a function, got %s", describe(spec), check.show(fn))
  end
  if not spec.period then
    local text = describe(spec)
    check.fail("%s has no unit: write %s.seconds, .minutes, .hours, .days or .weeks", text, text)
  end
  local spread, jitter = spread_of(spec), jitter_of(spec)
  local name, ordinal = name_of(spec)
  local job = core.add(
    fn,
    name,
    ordinal,
    spec.period,
    spread,
    jitter,
    spec.timeout,
    spec.times,
    OVERLAPS[spec.overlap],
    spec.limit,
    flags_of(spec),
    extra_of(spec, ...)
  )
  if spec.named then named[name] = job end
  note_done(spec)
  return job
end

-- ---- the words --------------------------------------------------------------------------------

local function check_open(spec, word)
  if spec.done then check.fail("%s has its function already: .%s comes too late", describe(spec), word) end
  local method = spec.pending
  if method then check.fail("%s.%s is a method: write .%s(…)", describe(spec), method, method) end
end

function meta.__index(builder, word)
  local spec = builder[1]
  check_open(spec, word)
  if UNITS[word] then
    set_unit(spec, word)
  elseif modifiers[word] or word == "run" then
    check_modifier(spec, word)
    spec.pending = word
  else
    check.fail("%s: unknown word %s%s", describe(spec), check.show(word), check.hint(word, words))
  end
  return builder
end

function meta.__newindex(builder, word)
  check.fail("%s: words cannot be set (%s)", describe(builder[1]), check.show(word))
end

-- The call behind a modifier, or the one that gives the function.
local function call(builder, ...)
  local spec = builder[1]
  local word = spec.pending
  if word then
    spec.pending = nil
    if word == "run" then return complete(spec, ...) end
    modifiers[word](spec, ...)
    return builder
  end
  if spec.done then check.fail("%s was given a function twice", describe(spec)) end
  return complete(spec, ...)
end

---@param builder jobrun.Builder
---@param first any the function, or the builder itself in a call with `:`
function meta.__call(builder, first, ...)
  if not rawequal(first, builder) then return call(builder, first, ...) end
  if select("#", ...) == 0 and not builder[1].pending then return builder end -- every(1):second()
  return call(builder, ...)
end

function meta.__tostring(builder)
  return describe(builder[1])
end

meta.__name = "builder"

late_meta = { __gc = warn_if_open }
for event, handler in pairs(meta) do late_meta[event] = handler end

local function begin(spec)
  spec.site, spec.line = core.site()
  if not loading then return setmetatable({ spec }, late_meta) end
  note_open(spec)
  return setmetatable({ spec }, meta)
end

---A builder of jobs that run every n units, or every duration.
---@param n number|string
---@return jobrun.Builder
function M.every(n)
  local spec = { word = "every", n = n }
  if type(n) == "number" then
    local is_positive = n > 0 -- false for a NaN too
    if not is_positive then check.fail("every: expected more than 0, got %s", n) end
  else
    check_period(spec, positive_ns("every", n))
  end
  return begin(spec)
end

---A builder of a job that runs once, after a duration.
---@param d number|string seconds, or "5m"
---@return jobrun.Builder
function M.after(d)
  local ns = nanoseconds("after", d, SECOND)
  local spec = { word = "after", n = d, once = true, times = 1, period = math.max(ns, 1) }
  if ns == 0 then spec.now = true end
  return begin(spec)
end

return M
