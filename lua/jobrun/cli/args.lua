--- Arguments of the command's subcommands: options, their values, and what is left.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local rules = require "jobrun.core.rule"

local M = {}

local function value_of(command, spec, option, rest, list)
  if spec == true then
    if rest then check.fail("%s: %s takes no value", command, option) end
    return true
  end
  local value = rest or table.remove(list, 1)
  if not value then check.fail("%s: %s needs a value", command, option) end
  if spec ~= "number" then return value end
  local number = math.tointeger(tonumber(value))
  if not number or number < 1 or number > 1000000 then
    check.fail("%s: %s: expected a whole number from 1, got %s", command, option, check.show(value))
  end
  return number
end

---Reads `--name VALUE`, `--name=VALUE` and `-n VALUE`; `--` ends the options.
---@param command string for messages
---@param spec table<string, true|"text"|"number"> option → what it takes
---@param short table<string, string> letter → option
---@param ... string the arguments
---@return table options
---@return string[] rest
function M.parse(command, spec, short, ...)
  local list, options, rest = { ... }, {}, {}
  while #list > 0 do
    local word = table.remove(list, 1)
    local name, value = word:match "^%-%-([%w-]+)=?(.*)$"
    local letter, joined = word:match "^%-(%a)(.*)$"
    if word == "--" then
      table.move(list, 1, #list, #rest + 1, rest)
      break
    elseif name then
      if not spec[name] then check.fail("%s: unknown option --%s%s", command, name, check.hint(name, spec)) end
      options[name] = value_of(command, spec[name], "--" .. name, word:find "=" and value or nil, list)
    elseif letter then
      local long = short[letter]
      if not (long and spec[long]) then check.fail("%s: unknown option -%s", command, letter) end
      options[long] = value_of(command, spec[long], "-" .. letter, joined ~= "" and joined or nil, list)
    else
      rest[#rest + 1] = word
    end
  end
  return options, rest
end

---The arguments of a command that has help, `--json` and a number of other arguments; nil where only its help was asked
---for, which is printed.
---@param command string
---@param help string
---@param spec table<string, true|"text"|"number"> further options
---@param count {[1]: integer, [2]: integer, words: string} how many other arguments it takes; what they are
---@param ... string
---@return table? options
---@return string[] rest
function M.of(command, help, spec, count, ...)
  local all = { help = true, json = true }
  for name, takes in pairs(spec) do all[name] = takes end
  local options, rest = M.parse(command, all, { h = "help", n = "count", f = "follow", s = "socket" }, ...)
  if options.help then
    print(help)
    return nil, rest
  end
  if #rest < count[1] or #rest > count[2] then
    check.fail("%s: expected %s (jobrun help %s)", command, count.words, command)
  end
  return options, rest
end

---Ends the command: what is wrong goes to stderr, without a trace.
---@param status integer
---@param fmt string
function M.give_up(status, fmt, ...)
  io.stderr:write("jobrun: ", fmt:format(...), "\n")
  os.exit(status)
end

---An instant in local time, to the second; "-" where there is none.
---@param ns integer?
---@return string
function M.when(ns)
  return ns and (rules.wall(rules.zone(), ns // 1000000000 * 1000000000):gsub("T", " ")) or "-"
end

return M
