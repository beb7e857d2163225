--- The commands that change something in a running script, each for one or more jobs.
--
-- SPDX-License-Identifier: MIT

local json = require "jobrun.json"
local remote = require "jobrun.cli.remote"
local stored = require "jobrun.cli.stored"

local M = {}

---A command whose `act(at, name)` gives what the API said and one line about it.
---@param command string
---@param help string
---@param act fun(at: jobrun.cli.Remote, name: string): any, string
---@param act_on_store fun(db: table, name: string): any, string the same on a store's file, with --store
---@return table
function M.command(command, help, act, act_on_store)
  local function main(...)
    if stored.is_meant(...) then return stored.deed(command, help, act_on_store, ...) end
    local at, options, rest = remote.parse(command, help, {}, { 1, 1000, words = "the name of a job" }, ...)
    if not at then return end
    for _, name in ipairs(rest) do
      local said, line = act(at, name)
      print(options.json and json.encode(said) or line)
    end
  end
  return { help = help, main = main }
end

return M
