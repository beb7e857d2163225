--- The commands that change something in a running script or a store, each for one or more jobs or queues.
--
-- SPDX-License-Identifier: MIT

local json = require "jobrun.json"
local remote = require "jobrun.cli.remote"
local stored = require "jobrun.cli.stored"

local M = {}

local COUNT <const> = { 1, 1000, words = "the name of a job, or what else it is for" }

---A command whose `act(at, name)` gives what the API said and one line about it.
---@param command string
---@param help string
---@param act fun(at: jobrun.cli.Remote, name: string): any, string
---@param act_on_store? fun(db: table, name: string): any, string the same on a store's file that no process has
---@return table
function M.command(command, help, act, act_on_store)
  local function main(...)
    local options, rest = remote.parse(command, help, {}, COUNT, ...)
    if not options then return end
    local db, at
    if act_on_store then
      db, at = stored.reach(command, options)
    else
      at = remote.reach(command, options)
    end
    for _, name in ipairs(rest) do
      local said, line
      if db then
        said, line = act_on_store(db, name)
      else
        said, line = act(at, name)
      end
      print(options.json and json.encode(said) or line)
    end
    if db then db:close() end
  end
  return { help = help, main = main }
end

return M
