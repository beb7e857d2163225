--- Rows of text in columns.
--
-- SPDX-License-Identifier: MIT

local M = {}

local function width_of(text)
  return utf8.len(text) or #text
end

---A text without what a terminal would obey (C0 and C1 controls), but for its lines.
---@param text string
---@return string
function M.plain(text)
  return (text:gsub("[^%C\n\t]", "?"):gsub("\xC2[\x80-\x9F]", "?"))
end

---Prints rows of equal length, their columns two spaces apart.
---@param rows string[][]
function M.print(rows)
  local width = {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do
      row[i] = M.plain(text):gsub("%c", "?")
      width[i] = math.max(width[i] or 0, width_of(row[i]))
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, text in ipairs(row) do cells[i] = text .. (" "):rep(width[i] - width_of(text)) end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
end

return M
