--- The options that every word for programs has, checked once.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"

local M = {}

---@class jobrun.process.Options
---@field cwd? string
---@field env? table<string, string|number|false> merged over the environment; false removes
---@field grace? number|string between SIGTERM and SIGKILL (10 s)
---@field nice? integer added to jobrun's own
---@field user? string|integer run as this user, by name or number (needs root)
---@field umask? integer
---@field stdin? string|{path: string}|jobrun.Channel bytes, a file, or what comes out of a channel until it is
---closed; default: /dev/null
---@field ionice? "idle"|integer the priority of its disk accesses: 0 (first) to 7 (last), or "idle"
---@field rlimits? table<string, integer|"unlimited"|table> by setrlimit's names: {as=2^30, cpu=60, nofile={64, 128}}
---@field on_overflow? "wait"|"drop" when callbacks are 4 MiB of lines behind: the program waits (default), or the
---oldest lines are left out, and counted

--- For a table of check.options.
M.spec = {
  cwd = "string",
  env = "table",
  grace = { type = "duration", default = 10 },
  nice = "integer",
  user = "string|integer",
  umask = { type = "integer", min = 0 },
  stdin = "string|table",
  ionice = "string|integer",
  rlimits = "table",
  on_overflow = { type = "string", among = { wait = true, drop = true } },
}

local BEST_EFFORT <const>, IDLE <const> = 2, 3 -- classes of ioprio_set(2)

local NAMES = {}
for name in ("as core cpu data fsize memlock nofile nproc rss stack"):gmatch("%a+") do NAMES[name] = true end

local function check_ionice(what, value)
  if value == "idle" then return { IDLE, 0 } end
  if math.type(value) == "integer" and value >= 0 and value <= 7 then return { BEST_EFFORT, value } end
  check.fail('%s: ionice: expected "idle" or a number from 0 to 7, got %s', what, check.show(value))
end

local function check_limit(what, name, value)
  if value == "unlimited" then return -1 end
  local n = type(value) == "number" and math.tointeger(value)
  if n and n >= 0 then return n end
  check.fail('%s: rlimits.%s: expected a whole number or "unlimited", got %s', what, name, check.show(value))
end

local function check_rlimits(what, limits)
  local list = {}
  for name, value in pairs(limits) do
    if not NAMES[name] then
      check.fail("%s: rlimits: there is no limit %s%s", what, check.show(name), check.hint(name, NAMES))
    end
    local pair = type(value) == "table" and value or { value, value }
    list[#list + 1] = { name, check_limit(what, name, pair[1]), check_limit(what, name, pair[2]) }
  end
  return list
end

local function check_stdin(what, stdin)
  if type(stdin) ~= "table" or stdin.get and stdin.close then return end
  if type(stdin.path) == "string" and stdin.path ~= "" and not stdin.path:find("\0", 1, true)
    and next(stdin, next(stdin)) == nil then return end
  check.fail("%s: stdin: expected a string, {path=…} or a channel", what)
end

local function check_env(what, env)
  for name, value in pairs(env or {}) do
    if type(name) ~= "string" or name == "" or name:find("[=%z]") then
      check.fail("%s: env: %s is not a variable's name", what, check.show(name))
    end
    local kind = type(value)
    if not (value == false or kind == "number" or kind == "string" and not value:find("\0", 1, true)) then
      check.fail("%s: env.%s: expected a string, a number or false, got %s", what, name, check.show(value))
    end
  end
end

---Checks further what of `o` has the right types, and makes of it what jobrun.process takes.
---@param what string the word's name
---@param o table
function M.resolve(what, o)
  check_env(what, o.env)
  check_stdin(what, o.stdin)
  o.ionice = o.ionice and check_ionice(what, o.ionice)
  o.rlimits = o.rlimits and check_rlimits(what, o.rlimits)
  o.drop = o.on_overflow == "drop"
  o.user = o.user and tostring(o.user)
end

---What process.new takes: the options of `o`, and `fields`.
---@param o table resolved
---@param fields table what, argv, streams, and whatever goes before the option; is returned
---@return table
function M.describe(o, fields)
  for _, name in ipairs { "cwd", "env", "grace", "nice", "user", "umask", "stdin", "ionice", "rlimits" } do
    if fields[name] == nil then fields[name] = o[name] end
  end
  return fields
end

return M
