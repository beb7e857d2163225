--- `jobrun check`: loads a script, runs nothing, says what is wrong.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local declared = require "jobrun.cli.declared"

local M = {}

M.help = [[
jobrun check SCRIPT...

Loads each script without running anything: syntax, words and times that are wrong are told as
FILE:LINE: MESSAGE, with exit status 2.

Example:  jobrun check *.lua]]

---@param ... string
function M.main(...)
  local options, rest = args.parse("check", { help = true }, { h = "help" }, ...)
  if options.help then return print(M.help) end
  if #rest == 0 then check.fail("check: expected a script (jobrun help check)") end
  local seen = 0
  for _, path in ipairs(rest) do
    local jobs = declared.of_script(path)
    print(("%s: %d job%s, nothing wrong"):format(path, #jobs - seen, #jobs - seen == 1 and "" or "s"))
    seen = #jobs
  end
end

return M
