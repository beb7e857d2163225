--- `--listen ADDR`: the control API on addresses of its own, apart from the script's routes.
---
--- It answers from the first turn of the loop on, and keeps no script alive.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local control = require "jobrun.control"
local server = require "jobrun.http.server"

local M = {}

local function read_token(path)
  if not path then
    local token = os.getenv "JOBRUN_TOKEN"
    return token ~= "" and token or nil
  end
  local file, why = io.open(path)
  if not file then check.fail("--token-file: cannot open %s", why) end
  local token = file:read "l"
  file:close()
  return token or check.fail("--token-file: %s is empty", path)
end

---@param options {addresses: string[], allowed_hosts: string[], read_only: boolean, token_file: string?}
function M.serve(options)
  local token, is_local = read_token(options.token_file), true
  for _, address in ipairs(options.addresses) do
    if not server.is_local("--listen", address) then
      is_local = false
      if not token then
        check.fail("--listen: %s can be reached from other machines, which needs a token: set JOBRUN_TOKEN or --token-file",
          address)
      end
    end
  end
  local app = control.app {
    token = token, allowed_hosts = options.allowed_hosts, any_host = not is_local, read_only = options.read_only,
  }
  server.open(app.instance, "--listen", options.addresses, { is_background = true })
end

return M
