--- `every` and `after`: the words that declare jobs.
--
-- SPDX-License-Identifier: MIT

require "jobrun.jobs" -- whoever declares jobs has the word for them loaded too
local builder = require "jobrun.builder"

local M = {}

---Declares a job that runs every so often: `every(1).second(fn)`, `every(5).minutes.tag("net")(fn, ...)`,
---`every "1h30m" (fn)`. Due times lie on a fixed grid from the declaration on and never drift; the first
---one is a whole interval away, unless `.now()` asks for one at once.
---
---Units: `.second(s) .minute(s) .hour(s) .day(s) .week(s) .month(s) .year(s)`, the singular only with 1;
---`.monday` … `.sunday`, `.weekday`, `.weekend`, `.on("mon", "thu")`, `.day_of_month(15, "last")`. Seconds, minutes
---and hours are elapsed time; days and what is longer go by the wall clock (fractions of them do not).
---
---Times: `.at("10:30"[, zone])` of a day, `":30"` of an hour, `":15"` of a minute, several may stand there;
---`.tz(zone)`. A time that does not exist runs at the end of the gap, one that comes twice the first time:
---`.dst{gap="end"|"shift"|"skip", overlap="first"|"second"|"both"}` says otherwise.
---
---Modifiers, with `.` or `:`
---* `.now()` first run at once, then the grid
---* `.named(x)` the job's name; by default "every 1 second script.lua:12"
---* `.tag(...)` for `jobs.list(tag)`, `jobs.clear(tag)`, `jobs.run_all{tag=}`
---* `.times(n)` the job ends with its n-th run
---* `.overlap("skip"|"queue"|"cancel"|"allow" [, n])` a due time while a run still goes: skip it (default),
---  queue one, cancel the old run, or allow up to n at once
---* `.from_end()` the next interval begins when a run ends
---* `.to(b)` each interval is drawn anew between n and b units
---* `.jitter(d [, {stable=true}])` each start up to d behind the grid, never accumulated
---* `.from(x)`, `.till(x)` a date, date and time, time of today or duration; `.between("09:00", "18:00")`
---* `.grace(d)` a run that would start later than that is skipped; `.catchup("once"|"none"|"all", {window=, max=})`
---  what to do about due times that passed while nothing could start (one run, for the latest)
---* `.retry{n=3, backoff="10s", factor=2, max="5m", jitter=true, cross=false}` tries a failed run again
---* `.timeout(d)` cancels a run that takes longer, waiting for a limit included
---* `.limit(name, n)` at most n runs at a time of all that share the name: `limit("ffmpeg", 2)`
---* `.paused()` declared, but `job:resume()` starts it
---* `.run(fn, ...)` the same as calling the builder: registers and returns the job
---
---The function is called as `fn(..., run)`: run.job, .id, .due, .late, .attempt, run:log(fmt, ...). An
---error in a run is logged with its traceback and the schedule goes on; `return jobs.CANCEL` ends the job.
---@param n? number|string how many units (default 1), or a duration such as "1h30m"
---@return jobrun.Builder
M.every = builder.every

---Declares a job that runs once: `after("5m", fn)`. Without the function it returns a builder with the
---modifiers `.named .tag .timeout .jitter .paused .run`.
---@param d number|string seconds, or a duration such as "5m"
---@param fn? function called as fn(..., run)
---@param ... any arguments for fn
---@return jobrun.Job|jobrun.Builder
function M.after(d, fn, ...)
  local sentence = builder.after(d)
  if fn == nil then return sentence end
  return sentence(fn, ...)
end

---Declares a job by a cron line: `cron("*/5 * * * *", fn)`, `cron("30 2 * * *", {tz = "Europe/Berlin"}, fn)`.
---Five fields, or six with the seconds first; names, ranges that wrap, steps, L, W, #, H, @daily and its like,
---`@every 1h30m`, `@reboot`, `CRON_TZ=Zone` in front. Without the function it returns a builder. Lines without
---`*`, `?` and `/` in seconds, minutes and hours are fixed times (of a gap its end, of an overlap the first);
---the others go by the wall clock as it passes. (cron(8) of cronie has the same rule)
---@param line string
---@param opts? table modifiers: {tz=, named=, retry={n=3}, timeout="10m", tag={"a"}, …}
---@param fn? function called as fn(..., run)
---@return jobrun.Job|jobrun.Builder
M.cron = builder.cron

---Declares a job that runs once at a time of the wall clock: `once("2027-01-01 00:00", "Asia/Tokyo", fn)`.
---@param moment string a date, a date and time (with an offset or without), or a time of today or tomorrow
---@param zone? string
---@param fn? function called as fn(..., run)
---@return jobrun.Job|jobrun.Builder
M.once = builder.once

return M
