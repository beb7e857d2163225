--- Servers: addresses, and what happens to a request between its arrival and its answer.
---
--- Connections, the protocol and its limits are in C (src/httpconn.c); each request arrives here in a task of its own.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local core = require "jobrun.core.http"
local err = require "jobrun.core.error"
local host = require "jobrun.core.host"
local life = require "jobrun.life"
local sync = require "jobrun.sync"

local M = {}

-- ---- requests -----------------------------------------------------------------------------------

local servers = setmetatable({}, { __mode = "k" }) -- those that are not yet closed and gone
local started = life.state ~= "starting"
local gate = sync.event()

---The script has loaded and its on.start hooks have run: requests are answered from now on.
function M.start()
  started = true
  gate:set()
end

-- A body whose length its header has not told is counted, for the log.
local function send_stream(x, r)
  if not core.begin(x, r.status, r.fields, r.length, r.closes, r.is_endless) then return 0 end
  local sent = 0
  r.stream(function(bytes)
    if type(bytes) ~= "string" then check.fail("write: expected a string, got %s", check.show(bytes)) end
    core.write(x, bytes)
    sent = sent + #bytes
  end)
  core.finish(x)
  return sent
end

local function log_access(req, r, sent, begin)
  host.log("info", ("http: %s %s %s: %d, %d bytes in %.1f ms"):format(req.remote, req.method, req.target, r.status, sent,
    (host.monotonic() - begin) * 1000))
end

local function answer(x, site, method, target, headers, body, remote)
  if not started and not site.is_background then gate:wait() end
  local begin = site.log and host.monotonic()
  local r, req = site.app:respond {
    method = method, target = target, headers = headers, raw_body = body, remote = remote,
  }
  if not r.stream then core.reply(x, r.status, r.fields, r.length, r.closes, r.body) end
  local sent = r.stream and send_stream(x, r) or #(r.body or "")
  if begin then log_access(req, r, sent, begin) end
end

-- ---- addresses ----------------------------------------------------------------------------------

local HINTS = {
  EADDRINUSE = "something listens there already: end it, or choose another address",
  EACCES = "ports below 1024 and other users' folders need rights: choose another address",
  EADDRNOTAVAIL = "no interface of this machine has that address",
  EINVAL = 'expected an address such as "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:8080" or "unix:/run/app.sock"',
  ENOENT = "the folder does not exist",
}

-- "unix:PATH" → nil, PATH; "IP:PORT" → IP, PORT
local function parse(what, address)
  if math.type(address) == "integer" then address = ("127.0.0.1:%d"):format(address) end
  if type(address) ~= "string" then
    check.fail('%s: expected an address such as "127.0.0.1:8080" or "unix:/run/app.sock", got %s', what, check.show(address))
  end
  local path = address:match "^unix:(.+)$"
  if path then return nil, path end
  local ip, port = address:match "^%[([%x:.]+)%]:(%d+)$"
  if not ip then ip, port = address:match "^([%w.-]+):(%d+)$" end
  port = math.tointeger(port)
  if ip == "localhost" then ip = "127.0.0.1" end
  if not port or port > 65535 or not (ip:find ":" or ip:find "^%d+%.%d+%.%d+%.%d+$") then
    check.fail("%s: %s, got %s", what, HINTS.EINVAL, check.show(address))
  end
  return ip, port
end

---Is only this machine able to reach it?
---@param what string for the message where it is malformed
---@param address string
function M.is_local(what, address)
  local ip = parse(what, address)
  return ip == nil or ip:find "^127%." ~= nil or ip == "::1"
end

---@class jobrun.http.Server
---@field addresses string[] as URLs, with the ports it got
---@field port integer? of the first that has one
local Server = {}
Server.__index = Server

---Takes no more connections; requests under way are answered, streams of events end.
function Server:close()
  core.close(self.handle)
end

---How many connections are open.
---@return integer
function Server:connections()
  return core.connections(self.handle)
end

local function bind_failed(what, address, code, text)
  local kind = code == "EACCES" and "permission" or code == "EADDRINUSE" and "busy" or "usage"
  local hint = HINTS[code] and (" (%s)"):format(HINTS[code]) or ""
  return err.new({ kind = kind, code = code, message = ("%s: %s: %s%s"):format(what, address, text, hint) })
end

local function bind(server, what, address, mode)
  local ip, port = parse(what, address)
  local ok, code, text
  if ip then
    ok, code, text = core.tcp(server.handle, ip, port)
  else
    ok, code, text = core.unix(server.handle, port, mode)
  end
  local name = ip and ("%s:%d"):format(ip:find ":" and "[" .. ip .. "]" or ip, ok or port) or "unix:" .. port
  if not ok then
    core.close(server.handle)
    error(bind_failed(what, name, code, text))
  end
  server.addresses[#server.addresses + 1] = ip and "http://" .. name or name
  if ip then server.port = server.port or ok end
end

local OPTIONS = {
  max_connections = { type = "integer", default = 512, min = 1 },
  max_body = { type = "integer", default = 1024 * 1024, min = 0 },
  keep_alive = { type = "duration", default = 15 },
  head_timeout = { type = "duration", default = 10 },
  body_timeout = { type = "duration", default = 60 },
  write_timeout = { type = "duration", default = 30 },
  access_log = { type = "boolean", default = false },
  mode = { type = "string", default = "0600" },
}

-- {addresses…, name = option, …} → addresses, options
local function split(argument)
  if type(argument) ~= "table" then argument = { argument } end
  local addresses, options = {}, {}
  for key, value in pairs(argument) do
    if math.type(key) ~= "integer" then options[key] = value end
  end
  for i, address in ipairs(argument) do addresses[i] = address end
  if not addresses[1] then check.fail 'http.listen: expected an address, such as http.listen {"127.0.0.1:8080"}' end
  return addresses, options
end

---Serves an application. One in the background answers before the script has loaded, and does not keep it alive.
---@param app jobrun.http.App
---@param what string who asks, for messages
---@param addresses (string|integer)[]
---@param options table those of http.listen; is_background
---@return jobrun.http.Server
function M.open(app, what, addresses, options)
  local is_background = options.is_background or false
  options.is_background = nil
  local o = check.options(what, options, OPTIONS)
  local mode = o.mode:find "^0?[0-7][0-7][0-7]$" and tonumber(o.mode, 8)
  if not mode then check.fail('%s: option mode expected a mode such as "0660", got %s', what, check.show(o.mode)) end
  local server = setmetatable({ addresses = {} }, Server)
  local site = { app = app, log = o.access_log, server = server, is_background = is_background }
  server.handle = core.server(answer, site, is_background, o.max_connections, o.max_body, o.keep_alive, o.head_timeout,
    o.body_timeout, o.write_timeout)
  servers[server] = true
  for _, address in ipairs(addresses) do bind(server, what, address, mode) end
  app.is_served = true
  local name = is_background and "control" or "http"
  host.log("info", ("%s: listening on %s"):format(name, table.concat(server.addresses, ", ")))
  return server
end

---Serves a script's application. (see http.listen)
---@param app jobrun.http.App
---@return jobrun.http.Server
function M.listen(app, argument)
  local addresses, options = split(argument)
  return M.open(app, "http.listen", addresses, options)
end

---Connections of all servers.
---@return integer
function M.count_connections()
  local n = 0
  for server in pairs(servers) do n = n + server:connections() end
  return n
end

return M
