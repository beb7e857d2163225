--- Ready-made middleware: bearer tokens (RFC 6750), CORS (the Fetch standard).
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local response = require "jobrun.http.response"

local M = {}

---Equal? In a time that depends on the length of `given` alone.
---@param given string
---@param expected string
---@return boolean
function M.same_secret(given, expected)
  local difference, n = #given ~ #expected, #expected
  for i = 1, #given do difference = difference | (given:byte(i) ~ expected:byte((i - 1) % n + 1)) end
  return difference == 0
end

local Bearer = {}
Bearer.__index = Bearer

local function unauthorized()
  return response.detail(401, "Not authenticated", { ["www-authenticate"] = "Bearer" })
end

function Bearer:__call(req, next_one)
  local given = (req.headers.authorization or ""):match "^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)%s*$"
  if not given then return unauthorized() end
  if self.verify then
    local user = self.verify(given, req)
    if not user then return unauthorized() end
    req.user = user
  elseif not M.same_secret(given, self.token) then
    return unauthorized()
  end
  return next_one(req)
end

---Lets only requests through that carry the token. (see http.bearer)
function M.bearer(token)
  if type(token) == "function" then return setmetatable({ verify = token, security = "bearer" }, Bearer) end
  if token == nil then check.fail "http.bearer: expected a token, got nil (is the environment variable set?)" end
  if type(token) ~= "string" then check.fail("http.bearer: expected a token, got %s", check.show(token)) end
  if token == "" or token:find "[%s%c]" then -- its text is nobody's business
    check.fail "http.bearer: expected a token without blanks, got one that is empty or has some"
  end
  return setmetatable({ token = token, security = "bearer" }, Bearer)
end

-- ---- CORS ---------------------------------------------------------------------------------------

local CORS_OPTIONS = {
  origins = { type = "table|string", required = true },
  methods = "table",
  headers = "table",
  expose = "table",
  credentials = { type = "boolean", default = false },
  max_age = { type = "duration", default = 600 },
}

local function origin_set(origins)
  if origins == "*" then return nil end
  if type(origins) == "string" then origins = { origins } end
  local set = {}
  for _, origin in ipairs(origins) do
    if type(origin) ~= "string" or not origin:find "^%a[%w+.-]*://[^/%s]+$" then
      check.fail('http.cors: expected origins such as "https://ops.example" (or "*" alone), got %s', check.show(origin))
    end
    set[origin] = true
  end
  return set
end

local function vary(r)
  local field = r.headers.vary
  if not field then r.headers.vary = "Origin" elseif not field:find "Origin" then r.headers.vary = field .. ", Origin" end
end

---Lets scripts of other origins read the responses. (see http.cors)
function M.cors(options)
  local o = check.options("http.cors", options, CORS_OPTIONS)
  local set = origin_set(o.origins)
  if not set and o.credentials then check.fail 'http.cors: credentials need origins by name, not "*"' end
  local methods = table.concat(o.methods or { "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" }, ", ")
  local headers, expose = o.headers and table.concat(o.headers, ", "), o.expose and table.concat(o.expose, ", ")

  local function allow(r, origin)
    r.headers["access-control-allow-origin"] = set and origin or "*"
    if o.credentials then r.headers["access-control-allow-credentials"] = "true" end
  end

  local function preflight(req, origin)
    local r = response.new(204)
    allow(r, origin)
    r.headers["access-control-allow-methods"] = methods
    r.headers["access-control-allow-headers"] = headers or req.headers["access-control-request-headers"]
    r.headers["access-control-max-age"] = ("%d"):format(math.floor(o.max_age))
    r.headers.vary = "Origin, Access-Control-Request-Headers"
    return r
  end

  return function(req, next_one)
    local origin = req.headers.origin
    local is_allowed = origin and (not set or set[origin])
    local asks = req.method == "OPTIONS" and req.headers["access-control-request-method"]
    if is_allowed and asks then return preflight(req, origin) end
    local r = next_one(req)
    if is_allowed then
      allow(r, origin)
      if expose then r.headers["access-control-expose-headers"] = expose end
    end
    if set then vary(r) end
    return r
  end
end

return M
