--- Who may ask the control API, and how. In this order:
---
---* A name it is not known by is 421: a page that makes a name of its own point at this machine (DNS rebinding) gets
---  nothing. An authority in the target counts as Host does.
---* Without the token, where there is one, 401. Health may be asked for without.
---* What changes something is for POST alone, from a page of our own (Sec-Fetch-Site, or Origin where a browser does not
---  send it; else 403) or from no browser at all, and says it is JSON (415), which no form of another site can.
---* No response may be framed, sniffed, cached, or run foreign script.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local middleware = require "jobrun.http.middleware"
local response = require "jobrun.http.response"

local M = {}

local HEADERS = {
  ["content-security-policy"] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    .. "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  ["x-content-type-options"] = "nosniff",
  ["x-frame-options"] = "DENY",
  ["referrer-policy"] = "no-referrer",
  ["cross-origin-opener-policy"] = "same-origin",
  ["cross-origin-resource-policy"] = "same-origin",
  ["cache-control"] = "no-store",
}

local function secure(req, next_one)
  local r = next_one(req)
  for name, value in pairs(HEADERS) do r.headers[name] = value end
  return r
end

-- ---- names ------------------------------------------------------------------------------------------

-- The host of an authority such as "localhost:8080" or "[::1]:80", in small letters; nil where it is malformed.
local function host_of(authority)
  local host = authority:match "^(%[[%x:.]+%])$" or authority:match "^(%[[%x:.]+%]):%d*$"
    or authority:match "^([%w%-._]+)$" or authority:match "^([%w%-._]+):%d*$"
  return host and host:lower()
end

local function allowed_set(names)
  local set = { localhost = true, ["127.0.0.1"] = true, ["[::1]"] = true }
  for _, name in ipairs(names or {}) do
    if type(name) ~= "string" or host_of(name) ~= name:lower() then
      check.fail('control: allowed_hosts: expected names such as "ops.example", without a port, got %s', check.show(name))
    end
    set[name:lower()] = true
  end
  return set
end

local function only_known_names(set)
  local function is_known(authority)
    return set[authority and host_of(authority) or ""]
  end
  return function(req, next_one)
    local authority = req.target:match "^%a[%w+.-]*://([^/?#]*)"
    if not is_known(req.headers.host) or (authority and not is_known(authority)) then
      return response.detail(421, "it is not known by this name")
    end
    return next_one(req)
  end
end

-- ---- the token ----------------------------------------------------------------------------------------

local FREE = { ["/healthz"] = true, ["/readyz"] = true }

local function only_with(token)
  local bearer = middleware.bearer(token)
  return function(req, next_one)
    if FREE[req.path] then return next_one(req) end
    return bearer(req, next_one)
  end
end

-- ---- changes ------------------------------------------------------------------------------------------

local SAFE = { GET = true, HEAD = true, OPTIONS = true }

-- A browser says where a request comes from; who says nothing is none.
local function is_from_here(headers)
  local site, origin = headers["sec-fetch-site"], headers.origin
  if site then return site == "same-origin" end
  if not origin then return true end
  local authority = origin:match "^https?://(.+)$"
  return authority ~= nil and headers.host ~= nil and authority:lower() == headers.host:lower()
end

local function careful_changes(read_only)
  return function(req, next_one)
    if SAFE[req.method] then return next_one(req) end
    if not is_from_here(req.headers) then return response.detail(403, "a page of another origin may not ask for this") end
    local media = (req.headers["content-type"] or ""):match "^%s*([^;%s]*)"
    if media:lower() ~= "application/json" then
      return response.detail(415, "expected content-type: application/json")
    end
    if read_only then return response.detail(403, "nothing may be changed here (--read-only)") end
    return next_one(req)
  end
end

---Puts all that around an application.
---@param app table words of jobrun.http
---@param options {token?: string, allowed_hosts?: string[], any_host?: boolean, read_only?: boolean}
function M.install(app, options)
  app.use(secure)
  if not options.any_host then app.use(only_known_names(allowed_set(options.allowed_hosts))) end
  if options.token then app.use(only_with(options.token)) end
  app.use(careful_changes(options.read_only))
end

return M
