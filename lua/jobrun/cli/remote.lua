--- Speaking to a running script by its control API (`--listen`): what the commands status, logs, trigger, pause, resume
--- and cancel share.
--
-- SPDX-License-Identifier: MIT

local args = require "jobrun.cli.args"
local check = require "jobrun.check"
local err = require "jobrun.core.error"
local fetch = require("jobrun.http.fetch").fetch
local rules = require "jobrun.core.rule"
local store = require "jobrun.store"
local store_core = require "jobrun.core.store"
local url = require "jobrun.http.url"

store.keep_closed() -- it is asked about, not opened

local M = { OF_STORE = "does a script run that has this store open?" }

---@class jobrun.cli.Remote
---@field base string
---@field socket string?
---@field address string as it was given
local Remote = {}
Remote.__index = Remote

local function say_failure(self, e)
  if not err.is(e) or err.is(e, "cancelled") or err.is(e, "not_found") then error(e, 0) end
  local hint = err.is(e, "refused") and (" (%s)"):format(self.hint) or ""
  args.give_up(1, "%s: %s%s", self.address, e.message:gsub("^http%.fetch [^ ]*: ", ""), hint)
end

-- What the API says is wrong, in its own words.
local function say_refusal(self, r)
  local ok, said = pcall(r.json, r)
  local detail = ok and type(said) == "table" and said.detail or r.body
  local first = type(detail) == "table" and detail[1] -- of what the types of a body refuse
  if type(first) == "table" and first.msg then
    detail = ("%s: %s"):format(table.concat(first.loc or {}, ".", 2), first.msg)
  end
  if r.status == 401 then detail = "it needs a token: set JOBRUN_TOKEN" end
  args.give_up(1, "%s: %s", self.address, type(detail) == "string" and detail or ("status " .. r.status))
end

---Asks; does not return where the answer is no.
---@param method string
---@param path string
---@param options? {query: table?, stream: boolean?}
---@return jobrun.http.Fetched
function Remote:ask(method, path, options)
  local o = options or {}
  local headers = { Authorization = self.token and "Bearer " .. self.token, ["Last-Event-ID"] = o.last_event }
  if method == "POST" then headers["Content-Type"] = "application/json" end
  local ok, r = pcall(fetch, {
    url = self.base .. path, method = method, headers = headers, query = o.query, socket = self.socket, stream = o.stream,
    body = o.body,
  })
  if not ok then say_failure(self, r) end
  if not o.stream and not r:ok() then say_refusal(self, r) end
  return r
end

function Remote:get(path, query)
  return self:ask("GET", path, { query = query }):json()
end

---@param path string
---@param body? string JSON
function Remote:post(path, body)
  return self:ask("POST", path, { body = body }):json()
end

---The path of a job.
---@param name string
---@return string
function M.job(name, deed)
  return "/api/jobs/" .. url.encode(name) .. (deed and "/" .. deed or "")
end

---Pauses or resumes what has that name: a job, or else a queue.
---@param name string
---@param deed "pause"|"resume"
---@return table said by the API
---@return boolean is_job
function Remote:switch(name, deed)
  for _, job in ipairs(self:get("/api/jobs").jobs) do
    if job.name == name then return self:post(M.job(name, deed)), true end
  end
  if self:get("/api/queues").queues[name] then
    return self:post("/api/queues/" .. url.encode(name) .. "/" .. deed), false
  end
  args.give_up(1, "%s: there is no job or queue %s", self.address, check.show(name))
end

local function is_ip_and_port(address)
  return address:find "^%[[%x:.]+%]:%d+$" or address:find "^[%w.-]+:%d+$"
end

---A running script.
---@param address string "unix:PATH", a path, "HOST:PORT"
---@param hint? string what to look for where nothing answers
---@return jobrun.cli.Remote
function M.at(address, hint)
  local token = os.getenv "JOBRUN_TOKEN"
  hint = hint or "is it running, with --listen there?"
  local remote = setmetatable({ address = address, hint = hint, token = token ~= "" and token or nil }, Remote)
  if is_ip_and_port(address) then
    remote.base = "http://" .. address
  else
    remote.base, remote.socket = "http://localhost", address:match "^unix:(.+)$" or address
  end
  return remote
end

-- Where it listens, as said by the options or the environment; the process that has a store has a socket beside it.
local function address_of(command, options)
  if options.socket then return options.socket end
  local said, its_store = os.getenv "JOBRUN_SOCKET", options.store
  if said and not its_store then return said end
  its_store = its_store or store_core.url()
  if its_store then return "unix:" .. store.file_of(command, its_store) .. ".d/socket", M.OF_STORE end
  check.fail("%s: say where the script listens: -s ADDR (its --listen), --store URL (its store), or JOBRUN_SOCKET", command)
end

---Reads the arguments of a command that may be for a running script; nil where only its help was asked for. (see args.of)
---@return table? options
---@return string[] rest
function M.parse(command, help, spec, count, ...)
  spec.socket, spec.store = "text", "text"
  return args.of(command, help, spec, count, ...)
end

---The running script that is meant.
---@param command string
---@param options table
---@return jobrun.cli.Remote
function M.reach(command, options)
  return M.at(address_of(command, options))
end

---An instant of the API in local time.
---@param text any
---@return string
function M.when(text)
  if type(text) ~= "string" then return "-" end
  local _, second = rules.stamp(text)
  return args.when(second * 1000000000)
end

return M
