--- `jobrun help [COMMAND|WORD]`.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local words = require "jobrun.cli.words"

local M = {}

M.commands = {
  cancel = true, check = true, completions = true, doctor = true, explain = true, help = true, jobs = true, list = true,
  logs = true, new = true, next = true, pause = true, push = true, repl = true, resume = true, retry = true, run = true,
  runs = true, status = true, test = true, trigger = true, why = true,
}

local TEST <const> = [[
jobrun test [PATHS] [-- LUAUNIT OPTIONS]

Runs luaunit suites, files named *_test.lua (those below tests/), each in a process of its own, every
test as a task. A suite whose first line is `-- jobrun: --clock=virtual` runs on the virtual clock.]]

---The text about a command.
---@param command string
---@return string
function M.of(command)
  return command == "test" and TEST or require("jobrun.cli." .. command).help
end

---@param command? string
function M.main(command)
  if command and command ~= "help" then
    local text = M.commands[command] and M.of(command) or words.help(command)
    if text then return print(text) end
    check.fail("help: there is no command or word %s%s", check.show(command), check.hint(command, words.known(M.commands)))
  end
  print "Scripts: jobrun help check | completions | explain | list | new | next | repl | run | test"
  print "A running one: jobrun help cancel | logs | pause | resume | status | trigger"
  print "A store: jobrun help cancel | doctor | jobs | logs | pause | push | resume | retry | runs | why"
  print "A script's words: jobrun help every | ffmpeg | http | http.fetch | ..."
  print "Options: jobrun --help"
end

return M
