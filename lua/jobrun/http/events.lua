--- Server-sent events (the HTML standard, section 9.2).
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local json = require "jobrun.core.json"
local response = require "jobrun.http.response"
local sync = require "jobrun.sync"
local task = require "jobrun.task"

local M = {}

local PING <const> = 15 -- seconds between two comments that keep proxies from closing

local EVENT_OPTIONS = { id = "string|integer", retry = "duration" }

local function check_line(what, value)
  if type(value) ~= "string" or value:find "[\r\n%z]" then
    check.fail("send: expected %s on one line, got %s", what, check.show(value))
  end
  return value
end

---The text of an event. Tables are sent as JSON.
function M.format(name, data, options)
  local o = check.options("send", options or {}, EVENT_OPTIONS)
  local lines = {}
  if name ~= nil then lines[1] = "event: " .. check_line("the event's name", name) end
  if o.id ~= nil then lines[#lines + 1] = "id: " .. check_line("the id", tostring(o.id)) end
  if o.retry then lines[#lines + 1] = ("retry: %d"):format(math.floor(o.retry * 1000)) end
  local text = type(data) == "string" and data or json.encode(data)
  for line in (text:gsub("\r\n?", "\n") .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = "data: " .. line end
  return table.concat(lines, "\n") .. "\n\n"
end

---The handler of a stream of events for `fn(req, send)`. (see http.events)
function M.handler(fn)
  return function(req)
    local r = response.new(200, "text/event-stream; charset=utf-8", nil,
      { ["cache-control"] = "no-cache", ["x-accel-buffering"] = "no" })
    r.is_endless = true
    r.stream = function(write)
      local lock = sync.mutex() -- events and comments come from two tasks
      local function put(text) lock:with(write, text) end
      local ping = task.spawn(function()
        while true do
          task.sleep(PING)
          put ":\n\n"
        end
      end)
      local _ <close> = setmetatable({}, { __close = function() ping:cancel "the stream of events ended" end })
      fn(req, function(name, ...)
        local has_name = select("#", ...) > 0
        put(M.format(has_name and name or nil, has_name and (...) or name, (select(2, ...))))
      end)
    end
    return r
  end
end

return M
