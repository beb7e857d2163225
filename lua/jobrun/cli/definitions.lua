--- `jobrun.d.lua`: the words for editors (LuaCATS), out of the comments that stand above their definitions.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local host = require "jobrun.core.host"
local words = require "jobrun.cli.words"

local M = {}

-- The comment again, and an empty function with the parameters it names.
local function put_function(out, name, comment)
  local parameters = {}
  for line in (comment .. "\n"):gmatch "([^\n]*)\n" do
    out[#out + 1] = "---" .. line
    parameters[#parameters + 1] = line:match "^@param ([%w_.]+)"
  end
  out[#out + 1] = ("function %s(%s) end"):format(name, table.concat(parameters, ", "))
  out[#out + 1] = ""
end

-- The classes a file declares: each block of comment that has one, to its end.
local function put_classes(out, file)
  local block, has_class = {}, false
  for line in host.source(file):gmatch "([^\n]*)\n" do
    if line:find "^%-%-%-" then
      block[#block + 1] = line
      has_class = has_class or line:find "^%-%-%-@class" ~= nil
    else
      if has_class then out[#out + 1] = table.concat(block, "\n") .. "\n" end
      block, has_class = {}, false
    end
  end
end

local function put_modules(out)
  for _, word in ipairs(check.keys(words.modules)) do
    local comments, names = words.documented(words.modules[word])
    if #names > 0 then out[#out + 1] = word .. " = {}\n" end
    table.sort(names)
    for _, name in ipairs(names) do put_function(out, word .. "." .. name, comments[name]) end
  end
end

local function put_fields(out)
  for _, word in ipairs(check.keys(words.fields)) do
    local comment = words.documented(words.fields[word])[word]
    if comment then put_function(out, word, comment) else out[#out + 1] = word .. " = {}\n" end
  end
end

---Prints the file.
function M.main()
  local out = { "---@meta\n-- The words of jobrun, for editors. Made from its sources.\n" }
  for _, file in ipairs(host.source()) do
    if not file:find "^jobrun/cli/" then put_classes(out, file) end
  end
  put_modules(out)
  put_fields(out)
  print(table.concat(out, "\n"))
end

return M
