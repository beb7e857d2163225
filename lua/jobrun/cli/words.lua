--- What `jobrun help WORD` prints: the comments that stand above the word's definition, the same that editors show.
--
-- SPDX-License-Identifier: MIT

local host = require "jobrun.core.host"

local M = {}

local map = getmetatable(require "jobrun")
M.modules, M.fields = map.modules, map.fields -- word → module; of a field, whose field it is

---The text of a module of jobrun's.
---@param module string
---@return string
function M.source_of(module)
  return host.source(module:gsub("%.", "/") .. ".lua") or ""
end

local function lines_of(text)
  local lines = {}
  for line in text:gmatch "([^\n]*)\n" do lines[#lines + 1] = line end
  return lines
end

-- The name a line defines: `function M.name(`, `M.name =`, `function W.name(`, `function Class:name(`, …
local function defined(line)
  return line:match "^%s*function %u%w*[.:]([%w_]+)" or line:match "^%s*function common%.([%w_]+)"
    or line:match "^%s*%u%w*%.([%w_]+) =" or line:match "^%s*common%.([%w_]+) ="
end

-- The comment that ends above a line, without its dashes; nil where there is none.
local function comment_above(lines, at)
  local first = at
  while first > 1 and lines[first - 1]:find "^%s*%-%-%-" do first = first - 1 end
  if first == at then return nil end
  local text = {}
  for i = first, at - 1 do text[#text + 1] = lines[i]:gsub("^%s*%-%-%- ?", "") end
  return table.concat(text, "\n")
end

---name → its comment, in a module; and the names in order.
---@param module string
---@return table<string, string>
---@return string[]
function M.documented(module)
  local lines = lines_of(M.source_of(module))
  local comments, names = {}, {}
  for i, line in ipairs(lines) do
    local name = defined(line)
    local text = name and comment_above(lines, i)
    if text and not comments[name] and not text:find "@package" and not text:find "@class [^\n]*$" then
      comments[name] = text
      names[#names + 1] = name
    end
  end
  return comments, names
end

-- A module that is a word: what its file says of it, and what it has.
local function of_module(word, module)
  local _, names = M.documented(module)
  local head = M.source_of(module):match "^(%-%-%-.-)\n%-%-\n"
  if not head then return nil end
  local text = head:gsub("%-%-%- ?", "")
  if #names == 0 then return text end
  table.sort(names)
  return ("%s\n\njobrun help %s.NAME, of: %s"):format(text, word, table.concat(names, ", "))
end

---The help for a word such as "every", "http" or "fs.read"; nil where there is no such word.
---@param word string
---@return string?
function M.help(word)
  local first, rest = word:match "^([%w_]+)%.?([%w_]*)$"
  if not first then return nil end
  if map.modules[first] then
    if rest == "" then return of_module(first, map.modules[first]) end
    local comment = M.documented(map.modules[first])[rest]
    return comment and word .. "\n\n" .. comment
  end
  local module = map.fields[first]
  if not module then return nil end
  local comment = M.documented(module)[rest == "" and first or rest]
  if comment then return word .. "\n\n" .. comment end
  return rest == "" and of_module(first, module) or nil
end

---@param others table<string, any>
---@return table<string, true> with all words beside them
function M.known(others)
  local names = {}
  for _, set in ipairs { others, map.modules, map.fields } do
    for name in pairs(set) do names[name] = true end
  end
  return names
end

return M
