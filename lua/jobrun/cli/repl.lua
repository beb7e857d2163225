--- `jobrun repl`: Lua with jobrun's words, line by line. Jobs and tasks go on while a line is awaited.
--
-- SPDX-License-Identifier: MIT

local blocking = require("jobrun.executor").blocking
local err = require "jobrun.core.error"

local M = {}

M.help = [[
jobrun repl

Reads Lua from standard input, line by line, and shows the values; unfinished ones go on in the next line.
Jobs and tasks run meanwhile. Ctrl-D ends it. For history and editing: rlwrap jobrun repl]]

local function show(ok, ...)
  if not ok then
    local e = ...
    return io.stderr:write(err.is(e) and err.text(e) or tostring(e), "\n")
  end
  if select("#", ...) > 0 then print(...) end
end

-- A chunk of the lines so far; nil where more are missing; or what is wrong.
local function compile(text)
  local chunk = load("return " .. text, "=stdin") or nil
  if chunk then return chunk end
  local why
  chunk, why = load(text, "=stdin")
  if chunk or not why:find "<eof>$" then return chunk, why end
  return nil
end

local function with_trace(e)
  return type(e) == "string" and debug.traceback(e, 2) or e
end

local function read_line(prompt)
  io.write(prompt)
  io.stdout:flush()
  return blocking(io.read, "l")
end

---@param ... string
function M.main(...)
  if ... == "--help" or ... == "-h" then return print(M.help) end
  local text = ""
  while true do
    local line = read_line(text == "" and "> " or ">> ")
    if not line then break end
    text = text == "" and line or text .. "\n" .. line
    local chunk, why = compile(text)
    if chunk then show(xpcall(chunk, with_trace)) end
    if why then io.stderr:write(why, "\n") end
    if chunk or why then text = "" end
  end
  print ""
  os.exit(0)
end

return M
