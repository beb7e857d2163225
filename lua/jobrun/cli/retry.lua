--- `jobrun retry`: makes jobs of a store available again.
--
-- SPDX-License-Identifier: MIT

local stored = require "jobrun.cli.stored"

local M = {}

M.help = [[
jobrun retry ID... [--store URL] [--json]

Jobs that were discarded or cancelled start again, with all their attempts; those that wait for their time need not. Of
a store that no process has open; a running script has queue.retry(id).

Example:  jobrun retry 384394900520566785 --store sqlite:state.db]]

---@param ... string
function M.main(...)
  return stored.deed("retry", M.help, function(db, name) return stored.change(db, "retry", name, "available") end, ...)
end

return M
