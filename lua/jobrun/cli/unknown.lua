--- A first word that is neither a file nor a command.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local help = require "jobrun.cli.help"

local M = {}

---@param word string
function M.main(word)
  check.fail("cannot open %s: no such file or command%s", word, check.hint(word, help.commands))
end

return M
