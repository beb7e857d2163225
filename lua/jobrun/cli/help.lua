--- `jobrun help [COMMAND]`.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"

local M = {}

M.commands = {
  cancel = true, check = true, explain = true, help = true, list = true, logs = true, next = true, pause = true, resume = true,
  run = true, status = true, test = true, trigger = true,
}

local TEST <const> = [[
jobrun test [PATHS] [-- LUAUNIT OPTIONS]

Runs luaunit suites, files named *_test.lua (those below tests/), each in a process of its own, every
test as a task. A suite whose first line is `-- jobrun: --clock=virtual` runs on the virtual clock.]]

---@param command? string
function M.main(command)
  if command == "test" then return print(TEST) end
  if command and command ~= "help" then
    if not M.commands[command] then
      check.fail("help: there is no command %s%s", check.show(command), check.hint(command, M.commands))
    end
    return print(require("jobrun.cli." .. command).help)
  end
  print "Commands: jobrun help cancel | check | explain | list | logs | next | pause | resume | run | status | test | trigger"
  print "Options: jobrun --help"
end

return M
