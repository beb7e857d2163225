--- What systemd is told of the script, where it runs as a service of `Type=notify`. jobrun itself says READY=1 when the
--- script has loaded and its `on.start` hooks have run, STOPPING=1 when the end begins, and WATCHDOG=1 from the loop.
--- Elsewhere these do nothing.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local host = require "jobrun.core.host"

local M = {}

---A line about what the script is doing, for `systemctl status`.
---@param text string
function M.status(text)
  if type(text) ~= "string" or text:find "%c" then
    check.fail("notify.status: expected one line of text, got %s", check.show(text))
  end
  host.notify("STATUS=" .. text)
end

---The script reads its configuration anew, until `notify.ready()`.
function M.reloading()
  host.notify(("RELOADING=1\nMONOTONIC_USEC=%d"):format(host.monotonic_usec()))
end

---The script is ready again.
function M.ready()
  host.notify "READY=1"
end

return M
