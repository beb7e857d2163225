--- The modifiers for when things go wrong: lateness, catching up, trying again.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"

local M = {}

local SECOND <const> = 1000000000
local CATCHUPS <const> = { once = 0, none = 1, all = 2 } -- as jr_catchup

local function ns_of(seconds)
  return math.floor(seconds * SECOND + 0.5)
end

---`refuse(b, fmt, …)` raises about the sentence so far; `span_ns(b, word, d)` checks a duration.
function M.modifiers(refuse, span_ns)
  local modifiers = {}

  ---A run that would start later than that is skipped.
  function modifiers.grace(b, d)
    return span_ns(b, "grace", d)
  end

  ---Due times that passed while nothing could start: "once" one run for the latest (the default), "none"
  ---none that is late, "all" one for each, within {window = "1d", max = 100}.
  function modifiers.catchup(b, word, opts)
    if not CATCHUPS[word] then
      refuse(b, '.catchup: expected "none", "once" or "all", got %s%s', check.show(word), check.hint(word, CATCHUPS))
    end
    if opts ~= nil and word ~= "all" then refuse(b, '.catchup: only "all" takes options') end
    local o = check.options("catchup", opts or {}, { window = "duration", max = "integer" })
    if o.max and (o.max < 1 or o.max > 0xffffffff) then
      refuse(b, ".catchup: max: expected at least 1, got %s", check.show(o.max))
    end
    return { policy = CATCHUPS[word], max = o.max or 0, window = o.window and ns_of(o.window) or 0 }
  end

  ---A run that failed is tried again: {n = attempts in all, backoff = pause, factor = growth of the pause,
  ---max = longest pause, jitter = true (15 %) or a share, cross = also beyond the next planned run}.
  function modifiers.retry(b, opts)
    if math.type(opts) == "integer" then opts = { n = opts } end
    if type(opts) ~= "table" then refuse(b, ".retry: expected {n = 3, …}, got %s", check.show(opts)) end
    local o = check.options("retry", opts,
      { n = "integer", backoff = "duration", factor = "number", max = "duration", jitter = "any", cross = "boolean" })
    if not o.n or o.n < 1 or o.n > 1000000 then
      refuse(b, ".retry: n, the attempts in all: expected a whole number from 1, got %s", check.show(o.n))
    end
    local factor = o.factor or 2
    if not (factor >= 1 and factor < math.huge) then
      refuse(b, ".retry: factor: expected at least 1, got %s", check.show(factor))
    end
    local jitter = o.jitter == true and 0.15 or o.jitter or 0
    if math.type(jitter) == nil or not (jitter >= 0 and jitter < 1) then
      refuse(b, ".retry: jitter: expected true or a share below 1, got %s", check.show(o.jitter))
    end
    return { n = o.n, backoff = ns_of(o.backoff or 5), max = ns_of(o.max or 3600), factor = factor,
      jitter = jitter, cross = o.cross or false }
  end

  return modifiers
end

return M
